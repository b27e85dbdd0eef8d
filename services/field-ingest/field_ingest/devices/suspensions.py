"""Suspended devices: their live session is cut and they get no other until an administrator lifts it or a time has passed.

A suspension judges nothing that was signed: the device records on, keeps its log, and everything arrives later as if it had
been off line. One that an administrator made leaves the drain session; one for flooding does not, because a drain sends too.
Times are real time.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg

from field_ingest.devices import cuts
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.problems import DEVICE_SUSPENDED, INPUT_NOT_FOUND, Problem
from zb_contracts.times import format_time_ms

LISTED_MAX: Final = 100
HOURS_MAX: Final = 24 * 366
UNTIL_LIFTED: Final = "somebody lifts it"

Cause = Literal["flood", "administrator"]
_COLUMNS: Final = "cause, reason, made_by, from_ms, until_ms, lifted_at_ms, lifted_by"


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why, by whom, and from when to when (ms, real time); `until_ms` None: until it is lifted."""

    cause: Cause
    reason: str
    made_by: str
    from_ms: int
    until_ms: int | None
    lifted_at_ms: int | None = None
    lifted_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "reason": self.reason,
            "made_by": self.made_by,
            "from": format_time_ms(self.from_ms),
            "until": None if self.until_ms is None else format_time_ms(self.until_ms),
            "lifted_at": None if self.lifted_at_ms is None else format_time_ms(self.lifted_at_ms),
            "lifted_by": self.lifted_by,
        }


class Suspensions:
    """What the watch over floods does by itself. `clock` is real time."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def suspend(self, device: str, reason: str, *, made_by: str, for_s: int) -> Suspension | None:
        """Suspend a flooding device for so long. None: it is suspended already, which stays as it is. INPUT_NOT_FOUND."""
        async with transaction(self._pool) as connection:
            await cuts.lock_device(connection, device)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM authors WHERE device = $1)", device):
                raise Problem(INPUT_NOT_FOUND, what="device", id=device)
            now_ms = self._clock()
            return await begin(connection, device, Suspension("flood", reason, made_by, now_ms, now_ms + for_s * 1000))


async def begin(connection: Connection, device: str, new: Suspension) -> Suspension | None:
    """Suspend the device, which is locked, and cut its sessions. None: one is in force already, and stays as it is."""
    if await in_force(connection, device, new.from_ms) is not None:
        return None
    await _lift(connection, device, new.from_ms, "time")
    await connection.execute(
        "INSERT INTO suspensions (device, cause, reason, made_by, from_ms, until_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        device,
        new.cause,
        new.reason,
        new.made_by,
        new.from_ms,
        new.until_ms,
    )
    await cuts.cut_device(connection, device, new.from_ms)
    return new


async def end(connection: Connection, device: str, *, now_ms: int, lifted_by: str) -> bool:
    """Lift what is in force on the device, which is locked; whether anything was."""
    was = await in_force(connection, device, now_ms)
    await _lift(connection, device, now_ms, lifted_by if was else "time")
    return was is not None


async def of(connection: Connection | Pool, device: str) -> list[Suspension]:
    """The device's suspensions, newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM suspensions WHERE device = $1 ORDER BY suspension DESC LIMIT $2",  # noqa: S608
        device,
        LISTED_MAX,
    )
    return [_suspension(row) for row in rows]


async def in_force(connection: Connection, device: str, now_ms: int) -> Suspension | None:
    """The device's suspension at this moment of real time."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM suspensions"  # noqa: S608 -- our own constant
        " WHERE device = $1 AND lifted_at_ms IS NULL AND (until_ms IS NULL OR until_ms > $2)",
        device,
        now_ms,
    )
    return _suspension(row) if row else None


async def check(connection: Connection, device: str, now_ms: int, *, is_drain: bool) -> None:
    """Problem DEVICE_SUSPENDED when the device may have no session of this kind now."""
    found = await in_force(connection, device, now_ms)
    if found is not None and not (is_drain and found.cause == "administrator"):
        until = UNTIL_LIFTED if found.until_ms is None else format_time_ms(found.until_ms)
        raise Problem(DEVICE_SUSPENDED, device=device, until=until, reason=found.reason)


async def _lift(connection: Connection, device: str, now_ms: int, lifted_by: str) -> None:
    await connection.execute(
        "UPDATE suspensions SET lifted_at_ms = $2, lifted_by = $3 WHERE device = $1 AND lifted_at_ms IS NULL",
        device,
        now_ms,
        lifted_by,
    )


def _suspension(row: asyncpg.Record) -> Suspension:
    return Suspension(*row)
