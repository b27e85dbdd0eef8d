"""Who is meant to go, and who is there. `assignee` is the office's register alone; `held_by` are technicians at work.

A technician holds an intervention by an open visit whose opening knew an assignment to that technician. No reassignment ends
that: leaving, not done, release and abandonment do.
"""

from collections.abc import Sequence

from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent, Writes
from zb_contracts.merge.visits import Presence

NOBODY = "none"


def assignee_known_to(event: MergeEvent, assignments: Writes) -> str | None:
    """The assignee as the office register stood in the event's causal past."""
    known = assignments.candidates(known_to=event)
    return named(known[0].value) if known else None


def named(value: str) -> str | None:
    """The technician in a value of the register; None where it takes the intervention from everybody."""
    return None if value == NOBODY else value


def judge(visit: Presence, assignments: Writes) -> None:
    """Flag a visit of somebody whom the office, as far as the visit's opening knew, had not sent."""
    visit.known_assignee = assignee_known_to(visit.opening, assignments)
    if visit.technician is None or visit.known_assignee != visit.technician:
        visit.flags.add(rules.NOT_ASSIGNED)


def holders(visits: Sequence[Presence]) -> list[str]:
    """The technicians who hold the intervention now, in order of their ids."""
    return sorted(
        {
            visit.technician
            for visit in visits
            if visit.is_open and visit.technician is not None and visit.known_assignee == visit.technician
        }
    )
