"""The command behind `make bench-replay`: measures, prints the table, writes `.zb/bench/replay.json`. Asserts nothing."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from field_ingest.projection.replay_run import GC_THRESHOLDS
from tests.bench.ledger import peer, report
from tests.bench.ledger.corpus import Corpus
from tests.bench.ledger.report import RSS_GROWTH_MAX, Target
from tests.bench.replay import proofs, rates
from tests.bench.replay.filled import EVENT_BYTES, Filled
from tests.bench.replay.proofs import LEAF_BYTES
from tests.bench.replay.rates import Rate

EVENTS_AN_AGENCY: Final = 53_000
SHORT: Final = 200_000
FULL: Final = 2_000_000
LEAVES_SHORT: Final = 500_000
LEAVES_FULL: Final = 10_000_000
FLAT_FROM: Final = 100_000
SPARE_BYTES: Final = 2 << 30
"""What the disk must have beside the ledger's rows and the leaves: WAL, the peer, others' work."""
MIB: Final = 1 << 20

Measured = tuple[list[Target], dict[str, Any]]
Part = Callable[[Filled, int, int], Coroutine[Any, Any, Measured]]
"""What measures a part, of the filled ledger, with so many leaves, by a seed."""


@click.command()
@click.option("--events", default=SHORT, show_default=True, help="Events of the ledger, about.")
@click.option("--leaves", default=LEAVES_SHORT, show_default=True, help="Leaves of the log that is proven from.")
@click.option("--full", is_flag=True, help=f"{FULL:,} events, and proofs among {LEAVES_FULL:,} leaves.")
@click.option("--seed", default=1, show_default=True, help="Of the corpus.")
@click.option("--only", type=click.Choice(("rates", "signatures", "peer", "proofs")), multiple=True, help="Only these parts.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".zb/bench"), show_default=True)
def main(events: int, leaves: int, full: bool, seed: int, only: tuple[str, ...], folder: Path) -> None:
    """How fast the ledger becomes states again on this machine, and how long a proof takes."""
    about = report.machine()
    gc.set_threshold(*GC_THRESHOLDS)
    events, leaves = (FULL, LEAVES_FULL) if full else (events, leaves)
    wanted = {name: part for name, part in PARTS.items() if not only or name in only}
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, events * EVENT_BYTES + leaves * LEAF_BYTES)
    agencies = Corpus(folder, seed).agencies(range(max(1, round(events / EVENTS_AN_AGENCY))), click.echo)
    targets: list[Target] = []
    details: dict[str, Any] = {}
    with Filled(folder / "replay-machine", agencies).running() as filled:
        for name, part in wanted.items():
            found, details[name] = asyncio.run(part(filled, leaves, seed))
            targets += found
            # After each part: a later one that fails takes nothing away.
            report.write(folder / "replay.json", about, targets, details | {"events": filled.events})
            (folder / "replay.md").write_text(report.markdown(about, targets))
    click.echo(f"{about['cpu']}, {about['cores']} cores, load {about['load_at_start']} at the start")
    click.echo(report.table(targets))
    click.echo(f"written to {folder / 'replay.json'}, and as a page's section to {folder / 'replay.md'}")


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE_BYTES:
        raise click.ClickException(f"{folder} has {free >> 30} GiB free, this needs {(wanted + SPARE_BYTES) >> 30}")


async def _rates(filled: Filled, _leaves: int, _seed: int) -> Measured:
    await filled.fill(click.echo)
    click.echo(f"replays of {filled.events:,} events")
    alone = Target("limit: the fold alone, rows in memory", await rates.fold_limit(filled), "events/s")
    one = await rates.measure(filled, workers=1, say=click.echo)
    two = await rates.measure(filled, workers=2, say=click.echo)
    return [alone, *_rate_targets(one, two)], {"1": _told(one), "2": _told(two)}


async def _signatures(filled: Filled, _leaves: int, _seed: int) -> Measured:
    await filled.fill(click.echo)
    limit = await rates.verify_limit(filled)
    signed = await rates.measure(filled, workers=rates.cores(), signatures=True, say=click.echo)
    targets = [
        Target("limit: Ed25519 verify, one thread", limit, "events/s"),
        Target(f"replay with all signatures, {rates.cores()} processes", signed.events_per_s, "events/s"),
        Target("replay with all signatures, share of the verify limit", signed.events_per_s / limit, "", 0.9),
    ]
    return targets, _told(signed)


async def _peer(filled: Filled, _leaves: int, _seed: int) -> Measured:
    click.echo("the peer: eventsourcing's projection of the same events")
    found = await asyncio.to_thread(peer.measure, filled)
    return [Target("peer: eventsourcing's projection runner", found.projected_per_s, "events/s")], asdict(found)


async def _proofs(filled: Filled, leaves: int, seed: int) -> Measured:
    click.echo(f"inclusion proofs among {leaves:,} leaves")
    proven = await proofs.measure(filled.postgres.create_database("proofs"), leaves, seed)
    targets = [
        Target(f"inclusion proof among {leaves:,} leaves, p50", proven.p50_ms, "ms"),
        Target(f"inclusion proof among {leaves:,} leaves, p99", proven.p99_ms, "ms", 20, "less"),
    ]
    return targets, asdict(proven)


PARTS: Final[dict[str, Part]] = {"rates": _rates, "signatures": _signatures, "peer": _peer, "proofs": _proofs}


def _rate_targets(one: Rate, two: Rate) -> list[Target]:
    targets = [
        Target("replay to states, one process", one.events_per_s, "events/s", 40_000),
        Target("CPU of its Python", one.python_us, "us/event"),
        Target("CPU of PostgreSQL beside it", one.postgres_us, "us/event"),
        Target("replay to states, two processes", two.events_per_s, "events/s"),
        Target("CPU of their Python", two.python_us, "us/event"),
        Target("CPU of PostgreSQL beside them", two.postgres_us, "us/event"),
        Target("two processes, times one", two.events_per_s / one.events_per_s, "", 1.8),
        Target("hash by two as by one", float(two.done.state_hash == one.done.state_hash), "", 1),
    ]
    looks = [look for look in one.looks if look.rows >= FLAT_FROM]
    if len(looks) > 1:
        name = f"memory, growth {looks[0].rows:,} to {looks[-1].rows:,} events"
        targets.append(Target(name, looks[-1].resident / looks[0].resident - 1, "", RSS_GROWTH_MAX, "less"))
        targets.append(Target("memory of one process at the end", looks[-1].resident / MIB, "MiB"))
    return targets


def _told(rate: Rate) -> dict[str, Any]:
    return {
        "events_per_s": rate.events_per_s,
        "python_s": rate.python_s,
        "postgres_s": rate.postgres_s,
        **rate.done.as_json(),
        "looks": list(map(asdict, rate.looks)),
    }


if __name__ == "__main__":
    main()
