"""Replay: all states again from the ledger, in a shadow of the read side, by streams instead of by batches.

Proves that the states are what the ledger says (same hash), or shows what they were at a moment. `swapping` can put what differs
into the live ones; it announces nothing itself. The ledger is only read. How a run is worked off is `replay_run`'s matter, how
an auditor calls it `audit.commands`'.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, Final

from field_ingest.audit.moments import NOW, Moment
from field_ingest.projection import ledger_streams, marks, replay_run, states, swapping
from field_ingest.projection.ports import Marks, ReadStore
from field_ingest.projection.projector import Projector
from field_ingest.projection.refolding import Cut, cut_at
from field_ingest.projection.replay_run import SHADOW, Plan, Terms
from field_ingest.projection.scope import ScopeLimits
from field_ingest.projection.states import TotalHash
from field_ingest.projection.store import PostgresReadStore
from zb_chassis.clock import Clock, system_clock
from zb_chassis.database import Connection
from zb_contracts.merge.snapshots import fingerprint

ADVISORY_LOCK: Final = 0x7A62_7265_706C  # "zbrepl"
LOCK_WAIT_S: Final = 5.0
"""The session of a command that was killed ends a moment after it."""
LOOK_S: Final = 0.5
SESSION_END_S: Final = 60.0
"""How long a killed worker's session may hold a span that it will never finish."""
WORKERS_MAX: Final = 64
FAULTS_TOLD_MAX: Final = 50
"""Streams that could not be folded, told with their reason; beyond it they are only counted."""
TABLES: Final = (
    "projection_partition",
    "partition_mark",
    "states",
    "quarantine",
    "lifted",
    "fold_rest",
    "scope_member",
    "scope_due",
)
"""What a replay builds. The orders of the scopes are no part of it: they say what was given out, which no ledger knows."""


class ReplayRefused(Exception):
    """The replay cannot begin; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is; the rate is this command's own, also where it goes on with a run of an earlier one."""

    rows: int
    total: int
    rows_per_s: float

    @property
    def left_s(self) -> float:
        """How long it will take, as fast as it went so far."""
        return (self.total - self.rows) / self.rows_per_s if self.rows_per_s else 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. Only the present can be swapped in."""

    moment: Moment = NOW
    swap: bool = False
    signatures: bool = False
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out. `events` are ledger rows read, `behind` those that the live projection has not read either.

    `live_hash` is None for a moment of the past and for older rules: there is nothing to compare it with. `resumed`: rows that
    an earlier command had done. `faults`: stream -> reason, of the first that are `quarantined`. `swapped` is None where nothing
    was to be swapped.
    """

    moment: str
    streams: int
    events: int
    resumed: int
    behind: int
    quarantined: int
    faults: Mapping[str, str]
    state_hash: str
    live_hash: str | None
    seconds: float
    swapped: swapping.Swapped | None = None

    @property
    def same(self) -> bool | None:
        return None if self.live_hash is None else self.state_hash == self.live_hash

    def as_json(self) -> dict[str, Any]:
        """For the last line of the command."""
        found = {name: getattr(self, name) for name in self.__slots__} | {"same": self.same, "swapped": self.swapped is not None}
        return found | (self.swapped.as_json() if self.swapped else {})


