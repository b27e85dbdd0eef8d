"""The projector at work: woken by the ledger, patient with a lost database, followed by hints to devices.

Owns the loop and its limits. What a step does is `projector`'s matter; a fault that a lost connection does not explain ends
the loop, so that the process ends and is seen.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
import structlog
from prometheus_client import Counter

from field_ingest.hints import Hints, devices_concerned
from field_ingest.projector import Projector, Step
from zb_chassis.database import LOST, Connection, Pool

CHANNEL: Final = "ledger_grew"
POLL_S: Final = 2.0
"""A notice can be lost with its connection: nothing waits longer than this."""
SWEEP_EVERY_S: Final = 60.0
RETRY_S: Final = 0.5
AGAIN: Final = (
    *LOST,
    asyncpg.InterfaceError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""Faults that pass by themselves; the step that met one has left nothing behind."""

log: Final = structlog.get_logger(__name__)


class _Notices:
    """What the listening connection heard, and whether it is gone."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.lost = False


ROWS: Final = Counter("zb_ingest_projected_rows", "Ledger rows read by the projection")
STATES: Final = Counter("zb_ingest_projected_states", "States written by the projection")
QUARANTINED: Final = Counter("zb_ingest_quarantined_streams", "Times that a stream could not be folded")


class Projection:
    """The loop. Folds again at its start what an older program left."""

    def __init__(self, pool: Pool, projector: Projector, hints: Hints | None, *, poll_s: float = POLL_S) -> None:
        self._pool, self._projector, self._hints, self._poll_s = pool, projector, hints, poll_s
        self._updated = False
        self._sweep_at = 0.0
        self.rows = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Projects until `stop` is set; the step at work is finished."""
        while not stop.is_set():
            try:
                async with _notices(self._pool, stop) as notices:
                    await self._work(notices, stop)
            except AGAIN as fault:
                log.warning("projector waits for the database", fault=str(fault) or type(fault).__name__)
                await _until(stop, RETRY_S)

    async def _work(self, notices: _Notices, stop: asyncio.Event) -> None:
        while not notices.lost and not stop.is_set():
            notices.woken.clear()
            async with self._pool.acquire() as connection:
                await self._now_and_then(connection)
                step = await self._projector.step(connection)
            await self._follow(step)
            if not step.rows:
                await _until(notices.woken, self._poll_s)

    async def _now_and_then(self, connection: Connection) -> None:
        if not self._updated:
            while (step := await self._projector.again(connection)) != Step():
                await self._follow(step)
            self._updated = True
        now = asyncio.get_running_loop().time()
        if now >= self._sweep_at:
            await self._follow(Step(technicians=await self._projector.sweep(connection)))
            self._sweep_at = now + SWEEP_EVERY_S

    async def _follow(self, step: Step) -> None:
        self.rows += step.rows
        ROWS.inc(step.rows)
        STATES.inc(step.states)
        QUARANTINED.inc(step.quarantined)
        if self._hints is not None and (step.technicians or step.authors):
            async with self._pool.acquire() as connection:
                self._hints.note(await devices_concerned(connection, step.technicians, step.authors))


@asynccontextmanager
async def _notices(pool: Pool, stop: asyncio.Event) -> AsyncIterator[_Notices]:
    """`woken` is set whenever the ledger grew, when the connection is gone, and when it is time to stop."""
    notices = _Notices()

    async def leave() -> None:
        await stop.wait()
        notices.woken.set()

    def wake(*_: Any) -> None:
        notices.woken.set()

    def lose(*_: Any) -> None:
        notices.lost = True
        notices.woken.set()

    async with pool.acquire() as connection:
        connection.add_termination_listener(lose)
        await connection.add_listener(CHANNEL, wake)
        leaving = asyncio.create_task(leave())
        try:
            yield notices
        finally:
            leaving.cancel()
            connection.remove_termination_listener(lose)
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, wake)


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, but no longer than that."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
