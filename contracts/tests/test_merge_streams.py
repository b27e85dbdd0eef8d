"""What holds of the streams beside the interventions: order independence, idempotence, nothing lost, both events named."""

from collections import defaultdict
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.tests.test_merge_properties import set_asides
from contracts.tests.test_merge_snapshots import beside_the_interventions
from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent, knows
from zb_contracts.merge.fold import RULES, StreamFold, fold
from zb_contracts.merge.state import EquipmentState, ShiftState, SiteState, StockState, state_hash

KINDS = ["site", "equipment", "stock", "shift", "device"]
few = settings(max_examples=40, deadline=None)


def history_of(kind: str, seed: int, steps: int) -> tuple[str, list[MergeEvent]]:
    histories = beside_the_interventions(seed, steps)
    return next((stream, events) for stream, events in histories.items() if stream.startswith(kind))


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_all_permutations_of_a_small_set_give_one_state(kind: str, seed: int) -> None:
    stream, history = history_of(kind, seed, 25)
    for version in RULES:
        assert len({state_hash(fold(stream, order, version)) for order in permutations(history[:6])}) == 1


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
@few
def test_shuffles_with_duplicates_and_one_by_one_give_one_state(kind: str, seed: int, shuffler: Any) -> None:
    stream, history = history_of(kind, seed, 120)
    expected = fold(stream, history)
    arrival = history + [event for event in history if shuffler.random() < 0.5]
    shuffler.shuffle(arrival)
    folding = StreamFold(stream)
    for event in arrival:
        folding.add(event)
        folding.state()
    assert folding.state() == expected


@pytest.mark.parametrize("kind", ["site", "equipment", "shift"])
@given(st.integers(0, 2**32))
@few
def test_every_value_set_aside_names_its_rule_and_both_events(kind: str, seed: int) -> None:
    stream, history = history_of(kind, seed, 80)
    by_id = {event.id: event for event in history}
    for item in set_asides(fold(stream, history)):
        loser, winner = by_id[item.origin.event], by_id[item.against]
        assert item.rule in (rules.LATEST_CLOCK, rules.FIELD_OVER_OFFICE)
        assert not knows(loser, winner)
        assert not knows(winner, loser)


@given(st.integers(0, 2**32))
@few
def test_what_stands_on_a_shared_field_is_the_fields_where_any_of_its_last_words_is_unknown_to_all(seed: int) -> None:
    for kind in ("site", "equipment"):
        stream, history = history_of(kind, seed, 80)
        state = fold(stream, history)
        assert isinstance(state, SiteState | EquipmentState)
        for name, register in state.fields.items():
            writes = [event for event in history if event.value.get(name) is not None]
            standing = [event for event in writes if not any(knows(other, event) for other in writes)]
            assert register.origin.event in {event.id for event in standing}
            assert (register.origin.side == "field") == any(event.side == "field" for event in standing)


@given(st.integers(0, 2**32))
@few
def test_no_movement_and_no_remark_is_ever_lost(seed: int) -> None:
    stream, history = history_of("stock", seed, 120)
    stock = fold(stream, history)
    assert isinstance(stock, StockState)
    moved = [event for event in history if event.name == "stock.moved"]
    assert stock.movement_count == len(moved)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for event in moved:
        sums[event.value["part"]] += Decimal(event.value["quantity"])
    assert {part: Decimal(quantity) for part, quantity in stock.quantities.items()} == sums
    stream, history = history_of("shift", seed, 120)
    day = fold(stream, history)
    assert isinstance(day, ShiftState)
    assert {note.origin.event for note in day.notes} == {event.id for event in history if event.name == "shift.noted"}
