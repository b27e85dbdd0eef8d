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
    """Makes and lifts them. `clock` is real time."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def suspend(
        self, device: str, cause: Cause, reason: str, *, made_by: str, for_s: int | None, agencies: frozenset[str] | None = None
    ) -> Suspension | None:
        """Suspend the device, for `for_s` seconds or until it is lifted. None: one is in force already, and stays as it is.

        INPUT_NOT_FOUND for a device that these agencies (None: all) do not have.
        """
        async with transaction(self._pool) as connection:
            await _lock_device(connection, device, agencies)
            now_ms = self._clock()
            if await in_force(connection, device, now_ms) is not None:
                return None
            await _lift(connection, device, now_ms, "time")
            made = Suspension(cause, reason, made_by, now_ms, None if for_s is None else now_ms + for_s * 1000)
            await connection.execute(
                "INSERT INTO suspensions (device, cause, reason, made_by, from_ms, until_ms) VALUES ($1, $2, $3, $4, $5, $6)",
                device,
                made.cause,
                made.reason,
                made.made_by,
                made.from_ms,
                made.until_ms,
            )
            await cuts.cut_device(connection, device, now_ms)
            return made

    async def resume(self, device: str, *, lifted_by: str, agencies: frozenset[str] | None = None) -> bool:
        """Lift what is in force; whether anything was. INPUT_NOT_FOUND as above."""
        async with transaction(self._pool) as connection:
            await _lock_device(connection, device, agencies)
            now_ms = self._clock()
            was = await in_force(connection, device, now_ms)
            await _lift(connection, device, now_ms, lifted_by if was else "time")
            return was is not None

    async def listed(self, device: str, agencies: frozenset[str] | None = None) -> list[Suspension]:
        """The device's suspensions, newest first. INPUT_NOT_FOUND as above."""
        async with transaction(self._pool) as connection:
            await _lock_device(connection, device, agencies)
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


async def _lock_device(connection: Connection, device: str, agencies: frozenset[str] | None) -> None:
    await cuts.lock_device(connection, device)
    found = await connection.fetchval(
        "SELECT author FROM authors WHERE device = $1 AND ($2::text[] IS NULL OR agency = ANY ($2)) LIMIT 1",
        device,
        None if agencies is None else sorted(agencies),
    )
    if found is None:
        raise Problem(INPUT_NOT_FOUND, what="device", id=device)


async def _lift(connection: Connection, device: str, now_ms: int, lifted_by: str) -> None:
    await connection.execute(
        "UPDATE suspensions SET lifted_at_ms = $2, lifted_by = $3 WHERE device = $1 AND lifted_at_ms IS NULL",
        device,
        now_ms,
        lifted_by,
    )


def _suspension(row: asyncpg.Record) -> Suspension:
    return Suspension(*row)
