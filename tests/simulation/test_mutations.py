"""Each safeguard switched off, under a run that is known to notice; the table of it stands at the end of the test's output."""

from collections.abc import Callable

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import simulate
from tests.simulation.search import known_seeds

MUTATIONS_MIN = 15


def test_there_is_a_seed_for_every_safeguard() -> None:
    assert len(MUTATIONS) >= MUTATIONS_MIN
    assert known_seeds().keys() == MUTATIONS.keys()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_safeguard_that_is_switched_off_is_noticed(mutation: str, record_property: Callable[[str, object], None]) -> None:
    seed = known_seeds()[mutation]
    outcome = simulate(seed, mutation)
    assert not outcome.held, f"without the safeguard ({MUTATIONS[mutation].promise}) nothing was noticed"
    record_property("mutation", mutation)
    record_property("noticed by", f"seed {seed}: {outcome.invariant}")
    assert simulate(seed).held, "the run fails with every safeguard in its place"
