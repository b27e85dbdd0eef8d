"""What the office does to an intervention: plan, assign, move, cancel, ask, correct, close the books.

An attribute that bears the name of a register field (see `fields`) is a write of that field; None writes nothing. Office
events never touch visit facts: they ask for them or lay a correction beside them.
"""

from typing import Annotated, Literal

from pydantic import Field

from zb_contracts.envelope import STREAM_KINDS
from zb_contracts.events.registry import ANYONE, OFFICE, SERVICE, AuthorKind, Body, event
from zb_contracts.events.values import Code, Decimal, Id, Minutes, Name, Sha256, Text, Uuid
from zb_contracts.times import TimeText

Priority = Literal["low", "normal", "high", "emergency"]
Promise = Literal["none", "window", "start", "unstated"]
"""What the customer was promised: nothing, to be served within the window, or at the start. `unstated`: a program that did not
ask yet."""
Skills = Annotated[tuple[Code, ...], Field(max_length=32)]


class Part(Body):
    """A part by number with a quantity in its own unit."""

    part: Code
    quantity: Decimal


class Policy(Body):
    """The agency's rules for this intervention, stamped on the plan so that a replay needs no other database."""

    version: Annotated[int, Field(ge=1)]
    field_may_set: Annotated[tuple[Code, ...], Field(max_length=16)] = ()
    """Office fields on which a field proposal stands directly, e.g. `planned_start`."""


class _OfficeFields(Body):
    """Office registers that creation and later changes share; None writes nothing."""

    contract: Code | None = None
    sla: Code | None = None
    priority: Priority | None = None
    required_skills: Skills | None = None
    bill_of_materials: Annotated[tuple[Part, ...], Field(max_length=200)] | None = None
    instructions: Text | None = None
    price_list: Code | None = None
    checklist: Code | None = None


@event("intervention.created.v1", "intervention", OFFICE)
class InterventionCreated(_OfficeFields):
    """The office opened an intervention at a site, perhaps on one piece of equipment."""

    reference: Name
    """The number under which customer and ERP know it."""
    kind: Literal["repair", "maintenance", "inspection", "installation", "visit"]
    title: Name
    site: Id
    equipment: Id | None = None
    agency: Id
    follows: Uuid | None = None
    """The intervention that this one follows up."""


@event("intervention.details_changed.v1", "intervention", OFFICE)
class DetailsChanged(_OfficeFields):
    """The office changed some of its own fields."""

    title: Name | None = None


@event("intervention.planned.v2", "intervention", OFFICE)
class Planned(Body):
    """The office gave the intervention a place in the day. Overtakes the cancels that it knows."""

    planned_start: TimeText
    window_start: TimeText | None = None
    window_end: TimeText | None = None
    duration_min: Minutes
    tour_position: Annotated[int, Field(ge=0, le=1000)] | None = None
    promise: Promise = "none"
    policy: Policy


@event("intervention.assigned.v1", "intervention", OFFICE)
class Assigned(Body):
    """The office named the technician; `none` takes the intervention from everybody."""

    assignee: Id | Literal["none"]
    tour_position: Annotated[int, Field(ge=0, le=1000)] | None = None


@event("intervention.rescheduled.v1", "intervention", OFFICE)
class Rescheduled(Body):
    """The office moved the intervention."""

    planned_start: TimeText
    window_start: TimeText | None = None
    window_end: TimeText | None = None
    duration_min: Minutes | None = None
    reason: Text | None = None


@event("intervention.cancelled.v1", "intervention", OFFICE)
class Cancelled(Body):
    """The office called the intervention off. What becomes of a visit that had begun is the cancel table's matter."""

    reason: Text


@event("intervention.reopened.v1", "intervention", OFFICE)
class Reopened(Body):
    """The office wants another visit. Overtakes the cancels that it knows."""

    reason: Text


@event("intervention.request_made.v1", "intervention", ANYONE)
class RequestMade(Body):
    """One side asks the other for a value of a field that is not its own, e.g. an appointment agreed on site."""

    field: Code
    value: Text
    reason: Text | None = None


@event("intervention.request_accepted.v1", "intervention", ANYONE)
class RequestAccepted(Body):
    """The side that owns the field agreed; the write that follows is an event of its own."""

    request: Uuid


@event("intervention.request_declined.v1", "intervention", ANYONE)
class RequestDeclined(Body):
    """The side that owns the field did not agree."""

    request: Uuid
    reason: Text


@event("intervention.set_aside_acknowledged.v1", "intervention", ANYONE)
class SetAsideAcknowledged(Body):
    """A person has read that a value was set aside or that a conflict was raised."""

    event: Uuid
    field: Code


@event("intervention.corrected.v1", "intervention", OFFICE)
class Corrected(Body):
    """A signed layer over a visit's facts after closing: shown beside what the technician recorded, never instead."""

    visit: Uuid
    field: Code
    value: Text
    reason: Text


@event("visit.abandoned_by_office.v1", "intervention", OFFICE)
class VisitAbandoned(Body):
    """The office ended a visit that a destroyed or lost device left open. Later field events reopen it as a conflict."""

    visit: Uuid
    reason: Text


@event("billing.exported.v1", "intervention", SERVICE)
class BillingExported(Body):
    """The bridge put the closed intervention into a frozen batch of this export profile."""

    profile: Id
    batch: Annotated[int, Field(ge=1)]
    kind: Literal["invoice", "adjustment"]
    lines_sha256: Sha256
    """Hash of the billed lines: what a later change is compared with."""


@event("event.admitted.v1", frozenset(STREAM_KINDS), frozenset({AuthorKind.OFFICE, AuthorKind.SERVICE}))
class EventAdmitted(Body):
    """A supervisor admitted an event that had been held, on that event's own stream. The ledger folds it from here on."""

    event: Uuid
    author: Id
    author_seq: Annotated[int, Field(ge=1)]
    supervisor: Id
    reason: Text
