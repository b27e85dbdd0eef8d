"""The whole path at full rate: a separate process publishes, admission commits, the projection follows; all on this machine.

The offices' plans are admitted first, because the field knows them. Then the devices' segments are published as fast as the
broker stores them, live ones and backlogs mixed, and the clock runs until the last is admitted and projected.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg

from tests.bench.ledger.machine import Machine
from tests.bench.ledger.publishing import Job, publish_apart
from tests.bench.ledger.watching import Memory, lags, quantile, watched

PATIENCE_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """What the full rate was. Rates in events a second, lags in seconds, CPU in microseconds an event."""

    events: int
    published_per_s: float
    admitted_per_s: float
    projected_per_s: float
    office_per_s: float
    lag_p50_s: float
    lag_p99_s: float
    lag_max_s: float
    drained_s: float
    """From the last admission until the projection was level."""
    cpu_us: dict[str, float]
    memory: list[Memory]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def measure(machine: Machine) -> Throughput:
    """Publishes the machine's whole corpus and waits for its end."""
    job = Job(machine.nats.url, machine.administrator().text(), [])
    office = sum(agency.office_events for agency in machine.corpus)
    total = await rows(machine.dsn) + office
    async with watched(machine.dsn, machine.processes) as seen:
        sent = await publish_apart(_of(job, [agency.office for agency in machine.corpus]), machine.folder)
        await seen.until(total, PATIENCE_S)
        office_s = (seen.reached(total) or 0.0) - sent["began"]
    plans = seen.memory
    events = sum(agency.field_events for agency in machine.corpus)
    total += events
    async with watched(machine.dsn, machine.processes) as seen:
        sent = await publish_apart(_of(job, [agency.field for agency in machine.corpus]), machine.folder)
        await seen.until(total, PATIENCE_S)
    admitted, projected = seen.reached(total), seen.reached(total, projected=True)
    assert admitted is not None
    assert projected is not None
    behind = lags([one for one in seen.positions if one.at <= admitted])
    return Throughput(
        events=events,
        published_per_s=events / (sent["ended"] - sent["began"]),
        admitted_per_s=events / (admitted - sent["began"]),
        projected_per_s=events / (projected - sent["began"]),
        office_per_s=office / office_s,
        lag_p50_s=quantile(behind, 0.5),
        lag_p99_s=quantile(behind, 0.99),
        lag_max_s=max(behind),
        drained_s=projected - admitted,
        cpu_us={part: used * 1e6 / events for part, used in seen.cpu_s.items()},
        memory=[*plans, *seen.memory],
    )


def _of(job: Job, files: list[Path]) -> Job:
    return Job(job.url, job.credentials, [str(file) for file in files])


async def rows(dsn: str) -> int:
    """The ledger's length."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT sum(size) FROM shards"))
    finally:
        await connection.close()
