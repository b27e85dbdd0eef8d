"""The story that must always hold, with its variants, in every order of arrival and with every event sent twice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import pytest

from contracts.tests.histories import (
    INTERVENTION,
    Author,
    agency,
    created,
    device,
    dice,
    everything,
    moved,
    part,
    payment,
    photo,
    planned,
)
from zb_contracts.events import fieldwork, office
from zb_contracts.keys import SigningKey
from zb_contracts.merge.causality import MergeEvent, merge_event
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import InterventionState, state_hash
from zb_contracts.merge.why import explain

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS


@dataclass
class Story:
    """Morning: planned for 14:00, assigned to Anna, who goes out of reach at 09:30."""

    office: Author
    anna: Author
    boris: Author

    @property
    def events(self) -> list[MergeEvent]:
        return everything(self.office, self.anna, self.boris)

    def state(self) -> InterventionState:
        return merged(self.events)


def merged(events: Iterable[MergeEvent]) -> InterventionState:
    state = fold(INTERVENTION, events)
    assert isinstance(state, InterventionState)
    return state


def morning() -> Story:
    story = Story(agency(), device("device-a", "anna", 1), device("device-b", "boris", 2))
    story.office.at("08:00").write(created())
    story.office.write(planned("14:00"))
    story.office.write(office.Assigned(assignee="anna"))
    story.anna.learn(story.office)
    story.boris.learn(story.office)
    return story


def ten_o_clock(story: Story) -> str:
    """10:00 the office moves the start; 10:05 Anna, off line, starts and takes two photos. Answers her visit."""
    story.office.at("10:00").write(moved("16:00"))
    visit = story.anna.at("10:05").write(fieldwork.Started(), opens=True).id
    story.anna.at("10:10").write(photo("before"), visit=visit)
    story.anna.at("10:20").write(photo("after"), visit=visit)
    return visit


def test_the_move_and_the_start_both_stand_and_nothing_is_to_be_solved() -> None:
    story = morning()
    visit = ten_o_clock(story)
    state = story.state()
    start = state.fields["planned_start"]
    assert (start.value, start.origin.side, start.set_aside) == ("2026-11-22T16:00:00.000Z", "office", [])
    assert state.status == "in_progress"
    assert state.visits[0].id == visit
    assert state.visits[0].facts["started"].origin.at == "2026-11-22T10:05:00.000Z"
    assert [line.value["label"] for line in state.lines] == ["before", "after"]
    assert state.held_by == ["anna"]
    assert state.conflicts == []
    assert state.requests == []
    assert state.unknown == []


def test_each_of_the_four_facts_keeps_its_clocks() -> None:
    story = morning()
    ten_o_clock(story)
    state = story.state()
    origins = [
        state.fields["planned_start"].origin,
        state.visits[0].opening,
        *(line.origin for line in state.lines),
    ]
    assert [origin.at[11:16] for origin in origins] == ["10:00", "10:05", "10:10", "10:20"]
    assert all(origin.trusted_ms is not None for origin in origins)


def test_every_order_of_arrival_gives_the_same_state_even_twice() -> None:
    story = morning()
    ten_o_clock(story)
    expected = state_hash(story.state())
    assert len(story.events) == 7
    for order in permutations(story.events):
        assert state_hash(merged(order)) == expected
    shuffled = story.events * 2
    for seed in range(50):
        dice(seed).shuffle(shuffled)
        assert state_hash(merged(shuffled)) == expected


@pytest.mark.parametrize("error_ms", [HOUR_MS, -HOUR_MS, YEAR_MS, -YEAR_MS])
@pytest.mark.parametrize("anchored", [True, False])
def test_a_wrong_wall_clock_changes_no_winner(error_ms: int, anchored: bool) -> None:
    def winners(wrong_ms: int) -> tuple[object, ...]:
        story = morning()
        story.anna.wrong_clock_ms, story.anna.anchored = wrong_ms, anchored
        ten_o_clock(story)
        state = story.state()
        values = {name: register.value for name, register in state.fields.items()}
        lines = sorted(line.id for line in state.lines)
        return values, state.status, state.held_by, lines, [visit.id for visit in state.visits], state.conflicts

    assert winners(error_ms) == winners(0)


def test_a_wrong_wall_clock_is_told_as_an_interval_with_its_reason() -> None:
    story = morning()
    story.anna.wrong_clock_ms = HOUR_MS
    ten_o_clock(story)
    sentence = next(item.sentence for item in explain(story.state(), "status", "en"))
    assert "between 2026-11-22 10:05 and 2026-11-22 11:05 UTC" in sentence
    assert "its clock differs from the server's" in sentence


def test_a_clock_that_never_met_the_server_is_told_as_such() -> None:
    story = morning()
    story.anna.anchored = False
    ten_o_clock(story)
    state = story.state()
    assert state.visits[0].opening.trusted_ms is None
    assert "never compared with the server" in explain(state, "status", "en")[0].sentence
    assert "jamais comparée au serveur" in explain(state, "status", "fr")[0].sentence


def test_variant_a_cancel_at_ten_leaves_the_visit_standing_and_asks_the_dispatcher() -> None:
    story = morning()
    cancel = story.office.at("10:00").write(office.Cancelled(reason="the customer called"))
    visit = story.anna.at("10:05").write(fieldwork.Started(), opens=True).id
    story.anna.write(photo("before"), visit=visit)
    state = story.state()
    assert state.status == "in_progress"
    verdict = state.visits[0].cancel_verdict
    assert verdict is not None
    assert (verdict.code, verdict.column, verdict.row, verdict.ask) == (
        "cancelled_too_late",
        "concurrent",
        "begun",
        "dispatcher",
    )
    cancelled = state.fields["cancelled"]
    assert cancelled.value is False
    assert [(item.rule, item.origin.event, item.against) for item in cancelled.set_aside] == [
        ("cancelled_too_late", cancel.id, visit)
    ]
    assert [conflict.code for conflict in state.conflicts] == ["cancelled_too_late"]
    assert len(state.lines) == 1


def test_variant_a_reassignment_to_another_who_starts_as_well_keeps_both_visits_whole() -> None:
    story = morning()
    story.office.at("10:00").write(office.Assigned(assignee="boris"))
    story.boris.learn(story.office)
    for author in (story.anna, story.boris):
        visit = author.at("10:05").write(fieldwork.Started(), opens=True).id
        author.write(photo(author.name), visit=visit)
        author.write(part(), visit=visit)
        author.write(payment(), visit=visit)
    state = story.state()
    assert state.assignee == "boris"
    assert state.held_by == ["anna", "boris"]
    assert [visit.technician for visit in state.visits] == ["anna", "boris"]
    assert all(visit.flags == [] for visit in state.visits)
    for visit in state.visits:
        kinds = sorted(line.kind for line in state.lines if line.visit == visit.id)
        assert kinds == ["part", "payment", "photo"]
    assert [(conflict.code, len(conflict.visits)) for conflict in state.conflicts] == [("two_holders", 2)]


def test_the_story_holds_for_events_read_from_their_signed_bytes() -> None:
    story = morning()
    ten_o_clock(story)
    signed: Sequence[Author] = [story.office, story.anna]
    again = morning()
    for number, author in enumerate((again.office, again.anna, again.boris)):
        author.seq, author.knowledge, author.written = 0, {}, []
        author.key = SigningKey.from_seed(bytes([number]) * 32)
    again.office.at("08:00").write(created())
    again.office.write(planned("14:00"))
    again.office.write(office.Assigned(assignee="anna"))
    again.anna.learn(again.office)
    ten_o_clock(again)
    read = [merge_event(event, author.kind) for author in (again.office, again.anna) for event in author.parsed()]
    state = merged(read)
    expected = merged(everything(*signed))
    assert [(line.id, line.value) for line in state.lines] == [(line.id, line.value) for line in expected.lines]
    assert state == expected
