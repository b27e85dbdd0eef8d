"""The office's rules for an intervention: `decide` refuses or says what happened, `evolve` takes every event ever stored.

Owns the states Draft, Planned, Assigned and Cancelled of the office's view. What the field did is not decided here: it comes
with the announced state (`Reported`) and closes an intervention for planning; what the office may say of visits stands in
visits.py. Pure: times and ids arrive on the command.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from scheduling import commands as c
from scheduling import events as e
from scheduling import visits
from scheduling.values import Change, Details, Identity, Plan, Reported, Request, Wish
from zb_contracts.problems import (
    EXISTS_DIFFERENT,
    INPUT_NOT_FOUND,
    PLAN_CLOSED,
    PLAN_IMPOSSIBLE,
    PLAN_STATE,
    VERSION_CONFLICT,
    Problem,
)
from zb_contracts.times import parse_time_ms

DURATION_MIN_MAX: Final = 14 * 24 * 60
CLOSED_STATUSES: Final = frozenset({"done", "not_done"})
NOTHING_REPORTED: Final = Reported()


@dataclass(frozen=True)
class NotThere:
    """Nothing is known under this id."""

    name = "unknown"


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What every state of an existing intervention has. `settled`: ended visits that a reopening knew."""

    identity: Identity
    details: Details
    wish: Wish
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Draft(_Known):
    """Opened, without a place in the day."""

    name = "draft"


@dataclass(frozen=True, kw_only=True)
class Planned(_Known):
    """With a place in the day, without a technician."""

    name = "planned"
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class Assigned(_Known):
    """With a place in the day and a technician."""

    name = "assigned"
    plan: Plan
    technician: str


@dataclass(frozen=True, kw_only=True)
class Cancelled(_Known):
    """Called off by the office."""

    name = "cancelled"
    reason: str


Office = NotThere | Draft | Planned | Assigned | Cancelled
Known = Draft | Planned | Assigned | Cancelled


@dataclass(frozen=True)
class Intervention:
    """The office's view, its version (number of the office's own events), and what the field last reported."""

    office: Office = NotThere()
    version: int = 0
    reported: Reported = NOTHING_REPORTED


def fold(events: Iterable[e.Event], reported: Reported = NOTHING_REPORTED) -> Intervention:
    """The intervention after these events, oldest first."""
    office: Office = NotThere()
    version = 0
    for event in events:
        office = evolve(office, event)
        version += 1
    return Intervention(office, version, reported)


def decide(state: Intervention, command: c.Command) -> tuple[e.Event, ...]:
    """What happens; nothing where it is the case already. Raises Problem VERSION_CONFLICT, PLAN_CLOSED, PLAN_STATE,
    PLAN_IMPOSSIBLE, INPUT_INVALID, INPUT_NOT_FOUND or EXISTS_DIFFERENT."""
    if isinstance(command, c.CreateIntervention):
        return _create(state.office, command)
    known = _at_version(state, command)
    match command:
        case c.PlanIntervention():
            return _plan(known, state.reported, command)
        case c.AssignTechnician():
            return _assign(known, state.reported, command)
        case c.MoveIntervention():
            return _move(known, state.reported, command)
        case c.CancelIntervention():
            return _cancel(known, state.reported, command)
        case c.ReopenIntervention():
            return _reopen(known, state.reported, command)
        case c.ChangeDetails():
            return _change(known, command)
        case c.AbandonVisit():
            return visits.abandon(known.name, state.reported, command)
        case c.AcceptRequest():
            return _accept(known, state.reported, command)
        case c.DeclineRequest():
            _open_request(known, state.reported, command.request)
            return (e.RequestDeclined(request=command.request, reason=command.reason, at_ms=command.at_ms),)
        case c.AskField():
            return visits.ask(command)
        case c.CorrectVisit():
            return visits.correct(known.name, state.reported, command)
        case c.AcknowledgeSetAside():
            return (e.SetAsideAcknowledged(event=command.event, field=command.field, at_ms=command.at_ms),)
    assert_never(command)


def evolve(office: Office, event: e.Event) -> Office:
    """The state after a stored event. Never refuses; an event without a meaning in this state changes nothing."""
    if isinstance(event, e.InterventionCreated):
        return Draft(identity=event.identity, details=event.details, wish=event.wish)
    if isinstance(office, NotThere):
        return office
    match event:
        case e.InterventionPlanned():
            return _with_plan(office, event.plan)
        case e.InterventionMoved():
            return _with_plan(office, event.plan)
        case e.TechnicianAssigned():
            return _with_technician(office, event.technician, event.tour_position)
        case e.InterventionCancelled():
            return Cancelled(**_kept(office), reason=event.reason)
        case e.InterventionReopened():
            return Draft(**(_kept(office) | {"settled": office.settled | frozenset(event.visits)}))
        case e.DetailsChanged():
            return replace(office, details=apply_change(office.details, event.change), wish=event.wish or office.wish)
        case e.VisitAbandoned() | e.RequestAccepted() | e.RequestDeclined() | e.SetAsideAcknowledged():
            return office
        case e.FieldAsked() | e.VisitCorrected():
            return office
    assert_never(event)


