"""The inventory: each device with what it told of itself, what the ledger knows of it, and how it stands. Reads only.

A device is its newest incarnation here; the earlier ones are listed where one device is shown. What a device tells is its word
and may be old: each answer says when it was told. Events that the ledger took since then wait no more, whatever was told.
"""

from dataclasses import dataclass
from typing import Any, Final

from field_ingest.devices.attestation import attestation
from field_ingest.devices.people import Reach, listed
from field_ingest.devices.standing import Facts, Standing, Wipe
from zb_chassis.database import Connection
from zb_contracts import canonical
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.times import format_time_ms

PAGE_MAX: Final = 500
HISTORY_MAX: Final = 200
HOUR_MS: Final = 3_600_000

_FLEET: Final = """
    SELECT a.device, a.agency, a.technician, a.author, a.incarnation, a.login_key, a.shard, a.mark, a.registered_at_ms,
        a.revoked_at_ms, a.revoked_cause, a.stopped_code, a.gap_at_ms, a.stray_refusals, s.cause AS suspended_cause,
        s.until_ms AS suspended_until_ms, w.order_id AS wipe_order, w.at_once AS wipe_at_once, w.reason AS wipe_reason,
        w.ordered_by AS wipe_ordered_by, w.ordered_at_ms AS wipe_ordered_at_ms, p.wipe,
        device_standing(a.revoked_cause, s.cause IS NOT NULL, p.wipe) AS standing,
        o.technician AS seen_with, o.asked_ms AS seen_at_ms,
        t.told_at_ms, t.model, t.os, t.app, t.battery_percent, t.clock_offset_ms, t.waiting_files,
        CASE WHEN a.mark >= t.head THEN 0 ELSE least(t.waiting_events, t.head - a.mark) END AS waiting_events,
        CASE WHEN a.mark >= t.head THEN NULL ELSE t.oldest_waiting_ms END AS oldest_waiting_ms,
        c.documents, c.bytes, c.omitted_count,
        (SELECT count(*) FROM holds h JOIN authors b USING (author)
            WHERE b.device = a.device AND h.admitted_by IS NULL) AS held
    FROM authors a
    LEFT JOIN suspensions s ON s.device = a.device AND s.lifted_at_ms IS NULL AND (s.until_ms IS NULL OR s.until_ms > $1)
    LEFT JOIN wipes w ON w.login_key = a.login_key AND w.withdrawn_at_ms IS NULL
    CROSS JOIN LATERAL (SELECT CASE
        WHEN w.order_id IS NULL THEN 'none'
        WHEN attested_wipe(a.device, a.login_key) IS NULL THEN 'ordered'
        ELSE 'attested' END) AS p (wipe)
    LEFT JOIN sync_session o ON o.device = a.device
    LEFT JOIN device_about t ON t.device = a.device
    LEFT JOIN scope_technician c ON c.technician = coalesce(a.technician, nullif(o.technician, 'drain'))
    WHERE a.kind = 'device' AND ($2::text[] IS NULL OR a.agency = ANY ($2))
        AND NOT EXISTS (SELECT FROM authors n WHERE n.device = a.device AND n.incarnation > a.incarnation)
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which devices; None does not choose. `silent_h`: nothing heard for so long; `waiting_h`: its oldest event waits so long.

    `unwiped`: nothing attests to an order for its hardware, or for hardware that it was before.
    """

    technician: str | None = None
    standing: Standing | None = None
    model: str | None = None
    os: str | None = None
    app: str | None = None
    battery_below: int | None = None
    silent_h: int | None = None
    waiting_h: int | None = None
    unwiped: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device's newest incarnation as the acts on it need it."""

    device: str
    agency: str | None
    author: str
    login_key: str
    facts: Facts


async def page(
    connection: Connection, reach: Reach, wanted: Filter, *, now_ms: int, real_ms: int, after: str = "", limit: int = PAGE_MAX
) -> list[dict[str, Any]]:
    """At most `limit` devices behind `after`, by name. `now_ms` dates what is heard, `real_ms` (real time) suspensions."""
    rows = await connection.fetch(
        f"""
        SELECT f.* FROM ({_FLEET}) f WHERE f.device > $3
            AND ($4::text IS NULL OR coalesce(f.technician, f.seen_with) = $4) AND ($5::text IS NULL OR f.standing = $5)
            AND ($6::text IS NULL OR f.model = $6) AND ($7::text IS NULL OR f.os = $7) AND ($8::text IS NULL OR f.app = $8)
            AND ($9::integer IS NULL OR f.battery_percent < $9)
            AND ($10::bigint IS NULL OR coalesce(f.seen_at_ms, f.registered_at_ms) <= $10)
            AND ($11::bigint IS NULL OR f.oldest_waiting_ms <= $11)
            AND (NOT $12 OR EXISTS (SELECT FROM wipes w WHERE w.device = f.device AND w.withdrawn_at_ms IS NULL
                AND attested_wipe(w.device, w.login_key) IS NULL))
        ORDER BY f.device LIMIT $13
        """,  # noqa: S608 -- a constant of this module
        real_ms,
        listed(reach),
        after,
        wanted.technician,
        wanted.standing,
        wanted.model,
        wanted.os,
        wanted.app,
        wanted.battery_below,
        None if wanted.silent_h is None else now_ms - wanted.silent_h * HOUR_MS,
        None if wanted.waiting_h is None else now_ms - wanted.waiting_h * HOUR_MS,
        wanted.unwiped,
        min(limit, PAGE_MAX),
    )
    return [_shown(row) for row in rows]


