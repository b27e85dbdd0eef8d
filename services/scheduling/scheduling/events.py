"""What happened to an intervention in the office: private, past tense, stored as the service's own record.

`announce.py` alone translates them to the contract. A stored event is read for ever: fields are only added, with a default.
The name in TOPICS is what stands in the database, so that a class may be renamed or moved.
"""

from dataclasses import dataclass
from typing import Final

from scheduling.values import Change, Details, Identity, Plan, Wish


@dataclass(frozen=True, kw_only=True)
class InterventionCreated:
    """Opened, with what the customer wishes."""

    identity: Identity
    details: Details
    wish: Wish
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class InterventionPlanned:
    """Given a place in the day, with the policy that counts from here on."""

    plan: Plan
    policy_version: int
    field_may_set: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class TechnicianAssigned:
    """Given to a technician; None took it from everybody."""

    technician: str | None
    tour_position: int | None
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class InterventionMoved:
    """Given another place in the day."""

    plan: Plan
    reason: str | None
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class InterventionCancelled:
    """Called off."""

    reason: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class InterventionReopened:
    """Another visit is wanted; `visits` had ended and were known."""

    reason: str
    visits: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class DetailsChanged:
    """Some details or the wish have other values; None left a value as it was."""

    change: Change
    wish: Wish | None
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class VisitAbandoned:
    """A visit that a lost device left open was ended."""

    visit: str
    reason: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class RequestAccepted:
    """The office agreed to a request of the field."""

    request: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class RequestDeclined:
    """The office did not agree to a request of the field."""

    request: str
    reason: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class FieldAsked:
    """The field was asked for a value of its own."""

    field: str
    value: str
    reason: str | None
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class VisitCorrected:
    """A correction was laid beside a fact of an ended visit."""

    visit: str
    field: str
    value: str
    reason: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class SetAsideAcknowledged:
    """A person of the office has read it."""

    event: str
    field: str
    at_ms: int


Event = (
    InterventionCreated
    | InterventionPlanned
    | TechnicianAssigned
    | InterventionMoved
    | InterventionCancelled
    | InterventionReopened
    | DetailsChanged
    | VisitAbandoned
    | RequestAccepted
    | RequestDeclined
    | FieldAsked
    | VisitCorrected
    | SetAsideAcknowledged
)

TOPICS: Final[dict[str, type[Event]]] = {
    "intervention.created": InterventionCreated,
    "intervention.planned": InterventionPlanned,
    "intervention.technician_assigned": TechnicianAssigned,
    "intervention.moved": InterventionMoved,
    "intervention.cancelled": InterventionCancelled,
    "intervention.reopened": InterventionReopened,
    "intervention.details_changed": DetailsChanged,
    "intervention.visit_abandoned": VisitAbandoned,
    "intervention.request_accepted": RequestAccepted,
    "intervention.request_declined": RequestDeclined,
    "intervention.field_asked": FieldAsked,
    "intervention.visit_corrected": VisitCorrected,
    "intervention.set_aside_acknowledged": SetAsideAcknowledged,
}