def is_closed(settled: frozenset[str], reported: Reported) -> bool:
    """The field closed it, and no reopening knew of that: planning is over."""
    ended = {visit.id for visit in reported.visits if not visit.open}
    return reported.status in CLOSED_STATUSES and not ended <= settled


def apply_change(details: Details, change: Change) -> Details:
    """The details with what `change` names."""
    return replace(details, **{name: value for name, value in change.given().items() if value is not None})


def status_of(state: Intervention) -> str:
    """What a person reads of this intervention."""
    office = state.office
    return office.name if isinstance(office, NotThere) else shown_status(office.name, office.settled, state.reported)


def shown_status(office: str, settled: frozenset[str], reported: Reported) -> str:
    """The field's word where the field has begun, else the office's."""
    begun = reported.status == "in_progress" or is_closed(settled, reported)
    return str(reported.status) if begun else office


def _create(office: Office, command: c.CreateIntervention) -> tuple[e.Event, ...]:
    if not isinstance(office, NotThere):
        if (office.identity, office.details, office.wish) == (command.identity, command.details, command.wish):
            return ()
        raise Problem(EXISTS_DIFFERENT, what="intervention", id=command.identity.reference)
    _check_window(command.identity.intervention, command.wish.window_start_ms, command.wish.window_end_ms)
    return (e.InterventionCreated(identity=command.identity, details=command.details, wish=command.wish, at_ms=command.at_ms),)


def _at_version(state: Intervention, command: c.Command) -> Known:
    assert not isinstance(command, c.CreateIntervention)
    if isinstance(state.office, NotThere):
        raise Problem(INPUT_NOT_FOUND, what="intervention", id="")
    if command.version != state.version:
        raise Problem(VERSION_CONFLICT, id=state.office.identity.intervention, actual=state.version, seen=command.version)
    return state.office


def _plan(office: Known, reported: Reported, command: c.PlanIntervention) -> tuple[e.Event, ...]:
    _refuse_closed(office, reported)
    if isinstance(office, Cancelled):
        raise _not_now("plan", office)
    plan = Plan(
        start_ms=command.start_ms,
        duration_min=command.duration_min,
        window_start_ms=command.window_start_ms,
        window_end_ms=command.window_end_ms,
        tour_position=command.tour_position,
        promise=command.promise,
    )
    _check_plan(office.identity.intervention, plan)
    if isinstance(office, Planned | Assigned) and office.plan == plan:
        return ()
    return (
        e.InterventionPlanned(
            plan=plan,
            policy_version=command.policy_version,
            field_may_set=command.field_may_set,
            at_ms=command.at_ms,
        ),
    )


def _assign(office: Known, reported: Reported, command: c.AssignTechnician) -> tuple[e.Event, ...]:
    _refuse_closed(office, reported)
    if isinstance(office, Draft | Cancelled):
        raise _not_now("assign", office)
    missing = sorted(set(office.details.required_skills) - command.skills)
    if command.technician is not None and missing:
        reason = f"{command.technician} lacks the skills {', '.join(missing)}"
        raise Problem(PLAN_IMPOSSIBLE, id=office.identity.intervention, reason=reason)
    current = office.technician if isinstance(office, Assigned) else None
    same_place = command.tour_position in (None, office.plan.tour_position)
    if current == command.technician and same_place:
        return ()
    return (e.TechnicianAssigned(technician=command.technician, tour_position=command.tour_position, at_ms=command.at_ms),)


def _move(office: Known, reported: Reported, command: c.MoveIntervention) -> tuple[e.Event, ...]:
    _refuse_closed(office, reported)
    if isinstance(office, Draft | Cancelled):
        raise _not_now("move", office)
    plan = _moved(office.plan, command)
    _check_plan(office.identity.intervention, plan)
    if plan == office.plan:
        return ()
    return (e.InterventionMoved(plan=plan, reason=command.reason, at_ms=command.at_ms),)


def _moved(plan: Plan, command: c.MoveIntervention) -> Plan:
    """The plan at its new place. A window that the new start leaves is given up: it was another appointment's."""
    named = command.window_start_ms is not None or command.window_end_ms is not None
    start, end = (command.window_start_ms, command.window_end_ms) if named else (plan.window_start_ms, plan.window_end_ms)
    if not named and not _within(command.start_ms, start, end):
        start = end = None
    duration = plan.duration_min if command.duration_min is None else command.duration_min
    return replace(plan, start_ms=command.start_ms, window_start_ms=start, window_end_ms=end, duration_min=duration)


