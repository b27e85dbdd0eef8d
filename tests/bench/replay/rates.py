"""Replays of the filled ledger by one process and by several, with and without signatures, and what they are held against."""

import os
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import psutil

from field_ingest.audit.moments import Moment
from field_ingest.projection import ledger_streams
from field_ingest.projection.ports import ReadStore
from field_ingest.projection.projector import Projector
from field_ingest.projection.refolding import Row, cut_at, refold
from field_ingest.projection.replay import Progress, Replayed, Wanted, replay
from field_ingest.projection.scope import ScopeLimits
from tests.bench.replay.filled import Filled
from zb_chassis.clock import system_clock
from zb_contracts.envelope import PAYLOAD_TYPE
from zb_contracts.keys import dsse_pae, verify

VERIFIED: Final = 8_000
FOLDED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Look:
    """How far a replay was, and how much memory its process held."""

    at_s: float
    rows: int
    resident: int


@dataclass(slots=True)
class Rate:
    """One replay, and the processor time of its processes, from their start, and of the server.

    `events_per_s` is between the first span that was done and the last: processes take a second to start.
    """

    done: Replayed
    python_s: float
    postgres_s: float
    looks: list[Look] = field(default_factory=list)

    @property
    def events_per_s(self) -> float:
        first = next(look for look in self.looks if look.rows)
        last = next(look for look in self.looks if look.rows == self.looks[-1].rows)
        return (last.rows - first.rows) / (last.at_s - first.at_s)

    @property
    def python_us(self) -> float:
        return self.python_s / self.done.events * 1e6

    @property
    def postgres_us(self) -> float:
        return self.postgres_s / self.done.events * 1e6


async def measure(filled: Filled, *, workers: int, signatures: bool = False, say: Callable[[str], None]) -> Rate:
    """All of the ledger to states. RuntimeError where a stream could not be folded."""
    process, looks = psutil.Process(), list[Look]()
    began = time.perf_counter()

    def look(progress: Progress) -> None:
        looks.append(Look(time.perf_counter() - began, progress.rows, process.memory_info().rss))

    def projector(store: ReadStore) -> Projector:
        return Projector(store, limits=ScopeLimits(), clock=system_clock, announces=False)

    wanted = Wanted(Moment(through={0: filled.events - 1}), signatures=signatures, workers=workers)
    python_s, postgres_s = cpu_s(process), cpu_s(filled.postmaster())
    done = await replay(filled.dsn, projector, wanted, progress=look)
    if done.quarantined:
        raise RuntimeError(f"{done.quarantined} streams could not be folded: {done.faults}")
    rate = Rate(done, cpu_s(process) - python_s, cpu_s(filled.postmaster()) - postgres_s, looks)
    say(f"  {workers} process(es){', with signatures' if signatures else ''}: {rate.events_per_s:,.0f} events/s")
    return rate


def cpu_s(process: psutil.Process) -> float:
    """User and system time so far of a process and all that it started, those too that have ended."""
    spent = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it ended as we looked: its parent has its time
            spent += sum(one.cpu_times()[:4])
    return spent


async def fold_limit(filled: Filled) -> float:
    """Events a second of processor time that are folded to states and their bytes, the rows in memory, and nothing else."""
    cut = cut_at(Moment(through={0: filled.events - 1}), {0: filled.events})
    streams: list[tuple[str, list[Row]]] = []
    connection = await asyncpg.connect(filled.dsn)
    try:
        authors = await ledger_streams.authors(connection)
        async with connection.transaction(), aclosing(ledger_streams.streams_from(connection, cut, "", None)) as found:
            async for stream, rows in found:
                streams.append((stream, rows))
                if sum(len(some) for _, some in streams) >= FOLDED:
                    break
    finally:
        await connection.close()
    began = time.process_time()
    for stream, rows in streams:
        refold(stream, rows, cut, authors)
    return sum(len(rows) for _, rows in streams) / (time.process_time() - began)


async def verify_limit(filled: Filled) -> float:
    """Signatures a second that one thread verifies, and nothing else."""
    connection = await asyncpg.connect(filled.dsn)
    try:
        rows = await connection.fetch(
            """
            SELECT a.event_key, l.header, l.signature FROM ledger l JOIN authors a ON a.author = l.author
            WHERE l.shard = 0 ORDER BY l.position DESC LIMIT $1
            """,
            VERIFIED,
        )
    finally:
        await connection.close()
    began = time.perf_counter()
    good = sum(verify(row["event_key"], dsse_pae(PAYLOAD_TYPE, row["header"]), row["signature"]) for row in rows)
    if good != len(rows):
        raise RuntimeError(f"{len(rows) - good} events of the corpus do not verify")
    return len(rows) / (time.perf_counter() - began)


def cores() -> int:
    """How many processes the machine has room for."""
    return max(2, os.cpu_count() or 2)
