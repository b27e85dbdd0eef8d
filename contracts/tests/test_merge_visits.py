"""Visits, status and assignment: what the field recorded is kept per visit and whole."""

import pytest

from contracts.tests.histories import Author, device, everything, part, uuid7
from contracts.tests.test_merge_story import Story, merged, morning
from zb_contracts.events import AuthorKind, fieldwork, office
from zb_contracts.merge.state import InterventionState


def at_work() -> tuple[Story, str]:
    story = morning()
    return story, story.anna.at("10:05").write(fieldwork.Started(), opens=True).id


def with_other(story: Story, other: Author) -> InterventionState:
    return merged([*story.events, *other.written])


def test_a_whole_visit_is_told_step_by_step() -> None:
    story = morning()
    anna = story.anna
    visit = anna.at("09:30").write(fieldwork.TravelStarted(), opens=True).id
    anna.at("09:55").write(fieldwork.TravelEnded(), visit=visit)
    anna.at("09:56").write(fieldwork.Arrived(), visit=visit)
    anna.at("10:00").write(fieldwork.Started(), visit=visit)
    anna.at("11:00").write(fieldwork.Paused(reason="lunch"), visit=visit)
    anna.at("11:30").write(fieldwork.Resumed(), visit=visit)
    anna.at("11:40").write(fieldwork.Diagnosed(diagnosis="worn seal"), visit=visit)
    anna.at("11:45").write(fieldwork.EquipmentStateSet(equipment="boiler-1", equipment_state="in_service"), visit=visit)
    anna.at("12:00").write(fieldwork.Done(work_done="seal replaced"), visit=visit)
    state = story.state()
    (told,) = state.visits
    assert sorted(told.facts) == ["arrived", "diagnosis", "ended", "started", "travel_ended", "travel_started"]
    assert (told.phase, told.outcome, told.technician, told.flags) == ("ended", "done", "anna", [])
    assert [(pause.reason, pause.resumed is not None) for pause in told.pauses] == [("lunch", True)]
    assert told.equipment["boiler-1"].value["equipment_state"] == "in_service"
    assert told.facts["ended"].value == {"work_done": "seal replaced"}
    assert (state.status, state.held_by) == ("done", [])


def test_travel_alone_is_travelling_and_in_progress() -> None:
    story = morning()
    story.anna.write(fieldwork.TravelStarted(), opens=True)
    state = story.state()
    assert (state.visits[0].phase, state.status, state.held_by) == ("travelling", "in_progress", ["anna"])


def test_a_pause_and_its_end_stay_together_when_the_clock_jumps_between() -> None:
    story, visit = at_work()
    story.anna.anchored = False
    story.anna.at("11:00").write(fieldwork.Paused(), visit=visit)
    story.anna.at("09:00").write(fieldwork.Resumed(), visit=visit)
    (pause,) = story.state().visits[0].pauses
    assert pause.resumed is not None


def test_an_informed_reassignment_does_not_end_a_visit() -> None:
    story, _ = at_work()
    story.office.learn(story.anna)
    story.office.write(office.Assigned(assignee="boris"))
    state = story.state()
    assert (state.assignee, state.held_by, state.status) == ("boris", ["anna"], "in_progress")


@pytest.mark.parametrize(
    "end",
    [fieldwork.Done(), fieldwork.NotDone(reason_code="absent"), fieldwork.Left(), fieldwork.Released(reason="no key"), None],
)
def test_the_end_of_a_visit_ends_the_holding_whatever_the_end_is(end: fieldwork.Body | None) -> None:
    """None: the office ended it, because the device was lost."""
    story = morning()
    visit = story.anna.write(fieldwork.Started(), opens=True).id
    assert story.state().held_by == ["anna"]
    if end is not None:
        story.anna.write(end, visit=visit)
    else:
        story.office.learn(story.anna).write(office.VisitAbandoned(visit=visit, reason="in the lake"))
    assert story.state().held_by == []


