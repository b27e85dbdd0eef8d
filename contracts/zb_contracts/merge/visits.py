"""Visits: one technician's presence each, kept whole. A visit's id is the id of its first event (travel or start).

Only the field writes facts. The office can end a visit that a lost device left open, and that holds only as long as it knew
everything that the field recorded of the visit. What a cancel does to a visit is the cancel table's matter.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from zb_contracts.fields import FACT_OF, FieldClass
from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank, covers, earliest, knows, knows_up_to, reach
from zb_contracts.merge.registers import Acknowledgements, decide
from zb_contracts.merge.state import CancelVerdict, Outcome, Pause, Phase, Register, SetAside, Visit

OPENING_NAMES: Final = frozenset({"intervention.travel_started", "intervention.started"})
_ON_THE_WAY: Final = frozenset({"travel_started", "travel_ended", "arrived"})
_STEPS: Final = _ON_THE_WAY | {"started", "paused", "resumed"}
_OUTCOMES: Final[dict[str, Outcome]] = {
    "intervention.done": "done",
    "intervention.not_done": "not_done",
    "intervention.left": "left",
    "intervention.released": "released",
}


@dataclass(slots=True)
class Presence:
    """A visit while it is decided. `touched` are all field events of it, facts and lines."""

    id: str
    technician: str | None
    opening: MergeEvent
    events: list[MergeEvent]
    touched: list[MergeEvent]
    facts: dict[str, Register] = field(default_factory=dict)
    equipment: dict[str, Register] = field(default_factory=dict)
    phase: Phase = "begun"
    outcome: Outcome | None = None
    begun: bool = True
    flags: set[str] = field(default_factory=set)
    unheard: list[MergeEvent] = field(default_factory=list)
    """Abandonments that did not know all that the field recorded."""
    verdict: CancelVerdict | None = None
    known_assignee: str | None = None

    @property
    def is_open(self) -> bool:
        return self.phase != "ended"


def build_visits(
    facts: Iterable[MergeEvent],
    lines: Iterable[MergeEvent],
    abandonments: Iterable[MergeEvent],
    acknowledged: Acknowledgements,
) -> tuple[list[Presence], list[MergeEvent]]:
    """Every visit in order of its opening's rank, and the abandonments that name no visit."""
    found = _gathered(facts)
    own = {(visit.id, visit.technician): visit for visit in found.values()}
    for line in lines:
        visit = found.get((line.header.visit or "", line.header.actor))
        if visit is not None:
            visit.touched.append(line)
    ended: dict[str, list[MergeEvent]] = defaultdict(list)
    for abandonment in abandonments:
        ended[abandonment.value["visit"]].append(abandonment)
    for visit in found.values():
        _settle(visit, by_rank(ended.get(visit.id, ())), acknowledged)
    ids = {visit_id for visit_id, _ in own}
    dangling = [event for visit_id, events in ended.items() if visit_id not in ids for event in events]
    return sorted(found.values(), key=lambda visit: visit.opening.rank), dangling


def visit_of(event: MergeEvent) -> str | None:
    """The visit that a fact belongs to; None where it names none and does not open one."""
    return event.header.visit or (event.id if event.name in OPENING_NAMES else None)


def _gathered(facts: Iterable[MergeEvent]) -> dict[tuple[str, str | None], Presence]:
    """Presences by (visit id as named, technician). Nobody can write into the visit of another."""
    groups: dict[str, dict[str | None, list[MergeEvent]]] = defaultdict(lambda: defaultdict(list))
    for event in facts:
        groups[visit_of(event) or ""][event.header.actor].append(event)
    found = {}
    for visit_id, by_actor in groups.items():
        everything = [event for events in by_actor.values() for event in events]
        first = next((event for event in everything if event.id == visit_id), None)
        owner = (first or earliest(everything)).header.actor
        for actor, events in by_actor.items():
            own = actor == owner
            visit = Presence(
                id=visit_id if own else f"{visit_id}:{actor or ''}",
                technician=actor,
                opening=first if first is not None and own else earliest(events),
                events=by_rank(events),
                touched=list(events),
            )
            visit.flags |= {rules.STRANGE_VISIT} if not own else set() if first else {rules.OPENING_MISSING}
            found[visit_id, actor] = visit
    return found


