"""Why a state says what it says: for each decided field the rule, who stands, who was set aside, who knew of whom.

It reads a state and nothing else, so a device, the console and an auditor give the same answer. The words are in `wording`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from zb_contracts.fields import field_of
from zb_contracts.merge import rules, wording
from zb_contracts.merge.state import InterventionState, Line, Origin, Register, ShiftState, State, Visit
from zb_contracts.merge.wording import Language

Knowledge = Literal["winner_knew_all", "neither_knew", "field_knew_office", "office_knew_field", "derived"]
"""What the sides knew of each other. Candidates of a register never know of each other: that is what makes them some."""

_BY_COLUMN: dict[str, Knowledge] = {
    "known": "field_knew_office",
    "informed": "office_knew_field",
    "concurrent": "neither_knew",
}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `subject`: id of the visit or line that it is about, or null for the intervention itself."""

    field: str
    subject: str | None
    rule: str
    winner: Origin | None
    losers: list[Origin]
    knowledge: Knowledge
    sentence: str


def explain(state: State, field: str | None = None, language: Language = "fr") -> list[Explanation]:
    """Every decision of the state, or those on one field (`status`, `visit` and `conflict` are fields here), in a fixed order."""
    return [item for item in _all(state, language) if field is None or item.field == field]


def _all(state: State, language: Language) -> Iterator[Explanation]:
    kind = state.stream.partition(":")[0]
    if isinstance(state, InterventionState):
        yield _status(state, language)
        yield from _registers(kind, None, state.fields.items(), language)
        for visit in state.visits:
            yield from _visit(state, visit, language)
        for line in state.lines:
            yield from _line(kind, line, language)
        yield from _conflicts(state, language)
    elif isinstance(state, ShiftState):
        found = (("started", state.started), ("ended", state.ended))
        yield from _registers(kind, None, ((name, value) for name, value in found if value), language)
    elif hasattr(state, "fields"):
        yield from _registers(kind, None, state.fields.items(), language)


def _registers(
    kind: str, subject: str | None, registers: Iterable[tuple[str, Register]], language: Language
) -> Iterator[Explanation]:
    for name, register in registers:
        losers = [item.origin for item in register.set_aside]
        yield Explanation(
            field=name,
            subject=subject,
            rule=register.rule,
            winner=register.origin,
            losers=losers,
            knowledge=_knowledge(register.rule, bool(losers)),
            sentence=_sentence(kind, name, register.rule, register.origin, losers, language),
        )
        yield from _abandonments(kind, subject, name, register, language)


def _knowledge(rule: str, opposed: bool) -> Knowledge:
    if rule == rules.WORKED_ON_CANCELLED:
        return "field_knew_office"
    return "neither_knew" if opposed else "winner_knew_all"


def _abandonments(kind: str, subject: str | None, name: str, register: Register, language: Language) -> Iterator[Explanation]:
    losers = [item.origin for item in register.set_aside if item.rule == rules.ABANDONED_BUT_CONTINUED]
    if losers:
        rule = rules.ABANDONED_BUT_CONTINUED
        yield Explanation(
            field=name,
            subject=subject,
            rule=rule,
            winner=register.origin,
            losers=losers,
            knowledge="neither_knew",
            sentence=_sentence(kind, name, rule, register.origin, losers, language),
        )


def _sentence(kind: str, name: str, rule: str, winner: Origin, losers: Sequence[Origin], language: Language) -> str:
    row = field_of(kind, name)
    label = row.label(language) if row else name
    return wording.fill(wording.RULES[rule][language], language, who=winner, others=losers, label=label)


def _visit(state: InterventionState, visit: Visit, language: Language) -> Iterator[Explanation]:
    verdict = visit.cancel_verdict
    if verdict is not None:
        cancels = [cancel.origin for cancel in state.cancels if cancel.origin.event in verdict.cancels]
        stands = verdict.cancel == "stands"
        yield Explanation(
            field="cancelled",
            subject=visit.id,
            rule=verdict.code,
            winner=cancels[-1] if stands else visit.opening,
            losers=[] if stands else cancels,
            knowledge=_BY_COLUMN[verdict.column],
            sentence=wording.fill(wording.VERDICTS[verdict.code][language], language, who=visit.opening),
        )
    for flag in visit.flags:
        if flag in wording.FLAGS:
            sentence = wording.fill(wording.FLAGS[flag][language], language, who=visit.opening)
            yield _derived("visit", visit.id, flag, visit.opening, sentence)
    yield from _registers("intervention", visit.id, visit.facts.items(), language)
    for register in visit.equipment.values():
        yield from _registers("intervention", visit.id, [("equipment_state", register)], language)


def _line(kind: str, line: Line, language: Language) -> Iterator[Explanation]:
    for item in line.set_aside:
        yield Explanation(
            field=line.kind,
            subject=line.id,
            rule=item.rule,
            winner=line.origin,
            losers=[item.origin],
            knowledge="neither_knew",
            sentence=_sentence(kind, line.kind, item.rule, line.origin, [item.origin], language),
        )


def _conflicts(state: InterventionState, language: Language) -> Iterator[Explanation]:
    openings = {visit.id: visit.opening for visit in state.visits}
    for conflict in state.conflicts:
        first = openings.get(conflict.visits[0], conflict.origin) if conflict.visits else conflict.origin
        sentence = wording.fill(wording.CONFLICTS[conflict.code][language], language, who=first)
        subject = conflict.visits[0] if len(conflict.visits) == 1 else None
        yield _derived("conflict", subject, conflict.code, conflict.origin, sentence)


def _status(state: InterventionState, language: Language) -> Explanation:
    winner = _status_origin(state)
    sentence = wording.fill(wording.STATUS[state.status][language], language, who=winner)
    return _derived("status", None, state.status, winner, sentence)


def _status_origin(state: InterventionState) -> Origin | None:
    if state.status == "in_progress":
        return next(visit.opening for visit in state.visits if visit.phase != "ended")
    if state.status in ("done", "not_done"):
        return next(visit.facts["ended"].origin for visit in state.visits if visit.outcome == state.status)
    if state.status == "cancelled":
        return state.cancels[-1].origin
    field = {"assigned": "assignee", "planned": "planned_start"}.get(state.status)
    return state.fields[field].origin if field else None


def _derived(field: str, subject: str | None, rule: str, winner: Origin | None, sentence: str) -> Explanation:
    return Explanation(field=field, subject=subject, rule=rule, winner=winner, losers=[], knowledge="derived", sentence=sentence)
