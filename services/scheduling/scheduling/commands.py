"""The office's commands on an intervention: imperative, frozen, complete. Time and ids arrive with them.

Every command but the first names the version of the intervention that its sender saw. It holds no rule: `domain.decide` does.
Times are whole milliseconds since 1970, durations minutes.
"""

from dataclasses import dataclass, field

from scheduling.values import Change, Details, Identity, Wish

NOBODY = None
"""The technician of an assignment that takes the intervention from everybody."""


@dataclass(frozen=True, kw_only=True)
class CreateIntervention:
    """Open an intervention. The same once more is no new fact."""

    identity: Identity
    details: Details
    wish: Wish = field(default_factory=Wish)
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """What every later command has: the version that was seen, and when."""

    version: int
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class PlanIntervention(_Edit):
    """Give it a place in the day. `field_may_set` is the agency's policy, stamped on the plan."""

    start_ms: int
    duration_min: int
    window_start_ms: int | None = None
    window_end_ms: int | None = None
    tour_position: int | None = None
    promise: str = "none"
    policy_version: int = 1
    field_may_set: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AssignTechnician(_Edit):
    """Name the technician who shall go, with the skills that the office knows of; NOBODY takes it from everybody."""

    technician: str | None
    skills: frozenset[str] = frozenset()
    tour_position: int | None = None


@dataclass(frozen=True, kw_only=True)
class MoveIntervention(_Edit):
    """Another start, and perhaps another window or duration. None keeps the window and duration that stand."""

    start_ms: int
    window_start_ms: int | None = None
    window_end_ms: int | None = None
    duration_min: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class CancelIntervention(_Edit):
    """Call it off. Whether a visit that had begun stands is for the merge to say."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ReopenIntervention(_Edit):
    """Want another visit of a cancelled or closed intervention."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ChangeDetails(_Edit):
    """Set the details that `change` names and leave the others; and perhaps what the customer wishes."""

    change: Change
    wish: Wish | None = None


@dataclass(frozen=True, kw_only=True)
class AbandonVisit(_Edit):
    """End a visit that a destroyed or lost device left open."""

    visit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AcceptRequest(_Edit):
    """Agree to what the field asked for: the answer, and the write that follows from it."""

    request: str


@dataclass(frozen=True, kw_only=True)
class DeclineRequest(_Edit):
    """Not agree to what the field asked for."""

    request: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AskField(_Edit):
    """Ask the field for a value of what only the field may write."""

    field: str
    value: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class CorrectVisit(_Edit):
    """Lay a correction beside a fact of a visit that has ended."""

    visit: str
    field: str
    value: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AcknowledgeSetAside(_Edit):
    """Say that a person has read that this value was set aside, or that this conflict was raised."""

    event: str
    field: str


Command = (
    CreateIntervention
    | PlanIntervention
    | AssignTechnician
    | MoveIntervention
    | CancelIntervention
    | ReopenIntervention
    | ChangeDetails
    | AbandonVisit
    | AcceptRequest
    | DeclineRequest
    | AskField
    | CorrectVisit
    | AcknowledgeSetAside
)
