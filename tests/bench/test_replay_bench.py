"""The bench's own arithmetic and its large log: no figure is asserted, but what is measured is what we say."""

from typing import Any

import pytest

from tests.bench.replay import proofs
from tests.bench.replay.rates import Look, Rate


def test_a_rate_is_between_the_first_span_that_was_done_and_the_last() -> None:
    done: Any = None
    looks = [Look(0.5, 0, 1), Look(1.0, 20_000, 1), Look(2.0, 60_000, 1), Look(3.0, 100_000, 1), Look(3.5, 100_000, 1)]
    assert Rate(done, 0.0, 0.0, looks).events_per_s == 40_000


@pytest.mark.parametrize("leaves", [255, 1_000])
async def test_the_large_log_has_tiles_that_prove_its_leaves(database: str, leaves: int) -> None:
    found = await proofs.measure(database, leaves, seed=1, count=20)
    assert found.leaves == leaves
    assert 0 < found.p50_ms <= found.p99_ms
