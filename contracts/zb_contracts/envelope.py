"""The event's envelope: header, body, signature. Three byte strings, made once and never re-serialised.

The header is canonical JSON and holds the body's digest, so header, chain and signature stay verifiable when a body's keys
are erased. This module parses, composes, signs and verifies; it decides nothing about order, authors or meaning.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from zb_contracts import canonical
from zb_contracts.keys import SigningKey, dsse_pae, verify
from zb_contracts.problems import (
    BODY_MISMATCH,
    BODY_TOO_LARGE,
    HEADER_MALFORMED,
    SEEN_TOO_LARGE,
    SIGNATURE_INVALID,
    Problem,
)
from zb_contracts.subjects import ID_PATTERN
from zb_contracts.times import parse_time_ms

PAYLOAD_TYPE: Final = "application/vnd.zoneblanche.event.v1+json"
BODY_TYPE: Final = "application/json"
BODY_BYTES_MAX: Final = 64 * 1024
HEADER_BYTES_MAX: Final = 64 * 1024
SEEN_AUTHORS_MAX: Final = 1024
"""Authors that a vector may name: with ids of the usual length about 30 KiB of the header."""
GENESIS: Final = "0" * 64
"""`prev` of an author's first event."""

SIGNATURE_BYTES: Final = 64

STREAM_KINDS: Final = ("intervention", "site", "equipment", "stock", "shift", "device")

SUMMED_KINDS: Final = frozenset({"stock"})
"""Kinds of stream whose state is a sum: no order of knowledge decides there, so an author's `seen` names nobody on them."""

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TYPE = re.compile(r"[a-z][a-z_]{0,31}\.[a-z][a-z_]{0,47}\.v[1-9][0-9]{0,2}")
_STREAM = re.compile(rf"(?:{'|'.join(STREAM_KINDS)}):[a-z0-9-]{{1,64}}")


def is_summed(stream: str) -> bool:
    """Whether the stream is of a kind whose state is a sum (SUMMED_KINDS)."""
    return stream.partition(":")[0] in SUMMED_KINDS


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed server time that a device once received. `server_time` is RFC 3339, UTC, ms."""

    id: str
    server_time: str


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is signed. Every key is always present; null where there is nothing to say."""

    v: Literal[1] = 1
    id: str
    """UUIDv7, made where the fact is made."""
    author: str
    """Incarnation id of a device, or the name of an office or service."""
    seq: int
    """1, 2, 3 ... without a gap, for this author over all streams."""
    prev: str
    """SHA-256 of the author's previous header, hex."""
    type: str
    stream: str
    visit: str | None
    """Id of the visit's first event, for what belongs to a visit."""
    actor: str | None
    """Pseudonymous id of the person who acted."""
    token: str | None
    """Id of the session token under which the person acted."""
    at: str
    """Wall clock of the author: evidence, never a judge."""
    boot: str | None
    elapsed_ms: int | None
    """Suspend-proof time since `anchor`; null where unknown."""
    anchor: Anchor | None
    seen: dict[str, int]
    """The author's whole knowledge of this stream: for each author the highest sequence number known."""
    body_sha256: str
    body_type: str

    @property
    def stream_kind(self) -> str:
        return self.stream.partition(":")[0]

    @property
    def stream_id(self) -> str:
        return self.stream.partition(":")[2]

    @property
    def at_ms(self) -> int:
        return parse_time_ms(self.at)

    @property
    def trusted_ms(self) -> int:
        """See `trusted_ms`."""
        return trusted_ms(self.at, self.anchor, self.elapsed_ms)


def trusted_ms(at: str, anchor: Anchor | None, elapsed_ms: int | None) -> int:
    """Anchor time + elapsed where both are known, else the wall clock: the last tie-break, never more."""
    if anchor is None or elapsed_ms is None:
        return parse_time_ms(at)
    return parse_time_ms(anchor.server_time) + elapsed_ms


class SignedEvent(NamedTuple):
    """The three byte strings as they travel and as they are stored."""

    header: bytes
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """A header that was read, with the bytes that it was read from. Its signature need not be verified yet."""

    header: Header
    header_hash: bytes
    signed: SignedEvent


