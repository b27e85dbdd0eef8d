"""A fold put away and taken up again: bytes that give the same states, and take the same further events, as the fold did.

A snapshot is good for one stream, one version of the rules and one register of event types (what could not be read then may
be readable by now). It says nothing of ledger positions: who stores it does. It is an economy, never the truth: whoever is
refused folds the ledger's events again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from zb_contracts import canonical
from zb_contracts.events import EVENT_TYPES, AuthorKind, Opaque, stored_body
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.headers import MergeHeader
from zb_contracts.merge.records import Book

FORMAT: Final = 2


class SnapshotRefused(ValueError):
    """Bytes that are no snapshot of this stream under these rules by this program; the message says why."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One event. `type` is that of the body as it was read, after upcasts; empty where the body was not read."""

    header: MergeHeader
    kind: AuthorKind
    type: str
    body: bytes


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A fold at rest. `types` is the fingerprint of the event types that the program knew."""

    format: int
    stream: str
    rule_version: int
    types: str
    book: Book
    events: list[Kept]
    admissions: list[Kept]
    unread: dict[str, list[Kept]]


_decoder: Final = msgspec.msgpack.Decoder(Snapshot)


def encode(
    stream: str,
    rule_version: int,
    book: Book,
    events: Iterable[MergeEvent],
    admissions: Iterable[MergeEvent],
    unread: Mapping[str, Iterable[MergeEvent]],
) -> bytes:
    """The bytes, with their SHA-256 in front."""
    snapshot = Snapshot(
        format=FORMAT,
        stream=stream,
        rule_version=rule_version,
        types=fingerprint(),
        book=book,
        events=[_kept(event) for event in events],
        admissions=[_kept(event) for event in admissions],
        unread={reason: [_kept(event) for event in found] for reason, found in unread.items()},
    )
    data = msgspec.msgpack.encode(snapshot)
    return hashlib.sha256(data).digest() + data


def decode(data: bytes, stream: str, rule_version: int) -> Snapshot:
    """The snapshot. SnapshotRefused for bytes that are torn, of another stream, other rules or another program."""
    digest, rest = data[:32], data[32:]
    if hashlib.sha256(rest).digest() != digest:
        raise SnapshotRefused(f"the snapshot of {stream} is not as it was written")
    try:
        snapshot = _decoder.decode(rest)
    except msgspec.DecodeError as fault:
        raise SnapshotRefused(f"the snapshot of {stream} cannot be read: {fault}") from fault
    found = (snapshot.format, snapshot.stream, snapshot.rule_version, snapshot.types)
    wanted = (FORMAT, stream, rule_version, fingerprint())
    if found != wanted:
        raise SnapshotRefused(f"a snapshot of format, stream, rules and types {found}, not {wanted}")
    return snapshot


def event_of(kept: Kept) -> MergeEvent:
    """The event as the fold had read it."""
    body = stored_body(kept.type, kept.body) if kept.type else Opaque(kept.header.type, "not read")
    return MergeEvent(kept.header, body, kept.kind)


def _kept(event: MergeEvent) -> Kept:
    return Kept(event.header, event.kind, event.type, canonical.encode(event.value) if event.type else b"")


@cache
def fingerprint() -> str:
    """SHA-256 over every event type's name and schema: what this program can read."""
    schemas = {name: kind.model.model_json_schema() for name, kind in EVENT_TYPES.items()}
    return hashlib.sha256(canonical.encode(schemas)).hexdigest()
