"""What a person of the office has to look at. A conflict never changes a value: everything in it stands elsewhere as well."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent, by_rank, knows
from zb_contracts.merge.registers import Acknowledgements
from zb_contracts.merge.state import Conflict
from zb_contracts.merge.visits import Presence


def find_conflicts(
    visits: Sequence[Presence],
    held_by: Sequence[str],
    cancels: Sequence[MergeEvent],
    overtaking: Sequence[MergeEvent],
    acknowledged: Acknowledgements,
) -> list[Conflict]:
    """At most one conflict of each code and subject, in order of code and rank."""
    found = [
        *_of_cancels(visits, cancels),
        *_of_plans(cancels, overtaking),
        *_of_abandonments(visits),
        *_of_visits(visits, held_by),
    ]
    found.sort(key=lambda item: (item.code, item.visits, item.events))
    return [_with_readers(conflict, acknowledged) for conflict in found]


def _with_readers(conflict: Conflict, acknowledged: Acknowledgements) -> Conflict:
    readers = {origin.event: origin for event in conflict.events for origin in acknowledged.get((event, conflict.code), ())}
    return Conflict(
        code=conflict.code,
        visits=conflict.visits,
        events=conflict.events,
        origin=conflict.origin,
        acknowledged=[readers[key] for key in sorted(readers)],
    )


def _conflict(code: str, visits: Iterable[Presence], events: Sequence[MergeEvent]) -> Conflict:
    """`events` in the order that they are told; the greatest of them raised the conflict."""
    return Conflict(
        code=code,
        visits=[visit.id for visit in visits],
        events=[event.id for event in events],
        origin=by_rank(events)[-1].origin,
    )


def _of_cancels(visits: Sequence[Presence], cancels: Sequence[MergeEvent]) -> list[Conflict]:
    return [
        _conflict(visit.verdict.code, [visit], [*cancels, visit.opening])
        for visit in visits
        if visit.verdict is not None and visit.verdict.ask == "dispatcher"
    ]


def _of_plans(cancels: Sequence[MergeEvent], overtaking: Sequence[MergeEvent]) -> list[Conflict]:
    """A plan or a reopening that did not know a standing cancel, which did not know it either."""
    unaware = [event for event in by_rank(overtaking) if cancels and not any(knows(each, event) for each in cancels)]
    return [_conflict(rules.CANCELLED_WHILE_PLANNED, [], [*cancels, *unaware])] if unaware else []


def _of_abandonments(visits: Sequence[Presence]) -> list[Conflict]:
    return [
        _conflict(rules.ABANDONED_BUT_CONTINUED, [visit], [*visit.unheard, by_rank(visit.touched)[-1]])
        for visit in visits
        if visit.unheard
    ]


def _of_visits(visits: Sequence[Presence], held_by: Sequence[str]) -> list[Conflict]:
    """Visits of different technicians: two who hold it, two who are there, or two who did not know of each other."""
    found = []
    open_visits = [visit for visit in visits if visit.is_open]
    if len(held_by) > 1:
        holding = [visit for visit in open_visits if visit.technician == visit.known_assignee]
        found.append(_conflict(rules.TWO_HOLDERS, holding, [visit.opening for visit in holding]))
    elif len({visit.technician for visit in open_visits}) > 1:
        found.append(_conflict(rules.TWO_OPEN_VISITS, open_visits, [visit.opening for visit in open_visits]))
    if len(visits) > rules.VISITS_COMPARED_MAX:
        return [*found, _conflict(rules.TOO_MANY_VISITS, [], [visit.opening for visit in visits])]
    for first, second in combinations(visits, 2):
        if first.technician != second.technician and not (first.is_open and second.is_open) and _concurrent(first, second):
            found.append(_conflict(rules.CONCURRENT_VISITS, [first, second], [first.opening, second.opening]))
    return found


def _concurrent(first: Presence, second: Presence) -> bool:
    return not knows(first.opening, second.opening) and not knows(second.opening, first.opening)
