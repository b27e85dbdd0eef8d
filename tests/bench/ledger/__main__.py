"""The command behind `make bench-ledger`: measures, prints the table, writes `.zb/bench/ledger.json`. Asserts nothing."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from tests.bench.ledger import latency, limits, peer, report, statements, throughput
from tests.bench.ledger.corpus import LIVE_FROM, AgencyFiles, Corpus
from tests.bench.ledger.latency import Latency
from tests.bench.ledger.limits import Limits
from tests.bench.ledger.machine import DATABASE, Machine
from tests.bench.ledger.peer import Peer
from tests.bench.ledger.report import RSS_GROWTH_MAX, VERIFY_SHARE, Target
from tests.bench.ledger.throughput import Throughput

EVENTS_AN_AGENCY: Final = 53_000
SHORT: Final = 300_000
FULL: Final = 2_000_000
FLAT_FROM: Final = 100_000
"""Memory is compared from this ledger size on: before, caches fill."""
SECOND_SHARDS: Final = 2
SECOND_AGENCIES: Final = 2
MIB: Final = 1 << 20


@click.command()
@click.option("--events", default=SHORT, show_default=True, help="Events of the full-rate measurement, about.")
@click.option("--full", is_flag=True, help=f"{FULL:,} events: memory over the whole range of its target.")
@click.option("--seed", default=1, show_default=True, help="Of the corpus.")
@click.option("--only", type=click.Choice(("throughput", "latency", "peer", "shards")), multiple=True, help="Only these parts.")
@click.option("--profile", is_flag=True, help="List what each SQL statement of the full rate cost; slower by that.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".zb/bench"), show_default=True)
def main(events: int, full: bool, seed: int, only: tuple[str, ...], profile: bool, folder: Path) -> None:
    """How fast segments become receipts and states on this machine."""
    about = report.machine()
    wanted = only or ("throughput", "latency", "peer", "shards")
    count = max(1, round((FULL if full else events) / EVENTS_AN_AGENCY))
    corpus = Corpus(folder, seed)
    agencies = corpus.agencies(range(count), click.echo)
    live = corpus.agencies([LIVE_FROM], click.echo)[0]
    targets, details = asyncio.run(_measured(folder, agencies, live, wanted, profiled=profile))
    _write(folder, about, targets, details)
    if "shards" in wanted:
        more, detail = asyncio.run(_shards(folder, agencies[:SECOND_AGENCIES]))
        targets += more
        _write(folder, about, targets, details | detail)
    click.echo(f"{about['cpu']}, {about['cores']} cores, load {about['load_at_start']} at the start")
    click.echo(report.table(targets))
    click.echo(f"written to {folder / 'ledger.json'}, and as a page's section to {folder / 'ledger.md'}")


def _write(folder: Path, about: dict[str, Any], targets: list[Target], details: dict[str, Any]) -> None:
    """After each part: a later one that fails takes nothing away."""
    report.write(folder / "ledger.json", about, targets, details)
    (folder / "ledger.md").write_text(report.markdown(about, targets))


async def _measured(
    folder: Path, agencies: list[AgencyFiles], live: AgencyFiles, wanted: tuple[str, ...], *, profiled: bool
) -> tuple[list[Target], dict[str, Any]]:
    targets: list[Target] = []
    details: dict[str, Any] = {}
    with Machine(folder / "machine", [*agencies, live], profiled=profiled).running() as machine:
        machine.corpus = agencies
        await machine.register_devices()
        machine.start_work()
        click.echo("full rate: publish, admit, project")
        rate = await throughput.measure(machine)
        details["throughput"] = rate.as_json()
        if profiled:
            details["statements"] = await statements.costs(machine.postgres.superuser_dsn(DATABASE))
            click.echo(statements.table(details["statements"]))
        click.echo("the limits of single stages")
        alone = await limits.measure(machine)
        details["limits"] = asdict(alone)
        targets += _rate_targets(rate, alone)
        if "latency" in wanted:
            click.echo("receipts at the devices")
            seen, cpu_s = await latency.measure(machine, live)
            details["latency"] = {**asdict(seen), "cpu_s": cpu_s}
            targets += _latency_targets(seen, cpu_s)
        if "peer" in wanted:
            click.echo("the peer: eventsourcing's recorder and runner")
            found = await asyncio.to_thread(peer.measure, machine)
            details["peer"] = asdict(found)
            targets += _peer_targets(found)
    return targets, details


async def _shards(folder: Path, agencies: list[AgencyFiles]) -> tuple[list[Target], dict[str, Any]]:
    """The same small workload with one shard and with two."""
    rates = {}
    for shards in (1, SECOND_SHARDS):
        with Machine(folder / "machine", agencies, shards=shards).running() as machine:
            machine.corpus = agencies
            await machine.register_devices()
            machine.start_work()
            click.echo(f"{shards} shard(s)")
            rates[shards] = await throughput.measure(machine)
    targets = [
        Target(f"admission with N = {shards}, short run", rate.admitted_per_s, "events/s") for shards, rate in rates.items()
    ]
    return targets, {"shards": {str(shards): rate.as_json() for shards, rate in rates.items()}}


def _rate_targets(rate: Throughput, alone: Limits) -> list[Target]:
    return [
        Target("limit: Ed25519 verify, one thread", alone.verify_per_s, "events/s"),
        Target("limit: segments read and headers checked, one thread", alone.read_per_s, "events/s"),
        Target("limit: COPY into the ledger's table and indexes", alone.copy_rows_per_s, "rows/s"),
        Target("limit: COPY into a bare table", alone.copy_bare_rows_per_s, "rows/s"),
        Target("limit: JetStream fetch and acknowledge", alone.fetch_messages_per_s, "messages/s"),
        Target("publishing, a process of its own", rate.published_per_s, "events/s"),
        Target("admission at full rate", rate.admitted_per_s, "events/s", 5_000),
        Target("admission, share of the verify rate", rate.admitted_per_s / alone.verify_per_s, "", VERIFY_SHARE),
        Target("projection at full rate", rate.projected_per_s, "events/s"),
        Target("projection lag at full rate, p99", rate.lag_p99_s, "s", 2.0, "less"),
        *(Target(f"CPU of {part}", used, "us/event") for part, used in sorted(rate.cpu_us.items())),
        *_memory_targets(rate),
    ]


def _memory_targets(rate: Throughput) -> list[Target]:
    """Growth of resident memory from FLAT_FROM rows on; nothing where the run was too short to say."""
    targets = []
    looks = [look for look in rate.memory if look.ledger >= FLAT_FROM]
    for part in ("admission", "projector"):
        if len(looks) > 1 and looks[0].ledger < looks[-1].ledger:
            first, last = looks[0], looks[-1]
            name = f"memory of {part}, growth {first.ledger:,} to {last.ledger:,} events"
            targets.append(Target(name, last.resident[part] / first.resident[part] - 1, "", RSS_GROWTH_MAX, "less"))
            targets.append(Target(f"memory of {part} at the end", last.resident[part] / MIB, "MiB"))
    return targets


def _latency_targets(seen: Latency, cpu_s: dict[str, float]) -> list[Target]:
    used = sum(cpu_s.values())
    return [
        Target("receipt at the device, offered", seen.events_per_s, "events/s"),
        Target("receipt at the device, p50", seen.p50_s * 1000, "ms"),
        Target("receipt at the device, p99", seen.p99_s * 1000, "ms", 250, "less"),
        Target("of it the broker's storing, p99", seen.stored_p99_s * 1000, "ms"),
        Target("questions a segment", seen.asked, ""),
        Target("CPU of the platform meanwhile", used / seen.segments * 1000, "ms/segment"),
        Target("CPU of the devices on this machine", seen.devices_cpu_s / seen.segments * 1000, "ms/segment"),
    ]


def _peer_targets(found: Peer) -> list[Target]:
    return [
        Target("peer: eventsourcing's recorder, unverified", found.recorded_per_s, "events/s"),
        Target("peer: eventsourcing's projection runner", found.projected_per_s, "events/s"),
    ]


if __name__ == "__main__":
    main()