def _cancel(office: Known, reported: Reported, command: c.CancelIntervention) -> tuple[e.Event, ...]:
    _refuse_closed(office, reported)
    if isinstance(office, Cancelled):
        raise _not_now("cancel", office)
    return (e.InterventionCancelled(reason=command.reason, at_ms=command.at_ms),)


def _reopen(office: Known, reported: Reported, command: c.ReopenIntervention) -> tuple[e.Event, ...]:
    if not isinstance(office, Cancelled) and not is_closed(office.settled, reported):
        raise _not_now("reopen", office)
    ended = tuple(visit.id for visit in reported.visits if not visit.open)
    return (e.InterventionReopened(reason=command.reason, visits=ended, at_ms=command.at_ms),)


def _change(office: Known, command: c.ChangeDetails) -> tuple[e.Event, ...]:
    wish = office.wish if command.wish is None else command.wish
    _check_window(office.identity.intervention, wish.window_start_ms, wish.window_end_ms)
    new = {
        name: None if value is None or value == getattr(office.details, name) else value
        for name, value in command.change.given().items()
    }
    change = Change(**new)
    if change.is_empty() and wish == office.wish:
        return ()
    return (e.DetailsChanged(change=change, wish=None if wish == office.wish else wish, at_ms=command.at_ms),)


def _accept(office: Known, reported: Reported, command: c.AcceptRequest) -> tuple[e.Event, ...]:
    request = _open_request(office, reported, command.request)
    accepted = e.RequestAccepted(request=request.id, at_ms=command.at_ms)
    version = command.version
    match request.field:
        case "planned_start":
            start = _asked_time(office, request.value)
            move = c.MoveIntervention(version=version, at_ms=command.at_ms, start_ms=start)
            return (accepted, *_move(office, reported, move))
        case "title" | "contract" | "sla" | "instructions" | "price_list" | "checklist" | "priority":
            asked: dict[str, Any] = {request.field: request.value}
            edit = c.ChangeDetails(version=version, at_ms=command.at_ms, change=Change(**asked))
            return (accepted, *_change(office, edit))
    reason = f"the field {request.field} is not set by accepting a request: decline it and edit the field"
    raise Problem(PLAN_IMPOSSIBLE, id=office.identity.intervention, reason=reason)


def _asked_time(office: Known, value: str) -> int:
    try:
        return parse_time_ms(value)
    except ValueError as fault:
        raise Problem(PLAN_IMPOSSIBLE, id=office.identity.intervention, reason=f"the asked time is {fault}") from fault


def _open_request(office: Known, reported: Reported, request: str) -> Request:
    found = next((each for each in reported.requests if each.id == request), None)
    if found is None:
        raise Problem(INPUT_NOT_FOUND, what=f"open request of {office.identity.intervention}", id=request)
    return found


def _refuse_closed(office: Known, reported: Reported) -> None:
    if is_closed(office.settled, reported):
        raise Problem(PLAN_CLOSED, id=office.identity.intervention, status=f"{reported.status}; reopen it first")


def _not_now(command: str, office: Known) -> Problem:
    return Problem(PLAN_STATE, command=command, status=office.name)


def _check_plan(intervention: str, plan: Plan) -> None:
    if not 1 <= plan.duration_min <= DURATION_MIN_MAX:
        reason = f"a duration lies within 1 and {DURATION_MIN_MAX} minutes, not {plan.duration_min}"
        raise Problem(PLAN_IMPOSSIBLE, id=intervention, reason=reason)
    _check_window(intervention, plan.window_start_ms, plan.window_end_ms)
    if not _within(plan.start_ms, plan.window_start_ms, plan.window_end_ms):
        raise Problem(PLAN_IMPOSSIBLE, id=intervention, reason="the start lies outside its window")


def _check_window(intervention: str, start_ms: int | None, end_ms: int | None) -> None:
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise Problem(PLAN_IMPOSSIBLE, id=intervention, reason="the window ends before it begins")


def _within(moment_ms: int, start_ms: int | None, end_ms: int | None) -> bool:
    return (start_ms is None or start_ms <= moment_ms) and (end_ms is None or moment_ms <= end_ms)


def _kept(office: Known) -> dict[str, Any]:
    return {
        "identity": office.identity,
        "details": office.details,
        "wish": office.wish,
        "settled": office.settled,
    }


def _with_plan(office: Known, plan: Plan) -> Known:
    if isinstance(office, Assigned):
        return replace(office, plan=plan)
    return Planned(**_kept(office), plan=plan)


def _with_technician(office: Known, technician: str | None, tour_position: int | None) -> Known:
    if isinstance(office, Draft | Cancelled):
        return office
    plan = office.plan if tour_position is None else replace(office.plan, tour_position=tour_position)
    if technician is None:
        return Planned(**_kept(office), plan=plan)
    return Assigned(**_kept(office), plan=plan, technician=technician)
