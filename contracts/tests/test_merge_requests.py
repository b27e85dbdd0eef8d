"""Requests, policies that let a proposal stand, answers, and corrections beside a closed visit's facts."""

import pytest

from contracts.tests.histories import planned, uuid7
from contracts.tests.test_merge_story import Story, morning
from zb_contracts.events import fieldwork, office

TOMORROW = "2026-11-23T08:00:00.000Z"


def proposal(field: str = "planned_start", value: str = TOMORROW) -> office.RequestMade:
    return office.RequestMade(field=field, value=value, reason="agreed on site")


def allowing(*fields: str) -> Story:
    story = morning()
    story.office.write(planned("14:00", *fields))
    story.anna.learn(story.office)
    return story


def test_a_field_proposal_on_an_office_field_is_a_request() -> None:
    story = morning()
    story.anna.write(proposal())
    state = story.state()
    assert [(item.side, item.field, item.value, item.status) for item in state.requests] == [
        ("field", "planned_start", TOMORROW, "open")
    ]
    assert state.fields["planned_start"].value == "2026-11-22T14:00:00.000Z"


def test_a_proposal_stands_directly_where_the_policy_of_the_plan_says_so() -> None:
    story = allowing("planned_start")
    story.anna.write(proposal())
    state = story.state()
    assert state.requests[0].status == "stands"
    start = state.fields["planned_start"]
    assert (start.value, start.rule, start.origin.side) == (TOMORROW, "policy_stands", "field")


def test_the_policy_that_counts_is_the_one_that_the_proposal_knew() -> None:
    story = allowing("planned_start")
    story.office.write(planned("15:00"))
    story.anna.write(proposal())
    assert story.state().requests[0].status == "stands"
    strict = morning()
    strict.office.write(planned("15:00", "planned_start"))
    strict.anna.write(proposal())
    assert strict.state().requests[0].status == "open"


def test_a_standing_proposal_and_a_move_that_did_not_know_of_each_other_are_equals() -> None:
    story = allowing("planned_start")
    move = story.office.at("10:00").write(office.Rescheduled(planned_start="2026-11-22T16:00:00.000Z"))
    agreed = story.anna.at("10:05").write(proposal())
    start = story.state().fields["planned_start"]
    assert start.origin.event == agreed.id
    assert [(item.origin.event, item.rule) for item in start.set_aside] == [(move.id, "latest_clock")]


def test_the_office_overtakes_the_proposal_that_it_knew() -> None:
    story = allowing("planned_start")
    story.anna.write(proposal())
    story.office.learn(story.anna)
    story.office.write(office.Rescheduled(planned_start="2026-11-22T16:00:00.000Z"))
    start = story.state().fields["planned_start"]
    assert (start.origin.side, start.set_aside) == ("office", [])


@pytest.mark.parametrize(
    ("field", "value"), [("planned_start", "tomorrow"), ("duration_min", "-5"), ("priority", "now"), ("policy", "x")]
)
def test_a_proposal_that_does_not_read_as_a_value_stays_a_request(field: str, value: str) -> None:
    story = allowing(field)
    story.anna.write(proposal(field, value))
    assert story.state().requests[0].status == "open"


def test_no_policy_lets_the_field_assign() -> None:
    story = allowing("assignee")
    story.anna.write(proposal("assignee", "boris"))
    state = story.state()
    assert (state.assignee, state.requests[0].status) == ("anna", "open")


def test_an_office_edit_of_a_visit_fact_is_a_request() -> None:
    story = morning()
    story.office.write(proposal("diagnosis", "worn seal"))
    assert [(item.side, item.status) for item in story.state().requests] == [("office", "open")]


@pytest.mark.parametrize("accepted", [True, False])
def test_the_other_side_answers(accepted: bool) -> None:
    story = morning()
    asked = story.anna.write(proposal())
    story.office.learn(story.anna)
    story.office.write(
        office.RequestAccepted(request=asked.id) if accepted else office.RequestDeclined(request=asked.id, reason="customer away")
    )
    (request,) = story.state().requests
    assert request.status == ("accepted" if accepted else "declined")
    assert request.answer is not None
    assert request.answer.value["reason"] == (None if accepted else "customer away")


def test_nobody_answers_their_own_request() -> None:
    story = morning()
    asked = story.anna.write(proposal())
    story.anna.write(office.RequestAccepted(request=asked.id))
    state = story.state()
    assert state.requests[0].status == "open"
    assert [item.reason for item in state.unknown] == ["answered_by_the_asker"]


def test_an_answer_to_nothing_is_counted() -> None:
    story = morning()
    story.office.write(office.RequestAccepted(request=uuid7(77)))
    assert [item.reason for item in story.state().unknown] == ["names_nothing_here"]


def correction(visit: str, value: str = "worn seal") -> office.Corrected:
    return office.Corrected(visit=visit, field="diagnosis", value=value, reason="typed wrong")


def closed_visit() -> tuple[Story, str]:
    story = morning()
    visit = story.anna.write(fieldwork.Started(), opens=True).id
    story.anna.write(fieldwork.Diagnosed(diagnosis="worn sael"), visit=visit)
    story.anna.write(fieldwork.Done(), visit=visit)
    return story, visit


def test_a_correction_of_a_closed_visit_lies_beside_the_fact_never_instead() -> None:
    story, visit = closed_visit()
    story.office.learn(story.anna)
    story.office.write(correction(visit, "worn seel"))
    story.office.write(correction(visit))
    state = story.state()
    assert state.visits[0].facts["diagnosis"].value == {"diagnosis": "worn sael"}
    assert [(item.value, item.current) for item in state.corrections] == [("worn seel", False), ("worn seal", True)]
    assert state.requests == []


def test_a_correction_that_did_not_know_the_end_is_a_request() -> None:
    story, visit = closed_visit()
    story.office.write(correction(visit))
    state = story.state()
    assert state.corrections == []
    assert [(item.side, item.field, item.visit, item.status) for item in state.requests] == [
        ("office", "diagnosis", visit, "open")
    ]


def test_a_correction_of_nothing_is_counted() -> None:
    story = morning()
    story.office.write(correction(uuid7(77)))
    assert [item.reason for item in story.state().unknown] == ["names_nothing_here"]
