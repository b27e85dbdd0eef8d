"""What the device can say of itself: who, how much waits and since when, the session, the clock, what was refused.

Plain JSON values for the command line and the interface shell; it changes nothing.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from zb_contracts.times import format_time_ms
from zb_device.clock import AnchorMark, elapsed_since, trusted_time
from zb_device.faults import Locked
from zb_device.log import EventState
from zb_device.settings import ClockOffset, Ended, LedgerView, Problems, Unregistered
from zb_device.standing import (
    STANDING_OF_FILES,
    EventStanding,
    FileStanding,
    Outbox,
    at_hand,
    event_waits_for,
    file_waits_for,
    outbox,
)

if TYPE_CHECKING:
    from zb_device.device import Device

Json = dict[str, Any]


def status(device: "Device") -> Json:
    """One object with everything that a status page shows."""
    parts, pinned = device.parts, device.parts.pinned
    return {
        "device": pinned.device,
        "author": pinned.author,
        "registered": parts.settings.get(Unregistered) is None,
        "incarnations": [
            {"author": one.author, "closed_at": format_time_ms(one.closed_ms), "reason": one.reason} for one in parts.closed
        ],
        "agency": pinned.agency,
        "technician": device.technician,
        "technicians": parts.vault.technicians(),
        "unlocked": device.unlocked,
        "ending": _ending(device),
        "secret": "file",
        "online": device.is_online,
        "events": _events(device),
        "media": _media(device),
        "waits": _waits(device),
        "policy": device.policy.name,
        "moment_in_s": device.moment_in_s(),
        "conditions": msgspec.to_builtins(device.network.conditions),
        "session": _session(device),
        "clock": _clock(device),
        "ledger": _ledger(device),
        "scope": _scope(device),
        "problems": [
            {"at": format_time_ms(at), "code": code, "message": text}
            for at, code, text in (parts.settings.get(Problems) or Problems()).entries
        ],
        "last_fault": device.network.last_fault,
    }


def open_entries(device: "Device", *, open_only: bool, limit: int) -> list[Json]:
    """Events of the log with what became of each, as `standing` says it."""
    return _entries(outbox(device, everything=not open_only, limit=limit))


def listing(device: "Device", *, everything: bool, limit: int) -> Json:
    """The outbox: events, files and counts."""
    found = outbox(device, everything=everything, limit=limit)
    files = [_at(one, "attached_ms", "attached_at") for one in found.files]
    return {"events": _entries(found), "media": files, "counts": found.counts}


def _entries(found: Outbox) -> list[Json]:
    return [_at(one, "recorded_ms", "recorded_at") for one in found.events]


def _at(standing: EventStanding | FileStanding, name: str, shown: str) -> Json:
    plain: Json = msgspec.to_builtins(standing)
    return {shown if key == name else key: format_time_ms(value) if key == name else value for key, value in plain.items()}


def _waits(device: "Device") -> list[Json]:
    """What waits for what: events and photos, counted by the reason."""
    now_ms, parts, photos = device.clock.wall_ms(), device.parts, device.network.photos_wait_for()
    waiting = [
        ("events", event_waits_for(device, one.state, has_reason=one.has_reason), one.count, one.oldest_ms)
        for one in parts.log.waiting()
    ]
    waiting += [("photos", file_waits_for(item, photos), 1, item.attached_ms) for item in parts.media.waiting()]
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for what, reason, count, oldest_ms in waiting:
        if reason:
            counted, since_ms = found.get((what, reason), (0, oldest_ms))
            found[what, reason] = counted + count, min(since_ms, oldest_ms)
    return [
        {"what": what, "for": reason, "count": count, "oldest_s": max(0, now_ms - since_ms) // 1000}
        for (what, reason), (count, since_ms) in found.items()
    ]


def _events(device: "Device") -> Json:
    log = device.parts.log
    unsettled = [one.oldest_ms for one in log.waiting() if one.state is not EventState.HELD]
    return {
        **log.counts(),
        "head": log.head().seq,
        "mark": log.mark(),
        "oldest_unsettled_at": format_time_ms(min(unsettled)) if unsettled else None,
    }


def _media(device: "Device") -> Json:
    counts = Counter(STANDING_OF_FILES[item.state] for item in device.parts.media.items())
    return {state.value: counts[state] for state in STANDING_OF_FILES.values()}


def _ending(device: "Device") -> Json | None:
    """That the device was revoked, or is being wiped, and how far that is."""
    ending = device.parts.ending
    ended, order = device.parts.settings.get(Ended), ending.order
    if ended is None:
        return None
    return {
        "cause": ended.cause,
        "at": format_time_ms(ended.at_ms),
        "wipe": None if order is None else {"order": order.order, "at_once": order.at_once, "attested": bool(order.author)},
    }


def _session(device: "Device") -> Json:
    session = device.parts.sessions.current()
    return {
        "technician": session.technician,
        "expires_at": format_time_ms(session.expires_ms),
        "reading": _reading(device),
    }


def _reading(device: "Device") -> str:
    """Whether the technician may read: `open` to their PIN, or the code of what stands in the way."""
    try:
        device.parts.reading_right.check(device.technician or "")
    except Locked as fault:
        return fault.code
    return "open"


def _clock(device: "Device") -> Json:
    mark, head, clock = device.parts.settings.get(AnchorMark), device.parts.log.head(), device.clock
    trusted = trusted_time(mark, head.high_water_ms, clock)
    wall_ms = clock.wall_ms()
    return {
        "wall": format_time_ms(wall_ms),
        "went_back": wall_ms < head.at_ms,
        "trusted_at_least": format_time_ms(trusted.earliest_ms),
        "trusted_at_most": None if trusted.latest_ms is None else format_time_ms(trusted.latest_ms),
        "trusted_exactly": trusted.exact,
        "real_offset_ms": (device.parts.settings.get(ClockOffset) or ClockOffset()).offset_ms,
        "elapsed_ms": elapsed_since(mark, clock),
    }


def _ledger(device: "Device") -> Json:
    view = device.parts.settings.get(LedgerView) or LedgerView()
    return {"checkpoint_size": view.size, "root": view.root.hex(), "ledger_mark": device.parts.log.ledger_mark()}


def _scope(device: "Device") -> Json | None:
    opened = at_hand(device)
    if opened is None:
        return None
    reading, scope = opened.reading, opened.reading.scope()
    return {
        "epoch": scope.epoch,
        "cursor": scope.cursor,
        "documents": reading.count(),
        "omitted": list(scope.omitted),
        "complete": scope.complete,
    }