_decoder = msgspec.json.Decoder(Header)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parse_header(data: bytes) -> Header:
    """The header of canonical bytes. Problem HEADER_MALFORMED or SEEN_TOO_LARGE for all others."""
    if len(data) > HEADER_BYTES_MAX:
        raise Problem(HEADER_MALFORMED, reason=f"{len(data)} bytes, the limit is {HEADER_BYTES_MAX}")
    try:
        header = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Problem(HEADER_MALFORMED, reason=str(fault)[:200]) from fault
    if len(header.seen) > SEEN_AUTHORS_MAX:
        raise Problem(SEEN_TOO_LARGE, count=len(header.seen), limit=SEEN_AUTHORS_MAX)
    if canonical.encode(header) != data:
        raise Problem(HEADER_MALFORMED, reason="not canonical JSON")
    _check_values(header)
    return header


def stored_header(data: bytes) -> Header:
    """The header of bytes that `parse_header` took before, such as a ledger row's; msgspec.DecodeError for others' shapes.

    Nothing is checked but the shape: it is for readers of the ledger, never for what comes from outside.
    """
    return _decoder.decode(data)


def _check_values(header: Header) -> None:
    wrong = next(_wrong_values(header), None)
    if wrong:
        raise Problem(HEADER_MALFORMED, reason=wrong)


def _wrong_values(header: Header) -> Iterator[str]:
    if not _UUID7.fullmatch(header.id):
        yield "id is no UUIDv7"
    if not ID_PATTERN.fullmatch(header.author):
        yield "author is no id"
    if not 1 <= header.seq <= canonical.INTEGER_MAX:
        yield "seq is not within 1 and 2^53-1"
    if not _HASH.fullmatch(header.prev) or not _HASH.fullmatch(header.body_sha256):
        yield "prev and body_sha256 are 64 hex digits"
    if not _TYPE.fullmatch(header.type):
        yield "type is not like intervention.started.v1"
    if not _STREAM.fullmatch(header.stream):
        yield "stream is not like intervention:<id>"
    if header.visit is not None and not _UUID.fullmatch(header.visit):
        yield "visit is no UUID"
    for name in ("actor", "token", "boot"):
        value = getattr(header, name)
        if value is not None and not ID_PATTERN.fullmatch(value):
            yield f"{name} is no id"
    yield from _wrong_times(header)
    if header.body_type != BODY_TYPE:
        yield f"body_type is not {BODY_TYPE}"
    for author, seq in header.seen.items():
        if not ID_PATTERN.fullmatch(author) or not 1 <= seq <= canonical.INTEGER_MAX:
            yield "seen maps ids to numbers within 1 and 2^53-1"


def _wrong_times(header: Header) -> Iterator[str]:
    try:
        parse_time_ms(header.at)
        if header.anchor is not None:
            parse_time_ms(header.anchor.server_time)
    except ValueError as fault:
        yield f"a time is {fault}"
    if header.anchor is not None and not ID_PATTERN.fullmatch(header.anchor.id):
        yield "anchor.id is no id"
    if header.elapsed_ms is not None and not 0 <= header.elapsed_ms <= canonical.INTEGER_MAX:
        yield "elapsed_ms is not within 0 and 2^53-1"


def sign_event(key: SigningKey, header: Header, body: bytes) -> SignedEvent:
    """Compose and sign. The header must name the body's digest; Problem BODY_TOO_LARGE or BODY_MISMATCH else."""
    check_body(header, body)
    data = canonical.encode(header)
    parse_header(data)
    return SignedEvent(data, body, key.sign(dsse_pae(PAYLOAD_TYPE, data)))


def check_body(header: Header, body: bytes) -> None:
    """Size and digest of a body against its header."""
    if len(body) > BODY_BYTES_MAX:
        raise Problem(BODY_TOO_LARGE, size=len(body), limit=BODY_BYTES_MAX)
    if digest(body) != header.body_sha256:
        raise Problem(BODY_MISMATCH, seq=header.seq)


def parse_event(signed: SignedEvent) -> ParsedEvent:
    """Read the header and check the body's digest; the signature is `check_signature`'s matter."""
    header = parse_header(signed.header)
    check_body(header, signed.body)
    return ParsedEvent(header, hashlib.sha256(signed.header).digest(), signed)


def check_signature(public_key: bytes, event: ParsedEvent) -> None:
    """Problem SIGNATURE_INVALID unless `public_key` signed exactly this header."""
    if not verify(public_key, dsse_pae(PAYLOAD_TYPE, event.signed.header), event.signed.signature):
        raise Problem(SIGNATURE_INVALID, seq=event.header.seq)
