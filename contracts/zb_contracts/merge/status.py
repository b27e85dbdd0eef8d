"""The status of an intervention: derived from its visits, and only without them from what the office decided.

Any open visit: in progress; else any done: done; else any not done: not done; else the office's view. A visit whose end a
reopening knew has been answered and no longer counts.
"""

from collections.abc import Mapping, Sequence

from zb_contracts.merge.causality import MergeEvent, knows_up_to
from zb_contracts.merge.state import Register, Status
from zb_contracts.merge.visits import Presence


def derive(
    visits: Sequence[Presence],
    reopenings: Sequence[MergeEvent],
    cancelled: bool,
    fields: Mapping[str, Register],
    assignee: str | None,
) -> Status:
    """The one status of an intervention. `cancelled`: a cancel stands that no visit set aside."""
    if any(visit.is_open for visit in visits):
        return "in_progress"
    outcomes = {visit.outcome for visit in visits if not _answered(visit, reopenings)}
    if "done" in outcomes:
        return "done"
    if "not_done" in outcomes:
        return "not_done"
    return _office_view(cancelled, fields, assignee)


def _answered(visit: Presence, reopenings: Sequence[MergeEvent]) -> bool:
    end = visit.facts["ended"].origin
    return any(knows_up_to(reopening, end.author) >= end.seq for reopening in reopenings)


def _office_view(cancelled: bool, fields: Mapping[str, Register], assignee: str | None) -> Status:
    if cancelled:
        return "cancelled"
    if assignee is not None:
        return "assigned"
    return "planned" if "planned_start" in fields else "draft"
