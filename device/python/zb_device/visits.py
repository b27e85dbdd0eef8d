"""Which visit a step belongs to: the id of a visit is the id of its first event, a travel or a start.

Pure. A second start, or work done without one, is refused before it is signed; what belongs to no visit is let through. It
looks at the device's own steps only: what others do on the intervention is the merge's matter.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from zb_device.faults import VisitRefused


class VisitStatus(StrEnum):
    """Where the technician is with a visit."""

    TRAVELLING = "travelling"
    ARRIVED = "arrived"
    WORKING = "working"
    PAUSED = "paused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Visit:
    """The technician's newest visit of one intervention."""

    visit: str
    status: VisitStatus

    @property
    def open(self) -> bool:
        return self.status is not VisitStatus.CLOSED


_T, _A, _W, _P, _C = VisitStatus
_UNDERWAY: Final = frozenset({_T, _A, _W, _P})

# type -> (from which status of an open visit, to which)
_STEPS: Final[dict[str, tuple[frozenset[VisitStatus], VisitStatus]]] = {
    "intervention.travel_started.v1": (frozenset({_A, _P}), _T),
    "intervention.travel_ended.v1": (frozenset({_T}), _A),
    "intervention.arrived.v1": (frozenset({_T, _A}), _A),
    "intervention.started.v1": (frozenset({_T, _A}), _W),
    "intervention.paused.v1": (frozenset({_W}), _P),
    "intervention.resumed.v1": (frozenset({_P}), _W),
    "intervention.left.v1": (_UNDERWAY, _C),
    "intervention.done.v1": (frozenset({_W, _P}), _C),
    "intervention.not_done.v1": (_UNDERWAY, _C),
    "intervention.released.v1": (_UNDERWAY, _C),
}
_OPENING: Final[dict[str, VisitStatus]] = {"intervention.travel_started.v1": _T, "intervention.started.v1": _W}
_WITHOUT_VISIT: Final = frozenset({"intervention.released.v1"})
_FACTS: Final = frozenset({"intervention.diagnosed.v1", "intervention.equipment_state_set.v1"})


def is_of_a_visit(type_name: str) -> bool:
    """Whether such an event changes what is known of its visit; others only happened during it."""
    return type_name in _STEPS or type_name in _OPENING or type_name in _FACTS


def visit_after(type_name: str, event_id: str, visit: Visit | None) -> Visit | None:
    """The visit that an event belongs to, as it is after it; None where it belongs to none. VisitRefused if it cannot be."""
    if type_name in _OPENING and (visit is None or not visit.open):
        return Visit(event_id, _OPENING[type_name])
    if type_name not in _STEPS:
        if type_name in _FACTS and visit is None:
            raise VisitRefused(f"{_verb(type_name)} belongs to a visit, and there is none: record travel or start first")
        return visit
    if visit is None or not visit.open:
        if type_name in _WITHOUT_VISIT:
            return None
        raise VisitRefused(f"{_verb(type_name)} needs an open visit: record travel or start first")
    before, after = _STEPS[type_name]
    if visit.status not in before:
        raise VisitRefused(f"{_verb(type_name)} is not possible while {visit.status}")
    return Visit(visit.visit, after)


def _verb(type_name: str) -> str:
    return type_name.split(".")[1]
