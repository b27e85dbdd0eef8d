"""Cancel meets visit: every cell of the table by a history of its own, and the table is total."""

import pytest

from contracts.tests.histories import INTERVENTION, Author, everything, part, planned
from contracts.tests.test_merge_story import Story, merged, morning
from zb_contracts.events import fieldwork, office
from zb_contracts.merge.cancellation import COLUMNS, ROWS, TABLE
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import InterventionState

CELLS = {
    # (column, row): verdict, status, cancelled register, ask
    ("known", "travelling"): ("travelled_on_cancelled", "in_progress", True, "dispatcher"),
    ("known", "turned_back"): ("travelled_on_cancelled", "cancelled", True, "dispatcher"),
    ("known", "begun"): ("worked_on_cancelled", "in_progress", False, "dispatcher"),
    ("known", "ended"): ("worked_on_cancelled", "done", False, "dispatcher"),
    ("informed", "travelling"): ("recall", "in_progress", True, "technician"),
    ("informed", "turned_back"): ("turned_back", "cancelled", True, None),
    ("informed", "begun"): ("stop_request", "in_progress", True, "technician"),
    ("informed", "ended"): ("cancelled_after_visit", "done", True, None),
    ("concurrent", "travelling"): ("recall", "in_progress", True, "technician"),
    ("concurrent", "turned_back"): ("turned_back", "cancelled", True, None),
    ("concurrent", "begun"): ("cancelled_too_late", "in_progress", False, "dispatcher"),
    ("concurrent", "ended"): ("cancelled_too_late", "done", False, "dispatcher"),
}


def set_out(anna: Author, row: str) -> str:
    opening = fieldwork.TravelStarted() if row in ("travelling", "turned_back") else fieldwork.Started()
    return anna.write(opening, opens=True).id


def finish(anna: Author, row: str, visit: str) -> None:
    if row == "turned_back":
        anna.write(fieldwork.Left(), visit=visit)
    elif row == "ended":
        anna.write(fieldwork.Done(), visit=visit)


def cancel(story: Story) -> None:
    story.office.write(office.Cancelled(reason="the customer called"))


def play(column: str, row: str) -> InterventionState:
    story = morning()
    if column in ("known", "concurrent"):
        cancel(story)
    if column == "known":
        story.anna.learn(story.office)
    visit = set_out(story.anna, row)
    if column == "informed":
        story.office.learn(story.anna)
        cancel(story)
    finish(story.anna, row, visit)
    return story.state()


def test_the_table_is_total() -> None:
    assert set(TABLE) == {(column, row) for column in COLUMNS for row in ROWS}


def test_every_cell_with_a_cancel_and_a_visit_is_played_here() -> None:
    assert set(CELLS) == {(column, row) for column, row in TABLE if "none" not in (column, row)}


@pytest.mark.parametrize(("column", "row"), CELLS)
def test_cell(column: str, row: str) -> None:
    verdict, status, cancelled, ask = CELLS[column, row]
    state = play(column, row)
    found = state.visits[0].cancel_verdict
    assert found is not None
    assert (found.column, found.row, found.code, found.ask) == (column, row, verdict, ask)
    assert (state.status, state.fields["cancelled"].value) == (status, cancelled)
    assert [conflict.code for conflict in state.conflicts] == ([verdict] if ask == "dispatcher" else [])
    assert bool(state.fields["cancelled"].set_aside) is not cancelled


@pytest.mark.parametrize("row", ["travelling", "turned_back", "begun", "ended"])
def test_without_a_cancel_no_visit_has_a_verdict(row: str) -> None:
    story = morning()
    finish(story.anna, row, set_out(story.anna, row))
    state = story.state()
    assert state.visits[0].cancel_verdict is None
    assert "cancelled" not in state.fields


def test_a_cancel_without_a_visit_cancels() -> None:
    story = morning()
    cancel(story)
    state = story.state()
    assert (state.status, state.fields["cancelled"].value) == ("cancelled", True)
    assert [item.reason for item in state.cancels] == ["the customer called"]


