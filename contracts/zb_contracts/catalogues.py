"""Shared catalogues: checklists, parts, reasons; the same bytes for everybody, named by their SHA-256.

A scope holds a reference to each, a small document under `catalogue:<kind>/<name>`; a device asks once for bytes that it lacks,
whoever works with it. What a catalogue says is `announcements`' matter; who may have it, the scope's.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import zstandard

from zb_contracts import canonical
from zb_contracts.problems import SYNC_CATALOGUE_INVALID, Problem
from zb_contracts.sync import CATALOGUE_BYTES_MAX, CATALOGUE_PACKED_BYTES_MAX, Catalogue, Sha256Hex, inflated

PREFIX: Final = "catalogue:"
_LEVEL: Final = 19
"""It is packed once and sent for months."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a scope has in a catalogue's place: which bytes it is now. Canonical JSON."""

    kind: Annotated[str, msgspec.Meta(pattern="^[a-z-]{1,32}$")]
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,64}$")]
    version: Annotated[int, msgspec.Meta(ge=1)]
    """The publisher's; grows with each change."""
    sha256: Sha256Hex
    length_bytes: Annotated[int, msgspec.Meta(ge=1, le=CATALOGUE_BYTES_MAX)]
    """Of the canonical bytes."""

    @property
    def document(self) -> str:
        """Its id in a scope."""
        return document_of(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Packed:
    """A catalogue as it is stored and sent: its reference, and one zstd frame of its canonical bytes."""

    reference: Reference
    packed: bytes


_reference = msgspec.json.Decoder(Reference)


def document_of(kind: str, name: str) -> str:
    """The id in a scope of the catalogue of this kind and name."""
    return f"{PREFIX}{kind}/{name}"


def packed(kind: str, name: str, version: int, content: bytes) -> Packed:
    """The canonical bytes of a catalogue, packed under their hash. SYNC_CATALOGUE_INVALID where they are too large."""
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    if len(content) > CATALOGUE_BYTES_MAX or len(frame) > CATALOGUE_PACKED_BYTES_MAX:
        limits = f"the limits are {CATALOGUE_BYTES_MAX} and {CATALOGUE_PACKED_BYTES_MAX}"
        reason = f"{len(content)} bytes, {len(frame)} compressed; {limits}"
        raise Problem(SYNC_CATALOGUE_INVALID, name=document_of(kind, name), reason=reason)
    digest = hashlib.sha256(content).hexdigest()
    return Packed(Reference(kind=kind, name=name, version=version, sha256=digest, length_bytes=len(content)), frame)


def read_reference(document: str, content: bytes) -> Reference:
    """The reference in this document of a scope. SYNC_CATALOGUE_INVALID where it is none, or another's."""
    try:
        reference = _reference.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Problem(SYNC_CATALOGUE_INVALID, name=document[:128], reason=str(fault)[:200]) from fault
    if reference.document != document:
        raise Problem(SYNC_CATALOGUE_INVALID, name=document[:128], reason="the reference is to another catalogue")
    return reference


def reference_bytes(reference: Reference) -> bytes:
    """The document that a scope gives out."""
    return canonical.encode(reference)


def unpacked(catalogue: Catalogue) -> bytes:
    """The canonical bytes. SYNC_CATALOGUE_INVALID where they are not those that the hash names; a bomb never unfolds."""
    try:
        content = inflated(catalogue.packed, CATALOGUE_BYTES_MAX)
    except Problem as fault:
        raise Problem(SYNC_CATALOGUE_INVALID, name=catalogue.sha256, reason=str(fault)) from fault
    if hashlib.sha256(content).hexdigest() != catalogue.sha256:
        raise Problem(SYNC_CATALOGUE_INVALID, name=catalogue.sha256, reason="the bytes have another hash")
    return content
