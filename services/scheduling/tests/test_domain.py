"""The office's rules as sentences: given what happened, when a command comes, then this happens or is refused."""

from dataclasses import replace
from typing import Any

import pytest

from scheduling import commands as c
from scheduling import events as e
from scheduling.domain import Draft, Intervention, decide, evolve, fold, status_of
from scheduling.values import Change, Details, Identity, Plan, Reported, Request, Visit, Wish
from zb_contracts.problems import (
    EXISTS_DIFFERENT,
    INPUT_INVALID,
    INPUT_NOT_FOUND,
    PLAN_CLOSED,
    PLAN_IMPOSSIBLE,
    PLAN_STATE,
    VERSION_CONFLICT,
    Problem,
    ProblemType,
)
from zb_contracts.times import parse_time_ms

NINE = parse_time_ms("2026-03-16T09:00:00.000Z")
HOUR = 3_600_000
FOURTEEN, SIXTEEN = NINE + 5 * HOUR, NINE + 7 * HOUR

LEAKY_BOILER = Identity(
    intervention="00000000-0000-5000-8000-000000000001",
    agency="main",
    reference="LEAKY-BOILER",
    kind="repair",
    site="site-1",
)
GAS = Details(title="Leaky boiler", required_skills=("gas",))
CREATED = e.InterventionCreated(identity=LEAKY_BOILER, details=GAS, wish=Wish(), at_ms=NINE)
AT_FOURTEEN = Plan(start_ms=FOURTEEN, duration_min=60)
PLANNED = e.InterventionPlanned(plan=AT_FOURTEEN, policy_version=1, field_may_set=(), at_ms=NINE)
ASSIGNED = e.TechnicianAssigned(technician="anna", tour_position=2, at_ms=NINE)
CANCELLED = e.InterventionCancelled(reason="sold", at_ms=NINE)
OPEN_VISIT = Visit(id="visit-1", technician="anna", open=True)
ENDED_VISIT = replace(OPEN_VISIT, open=False)
DONE = Reported(status="done", visits=(ENDED_VISIT,))
IN_PROGRESS = Reported(status="in_progress", visits=(OPEN_VISIT,))


class Given:
    """`given(events).reported(...).when(command).then(...)`, with the version filled in."""

    def __init__(self, *events: e.Event) -> None:
        self.state = fold(events)

    def reported(self, reported: Reported) -> "Given":
        self.state = replace(self.state, reported=reported)
        return self

    def when(self, kind: type[Any], **arguments: Any) -> "When":
        arguments = {"version": self.state.version, "at_ms": NINE} | arguments
        return When(self.state, kind(**arguments))


class When:
    def __init__(self, state: Intervention, command: c.Command) -> None:
        self.state, self.command = state, command

    def then(self, *events: e.Event) -> None:
        assert decide(self.state, self.command) == events

    def refused(self, kind: ProblemType, **details: Any) -> None:
        with pytest.raises(Problem) as caught:
            decide(self.state, self.command)
        assert caught.value.kind is kind
        assert caught.value.details | details == caught.value.details


given = Given


def create(**changes: Any) -> c.CreateIntervention:
    return c.CreateIntervention(**({"identity": LEAKY_BOILER, "details": GAS, "wish": Wish(), "at_ms": NINE} | changes))


def test_a_new_intervention_is_created() -> None:
    assert decide(Intervention(), create()) == (CREATED,)


def test_creating_the_same_again_is_no_new_fact() -> None:
    assert decide(fold([CREATED]), create(at_ms=NINE + 1)) == ()


def test_creating_it_with_another_content_is_a_named_conflict() -> None:
    with pytest.raises(Problem) as caught:
        decide(fold([CREATED]), create(details=replace(GAS, title="Dry boiler")))
    assert caught.value.kind is EXISTS_DIFFERENT


def test_a_command_on_nothing_finds_nothing() -> None:
    given().when(c.CancelIntervention, reason="sold").refused(INPUT_NOT_FOUND)


def test_an_edit_that_saw_an_older_version_is_refused() -> None:
    given(CREATED, PLANNED).when(c.CancelIntervention, version=1, reason="sold").refused(VERSION_CONFLICT, seen=1, actual=2)


