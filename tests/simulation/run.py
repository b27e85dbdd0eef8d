"""Runs of the simulation: one by its seed, or thousands with progress, a summary and an exit code. `make simulate SEEDS=10000`.

A run that breaks an invariant says how to see it again: the seed is all that it takes. It keeps the seeds that once failed in
regressions.json; those run with every test. What a run does is `company`'s matter.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from tests.simulation import invariants, promises
from tests.simulation.company import Company
from tests.simulation.mutations import MUTATIONS
from tests.simulation.world import Broken, World

REGRESSIONS: Final = Path(__file__).with_name("regressions.json")
FAST_DISK: Final = Path("/dev/shm")
PROGRESS_S: Final = 10.0
FAILURES_SHOWN_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. `invariant` and `what` say what broke, if anything did; `recent` is the end of the trace then."""

    seed: int
    trace_hash: str
    steps: int
    events: int
    rows: int
    batches: int
    injected: Counter[str]
    invariant: str = ""
    what: str = ""
    recent: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        return not self.invariant


@dataclass(slots=True)
class Totals:
    """Sums over many runs."""

    runs: int = 0
    steps: int = 0
    events: int = 0
    rows: int = 0
    batches: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.steps += outcome.steps
        self.events += outcome.events
        self.rows += outcome.rows
        self.batches += outcome.batches
        self.injected.update(outcome.injected)
        if not outcome.held:
            self.failures.append(outcome)


def simulate(seed: int, mutation: str = "") -> Outcome:
    """One run. `mutation` names a safeguard that is switched off. Any exception that escapes is a failure like a broken one."""
    world = World(seed)
    invariant, what = "", ""
    with _folder() as home, _silent(), ExitStack() as switched_off:
        if mutation:
            switched_off.enter_context(MUTATIONS[mutation].switched_off())
        company = Company(world, home)
        try:
            _live(company)
        except Broken as broken:
            invariant, what = broken.invariant, str(broken)
        except Exception as fault:  # whatever it is, it is a fault that the real code let through
            invariant = "no exception escapes"
            what = f"{type(fault).__name__}: {fault}\n{''.join(traceback.format_tb(fault.__traceback__)[-4:])}"
        finally:
            company.close()
    recent = tuple(world.recent) if invariant else ()
    for row in company.ingest.ledger.rows():
        world.note("row", row.shard, row.position, row.kind, row.leaf_hash.hex())
    for stream, state in sorted(company.ingest.views.states.items()):
        world.note("state", stream, state.version, state.state_hash.hex())
    return Outcome(
        seed=seed,
        trace_hash=world.trace_hash(),
        steps=world.steps,
        events=len(company.confirmed),
        rows=len(company.ingest.ledger.rows()),
        batches=len(company.bridge.batches),
        injected=world.faults.injected,
        invariant=invariant,
        what=what,
        recent=recent,
    )


def _live(company: Company) -> None:
    invariants.Watch(company)
    for handset in company.handsets:
        handset.heard = lambda one: promises.after_sync(one, company.ingest)
    company.storm()
    company.calm()
    invariants.check(company)
    promises.check(company)


@contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder for one run, beside the templates of enrolled devices that a process makes once."""
    home = Path(tempfile.mkdtemp(dir=_root()))
    try:
        yield home
    finally:
        shutil.rmtree(home)


_roots: list[tempfile.TemporaryDirectory[str]] = []


def _root() -> Path:
    if not _roots:
        place = FAST_DISK if FAST_DISK.is_dir() else None
        _roots.append(tempfile.TemporaryDirectory(prefix="zb-simulation-", dir=place))
    return Path(_roots[0].name)


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is logged: a run says all in its trace."""
    logging = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**logging)


def known_failures() -> list[int]:
    """The seeds that once failed."""
    return [int(seed) for seed in json.loads(REGRESSIONS.read_text())["seeds"]]


def keep(failures: Iterable[Outcome]) -> None:
    """Add the seeds of these runs to regressions.json."""
    seeds = sorted({*known_failures(), *(outcome.seed for outcome in failures)})
    REGRESSIONS.write_text(json.dumps({"seeds": seeds}, indent=1) + "\n")


def many(seeds: Sequence[int], workers: int) -> Iterator[Outcome]:
    """These runs, in no certain order."""
    if workers == 1:
        yield from map(simulate, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=8)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m tests.simulation.run`: 0 when every invariant held in every run."""
    parser = argparse.ArgumentParser(prog="simulate", description="runs the simulation")
    parser.add_argument("--seeds", type=int, default=200, help="how many runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--keep", action="store_true", help="add failing seeds to regressions.json")
    chosen = parser.parse_args(arguments)
    begun = said = time.monotonic()
    totals = Totals()
    for outcome in many(range(chosen.first, chosen.first + chosen.seeds), chosen.workers):
        totals.add(outcome)
        if not outcome.held and len(totals.failures) <= FAILURES_SHOWN_MAX:
            _say(describe(outcome))
        if time.monotonic() - said >= PROGRESS_S:
            said = time.monotonic()
            _say(f"{totals.runs} of {chosen.seeds} runs, {len(totals.failures)} failed, {said - begun:.0f} s")
    if chosen.keep:
        keep(totals.failures)
    for fault, times in totals.injected.most_common():
        _say(f"  {fault}: {times}")
    _say(_summary(totals, time.monotonic() - begun))
    return 1 if totals.failures else 0


def describe(outcome: Outcome) -> str:
    """What broke, the end of the trace, and how to see it again."""
    lines = [f"seed {outcome.seed} broke: {outcome.what}", *(f"    {line}" for line in outcome.recent)]
    again = f"make simulate SEEDS=1 FIRST={outcome.seed}"
    return "\n".join([*lines, f"again: {again}   (trace {outcome.trace_hash[:16]})"])


def _summary(totals: Totals, took_s: float) -> str:
    failed = (
        f"{len(totals.failures)} FAILED: {[outcome.seed for outcome in totals.failures[:20]]}" if totals.failures else "all held"
    )
    counted = f"{totals.steps} steps, {totals.events} events confirmed, {totals.rows} rows, {totals.batches} batches"
    return f"{totals.runs} runs in {took_s:.0f} s: {failed}; {counted}, {totals.injected.total()} faults injected"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