async def one(connection: Connection, device: str, reach: Reach, *, real_ms: int) -> dict[str, Any]:
    """The device with its incarnations, its attested wipe, its suspensions and what was done with it. INPUT_NOT_FOUND."""
    row = await _newest(connection, device, reach, real_ms)
    return _shown(row) | {
        "attestation": await attestation(connection, device, row["login_key"]) if row["login_key"] else None,
        "last_event": await _last_event(connection, device),
        "incarnations": await _incarnations(connection, device),
        "history": await _history(connection, device),
    }


async def found(connection: Connection, device: str, reach: Reach, *, real_ms: int) -> Device:
    """What an act on the device has to know. INPUT_NOT_FOUND for one that is not there or not within reach."""
    row = await _newest(connection, device, reach, real_ms)
    facts = Facts(row["revoked_cause"], row["suspended_cause"] is not None, Wipe(row["wipe"]))
    return Device(row["device"], row["agency"], row["author"], row["login_key"] or "", facts)


async def in_use(connection: Connection, agency: str, *, real_ms: int) -> int:
    """How many devices of this very agency somebody may still work with: neither retired nor wiped."""
    ended = [Standing.RETIRED, Standing.WIPED]
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM ({_FLEET}) f WHERE f.standing <> ALL ($3)",  # noqa: S608 -- a constant of this module
        real_ms,
        [agency],
        ended,
    )
    return count


async def _newest(connection: Connection, device: str, reach: Reach, real_ms: int) -> Any:
    row = await connection.fetchrow(f"{_FLEET} AND a.device = $3", real_ms, listed(reach), device)
    if row is None:
        raise Problem(INPUT_NOT_FOUND, what="device", id=device)
    return row


async def _incarnations(connection: Connection, device: str) -> list[dict[str, Any]]:
    """All that the device was, the newest first, each with the order to wipe its hardware and what that attested."""
    rows = await connection.fetch(
        """
        SELECT author, incarnation, mark, registered_at_ms, revoked_at_ms, revoked_cause, w.order_id AS wipe_order, w.login_key
        FROM authors a LEFT JOIN wipes w ON w.login_key = a.login_key AND w.withdrawn_at_ms IS NULL
        WHERE a.device = $1 ORDER BY incarnation DESC LIMIT $2
        """,
        device,
        HISTORY_MAX,
    )
    shown = []
    for row in rows:
        one = _timed(row)
        hardware = one.pop("login_key")
        shown.append(one | {"attestation": await attestation(connection, device, hardware) if hardware else None})
    return shown


async def _last_event(connection: Connection, device: str) -> dict[str, Any] | None:
    """What the ledger took of it last, and by how much its clock was off then (facts)."""
    row = await connection.fetchrow(
        """
        SELECT l.type, l.received_at_ms, l.facts FROM authors a
        JOIN ledger l ON l.author = a.author AND l.seq = a.mark AND l.chained
        WHERE a.device = $1 AND a.mark > 0 ORDER BY a.incarnation DESC LIMIT 1
        """,
        device,
    )
    if row is None:
        return None
    facts = canonical.decode(row["facts"])
    return {
        "type": row["type"],
        "received_at": format_time_ms(row["received_at_ms"]),
        "clock_offset_ms": facts.get("clock_offset_ms"),
        "clock_error_ms": facts.get("clock_error_ms"),
    }


async def _history(connection: Connection, device: str) -> list[dict[str, Any]]:
    """What the ledger's own author said on the device's stream, newest first: enrolments, revocations, who did what."""
    rows = await connection.fetch(
        """
        SELECT l.type, l.received_at_ms, l.body, l.event_id FROM ledger l JOIN authors a ON a.author = l.author
        WHERE l.stream = $1 AND a.kind = 'service' ORDER BY l.received_at_ms DESC, l.seq DESC LIMIT $2
        """,
        f"device:{device}",
        HISTORY_MAX,
    )
    return [
        {"type": row["type"], "at": format_time_ms(row["received_at_ms"]), "event": row["event_id"]}
        | {name: value for name, value in canonical.decode(row["body"]).items() if name in _TOLD and value is not None}
        for row in rows
    ]


_TOLD: Final = frozenset({"act", "by", "reason", "order", "at_once", "author", "cause", "replaces", "technician", "agency"})


def _shown(row: Any) -> dict[str, Any]:
    """A device as programs and people read it: times as text, what belongs together in one place."""
    device = _timed({name: row[name] for name in _PLAIN})
    device["scope"] = {"documents": row["documents"] or 0, "bytes": row["bytes"] or 0, "left_out": row["omitted_count"] or 0}
    device["suspension"] = row["suspended_cause"] and _timed(
        {"cause": row["suspended_cause"], "until_ms": row["suspended_until_ms"]}
    )
    device["wipe"] = row["wipe_order"] and {"state": row["wipe"]} | _timed(
        {name.removeprefix("wipe_"): value for name, value in row.items() if name.startswith("wipe_")}
    )
    return device


_PLAIN: Final = (
    *("device", "agency", "technician", "standing", "author", "incarnation", "shard", "mark", "registered_at_ms"),
    *("revoked_at_ms", "revoked_cause", "stopped_code", "gap_at_ms", "stray_refusals", "held", "seen_with", "seen_at_ms"),
    *("told_at_ms", "model", "os", "app", "battery_percent", "clock_offset_ms", "waiting_events", "oldest_waiting_ms"),
    "waiting_files",
)
_DURATIONS: Final = frozenset({"clock_offset_ms"})


def _timed(values: Any) -> dict[str, Any]:
    """With each moment in ms (`seen_at_ms`, `until_ms`) as text under the name without its unit."""
    shown: dict[str, Any] = {}
    for name, value in dict(values).items():
        if name.endswith("_ms") and name not in _DURATIONS:
            shown[name.removesuffix("_ms")] = None if value is None else format_time_ms(value)
        else:
            shown[name] = value
    return shown
