"""What a decision needs to know of the ledger: from the events in hand to questions, and from a store's answers to `Known`.

Pure, and shared by every store of the ledger: a store answers these questions, it does not choose them. The decision itself is
domain.py's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from field_ingest.admission.domain import Author, Event, Hold, Known, admission_in
from field_ingest.ledger.facts import Session

Vectors = Mapping[tuple[str, str], Mapping[str, int]]
"""(author, stream) -> what the author had seen of the stream with its newest event there."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked about events, each question once, in a fixed order.

    `numbers`: what stands under these (author, seq), in the chain and beside it. `ids`: the header hash under these event ids.
    `marks`: how far these authors are. `streams`: the newest vectors of (author, stream). `people`: who ever had a session on
    these authors' devices. `sessions`: the sessions with these token ids. `holds`: the held events with these ids.
    """

    numbers: tuple[tuple[str, int], ...]
    ids: tuple[str, ...]
    marks: tuple[str, ...]
    streams: tuple[tuple[str, str], ...]
    people: tuple[str, ...]
    sessions: tuple[str, ...]
    holds: tuple[str, ...]
    _new: tuple[Event, ...]

    def knowledge(self, vectors: Vectors) -> list[tuple[str, str, int]]:
        """(stream, author, seq): what had the newest event of the author up to seq seen of the stream?

        Asked for each entry of a new event's vector that its author's newest vector does not have already: that one was
        checked when it was admitted.
        """
        asked: set[tuple[str, str, int]] = set()
        for event in self._new:
            before = vectors.get((event.author, event.stream), {})
            for other, seq in _seen(event).items():
                if other != event.author and before.get(other) != seq:
                    asked.add((event.stream, other, seq))
        return sorted(asked)


@dataclass(frozen=True, slots=True)
class Answers:
    """A store's answers; see Questions. What has no entry is not in the ledger."""

    chained: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    strays: Mapping[str, frozenset[tuple[int, bytes]]] = field(default_factory=dict)
    ids: Mapping[str, bytes] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=dict)
    knowledge: Mapping[tuple[str, str, int], Mapping[str, int]] = field(default_factory=dict)
    people: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sessions: Mapping[str, Session] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)

    def known(self, author: str) -> Known:
        """What the decision on this author's events needs."""
        return Known(
            chained=self.chained.get(author, {}),
            strays=self.strays.get(author, frozenset()),
            ids=self.ids,
            marks=self.marks,
            vectors={stream: seen for (owner, stream), seen in self.vectors.items() if owner == author},
            knowledge=self.knowledge,
            people=self.people.get(author, frozenset()),
            sessions=self.sessions,
            holds=self.holds,
        )


def questions(authors: Mapping[str, Author], events: Sequence[Event]) -> Questions:
    """What must be known to decide these events of these authors."""
    new = tuple(event for event in events if event.seq > authors[event.author].mark and event.header is not None)
    others = {other for event in new for other in _seen(event) if other != event.author}
    return Questions(
        numbers=tuple(sorted({(event.author, seq) for event in events for seq in _asked_numbers(event, authors)})),
        ids=tuple(sorted({event.id for event in new})),
        marks=tuple(sorted(others)),
        streams=tuple(sorted({(event.author, event.stream) for event in new})),
        people=tuple(sorted(name for name, author in authors.items() if author.device is not None)),
        sessions=tuple(sorted({event.header.token for event in new if event.header is not None and event.header.token})),
        holds=tuple(sorted({named.event for event in new if (named := admission_in(event)) is not None})),
        _new=new,
    )


def _asked_numbers(event: Event, authors: Mapping[str, Author]) -> tuple[int, ...]:
    """The event's own number; of one beyond the chain also its parent's, which may stand beside it."""
    return (event.seq - 1, event.seq) if event.seq > authors[event.author].mark + 1 else (event.seq,)


def vector_of(header: bytes) -> dict[str, int]:
    """`seen` of a stored header, which was checked when it was admitted."""
    return _decoder.decode(header).seen


class _Vector(msgspec.Struct, frozen=True):
    seen: dict[str, int]


_decoder: Final = msgspec.json.Decoder(_Vector)


def _seen(event: Event) -> Mapping[str, int]:
    return event.header.seen if event.header is not None else {}
