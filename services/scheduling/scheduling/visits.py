"""What the office may say of a visit, which only the field writes: end one that a lost device left open, ask, correct.

Nothing here changes what the technician recorded: a request waits for the field's answer, a correction lies beside the fact.
Pure, as domain.py is, which asks it; what the merge makes of these events is not decided here.
"""

from typing import Final

from scheduling import commands as c
from scheduling import events as e
from scheduling.values import Reported
from zb_contracts.fields import FIELDS, FieldClass
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, PLAN_STATE, Problem

FACTS: Final = frozenset(name for (_, name), row in FIELDS.items() if row.field_class is FieldClass.VISIT_FACT)
"""What a correction may lie beside."""
ASKABLE: Final = FACTS | {name for (_, name), row in FIELDS.items() if row.field_class is FieldClass.LINE}
"""What the office can only ask for: all else of an intervention it writes itself."""


def abandon(office: str, reported: Reported, command: c.AbandonVisit) -> tuple[e.Event, ...]:
    """End an open visit. `office` is the office's status, for the refusal. Problems INPUT_NOT_FOUND, PLAN_STATE."""
    if not _is_open(reported, command.visit):
        raise Problem(PLAN_STATE, command="abandon the visit", status=f"{office} and the visit has ended")
    return (e.VisitAbandoned(visit=command.visit, reason=command.reason, at_ms=command.at_ms),)


def ask(command: c.AskField) -> tuple[e.Event, ...]:
    """Ask the field. Problem INPUT_INVALID for what the office may write itself, or what no intervention has."""
    _check_name("something that only the field writes", command.field, ASKABLE)
    return (e.FieldAsked(field=command.field, value=command.value, reason=command.reason, at_ms=command.at_ms),)


def correct(office: str, reported: Reported, command: c.CorrectVisit) -> tuple[e.Event, ...]:
    """Lay a correction beside a fact of an ended visit. Problems INPUT_INVALID, INPUT_NOT_FOUND, PLAN_STATE."""
    _check_name("a fact of a visit", command.field, FACTS)
    if _is_open(reported, command.visit):
        raise Problem(PLAN_STATE, command="correct the visit", status=f"{office} and the visit is open: ask the field")
    return (
        e.VisitCorrected(
            visit=command.visit, field=command.field, value=command.value, reason=command.reason, at_ms=command.at_ms
        ),
    )


def _is_open(reported: Reported, visit: str) -> bool:
    found = next((each for each in reported.visits if each.id == visit), None)
    if found is None:
        raise Problem(INPUT_NOT_FOUND, what="visit", id=visit)
    return found.open


def _check_name(what: str, name: str, known: frozenset[str]) -> None:
    if name not in known:
        raise Problem(INPUT_INVALID, errors=({"field": "field", "reason": f"not {what}: {', '.join(sorted(known))}"},))
