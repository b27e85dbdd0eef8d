"""The projector at work: woken by the ledger, patient with a lost database, followed by hints to devices.

Owns the loop and its limits. What a step does is `projector`'s matter; a fault that a lost connection does not explain ends
the loop, so that the process ends and is seen.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

from field_ingest.hints import Hints, devices_concerned
from field_ingest.projector import Projector, Step
from zb_chassis.database import LOST, Pool

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


@dataclass(slots=True)
class ProjectionCounts:
    """What the projection did since its start."""

    rows: int = 0
    states: int = 0
    announced: int = 0
    quarantined: int = 0


async def projector_task(
    pool: Pool, projector: Projector, hints: Hints | None, *, counts: ProjectionCounts | None = None, poll_s: float = POLL_S
) -> None:
    """Projects for ever; ends by being cancelled. Tries the quarantined streams again once, at the start."""
    counts = counts or ProjectionCounts()
    retried = False
    while True:
        try:
            async with _notices(pool) as notices:
                if not retried:
                    async with pool.acquire() as connection:
                        await _follow(pool, await projector.retry(connection), hints, counts)
                    retried = True
                await _work(pool, projector, hints, counts, notices, poll_s)
        except AGAIN as fault:
            log.warning("projector waits for the database", fault=str(fault) or type(fault).__name__)
            await asyncio.sleep(RETRY_S)


async def _work(
    pool: Pool, projector: Projector, hints: Hints | None, counts: ProjectionCounts, notices: _Notices, poll_s: float
) -> None:
    loop = asyncio.get_running_loop()
    sweep_at = loop.time()
    while not notices.lost:
        notices.woken.clear()
        async with pool.acquire() as connection:
            step = await projector.step(connection)
            if loop.time() >= sweep_at:
                sweep_at = loop.time() + SWEEP_EVERY_S
                gone = await projector.sweep(connection)
                await _follow(pool, Step(technicians=gone), hints, counts)
        await _follow(pool, step, hints, counts)
        if not step.rows:
            try:
                await asyncio.wait_for(notices.woken.wait(), poll_s)
            except TimeoutError:
                continue


async def _follow(pool: Pool, step: Step, hints: Hints | None, counts: ProjectionCounts) -> None:
    counts.rows += step.rows
    counts.states += step.states
    counts.announced += step.announced
    counts.quarantined += step.quarantined
    if hints is not None and (step.technicians or step.authors):
        async with pool.acquire() as connection:
            hints.note(await devices_concerned(connection, step.technicians, step.authors))


@asynccontextmanager
async def _notices(pool: Pool) -> AsyncIterator[_Notices]:
    """`woken` is set whenever the ledger grew."""
    notices = _Notices()

    def wake(*_: Any) -> None:
        notices.woken.set()

    def lose(*_: Any) -> None:
        notices.lost = True
        notices.woken.set()

    async with pool.acquire() as connection:
        connection.add_termination_listener(lose)
        await connection.add_listener(CHANNEL, wake)
        try:
            yield notices
        finally:
            connection.remove_termination_listener(lose)
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, wake)
