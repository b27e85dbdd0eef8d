"""The projection at work: woken by the ledger, patient with a lost database, its partitions shared with other workers.

Owns the loops and their limits: one projects, one lets the scopes follow and says hints. What a step does is `projector`'s and
`scoping`'s matter; a fault that a lost connection does not explain ends the loop, so that the process ends and is seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Histogram

from field_ingest.ledger.growth import Growth, growth
from field_ingest.projection.hints import OWN_S, Hints, devices_concerned
from field_ingest.projection.partitions import assigned
from field_ingest.projection.ports import ReadStore
from field_ingest.projection.projector import BATCH_ROWS, Projector, Step
from field_ingest.projection.scoping import Scopes
from zb_chassis.database import LOST, Pool
from zb_contracts.envelope import SEEN_AUTHORS_MAX

POLL_S: Final = 2.0
"""A notice can be lost with its connection: nothing waits longer than this."""
STEP_EVERY_S: Final = 0.2
"""A step takes what came within this time together: states, announcements and statements are then made once for all of it.
The first event after a rest waits for nothing."""
CREW_EVERY_S: Final = 1.0
"""How often a worker says that it lives and looks who else does."""
AGAIN_EVERY_S: Final = 30.0
SWEEP_EVERY_S: Final = 60.0
RETRY_S: Final = 0.5
AGAIN: Final = (
    *LOST,
    asyncpg.InterfaceError,
    # A pool that takes back a connection whose server ended it meanwhile says so; no connection is shared between tasks here,
    # which is the other cause that it has.
    asyncpg.InternalClientError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""Faults that pass by themselves; the step that met one has left nothing behind."""

ROWS: Final = Counter("zb_ingest_projected_rows", "Ledger rows folded by the projection")
STATES: Final = Counter("zb_ingest_projected_states", "States written by the projection")
QUARANTINED: Final = Counter("zb_ingest_quarantined_streams", "Times that a stream could not be folded")
VECTOR: Final = Histogram(
    "zb_ingest_vector_authors", "Authors in the widest vector of a step", buckets=(16, 64, 256, 512, 768, SEEN_AUTHORS_MAX)
)
MOVED: Final = Counter("zb_ingest_scopes_moved", "Times that a technician's scope got changes")

log: Final = structlog.get_logger(__name__)


class Following:
    """The loop that brings scopes up to the states, and tells devices to ask."""

    def __init__(self, pool: Pool, scopes: Scopes, hints: Hints | None, *, poll_s: float = POLL_S) -> None:
        self._pool, self._scopes, self._hints, self._poll_s = pool, scopes, hints, poll_s
        self._woken = asyncio.Event()
        self._authors: set[str] = set()
        self._sweep_at = 0.0

    def note(self, authors: Iterable[str]) -> None:
        """Rows of these authors were projected in this process, and scopes may be due; what others left is found by itself
        within `poll_s`."""
        self._authors.update(authors)
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until `stop` is set; the step at work is finished."""
        leaving = asyncio.create_task(_then(stop, self._woken.set))
        try:
            while not stop.is_set():
                await _patiently(stop, self._work)
                await _until(self._woken, self._poll_s)
        finally:
            leaving.cancel()

    async def _work(self) -> None:
        self._woken.clear()
        now = asyncio.get_running_loop().time()
        if now >= self._sweep_at:
            await self._scopes.sweep()
            self._sweep_at = now + SWEEP_EVERY_S
        while True:
            moved = await self._scopes.step()
            authors, self._authors = self._authors, set()
            await self._hint(moved or frozenset(), authors)
            if moved is None:
                return
            MOVED.inc(len(moved))

    async def _hint(self, technicians: Collection[str], authors: Collection[str]) -> None:
        """These people and authors have something to ask for."""
        if self._hints is not None and (technicians or authors):
            async with self._pool.acquire() as connection:
                others, wrote = await devices_concerned(connection, technicians, authors)
            self._hints.note(others)
            self._hints.note(wrote, within_s=OWN_S)


class Projection:
    """One worker's loop. `worker` is its name among those that share the partitions, unique to it for its life."""

    def __init__(
        self,
        pool: Pool,
        store: ReadStore,
        projector: Projector,
        following: Following,
        *,
        worker: str,
        poll_s: float = POLL_S,
    ) -> None:
        self._pool, self._store, self._projector, self._following = pool, store, projector, following
        self._worker, self._poll_s = worker, poll_s
        self._partitions: list[int] = []
        self._crew_at = 0.0
        self._again_at = 0.0
        self.rows = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Projects until `stop` is set; the step at work is finished."""

        async def work() -> None:
            async with growth(self._pool, stop) as heard:
                await self._work(heard, stop)

        while not stop.is_set():
            await _patiently(stop, work)
        with suppress(*AGAIN):  # the others see within seconds that this one is gone
            await self._store.leave(self._worker)

    async def _work(self, heard: Growth, stop: asyncio.Event) -> None:
        while not heard.lost and not stop.is_set():
            heard.woken.clear()
            await self._now_and_then()
            begun = asyncio.get_running_loop().time()
            step = await self._projector.step(self._partitions)
            self._count(step)
            if not step.passed:
                await _until(heard.woken, min(self._poll_s, CREW_EVERY_S))
            elif step.rows < BATCH_ROWS:
                await _until(stop, begun + STEP_EVERY_S - asyncio.get_running_loop().time())

    async def _now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._crew_at:
            crew = await self._store.crew(self._worker)
            self._partitions = assigned(crew.workers, self._worker, crew.partitions)
            self._crew_at = now + CREW_EVERY_S
        if now >= self._again_at:
            step = await self._projector.again(self._partitions)
            self._count(step)
            if step == Step():
                self._again_at = now + AGAIN_EVERY_S

    def _count(self, step: Step) -> None:
        self.rows += step.rows
        ROWS.inc(step.rows)
        STATES.inc(step.states)
        QUARANTINED.inc(step.quarantined)
        if step.rows:
            VECTOR.observe(step.vector_authors_max)
        if step.authors or step.states:
            self._following.note(step.authors)


async def _patiently(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work; a fault that passes by itself is told, and waited out."""
    try:
        await work()
    except AGAIN as fault:
        log.warning("the projection waits for the database", fault=str(fault) or type(fault).__name__)
        await _until(stop, RETRY_S)


async def _then(event: asyncio.Event, act: Callable[[], None]) -> None:
    await event.wait()
    act()


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, but no longer than that."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