def test_a_draft_is_planned_with_the_agencys_policy() -> None:
    policy = {"policy_version": 3, "field_may_set": ("planned_start",)}
    planned = replace(PLANNED, **policy)
    given(CREATED).when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=60, **policy).then(planned)


def test_the_same_plan_again_is_no_new_fact() -> None:
    given(CREATED, PLANNED).when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=60).then()


def test_a_start_outside_its_window_is_impossible() -> None:
    late = {"start_ms": FOURTEEN, "duration_min": 60, "window_end_ms": NINE}
    given(CREATED).when(c.PlanIntervention, **late).refused(PLAN_IMPOSSIBLE)


def test_a_window_that_ends_before_it_begins_is_impossible() -> None:
    with pytest.raises(Problem) as caught:
        decide(Intervention(), create(wish=Wish(window_start_ms=SIXTEEN, window_end_ms=FOURTEEN)))
    assert caught.value.kind is PLAN_IMPOSSIBLE


@pytest.mark.parametrize("minutes", [0, -5, 14 * 24 * 60 + 1])
def test_a_plan_takes_between_a_minute_and_two_weeks(minutes: int) -> None:
    given(CREATED).when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=minutes).refused(PLAN_IMPOSSIBLE)


def test_a_planned_intervention_is_assigned_to_a_technician_who_can_do_it() -> None:
    arguments = {"technician": "anna", "skills": frozenset({"gas", "lift"}), "tour_position": 2}
    given(CREATED, PLANNED).when(c.AssignTechnician, **arguments).then(ASSIGNED)


def test_a_technician_without_the_skill_is_refused_with_its_name() -> None:
    refused = given(CREATED, PLANNED).when(c.AssignTechnician, technician="bert", skills=frozenset({"lift"}))
    refused.refused(PLAN_IMPOSSIBLE, reason="bert lacks the skills gas")


def test_a_draft_has_no_place_in_the_day_to_assign() -> None:
    given(CREATED).when(c.AssignTechnician, technician="anna", skills=frozenset({"gas"})).refused(PLAN_STATE, status="draft")


def test_an_intervention_is_taken_from_everybody() -> None:
    event = e.TechnicianAssigned(technician=None, tour_position=None, at_ms=NINE)
    given(CREATED, PLANNED, ASSIGNED).when(c.AssignTechnician, technician=None).then(event)
    assert fold([CREATED, PLANNED, ASSIGNED, event]).office.name == "planned"


def test_a_move_keeps_technician_and_duration() -> None:
    moved = e.InterventionMoved(plan=Plan(start_ms=SIXTEEN, duration_min=60, tour_position=2), reason="rain", at_ms=NINE)
    given(CREATED, PLANNED, ASSIGNED).when(c.MoveIntervention, start_ms=SIXTEEN, reason="rain").then(moved)
    assert fold([CREATED, PLANNED, ASSIGNED, moved]).office.name == "assigned"


def test_a_move_out_of_the_window_gives_the_window_up() -> None:
    plan = replace(AT_FOURTEEN, window_start_ms=FOURTEEN, window_end_ms=FOURTEEN + HOUR)
    moved = e.InterventionMoved(plan=Plan(start_ms=SIXTEEN, duration_min=60), reason=None, at_ms=NINE)
    given(CREATED, replace(PLANNED, plan=plan)).when(c.MoveIntervention, start_ms=SIXTEEN).then(moved)


def test_the_office_may_move_and_cancel_what_the_field_has_begun() -> None:
    """Whether the cancel stands is the merge's matter."""
    begun = given(CREATED, PLANNED, ASSIGNED).reported(IN_PROGRESS)
    begun.when(c.CancelIntervention, reason="sold").then(CANCELLED)
    plan = Plan(start_ms=SIXTEEN, duration_min=60, tour_position=2)
    begun.when(c.MoveIntervention, start_ms=SIXTEEN).then(e.InterventionMoved(plan=plan, reason=None, at_ms=NINE))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (c.PlanIntervention, {"start_ms": SIXTEEN, "duration_min": 60}),
        (c.MoveIntervention, {"start_ms": SIXTEEN}),
        (c.AssignTechnician, {"technician": "bert", "skills": frozenset({"gas"})}),
        (c.CancelIntervention, {"reason": "sold"}),
    ],
)
@pytest.mark.parametrize("status", ["done", "not_done"])
def test_a_closed_intervention_is_reopened_before_it_is_planned_again(kind: type, arguments: dict[str, Any], status: str) -> None:
    closed = given(CREATED, PLANNED, ASSIGNED).reported(replace(DONE, status=status))
    closed.when(kind, **arguments).refused(PLAN_CLOSED, status=f"{status}; reopen it first")