def test_a_visit_of_somebody_who_was_not_sent_is_kept_and_flagged() -> None:
    story = morning()
    story.boris.write(fieldwork.Started(), opens=True)
    state = story.state()
    assert (state.visits[0].flags, state.held_by, state.status) == (["not_assigned"], [], "in_progress")


def test_two_technicians_of_whom_one_was_sent_are_a_conflict_of_open_visits() -> None:
    story, _ = at_work()
    story.boris.write(fieldwork.Started(), opens=True)
    state = story.state()
    assert state.held_by == ["anna"]
    assert [conflict.code for conflict in state.conflicts] == ["two_open_visits"]


def test_two_who_came_without_knowing_of_each_other_stay_a_conflict_when_one_has_left() -> None:
    story, visit = at_work()
    story.boris.write(fieldwork.Started(), opens=True)
    story.anna.write(fieldwork.Done(), visit=visit)
    assert [conflict.code for conflict in story.state().conflicts] == ["concurrent_visits"]


def test_a_second_visit_that_knew_the_first_is_no_conflict() -> None:
    story, visit = at_work()
    story.anna.write(fieldwork.Left(), visit=visit)
    story.boris.learn(story.anna)
    story.boris.write(fieldwork.Started(), opens=True)
    assert story.state().conflicts == []


def test_status_goes_open_then_done_then_not_done_then_office() -> None:
    story, visit = at_work()
    assert story.state().status == "in_progress"
    story.anna.write(fieldwork.NotDone(reason_code="absent"), visit=visit)
    assert story.state().status == "not_done"
    again = story.anna.write(fieldwork.Started(), opens=True).id
    assert story.state().status == "in_progress"
    story.anna.write(fieldwork.Done(), visit=again)
    assert story.state().status == "done"


def test_leaving_and_releasing_give_the_status_back_to_the_office() -> None:
    for end in (fieldwork.Left(), fieldwork.Released(reason="no key")):
        story, visit = at_work()
        story.anna.write(end, visit=visit)
        state = story.state()
        assert (state.status, state.held_by) == ("assigned", [])


def test_a_reopening_answers_the_end_that_it_knew_and_no_other() -> None:
    story, visit = at_work()
    story.anna.write(fieldwork.Done(), visit=visit)
    story.office.write(office.Reopened(reason="still leaking"))
    assert story.state().status == "done"
    story.office.learn(story.anna)
    story.office.write(office.Reopened(reason="still leaking"))
    state = story.state()
    assert (state.status, state.reopened is not None, len(state.visits)) == ("assigned", True, 1)


def test_the_office_view_is_draft_planned_assigned() -> None:
    story = morning()
    wanted = ("draft", "planned", "assigned")
    assert tuple(merged(story.office.written[: count + 1]).status for count in range(3)) == wanted
    story.office.write(office.Assigned(assignee="none"))
    state = story.state()
    assert (state.status, state.assignee) == ("planned", None)


def test_the_office_ends_a_visit_that_a_lost_device_left_open() -> None:
    story, visit = at_work()
    story.office.learn(story.anna)
    story.office.write(office.VisitAbandoned(visit=visit, reason="device in the river"))
    state = story.state()
    assert (state.visits[0].phase, state.visits[0].outcome, state.held_by) == ("ended", "abandoned", [])
    assert state.visits[0].facts["ended"].rule == "abandoned_by_office"
    assert state.status == "assigned"


def test_field_events_that_an_abandonment_did_not_know_reopen_the_visit_as_a_conflict() -> None:
    story, visit = at_work()
    story.office.learn(story.anna)
    abandonment = story.office.write(office.VisitAbandoned(visit=visit, reason="device in the river"))
    used = story.anna.write(part(), visit=visit)
    state = story.state()
    assert (state.visits[0].phase, state.status, len(state.lines)) == ("begun", "in_progress", 1)
    assert [(conflict.code, conflict.events) for conflict in state.conflicts] == [
        ("abandoned_visit_continued", [abandonment.id, used.id])
    ]