def _settle(visit: Presence, abandonments: Sequence[MergeEvent], acknowledged: Acknowledgements) -> None:
    """Facts, phase and outcome, from what the field recorded and, where it was heard, the office's abandonment."""
    writes: dict[str, Writes] = defaultdict(Writes)
    equipment: dict[str, Writes] = defaultdict(Writes)
    for event in visit.events:
        name = FACT_OF[event.name].name
        if name == "equipment_state":
            equipment[event.value["equipment"]].add(Write(event, event.value))
        elif name not in ("paused", "resumed"):
            writes[name].add(Write(event, event.value))
    names = {FACT_OF[event.name].name for event in visit.events}
    visit.begun = not names - {"ended"} <= _ON_THE_WAY or bool({"intervention.done"} & _names(visit.events))
    visit.phase = "begun" if visit.begun else "travelling"
    fact = FieldClass.VISIT_FACT
    visit.facts = {name: decide(name, fact, writes[name], acknowledged) for name in sorted(writes)}
    visit.equipment = {item: decide("equipment_state", fact, equipment[item], acknowledged) for item in sorted(equipment)}
    if "ended" in visit.facts:
        visit.phase, visit.outcome = "ended", _outcome(visit)
    _abandon(visit, abandonments, acknowledged)


def _names(events: Iterable[MergeEvent]) -> set[str]:
    return {event.name for event in events}


def _outcome(visit: Presence) -> Outcome:
    by_id = {event.id: event for event in visit.events}
    end = by_id[visit.facts["ended"].origin.event]
    if any(FACT_OF[event.name].name in _STEPS and knows(event, end) for event in visit.events):
        visit.flags.add(rules.CONTINUED_AFTER_END)
    return _OUTCOMES[end.name]


def _abandon(visit: Presence, abandonments: Sequence[MergeEvent], acknowledged: Acknowledgements) -> None:
    """The office's end holds while it knew all that the field recorded; of a visit that it knew as ended it says nothing."""
    wanted = reach(visit.touched)
    heard = [event for event in abandonments if covers(event, wanted)]
    ended = visit.facts.get("ended")
    if ended is None and heard:
        last = heard[-1]
        visit.phase, visit.outcome = "ended", "abandoned"
        visit.facts["ended"] = Register(value=last.value, origin=last.origin, rule=rules.ABANDONED)
    if heard:
        return
    visit.unheard = list(abandonments)
    if ended is None:
        return
    visit.unheard = [event for event in abandonments if knows_up_to(event, ended.origin.author) < ended.origin.seq]
    set_aside = [_unheard(event, ended, acknowledged) for event in visit.unheard]
    visit.facts["ended"] = Register(
        value=ended.value, origin=ended.origin, rule=ended.rule, set_aside=[*ended.set_aside, *set_aside]
    )


def _unheard(event: MergeEvent, ended: Register, acknowledged: Acknowledgements) -> SetAside:
    return SetAside(
        field="ended",
        value=event.value,
        origin=event.origin,
        rule=rules.ABANDONED_BUT_CONTINUED,
        against=ended.origin.event,
        acknowledged=list(acknowledged.get((event.id, "ended"), ())),
    )


def to_state(visit: Presence) -> Visit:
    """The visit as it stands in the state."""
    return Visit(
        id=visit.id,
        technician=visit.technician,
        author=visit.opening.header.author,
        opening=visit.opening.origin,
        phase=visit.phase,
        outcome=visit.outcome,
        facts=visit.facts,
        equipment=visit.equipment,
        pauses=_pauses(visit.events),
        flags=sorted(visit.flags),
        cancel_verdict=visit.verdict,
    )


def _pauses(events: Iterable[MergeEvent]) -> list[Pause]:
    """Pairs per author in order of sequence: a clock that jumps between pause and resume does not part them."""
    pauses: list[Pause] = []
    waiting: MergeEvent | None = None
    steps = (event for event in events if event.name in ("intervention.paused", "intervention.resumed"))
    for event in sorted(steps, key=lambda event: (event.header.author, event.header.seq)):
        paused = event.name == "intervention.paused"
        if waiting is not None and (paused or waiting.header.author != event.header.author):
            pauses.append(_pause(waiting, None))
            waiting = None
        if paused:
            waiting = event
        elif waiting is not None:
            pauses.append(_pause(waiting, event))
            waiting = None
    return [*pauses, _pause(waiting, None)] if waiting is not None else pauses


def _pause(paused: MergeEvent, resumed: MergeEvent | None) -> Pause:
    return Pause(
        paused=paused.origin,
        resumed=resumed.origin if resumed is not None else None,
        reason=paused.value.get("reason"),
    )