def test_after_reopening_a_closed_intervention_can_be_planned_until_the_next_visit_closes_it() -> None:
    reopened = e.InterventionReopened(reason="leaks again", visits=("visit-1",), at_ms=NINE)
    given(CREATED, PLANNED, ASSIGNED).reported(DONE).when(c.ReopenIntervention, reason="leaks again").then(reopened)
    again = given(CREATED, PLANNED, ASSIGNED, reopened).reported(DONE)
    again.when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=60).then(PLANNED)
    second = replace(DONE, visits=(ENDED_VISIT, replace(ENDED_VISIT, id="visit-2")))
    again.reported(second).when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=60).refused(PLAN_CLOSED)


def test_a_cancelled_intervention_is_not_planned_but_reopened() -> None:
    cancelled = given(CREATED, PLANNED, CANCELLED)
    cancelled.when(c.PlanIntervention, start_ms=FOURTEEN, duration_min=60).refused(PLAN_STATE, status="cancelled")
    reopened = e.InterventionReopened(reason="not sold", visits=(), at_ms=NINE)
    cancelled.when(c.ReopenIntervention, reason="not sold").then(reopened)
    assert isinstance(fold([CREATED, PLANNED, CANCELLED, reopened]).office, Draft)


def test_an_open_intervention_has_nothing_to_reopen() -> None:
    given(CREATED, PLANNED).when(c.ReopenIntervention, reason="why not").refused(PLAN_STATE, status="planned")


def test_only_the_details_that_differ_are_an_event() -> None:
    same_title = Change(title="Leaky boiler", priority="high")
    event = e.DetailsChanged(change=Change(priority="high"), wish=None, at_ms=NINE)
    given(CREATED).when(c.ChangeDetails, change=same_title).then(event)
    given(CREATED).when(c.ChangeDetails, change=Change(title="Leaky boiler")).then()


def test_a_visit_that_a_lost_device_left_open_is_abandoned() -> None:
    event = e.VisitAbandoned(visit="visit-1", reason="in the lake", at_ms=NINE)
    begun = given(CREATED, PLANNED, ASSIGNED).reported(IN_PROGRESS)
    begun.when(c.AbandonVisit, visit="visit-1", reason="in the lake").then(event)
    begun.when(c.AbandonVisit, visit="visit-9", reason="in the lake").refused(INPUT_NOT_FOUND)
    ended = given(CREATED, PLANNED, ASSIGNED).reported(DONE)
    ended.when(c.AbandonVisit, visit="visit-1", reason="in the lake").refused(PLAN_STATE)


def test_a_fact_of_an_ended_visit_is_corrected_beside_it_and_of_an_open_one_asked_for() -> None:
    said = {"visit": "visit-1", "field": "diagnosis", "value": "the valve", "reason": "the photo shows it"}
    ended = given(CREATED, PLANNED, ASSIGNED).reported(DONE)
    ended.when(c.CorrectVisit, **said).then(e.VisitCorrected(**said, at_ms=NINE))
    ended.when(c.CorrectVisit, **(said | {"visit": "visit-9"})).refused(INPUT_NOT_FOUND)
    ended.when(c.CorrectVisit, **(said | {"field": "planned_start"})).refused(INPUT_INVALID)
    begun = given(CREATED, PLANNED, ASSIGNED).reported(IN_PROGRESS)
    begun.when(c.CorrectVisit, **said).refused(PLAN_STATE)
    asked = e.FieldAsked(field="diagnosis", value="which valve?", reason=None, at_ms=NINE)
    begun.when(c.AskField, field="diagnosis", value="which valve?").then(asked)
    begun.when(c.AskField, field="part", value="the lot, please").then(replace(asked, field="part", value="the lot, please"))


@pytest.mark.parametrize("field", ["planned_start", "assignee", "contact", "colour"])
def test_what_the_office_writes_itself_or_nobody_does_is_not_asked_for(field: str) -> None:
    given(CREATED, PLANNED).when(c.AskField, field=field, value="x").refused(INPUT_INVALID)


