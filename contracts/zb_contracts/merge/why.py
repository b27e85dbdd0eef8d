"""Why a state says what it says: for each decided field the rule, who stands, who was set aside, who knew of whom.

It reads a state and nothing else, so a device, the console and an auditor give the same answer. Whoever has the events too adds
what each had seen of the other (`evidence`). The words are in `wording` and `phrases`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from zb_contracts.fields import FIELDS
from zb_contracts.merge import listed, phrases, rules, wording
from zb_contracts.merge.explanations import Explanation, Knowledge, derived, label_of
from zb_contracts.merge.state import (
    EquipmentState,
    InterventionState,
    Line,
    Origin,
    Register,
    ShiftState,
    SiteState,
    State,
    StockState,
    Visit,
)
from zb_contracts.merge.wording import Language
from zb_contracts.problems import FIELD_UNKNOWN, Problem

_BY_COLUMN: dict[str, Knowledge] = {
    "known": "field_knew_office",
    "informed": "office_knew_field",
    "concurrent": "neither_knew",
}


def explain(state: State, field: str | None = None, language: Language = "fr") -> list[Explanation]:
    """Every decision of the state, or those on one field, in a fixed order.

    Beside the fields there are names for what is derived or listed (`status`, `held_by`, `visit`, `conflict`, `request` ...): see
    `names_of`. Asked for a field that nothing wrote, it says so. Problem FIELD_UNKNOWN for another name.
    """
    if field is None:
        return list(_all(state, language))
    names = names_of(state.stream)
    if field not in names:
        raise Problem(FIELD_UNKNOWN, field=field, stream=state.stream, fields=", ".join(names))
    return [item for item in _all(state, language) if item.field == field] or [_unwritten(state, field, language)]


def names_of(stream: str) -> list[str]:
    """What can be asked about on a stream like this one, sorted."""
    kind = stream.partition(":")[0]
    return sorted({name for stream_kind, name in FIELDS if stream_kind == kind} | set(_LISTED.get(kind, ())) | set(_ALWAYS))


_ALWAYS: Final = ("admission", "unknown")
_LISTED: Final = {
    "intervention": ("status", "held_by", "visit", "conflict", "request", "correction", "cancel", "reopened", "export"),
    "shift": ("started", "ended", "note"),
}


def _unwritten(state: State, field: str, language: Language) -> Explanation:
    label = label_of(state.stream.partition(":")[0], field, language)
    return derived(field, None, "unwritten", None, phrases.UNWRITTEN[language].format(label=label))


def _all(state: State, language: Language) -> Iterator[Explanation]:
    kind = state.stream.partition(":")[0]
    if isinstance(state, InterventionState):
        yield _status(state, language)
        yield from _held(state, language)
        yield from _registers(kind, None, state.fields.items(), language)
        for visit in state.visits:
            yield from _visit(state, visit, language)
        for line in state.lines:
            yield from _unheard(kind, line, language) if line.set_aside else listed.of_line(line, language)
        yield from listed.of_intervention(state, language)
        yield from _conflicts(state, language)
    elif isinstance(state, ShiftState):
        found = (("started", state.started), ("ended", state.ended))
        yield from _registers(kind, None, ((name, value) for name, value in found if value), language)
        yield from listed.of_shift(state, language)
    elif isinstance(state, StockState):
        yield from listed.of_stock(state, language)
    elif isinstance(state, SiteState | EquipmentState):
        yield from _registers(kind, None, state.fields.items(), language)
    yield from listed.of_any(state, language)


def _held(state: InterventionState, language: Language) -> Iterator[Explanation]:
    for technician in state.held_by:
        visit = next(each for each in state.visits if each.technician == technician and each.phase != "ended")
        sentence = wording.fill(phrases.HELD[language], language, who=visit.opening, technician=technician)
        yield derived("held_by", visit.id, "open_visit_of_the_assignee", visit.opening, sentence)


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
    label = label_of(kind, name, language)
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
            yield derived("visit", visit.id, flag, visit.opening, sentence)
    yield from _registers("intervention", visit.id, visit.facts.items(), language)
    yield from listed.of_pauses(visit, language)
    for register in visit.equipment.values():
        yield from _registers("intervention", visit.id, [("equipment_state", register)], language)


def _unheard(kind: str, line: Line, language: Language) -> Iterator[Explanation]:
    """A line that stands although somebody withdrew it."""
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
        yield derived("conflict", subject, conflict.code, conflict.origin, sentence)


def _status(state: InterventionState, language: Language) -> Explanation:
    winner = _status_origin(state)
    sentence = wording.fill(wording.STATUS[state.status][language], language, who=winner)
    return derived("status", None, state.status, winner, sentence)


def _status_origin(state: InterventionState) -> Origin | None:
    if state.status == "in_progress":
        return next(visit.opening for visit in state.visits if visit.phase != "ended")
    if state.status in ("done", "not_done"):
        return next(visit.facts["ended"].origin for visit in state.visits if visit.outcome == state.status)
    if state.status == "cancelled":
        return state.cancels[-1].origin
    field = {"assigned": "assignee", "planned": "planned_start"}.get(state.status)
    return state.fields[field].origin if field else None
