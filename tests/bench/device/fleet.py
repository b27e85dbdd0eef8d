"""Many devices with a day's backlog each through the real servers: how long, at whose cost, how many connected at a time.

The devices are processes of `wave`; here are their sessions, what is watched meanwhile, the comparison with the ledger, and what
it would be for a whole company. Sessions are signed as enrolment signs them; enrolment is not what is measured.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from tests.bench.device.devices import Broker, signed_in
from tests.bench.ledger.corpus import AgencyFiles
from tests.bench.ledger.machine import Machine
from tests.bench.ledger.publishing import Job as Publishing
from tests.bench.ledger.publishing import publish_apart
from tests.bench.ledger.throughput import rows
from tests.bench.ledger.watching import Observed, memory_bytes, quantile, watched

PROCESSES: Final = 2
AT_ONCE: Final = 300
"""Devices connected at a time, over both processes."""
HELD: Final = 2_000
"""Connections held for the measurement of memory."""
COMPANY: Final = 90_000
PLANNED_S: Final = 900.0
PROJECTED_S: Final = 600.0
HELD_S: Final = 300.0
MIB: Final = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the wave was. CPU in seconds by part; `devices` among them are the simulated devices' own processes."""

    devices: int
    events: int
    took_s: float
    """From the first connection to the last verified receipt."""
    lost: int
    """Events that the ledger lacks, and chains that end otherwise there."""
    unsettled: int
    not_admitted: int
    """Receipts that held or refused an event, or were about another one."""
    to_receipt_p50_s: float
    to_receipt_p99_s: float
    connected_max: int
    asked: int
    bytes_up: int
    bytes_down: int
    cpu_s: dict[str, float]
    resident: dict[str, int]
    """Bytes of each part at its highest."""
    faults: dict[str, int]

    @property
    def server_cpu_s(self) -> float:
        return sum(used for part, used in self.cpu_s.items() if part != "devices")

    @property
    def bottleneck(self) -> str:
        """The part of the platform that took most processor time."""
        return max((part for part in self.cpu_s if part != "devices"), key=lambda part: self.cpu_s[part])


@dataclass(frozen=True, slots=True)
class Held:
    """What a connection costs while nothing happens on it: bytes of the broker's memory."""

    connections: int
    broker_bytes_each: float


async def plan(machine: Machine, agencies: Sequence[AgencyFiles], say: Say) -> None:
    """The offices' plans, admitted and projected when this returns."""
    total = await rows(machine.dsn) + sum(agency.office_events for agency in agencies)
    say(f"the offices plan: {sum(agency.office_events for agency in agencies):,} events")
    async with watched(machine.dsn, machine.processes) as seen:
        files = [str(agency.office) for agency in agencies]
        await publish_apart(Publishing(machine.nats.url, machine.administrator().text(), files), machine.folder)
        await seen.until(total, PLANNED_S)


async def measure(
    machine: Machine, agencies: Sequence[AgencyFiles], say: Say, *, at_once: int = AT_ONCE, url: str | None = None
) -> Backlog:
    """Sends every device's backlog, in waves of `at_once` connections, through the broker at `url`."""
    total = await rows(machine.dsn) + sum(agency.field_events for agency in agencies)
    jobs = _jobs(machine, agencies, at_once, url)
    async with watched(machine.dsn, machine.processes) as seen:
        found = await _waves(machine.folder, jobs, say)
        try:
            await seen.until(total, PROJECTED_S)
        except TimeoutError as fault:
            say(f"  {fault}")  # what is lost is counted below, and is a row of the table
    heads = [head for one in found for head in one["heads"]]
    return _backlog(found, seen, await _lost(machine.dsn, heads))


async def hold(machine: Machine, agencies: Sequence[AgencyFiles], connections: int) -> Held:
    """Memory of the broker with so many devices connected, less what it had before, for each.

    Of a broker to which nobody connected yet: one that gave up as many keeps their memory for the next.
    """
    broker = machine.processes()["nats-server"][0]
    jobs = _jobs(machine, _first(agencies, connections), 1, None, hold=True)
    before = memory_bytes(broker)
    processes = [await _started(machine.folder, number, job) for number, job in enumerate(jobs)]
    held = 0
    try:
        for process in processes:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), HELD_S)
            held += json.loads(line or b'{"held": 0}')["held"]
        after = memory_bytes(broker)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
    return Held(held, (after - before) / max(1, held))