def test_a_promise_is_part_of_the_plan() -> None:
    plan = {"start_ms": AT_FOURTEEN.start_ms, "duration_min": AT_FOURTEEN.duration_min}
    promised = e.InterventionPlanned(plan=replace(AT_FOURTEEN, promise="start"), policy_version=1, field_may_set=(), at_ms=NINE)
    given(CREATED, PLANNED).when(c.PlanIntervention, **plan).then()
    given(CREATED, PLANNED).when(c.PlanIntervention, **plan, promise="start").then(promised)


def asks(field: str, value: str) -> Reported:
    return Reported(status="assigned", requests=(Request(id="request-1", field=field, value=value),))


def test_accepting_an_asked_start_moves_the_intervention() -> None:
    accepted = e.RequestAccepted(request="request-1", at_ms=NINE)
    moved = e.InterventionMoved(plan=replace(AT_FOURTEEN, start_ms=SIXTEEN), reason=None, at_ms=NINE)
    asked = given(CREATED, PLANNED).reported(asks("planned_start", "2026-03-16T16:00:00.000Z"))
    asked.when(c.AcceptRequest, request="request-1").then(accepted, moved)


def test_accepting_an_asked_detail_changes_it() -> None:
    accepted = e.RequestAccepted(request="request-1", at_ms=NINE)
    changed = e.DetailsChanged(change=Change(instructions="ring twice"), wish=None, at_ms=NINE)
    asked = given(CREATED, PLANNED).reported(asks("instructions", "ring twice"))
    asked.when(c.AcceptRequest, request="request-1").then(accepted, changed)


@pytest.mark.parametrize(("field", "value"), [("planned_start", "at tea time"), ("bill_of_materials", "1 pump")])
def test_what_cannot_be_written_from_a_request_is_not_accepted(field: str, value: str) -> None:
    asked = given(CREATED, PLANNED).reported(asks(field, value))
    asked.when(c.AcceptRequest, request="request-1").refused(PLAN_IMPOSSIBLE)


def test_a_request_is_declined_with_a_reason_and_an_unknown_one_is_not_found() -> None:
    asked = given(CREATED, PLANNED).reported(asks("planned_start", "2026-03-16T16:00:00.000Z"))
    declined = e.RequestDeclined(request="request-1", reason="full", at_ms=NINE)
    asked.when(c.DeclineRequest, request="request-1", reason="full").then(declined)
    asked.when(c.DeclineRequest, request="request-2", reason="full").refused(INPUT_NOT_FOUND)


def test_the_fields_word_is_what_a_person_reads_once_it_has_begun() -> None:
    state = fold([CREATED, PLANNED, ASSIGNED])
    assert status_of(state) == "assigned"
    assert status_of(replace(state, reported=IN_PROGRESS)) == "in_progress"
    assert status_of(replace(state, reported=DONE)) == "done"
    reopened = fold([CREATED, PLANNED, ASSIGNED, e.InterventionReopened(reason="again", visits=("visit-1",), at_ms=NINE)], DONE)
    assert status_of(reopened) == "draft"


def test_every_stored_event_evolves_every_state() -> None:
    every = [
        CREATED,
        PLANNED,
        ASSIGNED,
        e.InterventionMoved(plan=AT_FOURTEEN, reason=None, at_ms=NINE),
        CANCELLED,
        e.InterventionReopened(reason="again", visits=(), at_ms=NINE),
        e.DetailsChanged(change=Change(title="Other"), wish=None, at_ms=NINE),
        e.VisitAbandoned(visit="v", reason="r", at_ms=NINE),
        e.RequestAccepted(request="r", at_ms=NINE),
        e.RequestDeclined(request="r", reason="r", at_ms=NINE),
        e.FieldAsked(field="diagnosis", value="v", reason=None, at_ms=NINE),
        e.VisitCorrected(visit="v", field="ended", value="v", reason="r", at_ms=NINE),
        e.SetAsideAcknowledged(event="e", field="f", at_ms=NINE),
    ]
    assert {type(event) for event in every} == set(e.TOPICS.values())
    states = [fold(history).office for history in ([], [CREATED], [CREATED, PLANNED], every[:3], [*every[:3], CANCELLED])]
    reached = {evolve(state, event).name for state in states for event in every}
    assert reached == {"unknown", "draft", "planned", "assigned", "cancelled"}
