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

log: Final = structlog.get_logger(__name__)


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
            async with _notices(pool) as woken:
                if not retried:
                    async with pool.acquire() as connection:
                        await _follow(pool, await projector.retry(connection), hints, counts)
                    retried = True
                await _work(pool, projector, hints, counts, woken, poll_s)
        except (*LOST, asyncpg.InterfaceError) as fault:
            log.warning("projector waits for the database", fault=str(fault) or type(fault).__name__)
            await asyncio.sleep(RETRY_S)


async def _work(
    pool: Pool, projector: Projector, hints: Hints | None, counts: ProjectionCounts, woken: asyncio.Event, poll_s: float
) -> None:
    loop = asyncio.get_running_loop()
    sweep_at = loop.time()
    while True:
        woken.clear()
        async with pool.acquire() as connection:
            step = await projector.step(connection)
            if loop.time() >= sweep_at:
                sweep_at = loop.time() + SWEEP_EVERY_S
                gone = await projector.sweep(connection)
                await _follow(pool, Step(technicians=gone), hints, counts)
        await _follow(pool, step, hints, counts)
        if not step.rows:
            try:
                await asyncio.wait_for(woken.wait(), poll_s)
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
async def _notices(pool: Pool) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever the ledger grew, and once at the beginning."""
    woken = asyncio.Event()
    woken.set()

    def wake(*_: Any) -> None:
        woken.set()

    async with pool.acquire() as connection:
        await connection.add_listener(CHANNEL, wake)
        try:
            yield woken
        finally:
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, wake)
