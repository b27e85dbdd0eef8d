"""Looks for a seed that notices each mutation, and prints the table of which invariant it was.

`python -m tests.simulation.search` writes mutations.json, from which the tests run one seed each.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import Outcome, simulate

SEEDS: Final = Path(__file__).with_name("mutations.json")
SEARCHED_MAX: Final = 400


def known_seeds() -> dict[str, int]:
    """Mutation -> a seed that notices it."""
    found: dict[str, int] = json.loads(SEEDS.read_text())
    return found


def table(caught: Sequence[tuple[str, Outcome]]) -> str:
    """Which invariant caught which mutation, with which seed."""
    rows = [(name, f"seed {outcome.seed}", outcome.invariant) for name, outcome in caught]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {seed:<{widths[1]}}  {invariant}" for name, seed, invariant in rows)


def first_catch(mutation: str, seeds: Sequence[int]) -> Outcome | None:
    """The first of these runs that notices; None when none does."""
    return next((outcome for seed in seeds if not (outcome := simulate(seed, mutation)).held), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every mutation was noticed within SEARCHED_MAX seeds."""
    parser = argparse.ArgumentParser(prog="search", description="looks for seeds that notice each mutation")
    parser.add_argument("mutations", nargs="*", help="which ones (all)")
    chosen = parser.parse_args(arguments)
    known = known_seeds() if SEEDS.exists() else {}
    caught: list[tuple[str, Outcome]] = []
    missed: list[str] = []
    for mutation in chosen.mutations or MUTATIONS:
        first = known.get(mutation, 1)
        outcome = first_catch(mutation, [first, *range(1, SEARCHED_MAX + 1)])
        if outcome is None:
            missed.append(mutation)
            known.pop(mutation, None)
        else:
            caught.append((mutation, outcome))
            known[mutation] = outcome.seed
            sys.stdout.write(f"{mutation}: seed {outcome.seed}, {outcome.what[:150]}\n")
            sys.stdout.flush()
    SEEDS.write_text(json.dumps({name: known[name] for name in MUTATIONS if name in known}, indent=1) + "\n")
    sys.stdout.write(table(caught) + "\n" if caught else "")
    sys.stdout.write(f"not noticed: {missed}\n" if missed else "all noticed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
