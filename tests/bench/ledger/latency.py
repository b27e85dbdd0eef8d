"""From publishing to the receipt at the device, at 1,000 events a second in segments of 8, in a process of its own.

`python -m tests.bench.ledger.latency JOB.json` connects the devices, warms up, measures, and says what it found in one line of
JSON. How a device behaves is `handheld`'s matter.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.ledger.corpus import AgencyFiles, Device, read_segments
from tests.bench.ledger.handheld import Handheld, Times
from tests.bench.ledger.machine import Machine
from tests.bench.ledger.publishing import Job, publish_apart
from tests.bench.ledger.throughput import rows
from tests.bench.ledger.watching import quantile, watched
from tests.bench.ledger.workload import LIVE_EVENTS, Segment
from zb_chassis.claims import Credentials, Nkey
from zb_contracts.keys import kid
from zb_device.settings import Pinned

EVENTS_PER_S: Final = 1_000
EVERY_S: Final = 1.6
"""How often a device publishes a segment: 200 devices make 1,000 events a second."""
WARM_BEATS: Final = 2
BEATS: Final = 12
PLANNED_S: Final = 600.0
CONNECTING_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from recording to the verified receipts of the whole segment; the broker's share apart."""

    segments: int
    events_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    stored_p99_s: float
    """To the broker's acknowledgement alone."""
    asked: float
    """Sync requests a segment."""
    devices_cpu_s: float
    """What the devices themselves used of this machine, warm-up and connecting included."""
    faults: list[str]
    """Devices that were not settled long after the end, and why. Their segments count with the time that was waited."""


async def measure(machine: Machine, agency: AgencyFiles) -> tuple[Latency, dict[str, float]]:
    """The latency of this all-live agency's devices, and the CPU of each part in seconds, warm-up and connecting included."""
    async with watched(machine.dsn, machine.processes) as seen:
        total = await rows(machine.dsn) + agency.office_events
        await publish_apart(Job(machine.nats.url, machine.administrator().text(), [str(agency.office)]), machine.folder)
        await seen.until(total, PLANNED_S)
    path = machine.folder / "devices.json"
    path.write_text(json.dumps(_job(machine, agency)))
    async with watched(machine.dsn, machine.processes) as seen:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the devices failed: {said.decode()[-2000:]}")
    return Latency(**json.loads(out)), seen.cpu_s


def _job(machine: Machine, agency: AgencyFiles) -> dict[str, Any]:
    devices = [
        asdict(device)
        | {"token": (session := machine.device(device.device, device.technician)).token}
        | {"login": session.key.seed.decode()}
        for device in agency.devices
    ]
    return {
        "url": machine.nats.url,
        "origin": machine.log_origin,
        "ledger": machine.ledger_public().hex(),
        "agency": agency.name,
        "field": str(agency.field),
        "devices": devices,
    }


async def live(job: dict[str, Any]) -> Latency:
    """All devices of the job, connected, warmed up and measured."""
    ledger = bytes.fromhex(job["ledger"])
    segments: dict[str, deque[Segment]] = {}
    for segment in read_segments(Path(job["field"])):
        segments.setdefault(segment.subject, deque()).append(segment)
    times = Times()
    handhelds = []
    connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_session(row: dict[str, Any]) -> None:
        credentials = Credentials(row.pop("token"), Nkey.from_seed(row.pop("login").encode()))
        device = Device(**row)
        waiting = segments[f"field.v1.{device.device}"]
        handheld = Handheld(
            device, _pinned(job, device), {kid(ledger): ledger}, deque(list(waiting)[: WARM_BEATS + BEATS]), times
        )
        async with connecting:
            await handheld.connect(job["url"], credentials)
        handhelds.append(handheld)

    await asyncio.gather(*map(open_session, job["devices"]))
    return await _measured(handhelds, times)


async def _measured(handhelds: list[Handheld], times: Times) -> Latency:
    dice = random.Random(0)  # noqa: S311 -- beats, no secret
    begin = time.monotonic() + 0.5
    end = begin + (WARM_BEATS + BEATS) * EVERY_S
    work = [asyncio.create_task(one.live(EVERY_S, begin + dice.uniform(0, EVERY_S), end)) for one in handhelds]
    await asyncio.sleep(WARM_BEATS * EVERY_S + begin - time.monotonic())
    times.stored.clear()
    times.receipted.clear()
    times.asked = 0
    began = time.monotonic()
    await asyncio.gather(*work)
    took = time.monotonic() - began
    found = times.receipted
    return Latency(
        segments=len(found),
        events_per_s=len(found) * LIVE_EVENTS / took,
        p50_s=quantile(found, 0.5),
        p95_s=quantile(found, 0.95),
        p99_s=quantile(found, 0.99),
        max_s=max(found),
        stored_p99_s=quantile(times.stored, 0.99),
        asked=times.asked / len(found),
        devices_cpu_s=time.process_time(),
        faults=times.faults,
    )


def _pinned(job: dict[str, Any], device: Device) -> Pinned:
    return Pinned(
        device=device.device,
        author=device.author,
        agency=job["agency"],
        shard=0,
        shards=1,
        log_origin=job["origin"],
        root_key=b"",
        certificates=(),
        ingest_url="",
        nats_url=job["url"],
        media_url="",
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(live(json.loads(Path(sys.argv[1]).read_text()))))))
