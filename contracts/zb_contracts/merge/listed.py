"""Why the things that a state lists are there: lines, requests, corrections, cancels, exports, admissions, what was not read.

No rule had to choose between them; each says who wrote it and what became of it. What was decided is `why`'s matter.
"""

from collections.abc import Iterator

import msgspec

from zb_contracts.merge import phrases
from zb_contracts.merge.explanations import Explanation, derived, label_of
from zb_contracts.merge.state import InterventionState, Line, Request, ShiftState, State, StockState, Visit
from zb_contracts.merge.wording import Language, fill

VALUE_TOLD_MAX = 120


def of_line(line: Line, language: Language) -> Iterator[Explanation]:
    """One line that nobody's ignorance touched."""
    label = label_of("intervention", line.kind, language)
    rule, origin, reason = "line_kept", line.origin, ""
    if line.void is not None:
        rule, origin, reason = "line_withdrawn", line.void.origin, line.void.reason
    elif line.versions:
        rule = "line_changed"
    words = phrases.LINE[rule][language]
    sentence = fill(words, language, who=origin, label=label, reason=_short(reason), count=len(line.versions))
    losers = [version.origin for version in line.versions] if rule == "line_changed" else []
    yield derived(line.kind, line.id, rule, origin, sentence, [line.origin] if line.void is not None else losers)


def of_pauses(visit: Visit, language: Language) -> Iterator[Explanation]:
    """Each pause of a visit, and its end."""
    for pause in visit.pauses:
        for name, origin in (("paused", pause.paused), ("resumed", pause.resumed)):
            if origin is not None:
                yield derived(name, visit.id, "visit_fact", origin, fill(phrases.PAUSE[name][language], language, who=origin))


def of_intervention(state: InterventionState, language: Language) -> Iterator[Explanation]:
    """Requests, corrections, cancels, the reopening and exports."""
    for request in state.requests:
        yield _request(request, language)
    for layer in state.corrections:
        rule = "current" if layer.current else "overtaken"
        sentence = fill(
            phrases.CORRECTION[rule][language],
            language,
            who=layer.origin,
            label=label_of("intervention", layer.field, language),
            value=_short(layer.value),
            reason=_short(layer.reason),
        )
        yield derived("correction", layer.visit, rule, layer.origin, sentence)
    for cancel in state.cancels:
        sentence = fill(phrases.CANCEL[language], language, who=cancel.origin, reason=_short(cancel.reason))
        yield derived("cancel", None, "unknown_to_every_plan", cancel.origin, sentence)
    if state.reopened is not None:
        sentence = fill(phrases.REOPENED[language], language, who=state.reopened)
        yield derived("reopened", None, "reopened", state.reopened, sentence)
    for export in state.exports:
        sentence = fill(
            phrases.EXPORT[language],
            language,
            who=export.origin,
            batch=export.batch,
            profile=export.profile,
            kind=export.kind,
            count=len(export.later),
        )
        yield derived("export", export.profile, export.kind, export.origin, sentence)


def _request(request: Request, language: Language) -> Explanation:
    answers = [request.answer.origin] if request.answer else []
    sentence = fill(
        phrases.REQUEST[request.status][language],
        language,
        who=request.origin,
        others=answers,
        label=label_of("intervention", request.field, language),
        value=_short(str(request.value)),
    )
    return derived("request", request.id, request.status, request.origin, sentence, answers)


def of_shift(state: ShiftState, language: Language) -> Iterator[Explanation]:
    """The remarks of a day."""
    for note in state.notes:
        yield derived("note", None, "line_kept", note.origin, fill(phrases.NOTE[language], language, who=note.origin))


def of_stock(state: StockState, language: Language) -> Iterator[Explanation]:
    """Each part's quantity, with the newest of its movements that the state lists."""
    count = len(state.movements) if state.movement_count is msgspec.UNSET else state.movement_count
    for part, quantity in state.quantities.items():
        newest = next((item.origin for item in reversed(state.movements) if item.part == part), None)
        sentence = phrases.QUANTITY[language].format(part=part, quantity=quantity, count=count)
        yield derived("quantity", part, "sum_of_movements", newest, sentence)


def of_any(state: State, language: Language) -> Iterator[Explanation]:
    """What stands on every kind of stream: events that were let in, and those that no rule reads."""
    for admission in state.admissions or ():
        sentence = fill(
            phrases.ADMISSION[language],
            language,
            who=admission.origin,
            event=admission.event,
            author=admission.author,
            supervisor=admission.supervisor,
            reason=_short(admission.reason),
        )
        yield derived("admission", admission.event, "admitted", admission.origin, sentence)
    for unknown in state.unknown:
        sentence = phrases.UNKNOWN[unknown.reason][language].format(
            count=unknown.count, type=unknown.type, version=state.rule_version
        )
        yield derived("unknown", unknown.events[0], unknown.reason, None, sentence)


def _short(text: str) -> str:
    return text if len(text) <= VALUE_TOLD_MAX else f"{text[: VALUE_TOLD_MAX - 1]}…"
