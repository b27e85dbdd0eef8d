"""What the device can say of itself: who, how much waits and since when, the session, the clock, what was refused.

Plain JSON values for the command line and the interface shell; it changes nothing.
"""

from typing import Any

from zb_contracts.envelope import STREAM_KINDS
from zb_contracts.times import format_time_ms
from zb_device.clock import AnchorMark, elapsed_since, trusted_time
from zb_device.device import Device
from zb_device.faults import Locked
from zb_device.log import Entry
from zb_device.settings import ClockOffset, Ended, LedgerView, Problems, Unregistered

Json = dict[str, Any]


def status(device: Device) -> Json:
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
        "session": _session(device),
        "clock": _clock(device),
        "ledger": _ledger(device),
        "scope": _scope(device),
        "problems": [
            {"at": format_time_ms(at), "code": code, "message": text}
            for at, code, text in (parts.settings.get(Problems) or Problems()).entries
        ],
        "last_fault": device.background.last_fault,
    }


def open_entries(device: Device, *, open_only: bool, limit: int) -> list[Json]:
    """Events of the log with what became of each; types only while unlocked, because they are sealed."""
    types = _types(device)
    return [_entry(entry, types) for entry in device.parts.log.entries(open_only=open_only, limit=limit)]


def media_items(device: Device) -> list[Json]:
    """Files with what became of each."""
    return [
        {
            "sha256": item.sha256,
            "length_bytes": item.length_bytes,
            "mime": item.mime,
            "state": item.state.value,
            "tries": item.tries,
            "code": item.code,
            "message": item.message,
            "attached_at": format_time_ms(item.attached_ms),
        }
        for item in device.parts.media.items()
    ]


def _types(device: Device) -> dict[int, tuple[str, str]]:
    if not device.unlocked:
        return {}
    opened = device.opened()
    events = (event for kind in STREAM_KINDS for stream in opened.own.streams(kind) for event in opened.own.of(stream))
    return {event.header.seq: (event.header.type, event.header.stream) for event in events}


def _entry(entry: Entry, types: dict[int, tuple[str, str]]) -> Json:
    type_name, stream = types.get(entry.seq, (None, None))
    return {
        "seq": entry.seq,
        "id": entry.id,
        "type": type_name,
        "stream": stream,
        "state": entry.state.value,
        "recorded_at": format_time_ms(entry.recorded_ms),
        "position": entry.position,
        "code": entry.code,
        "message": entry.message,
        "dealt_with": entry.dealt_with,
        "clock_went_back": entry.clock_went_back,
    }


def _events(device: Device) -> Json:
    log = device.parts.log
    waiting = log.entries(open_only=True, limit=1_000)
    unsent = [entry for entry in waiting if entry.state in ("queued", "received")]
    return {
        **log.counts(),
        "head": log.head().seq,
        "mark": log.mark(),
        "oldest_unsettled_at": format_time_ms(unsent[0].recorded_ms) if unsent else None,
    }


def _media(device: Device) -> Json:
    counts: dict[str, int] = {"queued": 0, "uploading": 0, "stored": 0, "failed": 0}
    for item in device.parts.media.items():
        counts[item.state.value] += 1
    return counts


def _ending(device: Device) -> Json | None:
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


def _session(device: Device) -> Json:
    session = device.parts.sessions.current()
    return {
        "technician": session.technician,
        "expires_at": format_time_ms(session.expires_ms),
        "reading": _reading(device),
    }


def _reading(device: Device) -> str:
    """Whether the technician may read: `open` to their PIN, or the code of what stands in the way."""
    try:
        device.parts.reading_right.check(device.technician or "")
    except Locked as fault:
        return fault.code
    return "open"


def _clock(device: Device) -> Json:
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


def _ledger(device: Device) -> Json:
    view = device.parts.settings.get(LedgerView) or LedgerView()
    return {"checkpoint_size": view.size, "root": view.root.hex(), "ledger_mark": device.parts.log.ledger_mark()}


def _scope(device: Device) -> Json | None:
    if not device.unlocked:
        return None
    reading = device.opened().reading
    scope = reading.scope()
    return {
        "epoch": scope.epoch,
        "cursor": scope.cursor,
        "documents": reading.count(),
        "omitted": list(scope.omitted),
        "complete": scope.complete,
    }
