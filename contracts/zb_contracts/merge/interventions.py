"""The fold of one intervention: sorts its events by what they are, then asks each rule family in turn."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from zb_contracts.events.office import BillingExported
from zb_contracts.fields import FACT_OF, LINE_OF, REGISTERS_OF, field_of
from zb_contracts.merge import assignment, cancellation, conflicts, lines, requests, rules, status, visits
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank, knows
from zb_contracts.merge.records import Record
from zb_contracts.merge.registers import Acknowledgements, decide
from zb_contracts.merge.state import Export, InterventionState, Origin, Register

_OVERTAKING: Final = ("intervention.planned", "intervention.reopened")
_ANSWERS: Final = ("intervention.request_accepted", "intervention.request_declined")


@dataclass(slots=True)
class InterventionFold:
    """All events of one intervention, each once, sorted by what they are. `state` may be asked at any time."""

    record: Record
    named: dict[str, list[MergeEvent]] = field(default_factory=lambda: defaultdict(list))
    facts: list[MergeEvent] = field(default_factory=list)
    lines: list[MergeEvent] = field(default_factory=list)
    registers: dict[str, Writes] = field(default_factory=lambda: defaultdict(Writes))

    def add(self, event: MergeEvent) -> None:
        """Take an event that is readable, new and of this stream."""
        if event.name in FACT_OF:
            if visits.visit_of(event) is None:
                self.record.unread(event, rules.NO_VISIT)
            else:
                self.facts.append(event)
        elif event.name in LINE_OF:
            self.lines.append(event)
        else:
            self.named[event.name].append(event)
            for row in REGISTERS_OF.get(event.name, ()):
                if row.name in event.value:
                    self.registers[row.name].add(Write(event, event.value[row.name]))

    def kept(self) -> Iterable[MergeEvent]:
        """Every event: any of them may matter to a later one."""
        return chain(self.facts, self.lines, *self.named.values())

    def held(self) -> int:
        """As many as it took."""
        return self.record.readable

    def state(self) -> InterventionState:
        """The merged state of all that was added."""
        acknowledged = _acknowledgements(self.named["intervention.set_aside_acknowledged"])
        present, lost = visits.build_visits(self.facts, self.lines, self.named["visit.abandoned_by_office"], acknowledged)
        overtaking = [event for name in _OVERTAKING for event in self.named[name]]
        cancels = cancellation.standing_cancels(self.named["intervention.cancelled"], overtaking)
        for visit in present:
            assignment.judge(visit, self.registers["assignee"])
            cancellation.judge(visit, cancels)
        direct = requests.standing_proposals(self.named["intervention.request_made"], self.registers["policy"])
        fields = self._fields(direct, acknowledged)
        register = cancellation.cancelled_register(cancels, present, acknowledged)
        if register is not None:
            fields["cancelled"] = register
        # Rules 1 said cancelled also of what was begun too early for the cancel and then left.
        cancelled = bool(cancels) if self.record.rule_version == 1 else register is not None and register.value
        merged_lines, voids = lines.build_lines(self.lines, self.named["intervention.line_voided"], acknowledged)
        layers, early, unplaced = requests.split_corrections(self.named["intervention.corrected"], present)
        asked, unasked, own = requests.build_requests(
            self.named["intervention.request_made"],
            [event for name in _ANSWERS for event in self.named[name]],
            early,
            direct,
            acknowledged,
        )
        assignee = assignment.named(fields["assignee"].value) if "assignee" in fields else None
        held_by = assignment.holders(present)
        reopened = by_rank(self.named["intervention.reopened"])
        return InterventionState(
            **self.record.header({rules.NAMES_NOTHING: [*lost, *voids, *unplaced, *unasked], rules.ANSWERED_BY_ASKER: own}),
            status=status.derive(present, reopened, cancelled, fields, assignee),
            fields=fields,
            assignee=assignee,
            held_by=held_by,
            visits=[visits.to_state(visit) for visit in present],
            lines=merged_lines,
            requests=asked,
            corrections=requests.build_corrections(layers),
            conflicts=conflicts.find_conflicts(present, held_by, cancels, overtaking, acknowledged),
            cancels=cancellation.to_state(cancels),
            reopened=reopened[-1].origin if reopened else None,
            exports=self._exports(),
        )

    def _fields(self, direct: Mapping[str, Sequence[Write]], acknowledged: Acknowledgements) -> dict[str, Register]:
        fields = {}
        for name in sorted({*self.registers, *direct}):
            writes = self.registers[name]
            if name in direct:
                writes = writes.copy()
                for write in direct[name]:
                    writes.add(write)
            row = field_of("intervention", name)
            if writes and row is not None:
                fields[name] = decide(name, row.field_class, writes, acknowledged)
        return fields

    def _exports(self) -> list[Export]:
        exports = self.named["billing.exported"]
        latest: dict[str, Writes] = defaultdict(Writes)
        for event in exports:
            latest[event.value["profile"]].add(Write(event, None))
        compared = {write.event.id for writes in latest.values() for write in writes.candidates()}
        billed = by_rank([*self.lines, *self.named["intervention.line_voided"]]) if exports else []
        return [
            _export(event, [line.id for line in billed if not knows(event, line)] if event.id in compared else [])
            for event in by_rank(exports)
        ]


def _export(event: MergeEvent, later: list[str]) -> Export:
    body = event.body
    assert isinstance(body, BillingExported)
    return Export(
        profile=body.profile,
        batch=body.batch,
        kind=body.kind,
        lines_sha256=body.lines_sha256,
        origin=event.origin,
        later=later,
    )


def _acknowledgements(events: Sequence[MergeEvent]) -> dict[tuple[str, str], list[Origin]]:
    found: dict[tuple[str, str], list[Origin]] = defaultdict(list)
    for event in by_rank(events):
        found[event.value["event"], event.value["field"]].append(event.origin)
    return found
