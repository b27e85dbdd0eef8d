"""Floods: a device that sends more than a device can record is suspended before FIELD's bytes are full of it.

Admission counts each message once, in memory; every few seconds the counts are added to the device's hours and judged. What a
killed process had not added is not counted: the limits are far from what work needs, so nothing hangs on it. It refuses no
message: what came is decided like everything else.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Counter

from field_ingest.admission.admitting import Message
from field_ingest.devices.suspensions import Suspensions
from zb_chassis.clock import Clock
from zb_chassis.database import LOST, Pool, transaction
from zb_contracts.problems import Problem

FLUSH_S: Final = 2.0
HOUR_MS: Final = 3_600_000
SUBJECT: Final = "field.v1."
MADE_BY: Final = "admission"
DEVICES_JUDGED_MAX: Final = 100

SUSPENDED: Final = Counter("zb_ingest_floods_suspended", "Devices that were suspended because they flooded")

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """What one device may send within the window, and how long it is suspended when it sends more."""

    messages_max: int
    bytes_max: int
    window_h: int
    suspended_s: int


@dataclass(slots=True)
class _Count:
    messages: int = 0
    size: int = 0


class FloodWatch:
    """Counts what devices send, and suspends whom the limits name. `clock` is real time."""

    def __init__(self, pool: Pool, suspensions: Suspensions, limits: FloodLimits, clock: Clock) -> None:
        self._pool = pool
        self._suspensions = suspensions
        self._limits = limits
        self._clock = clock
        self._counts: dict[str, _Count] = {}

    def note(self, messages: Sequence[Message]) -> None:
        """Count what was delivered for the first time."""
        for message in messages:
            if message.tries == 1 and message.subject.startswith(SUBJECT):
                count = self._counts.setdefault(message.subject[len(SUBJECT) :], _Count())
                count.messages += 1
                count.size += len(message.data)

    async def run(self, stop: asyncio.Event) -> None:
        """Judge every few seconds until `stop` is set, and once more then."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FLUSH_S)
            try:
                await self.judge()
            except LOST as fault:
                # The counts are kept; admission itself waits for the database too.
                log.warning("the database is away, floods are judged later", error=str(fault))

    async def judge(self) -> list[str]:
        """Add the counts to their hours and suspend who is over a limit; the devices that are suspended now by it."""
        counts, self._counts = self._counts, {}
        try:
            over = await self._added(counts) if counts else []
        except BaseException:
            self._put_back(counts)
            raise
        return [device for device in over if await self._suspend(device)]

    async def _added(self, counts: dict[str, _Count]) -> list[str]:
        hour = self._clock() // HOUR_MS
        devices = sorted(counts)
        async with transaction(self._pool) as connection:
            await connection.execute(
                """
                INSERT INTO incoming AS i (device, hour, messages, bytes)
                SELECT device, $4, messages, bytes
                FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS c (device, messages, bytes)
                ON CONFLICT (device, hour) DO UPDATE
                SET messages = i.messages + excluded.messages, bytes = i.bytes + excluded.bytes
                """,
                devices,
                [counts[device].messages for device in devices],
                [counts[device].size for device in devices],
                hour,
            )
            rows = await connection.fetch(
                """
                SELECT device FROM incoming WHERE device = ANY ($1) AND hour > $2
                GROUP BY device HAVING sum(messages) > $3 OR sum(bytes) > $4 ORDER BY device LIMIT $5
                """,
                devices,
                hour - self._limits.window_h,
                self._limits.messages_max,
                self._limits.bytes_max,
                DEVICES_JUDGED_MAX,
            )
            await connection.execute("DELETE FROM incoming WHERE hour <= $1", hour - self._limits.window_h)
        return [row["device"] for row in rows]

    async def _suspend(self, device: str) -> bool:
        limits = self._limits
        reason = f"more than {limits.messages_max} messages or {limits.bytes_max} bytes within {limits.window_h} h"
        try:
            made = await self._suspensions.suspend(device, reason, made_by=MADE_BY, for_s=limits.suspended_s)
        except Problem as fault:
            log.warning("a flood of a device that nobody enrolled", device=device, code=fault.code)
            return False
        # It starts anew, so that what still lies in the broker does not suspend it again when it is lifted.
        await self._pool.execute("DELETE FROM incoming WHERE device = $1", device)
        if made is not None:
            SUSPENDED.inc()
            log.warning("a device floods and is suspended", device=device, reason=reason, suspended_s=limits.suspended_s)
        return made is not None

    def _put_back(self, counts: dict[str, _Count]) -> None:
        for device, count in counts.items():
            there = self._counts.setdefault(device, _Count())
            there.messages += count.messages
            there.size += count.size
