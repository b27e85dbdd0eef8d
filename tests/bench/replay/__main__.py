"""The command behind `make bench-replay`: measures, prints the table, writes `.zb/bench/replay.json`. Asserts nothing."""

import asyncio
import gc
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from field_ingest.projection.replay_run import GC_THRESHOLDS
from tests.bench.ledger import peer, report
from tests.bench.ledger.corpus import Corpus
from tests.bench.ledger.report import RSS_GROWTH_MAX, Target
from tests.bench.replay import proofs, rates
from tests.bench.replay.filled import Filled
from tests.bench.replay.rates import Rate

EVENTS_AN_AGENCY: Final = 53_000
SHORT: Final = 200_000
FULL: Final = 2_000_000
LEAVES_SHORT: Final = 500_000
LEAVES_FULL: Final = 10_000_000
FLAT_FROM: Final = 100_000
PARTS: Final = ("rates", "signatures", "peer", "proofs")


@click.command()
@click.option("--events", default=SHORT, show_default=True, help="Events of the ledger, about.")
@click.option("--full", is_flag=True, help=f"{FULL:,} events, and proofs among {LEAVES_FULL:,} leaves.")
@click.option("--seed", default=1, show_default=True, help="Of the corpus.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only these parts.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".zb/bench"), show_default=True)
def main(events: int, full: bool, seed: int, only: tuple[str, ...], folder: Path) -> None:
    """How fast the ledger becomes states again on this machine, and how long a proof takes."""
    about = report.machine()
    gc.set_threshold(*GC_THRESHOLDS)
    count = max(1, round((FULL if full else events) / EVENTS_AN_AGENCY))
    agencies = Corpus(folder, seed).agencies(range(count), click.echo)
    with Filled(folder / "replay-machine", agencies).running() as filled:
        leaves = LEAVES_FULL if full else LEAVES_SHORT
        targets, details = asyncio.run(_measured(filled, only or PARTS, leaves, seed))
    report.write(folder / "replay.json", about, targets, details)
    (folder / "replay.md").write_text(report.markdown(about, targets))
    click.echo(f"{about['cpu']}, {about['cores']} cores, load {about['load_at_start']} at the start")
    click.echo(report.table(targets))
    click.echo(f"written to {folder / 'replay.json'}, and as a page's section to {folder / 'replay.md'}")


async def _measured(filled: Filled, wanted: tuple[str, ...], leaves: int, seed: int) -> tuple[list[Target], dict[str, Any]]:
    targets: list[Target] = []
    details: dict[str, Any] = {}
    if {"rates", "signatures"} & set(wanted):
        click.echo("the ledger is filled")
        await filled.fill()
        details["events"] = filled.events
    if "rates" in wanted:
        click.echo(f"replays of {filled.events:,} events")
        one = await rates.measure(filled, workers=1, say=click.echo)
        two = await rates.measure(filled, workers=2, say=click.echo)
        targets += _rate_targets(one, two)
        details["rates"] = {"1": _told(one), "2": _told(two)}
    if "signatures" in wanted:
        limit = await rates.verify_limit(filled)
        signed = await rates.measure(filled, workers=rates.cores(), signatures=True, say=click.echo)
        targets += [
            Target("limit: Ed25519 verify, one thread", limit, "events/s"),
            Target(f"replay with all signatures, {rates.cores()} processes", signed.events_per_s, "events/s"),
            Target("replay with all signatures, share of the verify limit", signed.events_per_s / limit, "", 0.9),
        ]
        details["signatures"] = _told(signed)
    if "peer" in wanted:
        click.echo("the peer: eventsourcing's projection of the same events")
        found = await asyncio.to_thread(peer.measure, filled)
        targets.append(Target("peer: eventsourcing's projection runner", found.projected_per_s, "events/s"))
        details["peer"] = asdict(found)
    if "proofs" in wanted:
        click.echo(f"inclusion proofs among {leaves:,} leaves")
        proven = await proofs.measure(filled.postgres.create_database("proofs"), leaves, seed)
        targets.append(Target(f"inclusion proof among {leaves:,} leaves, p50", proven.p50_ms, "ms"))
        targets.append(Target(f"inclusion proof among {leaves:,} leaves, p99", proven.p99_ms, "ms", 20, "less"))
        details["proofs"] = asdict(proven)
    return targets, details


def _rate_targets(one: Rate, two: Rate) -> list[Target]:
    targets = [
        Target("replay to states, one process", one.events_per_s, "events/s", 40_000),
        Target("CPU of its Python", one.cpu_s / one.done.events * 1e6, "us/event"),
        Target("replay to states, two processes", two.events_per_s, "events/s"),
        Target("two processes, times one", two.events_per_s / one.events_per_s, "", 1.8),
        Target("hash by two as by one", float(two.done.state_hash == one.done.state_hash), "", 1),
    ]
    looks = [look for look in one.looks if look.rows >= FLAT_FROM]
    if len(looks) > 1:
        growth = looks[-1].resident / looks[0].resident - 1
        name = f"memory, growth {looks[0].rows:,} to {looks[-1].rows:,} events"
        targets.append(Target(name, growth, "", RSS_GROWTH_MAX, "less"))
    return targets


def _told(rate: Rate) -> dict[str, Any]:
    return {"events_per_s": rate.events_per_s, "cpu_s": rate.cpu_s, **rate.done.as_json(), "looks": list(map(asdict, rate.looks))}


if __name__ == "__main__":
    main()