def test_an_end_that_an_abandonment_did_not_know_stands_and_the_abandonment_is_set_aside() -> None:
    story, visit = at_work()
    story.office.learn(story.anna)
    abandonment = story.office.write(office.VisitAbandoned(visit=visit, reason="device in the river"))
    done = story.anna.write(fieldwork.Done(), visit=visit)
    state = story.state()
    assert (state.status, state.visits[0].outcome) == ("done", "done")
    (item,) = state.visits[0].facts["ended"].set_aside
    assert (item.origin.event, item.against, item.rule) == (abandonment.id, done.id, "abandoned_visit_continued")


def test_an_abandonment_of_a_visit_that_it_knew_as_ended_changes_nothing() -> None:
    story, visit = at_work()
    story.anna.write(fieldwork.Done(), visit=visit)
    story.office.learn(story.anna)
    story.office.write(office.VisitAbandoned(visit=visit, reason="device in the river"))
    story.anna.write(part(), visit=visit)
    state = story.state()
    assert (state.visits[0].outcome, state.conflicts) == ("done", [])


def test_nobody_writes_into_the_visit_of_another() -> None:
    story, visit = at_work()
    story.boris.learn(story.anna)
    story.boris.write(fieldwork.Done(), visit=visit)
    state = story.state()
    assert state.status == "in_progress"
    by_technician = {item.technician: item for item in state.visits}
    assert by_technician["anna"].phase == "begun"
    assert (by_technician["boris"].id, by_technician["boris"].flags) == (
        f"{visit}:boris",
        ["not_assigned", "strange_visit"],
    )


def test_a_visit_goes_on_on_another_device_of_the_same_technician() -> None:
    story, visit = at_work()
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    tablet.write(fieldwork.Done(), visit=visit)
    state = with_other(story, tablet)
    assert (len(state.visits), state.status) == (1, "done")


def test_two_ends_that_did_not_know_of_each_other_are_both_kept() -> None:
    story, visit = at_work()
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    story.anna.at("11:00").write(fieldwork.NotDone(reason_code="absent"), visit=visit)
    tablet.at("11:01").write(fieldwork.Done(), visit=visit)
    state = with_other(story, tablet)
    ended = state.visits[0].facts["ended"]
    assert (state.visits[0].outcome, [item.rule for item in ended.set_aside]) == ("done", ["latest_clock"])


def test_steps_after_the_end_are_flagged_and_do_not_open_the_visit_again() -> None:
    story, visit = at_work()
    story.anna.write(fieldwork.Done(), visit=visit)
    story.anna.write(fieldwork.Paused(), visit=visit)
    state = story.state()
    assert (state.status, state.visits[0].flags) == ("done", ["continued_after_end"])


def test_a_fact_that_names_no_visit_is_counted_and_changes_nothing() -> None:
    story = morning()
    story.anna.write(fieldwork.Done())
    state = story.state()
    assert (state.visits, [item.reason for item in state.unknown]) == ([], ["no_visit"])


def test_a_visit_whose_opening_is_refused_keeps_the_rest() -> None:
    story = morning()
    story.anna.write(fieldwork.Done(), visit=uuid7(5))
    state = story.state()
    assert (state.status, state.visits[0].flags) == ("done", ["opening_missing"])


def test_an_abandonment_of_nothing_is_counted() -> None:
    story = morning()
    story.office.write(office.VisitAbandoned(visit=uuid7(5), reason="device lost"))
    assert [item.reason for item in story.state().unknown] == ["names_nothing_here"]


def test_an_admission_is_visible() -> None:
    story, _ = at_work()
    supervisor = Author(name="field-ingest", kind=AuthorKind.SERVICE, number=960)
    held = story.anna.written[-1]
    supervisor.write(
        office.EventAdmitted(
            event=held.id, author="device-a", author_seq=held.header.seq, supervisor="sup-1", reason="checked by phone"
        )
    )
    (admission,) = merged(everything(story.office, story.anna, supervisor)).admissions
    assert (admission.event, admission.supervisor) == (held.id, "sup-1")
