"""Lines: parts, photos, answers, payments ... sets in which nothing is ever lost.

The id of a line is the id of its first event. A change is a new version that names any version of it; a removal is a void.
Versions that did not know each other are all kept; a void that did not know a version of the line does not remove it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from zb_contracts.fields import LINE_OF
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank
from zb_contracts.merge.registers import Acknowledgements
from zb_contracts.merge.rules import EDITED_AFTER_VOID
from zb_contracts.merge.state import Line, LineVersion, SetAside, Void

VOIDED: Final = "intervention.line_voided"


def build_lines(
    events: Sequence[MergeEvent], voids: Iterable[MergeEvent], acknowledged: Acknowledgements
) -> tuple[list[Line], list[MergeEvent]]:
    """Every line with its versions, in order of rank, and the voids that name no line of this stream."""
    voids = list(voids)
    if not voids and not any("replaces" in event.value for event in events):  # as on most interventions
        return [_plain_line(event) for event in by_rank(events)], []
    roots = _roots(events)
    versions: dict[str, list[MergeEvent]] = defaultdict(list)
    for event in events:
        versions[roots[event.id]].append(event)
    voided: dict[str, list[MergeEvent]] = defaultdict(list)
    dangling = []
    for void in voids:
        root = roots.get(void.value["line"])
        if root is None:
            dangling.append(void)
        else:
            voided[root].append(void)
    firsts = by_rank(event for event in events if roots[event.id] == event.id)
    return [_line(first, versions[first.id], voided.get(first.id, []), acknowledged) for first in firsts], dangling


def _roots(events: Iterable[MergeEvent]) -> dict[str, str]:
    """Event id -> id of the line it belongs to. A version of nothing, or of another kind, is a line of its own."""
    by_id = {event.id: event for event in events}
    roots: dict[str, str] = {}
    for event in by_id.values():
        path: dict[str, None] = {}
        current: MergeEvent | None = event
        root = ""
        while current is not None and current.id not in roots:
            if current.id in path:
                # Versions that name each other in a circle are one line, by the least id.
                steps = list(path)
                root = min(steps[steps.index(current.id) :])
                break
            path[current.id] = None
            root = current.id
            current = _replaced(current, by_id)
        else:
            root = roots[current.id] if current is not None else root
        roots.update(dict.fromkeys(path, root))
    return roots


def _replaced(event: MergeEvent, by_id: dict[str, MergeEvent]) -> MergeEvent | None:
    target = by_id.get(event.value.get("replaces", ""))
    return target if target is not None and LINE_OF[target.name] is LINE_OF[event.name] else None


def _line(first: MergeEvent, versions: list[MergeEvent], voids: list[MergeEvent], acknowledged: Acknowledgements) -> Line:
    if not voids and len(versions) == 1:  # as most lines are
        return _plain_line(first)
    standing = [write.event for write in Writes(Write(event, None) for event in (*versions, *voids)).candidates()]
    removals = [event for event in standing if event.name == VOIDED]
    kept = [event for event in standing if event.name != VOIDED]
    is_void = not kept
    # A void overtakes the versions that it knew, so the current version is one that no void knew, while there is one.
    current = kept[0] if kept else Writes(Write(event, None) for event in versions).candidates()[0].event
    return Line(
        id=first.id,
        kind=LINE_OF[first.name].name,
        visit=first.header.visit,
        value=current.value,
        origin=current.origin,
        versions=[LineVersion(value=event.value, origin=event.origin) for event in by_rank(versions) if event is not current],
        void=Void(reason=removals[0].value["reason"], origin=removals[0].origin) if is_void else None,
        set_aside=[] if is_void else [_unheard(void, current, acknowledged) for void in by_rank(removals)],
    )


def _plain_line(event: MergeEvent) -> Line:
    return Line(
        id=event.id,
        kind=LINE_OF[event.name].name,
        visit=event.header.visit,
        value=event.value,
        origin=event.origin,
        versions=[],
        void=None,
        set_aside=[],
    )


def _unheard(void: MergeEvent, current: MergeEvent, acknowledged: Acknowledgements) -> SetAside:
    return SetAside(
        field="void",
        value=void.value["reason"],
        origin=void.origin,
        rule=EDITED_AFTER_VOID,
        against=current.id,
        acknowledged=list(acknowledged.get((void.id, "void"), ())),
    )