@pytest.mark.parametrize("overtaking", [planned("17:00"), office.Reopened(reason="the customer called again")])
def test_a_plan_or_a_reopening_overtakes_the_cancel_that_it_knows(overtaking: office.Planned | office.Reopened) -> None:
    story = morning()
    cancel(story)
    story.office.write(overtaking)
    state = story.state()
    assert (state.status, state.cancels, "cancelled" in state.fields) == ("assigned", [], False)


def test_a_move_overtakes_no_cancel() -> None:
    story = morning()
    cancel(story)
    story.office.write(office.Rescheduled(planned_start="2026-11-23T08:00:00.000Z"))
    assert story.state().status == "cancelled"


def test_a_plan_that_did_not_know_the_cancel_leaves_it_standing_as_a_conflict() -> None:
    story = morning()
    other = Author(name="office-night", kind=story.office.kind, number=901).learn(story.office)
    cancel(story)
    other.write(planned("17:00"))
    state = merged([*story.events, *other.written])
    assert state.status == "cancelled"
    assert [conflict.code for conflict in state.conflicts] == ["cancelled_while_planned"]


def test_of_several_cancels_the_one_that_the_field_knew_counts_first() -> None:
    story = morning()
    other = Author(name="office-night", kind=story.office.kind, number=901).learn(story.office)
    cancel(story)
    story.anna.learn(story.office)
    other.write(office.Cancelled(reason="storm"))
    set_out(story.anna, "begun")
    state = merged([*story.events, *other.written])
    verdict = state.visits[0].cancel_verdict
    assert verdict is not None
    assert (verdict.code, len(verdict.cancels)) == ("worked_on_cancelled", 2)


@pytest.mark.parametrize(
    ("step", "flagged"),
    [
        (part(), True),
        (fieldwork.Done(), True),
        (fieldwork.Left(), False),
        (fieldwork.Released(reason="called off"), False),
        (fieldwork.NotDone(reason_code="cancelled"), False),
    ],
)
def test_going_on_after_the_cancel_is_known_is_flagged_and_obeying_is_not(step: fieldwork.Body, flagged: bool) -> None:
    story = morning()
    visit = set_out(story.anna, "begun")
    story.office.learn(story.anna)
    cancel(story)
    story.anna.learn(story.office)
    story.anna.write(step, visit=visit)
    assert ("continued_after_cancel" in story.state().visits[0].flags) is flagged


@pytest.mark.parametrize(("version", "status"), [(1, "cancelled"), (2, "assigned")])
def test_a_cancel_that_a_visit_set_aside_does_not_cancel_when_the_technician_has_left(version: int, status: str) -> None:
    """Rules 1 said cancelled beside a cancel that was set aside; the dispatcher, who is asked, decides since rules 2."""
    story = morning()
    visit = set_out(story.anna, "begun")
    cancel(story)
    story.anna.write(fieldwork.Left(), visit=visit)
    state = fold(INTERVENTION, story.events, version)
    assert isinstance(state, InterventionState)
    assert (state.status, state.fields["cancelled"].value) == (status, False)
    assert [conflict.code for conflict in state.conflicts] == ["cancelled_too_late"]


def test_work_on_a_known_cancel_is_flagged_on_the_visit() -> None:
    assert "worked_on_cancelled" in play("known", "begun").visits[0].flags


def test_a_set_aside_cancel_says_who_has_read_it() -> None:
    story = morning()
    cancel(story)
    visit = set_out(story.anna, "begun")
    event = story.office.written[-1].id
    story.office.learn(story.anna)
    story.office.write(office.SetAsideAcknowledged(event=event, field="cancelled"))
    story.office.write(office.SetAsideAcknowledged(event=visit, field="cancelled_too_late"))
    state = merged(everything(story.office, story.anna))
    assert [origin.actor for origin in state.fields["cancelled"].set_aside[0].acknowledged] == ["dispatcher-1"]
    assert [origin.actor for origin in state.conflicts[0].acknowledged] == ["dispatcher-1"]