async def replay(
    dsn: str,
    make_projector: Callable[[ReadStore], Projector],
    wanted: Wanted | None = None,
    *,
    limits: ScopeLimits | None = None,
    clock: Clock = system_clock,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Replayed:
    """Rebuilds up to where the live projection stands and compares; with `swap` what differs takes the live one's place.

    Goes on with what a command of the same terms left. `make_projector` makes one that announces nothing; it catches up what
    comes meanwhile, for the swap. The live projection goes on: the comparison is with its states where they stood when the run
    began. ReplayRefused while another replay works; MomentUnreadable for a moment that the ledger does not have.
    """
    wanted = wanted or Wanted()
    if wanted.swap and (not wanted.moment.is_now or wanted.moment.rules != NOW.rules):
        raise ReplayRefused("only the present by today's rules can be swapped in, no moment of the past")
    connection = await replay_run.connect(dsn)
    try:
        async with _shadow(connection, wanted, limits or ScopeLimits(), clock) as plan:
            return await _replayed(connection, dsn, plan, make_projector, clock, wanted.workers, progress)
    finally:
        await connection.close()


async def forget_left(connection: Connection, *, before_ms: int) -> bool:
    """Drop the shadow of a run that began before then and that nobody works on; whether there was one."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):
        return False
    try:
        if await connection.fetchval("SELECT to_regnamespace($1)", SHADOW) is None:
            return False
        plan = await replay_run.planned(connection)
        if plan is not None and plan.began_ms >= before_ms:
            return False
        await connection.execute(f"DROP SCHEMA {SHADOW} CASCADE")
        return True
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)


async def live_hash(connection: Connection, snapshot: str | None = None) -> TotalHash:
    """The hash over all states as they are now, or as an exported snapshot of another session shows them."""
    quoted = await connection.fetchval("SELECT quote_literal($1)", snapshot)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if snapshot is not None:
            await connection.execute(f"SET TRANSACTION SNAPSHOT {quoted}")
        return await states.total_hash(connection)


@asynccontextmanager
async def _lent(connection: Connection) -> AsyncIterator[Connection]:
    yield connection


@asynccontextmanager
async def _shadow(connection: Connection, wanted: Wanted, limits: ScopeLimits, clock: Clock) -> AsyncIterator[Plan]:
    """The run, found or founded, first on the search path. Gone when its end was reached; what fails or is killed leaves it."""
    await _lock(connection)
    live: str = await connection.fetchval("SELECT current_schema()")
    terms = _terms(wanted)
    plan = await replay_run.planned(connection)
    if plan is None or plan.terms != terms:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SHADOW} CASCADE")
        plan = await _founded(connection, live, terms, wanted, limits, clock())
    await replay_run.look_at_shadow(connection, live)
    yield plan
    await connection.execute(f"SET search_path = {live}; DROP SCHEMA {SHADOW} CASCADE")


async def _lock(connection: Connection) -> None:
    until = time.monotonic() + LOCK_WAIT_S
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):
        if time.monotonic() > until:
            raise ReplayRefused("another replay is at work on this database: wait for it or end it")
        await asyncio.sleep(LOOK_S)


def _terms(wanted: Wanted) -> Terms:
    moment = wanted.moment
    return Terms(moment.told(), moment.rules, fingerprint(), wanted.signatures, wanted.swap)


async def _founded(connection: Connection, live: str, terms: Terms, wanted: Wanted, limits: ScopeLimits, now_ms: int) -> Plan:
    """A new run: all of it or nothing, so that a shadow with a plan has everything."""
    async with connection.transaction(isolation="repeatable_read"):
        cut, hashed = await _cut(connection, wanted.moment)
        version = await states.version_floor(connection) + 1
        plan = Plan(terms, cut, live, hashed, version, limits, now_ms)
        await ledger_streams.check_dense(connection, cut)
        await connection.execute(f"CREATE SCHEMA {SHADOW}")
        for table in TABLES:
            await connection.execute(f"CREATE UNLOGGED TABLE {SHADOW}.{table} (LIKE {live}.{table} INCLUDING ALL)")
        await connection.execute(f"INSERT INTO {SHADOW}.projection_partition TABLE {live}.projection_partition")
        await connection.execute(f"SET LOCAL search_path = {SHADOW}, {live}")
        await replay_run.found(connection, plan)
    return plan


async def _cut(connection: Connection, moment: Moment) -> tuple[Cut, str | None]:
    """Which rows count, and the live hash at them: for the present what the live projection has read, and its hash."""
    if not moment.is_now or moment.rules != NOW.rules:
        return cut_at(moment, await states.ledger_sizes(connection)), None
    target: Mapping[int, Marks] = await marks.read_all(connection)
    read = {partition: dict(one) for partition, one in target.items()}
    return Cut(max(1, len(read)), read or {0: {}}, moment.rules), (await states.total_hash(connection)).state_hash


async def _replayed(
    connection: Connection,
    dsn: str,
    plan: Plan,
    make_projector: Callable[[ReadStore], Projector],
    clock: Clock,
    workers: int,
    progress: Callable[[Progress], None],
) -> Replayed:
    began = time.monotonic()
    before = await replay_run.ticked(connection)
    await _work_off(connection, dsn, plan, workers, progress)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        after = await states.total_hash(connection)
    quarantined = await states.quarantined(connection)
    swapped = None
    if plan.terms.swap:
        projector = make_projector(PostgresReadStore(lambda: _lent(connection)))
        swapped = await swapping.swap(connection, plan.live, SHADOW, projector, clock)
    sizes = await states.ledger_sizes(connection)
    return Replayed(
        moment=plan.terms.moment,
        streams=after.streams,
        events=before.total,
        resumed=before.rows,
        behind=sum(sizes.values()) - sum(plan.cut.ends.values()),
        quarantined=len(quarantined),
        faults=dict(islice(quarantined.items(), FAULTS_TOLD_MAX)),
        state_hash=after.state_hash,
        live_hash=plan.live_hash,
        seconds=round(time.monotonic() - began, 3),
        swapped=swapped,
    )


async def _work_off(connection: Connection, dsn: str, plan: Plan, workers: int, progress: Callable[[Progress], None]) -> None:
    """All spans that are left: in this process, or in processes of their own."""
    began, before = time.monotonic(), await replay_run.ticked(connection)
    done = before.rows

    def tell(rows: int) -> None:
        rate = (rows - before.rows) / max(time.monotonic() - began, 1e-3)
        progress(Progress(rows, before.total, rate))

    def add(rows: int) -> None:
        nonlocal done
        done += rows
        tell(done)

    if workers == 1:
        await replay_run.take_spans(connection, add)
        await _finish(connection, add)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        working = [loop.run_in_executor(processes, replay_run.work, dsn, plan.live, os.getpid()) for _ in range(workers)]
        while (await asyncio.wait(working, timeout=LOOK_S))[1]:
            tell((await replay_run.ticked(connection)).rows)
        await asyncio.gather(*working)
    done = (await replay_run.ticked(connection)).rows
    tell(done)
    await _finish(connection, add)


async def _finish(connection: Connection, add: Callable[[int], None]) -> None:
    """Take what a killed worker's session still held when the others were done: PostgreSQL notices its end late.

    Without it states would be missing, and a swap would take them for states that the ledger does not have. ReplayRefused when
    the session does not end.
    """
    until = time.monotonic() + SESSION_END_S
    while (now := await replay_run.ticked(connection)).rows < now.total:
        if time.monotonic() > until:
            raise ReplayRefused("a worker that was killed still holds its part: end its session, then the same command goes on")
        await asyncio.sleep(LOOK_S)
        await replay_run.take_spans(connection, add)
