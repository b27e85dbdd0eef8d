"""What an explanation is: one decision or one listed thing of a state, with its events and a sentence. It explains nothing."""

from typing import Literal

import msgspec

from zb_contracts.fields import field_of
from zb_contracts.merge import phrases
from zb_contracts.merge.state import Origin
from zb_contracts.merge.wording import Language

Knowledge = Literal["winner_knew_all", "neither_knew", "field_knew_office", "office_knew_field", "derived"]
"""What the sides knew of each other. Candidates of a register never know of each other: that is what makes them some."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `subject`: id of the visit, line or request that it is about, or null for the stream itself.

    `knew`: what its events had seen of each other, a sentence each; empty until `evidence.with_evidence` adds it.
    """

    field: str
    subject: str | None
    rule: str
    winner: Origin | None
    losers: list[Origin]
    knowledge: Knowledge
    sentence: str
    knew: list[str] = []


def derived(
    field: str, subject: str | None, rule: str, winner: Origin | None, sentence: str, losers: list[Origin] | None = None
) -> Explanation:
    """Of what follows from other things, or simply stands in a list."""
    return Explanation(
        field=field, subject=subject, rule=rule, winner=winner, losers=losers or [], knowledge="derived", sentence=sentence
    )


def label_of(kind: str, name: str, language: Language) -> str:
    """What a person calls it, on a stream of this kind."""
    row = field_of(kind, name)
    return row.label(language) if row else phrases.LABELS[name][language] if name in phrases.LABELS else name
