"""From the office's stored events to the contract's bodies: the only translator between the two.

Pure. One stored event becomes one body, or none where it is the office's private matter (a wish is no plan). It signs nothing
and numbers nothing: authoring.py does.
"""

from typing import assert_never

from scheduling import events as e
from scheduling.values import Change, Details, Plan
from zb_contracts.events import Body, office
from zb_contracts.times import format_time_ms


def stream_of(intervention: str) -> str:
    """The stream of an intervention's events."""
    return f"intervention:{intervention}"


def body_of(event: e.Event) -> Body | None:
    """The contract's body of a stored event. pydantic's ValidationError where a value breaks the contract's limits."""
    match event:
        case e.InterventionCreated():
            return _created(event)
        case e.InterventionPlanned():
            return _planned(event)
        case e.TechnicianAssigned():
            return office.Assigned(assignee=event.technician or "none", tour_position=event.tour_position)
        case e.InterventionMoved():
            return _moved(event)
        case e.InterventionCancelled():
            return office.Cancelled(reason=event.reason)
        case e.InterventionReopened():
            return office.Reopened(reason=event.reason)
        case e.DetailsChanged():
            return None if event.change.is_empty() else _changed(event.change)
        case e.VisitAbandoned():
            return office.VisitAbandoned(visit=event.visit, reason=event.reason)
        case e.RequestAccepted():
            return office.RequestAccepted(request=event.request)
        case e.RequestDeclined():
            return office.RequestDeclined(request=event.request, reason=event.reason)
        case e.FieldAsked():
            return office.RequestMade(field=event.field, value=event.value, reason=event.reason)
        case e.VisitCorrected():
            return office.Corrected(visit=event.visit, field=event.field, value=event.value, reason=event.reason)
        case e.SetAsideAcknowledged():
            return office.SetAsideAcknowledged(event=event.event, field=event.field)
    assert_never(event)


def _created(event: e.InterventionCreated) -> Body:
    identity, details = event.identity, event.details
    return office.InterventionCreated.model_validate(
        {
            "reference": identity.reference,
            "kind": identity.kind,
            "title": details.title,
            "site": identity.site,
            "equipment": identity.equipment,
            "agency": identity.agency,
            "follows": identity.follows,
            **_office_fields(details),
        }
    )


def _changed(change: Change) -> Body:
    return office.DetailsChanged.model_validate({"title": change.title, **_office_fields(change)})


def _office_fields(source: Details | Change) -> dict[str, object]:
    parts = source.bill_of_materials
    return {
        "contract": source.contract,
        "sla": source.sla,
        "priority": source.priority,
        "required_skills": source.required_skills,
        "bill_of_materials": None if parts is None else tuple(office.Part(part=p, quantity=q) for p, q in parts),
        "instructions": source.instructions,
        "price_list": source.price_list,
        "checklist": source.checklist,
    }


def _planned(event: e.InterventionPlanned) -> Body:
    plan = event.plan
    return office.Planned.model_validate(
        {
            "planned_start": format_time_ms(plan.start_ms),
            "window_start": _time(plan.window_start_ms),
            "window_end": _time(plan.window_end_ms),
            "duration_min": plan.duration_min,
            "tour_position": plan.tour_position,
            "promise": plan.promise,
            "policy": office.Policy(version=event.policy_version, field_may_set=event.field_may_set),
        }
    )


def _moved(event: e.InterventionMoved) -> Body:
    plan: Plan = event.plan
    return office.Rescheduled(
        planned_start=format_time_ms(plan.start_ms),
        window_start=_time(plan.window_start_ms),
        window_end=_time(plan.window_end_ms),
        duration_min=plan.duration_min,
        reason=event.reason,
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time_ms(ms)
