"""What became of everything that was recorded here: one typed listing of events and files, with their age and what they wait for.

Five states are the log's; the sixth, `set_aside`, is the merge's: the event was admitted and a value of it does not stand. That
is read from the merged local state, so it shows while unlocked. It changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from zb_contracts.merge.state import SetAside
from zb_device.faults import Locked
from zb_device.log import Entry, EventState
from zb_device.media import MediaItem, MediaState
from zb_device.opened import Opened
from zb_device.policies import WaitsFor

if TYPE_CHECKING:
    from zb_device.device import Device

LISTED: Final = 200
_MERGED: Final = ("intervention", "site", "equipment")
"""Kinds of streams in which a value can be set aside."""
_SOME_ASIDE: Final = b'"set_aside":[{'
"""Stands in a document with one, and in no other: canonical JSON has one spelling. Reading every document would be slow."""


class Standing(StrEnum):
    """`received`: the broker has the event, or the evidence store a part of the file, and neither has confirmed it. From
    `admitted` on it is the platform's word."""

    QUEUED = "queued"
    RECEIVED = "received"
    ADMITTED = "admitted"
    HELD = "held"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"


STANDING_OF_FILES: Final = {
    MediaState.QUEUED: Standing.QUEUED,
    MediaState.UPLOADING: Standing.RECEIVED,
    MediaState.STORED: Standing.ADMITTED,
    MediaState.FAILED: Standing.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Aside:
    """A value of an event that does not stand: by which rule, against which event. `read`: somebody has acknowledged it."""

    field: str
    value: Any
    rule: str
    against: str
    read: bool


@dataclass(frozen=True, slots=True)
class EventStanding:
    """One event. `type` and `stream` are None while locked or once its bytes have gone; times are the device's."""

    id: str
    seq: int
    state: Standing
    age_s: int
    recorded_ms: int
    waits_for: WaitsFor | None
    type: str | None
    stream: str | None
    position: int | None
    code: str | None
    message: str | None
    dealt_with: bool
    clock_went_back: bool
    set_aside: tuple[Aside, ...] = ()


@dataclass(frozen=True, slots=True)
class FileStanding:
    """One photo or signature."""

    sha256: str
    length_bytes: int
    mime: str
    state: Standing
    age_s: int
    attached_ms: int
    waits_for: WaitsFor | None
    tries: int
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """Oldest first. `counts` are of all events in the log, whatever was asked for."""

    events: tuple[EventStanding, ...]
    files: tuple[FileStanding, ...]
    counts: dict[str, int]


def outbox(device: "Device", *, everything: bool = False, limit: int = LISTED) -> Outbox:
    """What waits or a person has to see (`everything`: all), the newest `limit` events; locked: without types and values aside.

    A value that was set aside has to be seen until somebody has acknowledged it.
    """
    log, opened, now_ms = device.parts.log, at_hand(device), device.clock.wall_ms()
    aside = _asides(opened) if opened else {}
    entries = log.entries(open_only=not everything, limit=limit)
    if not everything:
        unread = {event for event, values in aside.items() if not all(value.read for value in values)}
        listed = {entry.id for entry in entries}
        entries = sorted([*entries, *log.entries_of(unread - listed)], key=lambda entry: (entry.incarnation, entry.seq))
    types, photos = _types(opened, entries) if opened else {}, device.network.photos_wait_for()
    return Outbox(
        tuple(_event(device, entry, now_ms, types.get(entry.id), aside.get(entry.id, ())) for entry in entries[-limit:]),
        tuple(
            _file(item, now_ms, photos)
            for item in device.parts.media.items()
            if everything or item.state is not MediaState.STORED
        ),
        log.counts(),
    )


def _event(device: "Device", entry: Entry, now_ms: int, type_name: str | None, aside: tuple[Aside, ...]) -> EventStanding:
    return EventStanding(
        id=entry.id,
        seq=entry.seq,
        state=Standing.SET_ASIDE if aside and entry.state is EventState.ADMITTED else Standing(entry.state.value),
        age_s=max(0, now_ms - entry.recorded_ms) // 1000,
        recorded_ms=entry.recorded_ms,
        waits_for=event_waits_for(device, entry.state, has_reason=entry.code is not None),
        type=type_name,
        stream=entry.stream if type_name else None,
        position=entry.position,
        code=entry.code,
        message=entry.message,
        dealt_with=entry.dealt_with,
        clock_went_back=entry.clock_went_back,
        set_aside=aside,
    )


def event_waits_for(device: "Device", state: EventState, *, has_reason: bool) -> WaitsFor | None:
    """What an event waits for; None once the ledger has had its word. `has_reason`: the ledger said why it does not take it."""
    if state is EventState.HELD:
        return WaitsFor.SUPERVISOR
    if state not in (EventState.QUEUED, EventState.RECEIVED):
        return None
    if not device.is_online:
        return WaitsFor.NETWORK
    if has_reason:
        return WaitsFor.SERVER
    return WaitsFor.TURN if state is EventState.QUEUED else WaitsFor.RECEIPT


def _file(item: MediaItem, now_ms: int, photos: WaitsFor | None) -> FileStanding:
    return FileStanding(
        sha256=item.sha256,
        length_bytes=item.length_bytes,
        mime=item.mime,
        state=STANDING_OF_FILES[item.state],
        age_s=max(0, now_ms - item.attached_ms) // 1000,
        attached_ms=item.attached_ms,
        waits_for=file_waits_for(item, photos),
        tries=item.tries,
        code=item.code,
        message=item.message,
    )


def file_waits_for(item: MediaItem, photos: WaitsFor | None) -> WaitsFor | None:
    """What a file waits for, where all of them wait for `photos`; None once it is stored, or refused for good."""
    if item.state not in (MediaState.QUEUED, MediaState.UPLOADING):
        return None
    return photos or (WaitsFor.SERVER if item.code else WaitsFor.TURN)


def at_hand(device: "Device") -> Opened | None:
    """None while reading is locked, for whatever reason."""
    try:
        return device.opened()
    except Locked:
        return None


def _types(opened: Opened, entries: Sequence[Entry]) -> dict[str, str]:
    """Types of the listed events whose bytes are still here."""
    streams = {entry.stream for entry in entries if entry.stream}
    return {event.header.id: event.header.type for stream in streams for event in opened.own.of(stream)}


def _asides(opened: Opened) -> dict[str, tuple[Aside, ...]]:
    """By event of this technician, its values that the merge put aside."""
    found: dict[str, list[Aside]] = {}
    for stream in (name for kind in _MERGED for name in opened.own.newest(kind)):
        document = opened.reading.document(stream)
        if document is None or _SOME_ASIDE not in document.content:
            continue
        own = {event.header.id for event in opened.own.of(stream)}
        for value in _set_aside(opened.state(stream).state):
            if value.origin.event in own:
                aside = Aside(value.field, value.value, value.rule, value.against, bool(value.acknowledged))
                found.setdefault(value.origin.event, []).append(aside)
    return {event: tuple(values) for event, values in found.items()}


def _set_aside(value: Any) -> Iterator[SetAside]:
    """Every value aside within a state, wherever it stands."""
    if isinstance(value, SetAside):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _set_aside(getattr(value, name))
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _set_aside(inner)