def _first(agencies: Sequence[AgencyFiles], devices: int) -> list[AgencyFiles]:
    """Agencies with at least so many devices together, all of their devices."""
    taken: list[AgencyFiles] = []
    for agency in agencies:
        if sum(len(one.devices) for one in taken) < devices:
            taken.append(agency)
    return taken


def _jobs(
    machine: Machine, agencies: Sequence[AgencyFiles], at_once: int, url: str | None, *, hold: bool = False
) -> list[dict[str, Any]]:
    """The processes' shares: agencies in turns, or the halves of the only one."""
    shares = [share for agency in agencies for share in _shares(machine, agency, PROCESSES if len(agencies) == 1 else 1)]
    return [
        {
            "broker": msgspec.to_builtins(Broker.of(machine, url)),
            "at_once": max(1, at_once // PROCESSES),
            "shares": shares[number::PROCESSES],
            "hold": hold,
        }
        for number in range(PROCESSES)
        if shares[number::PROCESSES]
    ]


def _shares(machine: Machine, agency: AgencyFiles, parts: int) -> list[dict[str, Any]]:
    devices, about = signed_in(machine, agency), {"agency": agency.name, "field_file": str(agency.field)}
    return [about | {"devices": devices[part::parts]} for part in range(parts)]


async def _started(folder: Path, number: int, job: dict[str, Any]) -> asyncio.subprocess.Process:
    path = folder / f"wave-{number}.json"
    path.write_text(json.dumps(job))
    path.chmod(0o600)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.device.wave", str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=256 * MIB,
    )


async def _waves(folder: Path, jobs: Sequence[dict[str, Any]], say: Say) -> list[dict[str, Any]]:
    """What each process found. RuntimeError when one ends without a word."""
    through: dict[int, int] = {}
    of = sum(len(share["devices"]) for job in jobs for share in job["shares"])

    async def one(number: int, job: dict[str, Any]) -> dict[str, Any]:
        process = await _started(folder, number, job)
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                said = json.loads(line)
                if "tally" in said:
                    return dict(said)
                through[number] = said["through"]
                say(f"  {sum(through.values()):,} of {of:,} devices have all their receipts")
        finally:
            if process.returncode is None:
                await _end(process)
        raise RuntimeError("a process of devices ended before its time; its last words are above")

    return list(await asyncio.gather(*(one(number, job) for number, job in enumerate(jobs))))


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 10.0)
    except TimeoutError:
        process.kill()
        await process.wait()


def _backlog(found: Sequence[dict[str, Any]], seen: Observed, lost: int) -> Backlog:
    tallies = [one["tally"] for one in found]
    receipts_s = [ms / 1000 for tally in tallies for ms in tally["to_receipt_ms"]]
    parts = {part for look in seen.memory for part in look.resident}
    return Backlog(
        devices=sum(one["of"] for one in found),
        events=sum(head[1] for one in found for head in one["heads"]),
        took_s=max(one["ended"] for one in found) - min(one["began"] for one in found),
        lost=lost,
        unsettled=sum(one["of"] - one["settled"] for one in found),
        not_admitted=sum(tally["held"] + sum(tally["refused"].values()) + tally["foreign"] for tally in tallies),
        to_receipt_p50_s=quantile(receipts_s, 0.5),
        to_receipt_p99_s=quantile(receipts_s, 0.99),
        connected_max=sum(tally["connected_max"] for tally in tallies),
        asked=sum(tally["asked"] for tally in tallies),
        bytes_up=sum(tally["bytes_up"] for tally in tallies),
        bytes_down=sum(tally["bytes_down"] for tally in tallies),
        cpu_s=seen.cpu_s | {"devices": sum(one["cpu_s"] for one in found)},
        resident={part: max(look.resident.get(part, 0) for look in seen.memory) for part in sorted(parts)},
        faults={name: count for tally in tallies for name, count in tally["faults"].items()},
    )


async def _lost(dsn: str, heads: Sequence[tuple[str, int, str]]) -> int:
    """Events behind the ledger's mark of their author; a chain that ends in another event there counts as one."""
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetch(
            "SELECT author, mark, encode(head_hash, 'hex') AS head FROM authors WHERE author = ANY ($1)",
            [author for author, _, _ in heads],
        )
    finally:
        await connection.close()
    marks = {row["author"]: (row["mark"], row["head"]) for row in found}
    lost = 0
    for author, seq, head in heads:
        mark, ledger_head = marks.get(author, (0, ""))
        lost += max(0, seq - mark) + (mark >= seq and head != ledger_head)
    return lost
