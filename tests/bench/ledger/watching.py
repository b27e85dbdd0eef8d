"""What is watched while it runs: ledger and projection by their positions, processes by CPU and memory. And what it says.

The lag is the age of the projection: how long ago the ledger was as long as the projection is now.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import psutil

EVERY_S: Final = 0.1
PROCESSES_EVERY: Final = 10
"""Samples of positions between two looks at the processes."""

Processes = Mapping[str, Sequence[psutil.Process]]


@dataclass(frozen=True, slots=True)
class Position:
    """At `at` (seconds since 1970) the ledger had `ledger` rows and the projection had read `projected` of them."""

    at: float
    ledger: int
    projected: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part, as `memory_bytes` counts them, when the ledger had `ledger` rows."""

    ledger: int
    resident: Mapping[str, int]


@dataclass
class Observed:
    """The series of one measurement."""

    positions: list[Position] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    sampling: "asyncio.Task[None] | None" = None

    async def until(self, rows: int, timeout_s: float) -> None:
        """Waits until the ledger has so many rows and all of them are projected. TimeoutError, or what stopped the sampling."""
        deadline = time.monotonic() + timeout_s
        while self.reached(rows, projected=True) is None:
            if self.sampling is not None and self.sampling.done():
                self.sampling.result()
            if time.monotonic() > deadline:
                last = self.positions[-1] if self.positions else None
                raise TimeoutError(f"waited {timeout_s:.0f} s in vain for {rows} projected rows, the last look: {last}")
            await asyncio.sleep(EVERY_S)

    def reached(self, rows: int, *, projected: bool = False) -> float | None:
        """When the ledger (or the projection) first had so many rows; None before."""
        counts = [one.projected if projected else one.ledger for one in self.positions]
        at = bisect_left(counts, rows)
        return self.positions[at].at if at < len(counts) else None


@asynccontextmanager
async def watched(dsn: str, processes: Callable[[], Processes]) -> AsyncIterator[Observed]:
    """Samples while the block runs."""
    seen = Observed()
    connection = await asyncpg.connect(dsn)
    before = cpu_seconds(processes())
    task = seen.sampling = asyncio.create_task(_sample(connection, processes, seen))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = cpu_seconds(processes())
        seen.cpu_s = {part: after[part] - before.get(part, 0.0) for part in after}
        await connection.close()


def cpu_seconds(processes: Processes) -> dict[str, float]:
    """User and system time of each part so far."""
    return {part: sum(_cpu(one) for one in members) for part, members in processes.items()}


def lags(positions: Sequence[Position]) -> list[float]:
    """Seconds by which the projection was behind, at each sample."""
    sizes = [one.ledger for one in positions]
    behind = []
    for one in positions:
        if one.projected >= one.ledger:
            behind.append(0.0)
        else:
            # The first moment at which the ledger had more than the projection has now.
            behind.append(one.at - positions[bisect_left(sizes, one.projected + 1)].at)
    return behind


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed. `values` is not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]


async def _sample(connection: "asyncpg.Connection[asyncpg.Record]", processes: Callable[[], Processes], seen: Observed) -> None:
    number = 0
    while True:
        at = time.time()
        row = await connection.fetchrow(
            """
            SELECT (SELECT sum(size) FROM shards)::bigint AS ledger,
                coalesce((SELECT sum(position) FROM (
                    SELECT min(position) AS position FROM partition_mark WHERE projection = 'states' GROUP BY shard) AS marks
                ), 0)::bigint AS projected
            """
        )
        assert row is not None
        seen.positions.append(Position(at, row["ledger"], row["projected"]))
        if number % PROCESSES_EVERY == 0:
            resident = {part: sum(memory_bytes(one) for one in members) for part, members in processes().items()}
            seen.memory.append(Memory(row["ledger"], resident))
        number += 1
        await asyncio.sleep(max(0.0, EVERY_S - (time.time() - at)))


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # a backend that ended while we looked
    return float(times.user + times.system)


def memory_bytes(process: psutil.Process) -> int:
    """Its proportional set: what processes share, as PostgreSQL's do their buffers, counts once over all of them."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
