"""Each safeguard switched off, under a run that is known to notice; the table of it stands at the end of the test's output."""

from collections.abc import Callable

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import simulate
from tests.simulation.search import first_catch, known_seeds

MUTATIONS_MIN = 15
SEEDS_TRIED_MAX = 40


def test_there_is_a_seed_for_every_safeguard() -> None:
    assert len(MUTATIONS) >= MUTATIONS_MIN
    assert known_seeds().keys() == MUTATIONS.keys()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_safeguard_that_is_switched_off_is_noticed(mutation: str, record_property: Callable[[str, object], None]) -> None:
    # The known seed notices at once; where the code has changed since, a few others may have to be tried.
    seeds = [known_seeds()[mutation], *range(1, SEEDS_TRIED_MAX)]
    outcome = first_catch(mutation, seeds)
    assert outcome is not None, f"without the safeguard ({MUTATIONS[mutation].promise}) nothing was noticed in {len(seeds)} runs"
    record_property("mutation", mutation)
    record_property("noticed by", f"seed {outcome.seed}: {outcome.invariant}")
    assert simulate(outcome.seed).held, "the run fails with every safeguard in its place"
