"""One field's value: who stands among the candidates, what is set aside, and by which rule.

Office and assignment registers and visit facts: one side writes, the candidates are equals. Shared registers: both write;
where any candidate is the field's, only the field's stand. It does not decide who may write a field.
"""

from collections.abc import Mapping, Sequence

from zb_contracts.fields import FieldClass
from zb_contracts.merge.causality import Write, Writes
from zb_contracts.merge.rules import FIELD_OVER_OFFICE, LATEST_CLOCK, POLICY_STANDS, UNOPPOSED
from zb_contracts.merge.state import Origin, Register, SetAside

Acknowledgements = Mapping[tuple[str, str], Sequence[Origin]]
"""(event id, field name or conflict code) -> who has read it, in order of rank."""


def decide(field: str, field_class: FieldClass, writes: Writes, acknowledged: Acknowledgements) -> Register:
    """The register of `field`, to which the writes belong. `writes` is not empty."""
    if writes.decided is not None:
        return writes.decided
    candidates = writes.candidates()
    register = from_candidates(field, field_class, candidates, acknowledged)
    if len(candidates) == 1:  # nothing is set aside that somebody could acknowledge
        writes.decided = register
    return register


def from_candidates(field: str, field_class: FieldClass, candidates: Sequence[Write], acknowledged: Acknowledgements) -> Register:
    """As `decide`, of candidates in descending rank."""
    if len(candidates) == 1:
        return Register(value=candidates[0].value, origin=candidates[0].event.origin, rule=_rule(candidates[0], ()))
    standing = candidates
    if field_class is FieldClass.SHARED:
        standing = [write for write in candidates if write.event.side == "field"] or candidates
    winner = standing[0]
    equals = {write.event.id for write in standing}
    set_aside = [
        SetAside(
            field=field,
            value=loser.value,
            origin=loser.event.origin,
            rule=LATEST_CLOCK if loser.event.id in equals else FIELD_OVER_OFFICE,
            against=winner.event.id,
            acknowledged=list(acknowledged.get((loser.event.id, field), ())),
        )
        for loser in candidates
        if loser is not winner
    ]
    return Register(
        value=winner.value,
        origin=winner.event.origin,
        rule=_rule(winner, set_aside),
        set_aside=sorted(set_aside, key=lambda item: (item.origin.author, item.origin.seq)),
    )


def _rule(winner: Write, set_aside: Sequence[SetAside]) -> str:
    if set_aside:
        rules = {item.rule for item in set_aside}
        return LATEST_CLOCK if LATEST_CLOCK in rules else FIELD_OVER_OFFICE
    return POLICY_STANDS if winner.event.name == "intervention.request_made" else UNOPPOSED
