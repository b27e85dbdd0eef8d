"""What the events of a decision knew of each other, from their signed headers, in words; and which were learned only later.

A state names its events but does not hold their vectors: whoever has the ledger (or the device's log) adds this to what `why`
says. It decides nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from zb_contracts.merge import phrases
from zb_contracts.merge.explanations import Explanation
from zb_contracts.merge.fold import RULES
from zb_contracts.merge.state import Origin
from zb_contracts.merge.wording import Language, side_of

OTHERS_TOLD_MAX: Final = 8
"""Losers that are compared one by one, and authors that are listed, in one decision."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger has of an event beyond the state: its vector, and why it could not be read on arrival, if so."""

    seen: dict[str, int]
    opaque: str | None = None


def events_of(decisions: Sequence[Explanation]) -> list[str]:
    """The ids of all events that the decisions name, each once."""
    return list({origin.event: None for item in decisions for origin in _origins(item)})


def with_evidence(decisions: Sequence[Explanation], sources: Mapping[str, Source], language: Language) -> list[Explanation]:
    """The decisions, each with what its events had seen of each other. An event without a source is named, no more."""
    return [msgspec.structs.replace(item, knew=_knew(item, sources, language)) for item in decisions]


def _origins(item: Explanation) -> list[Origin]:
    return [*([item.winner] if item.winner else []), *item.losers]


def _knew(item: Explanation, sources: Mapping[str, Source], language: Language) -> list[str]:
    if item.winner is None:
        return []
    winner, losers = item.winner, item.losers[:OTHERS_TOLD_MAX]
    if losers:
        told = [
            line for loser in losers for line in (_of(winner, loser, sources, language), _of(loser, winner, sources, language))
        ]
    else:
        told = [_alone(winner, sources, language)]
    told += [_learned(origin, sources, language) for origin in (winner, *losers)]
    return list(dict.fromkeys(line for line in told if line))


def _of(one: Origin, other: Origin, sources: Mapping[str, Source], language: Language) -> str:
    """What `one` knew of `other`."""
    source = sources.get(one.event)
    known = source.seen.get(other.author, 0) if source else 0
    if one.author == other.author:
        key = "own_later" if one.seq > other.seq else "own_earlier"
    elif source is None:
        return f"{_named(one, language)}."
    else:
        key = "nothing" if known == 0 else "knew" if known >= other.seq else "did_not_know"
    return phrases.KNEW[key][language].format(event=_named(one, language), other=other.author, known=known, seq=other.seq)


def _alone(one: Origin, sources: Mapping[str, Source], language: Language) -> str:
    source = sources.get(one.event)
    if source is None:
        return f"{_named(one, language)}."
    seen = sorted((author, known) for author, known in source.seen.items() if author != one.author)
    if not seen:
        return phrases.KNEW["alone_nothing"][language].format(event=_named(one, language))
    listed = [phrases.KNEW["one"][language].format(author=author, known=known) for author, known in seen[:OTHERS_TOLD_MAX]]
    if len(seen) > OTHERS_TOLD_MAX:
        listed.append(phrases.KNEW["more"][language].format(count=len(seen) - OTHERS_TOLD_MAX))
    return phrases.KNEW["alone"][language].format(event=_named(one, language), all=", ".join(listed))


def _learned(origin: Origin, sources: Mapping[str, Source], language: Language) -> str:
    source = sources.get(origin.event)
    if source is None or source.opaque is None:
        return ""
    return phrases.LEARNED[language].format(
        event=_named(origin, language), reason=source.opaque, version=read_since(origin.type) or max(RULES)
    )


def read_since(event_type: str) -> int | None:
    """The first version of the rules that reads this type; None where none does."""
    return min((version for version, rules in RULES.items() if event_type in rules.types), default=None)


def _named(origin: Origin, language: Language) -> str:
    return phrases.EVENT[language].format(
        side=side_of(origin, language), author=origin.author, seq=origin.seq, type=origin.type, event=origin.event
    )
