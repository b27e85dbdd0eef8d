"""What every fold keeps of every event, read or not: who wrote which, the whole vector, admissions, and what no rule reads.

It grows by a number per event and decides nothing. An event is known by its author and number: the ledger has each once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from zb_contracts.events.office import EventAdmitted
from zb_contracts.merge.causality import MergeEvent, by_rank
from zb_contracts.merge.state import Admission, Unknown


class Book(msgspec.Struct, frozen=True, array_like=True):
    """What a record holds beside events, for a snapshot. `seqs`: author -> its numbers, ascending; `sums` are decimal text."""

    vector: dict[str, int]
    seqs: dict[str, list[int]]
    readable: int
    sums: dict[str, str]


class Record:
    """The book of one stream under one version of the rules.

    `readable` counts the events that the stream's own fold took, `sums` are exact totals that outlive their events.
    """

    def __init__(self, stream: str, rule_version: int) -> None:
        self.stream = stream
        self.rule_version = rule_version
        self.readable = 0
        self.sums: dict[str, int] = {}
        self._seqs: dict[str, set[int]] = defaultdict(set)
        self._vector: dict[str, int] = {}
        self._admissions: list[MergeEvent] = []
        self._unread: dict[tuple[str, str], list[MergeEvent]] = defaultdict(list)

    @property
    def kind(self) -> str:
        """The kind of stream."""
        return self.stream.partition(":")[0]

    def take(self, event: MergeEvent) -> bool:
        """Count the event, once: False for one that was counted before."""
        header = event.header
        author, seq = header.author, header.seq
        seqs = self._seqs[author]
        if seq in seqs:
            return False
        seqs.add(seq)
        vector = self._vector
        if seq > vector.get(author, 0):
            vector[author] = seq
        # A later author repeats this vector as `seen`, which must cover what the events it covers had seen.
        for other, known in header.seen.items():
            if known > vector.get(other, 0):
                vector[other] = known
        return True

    def unread(self, event: MergeEvent, reason: str) -> None:
        """The event stands outside every field, for ever under these rules."""
        self._unread[event.header.type, reason].append(event)

    def admit(self, event: MergeEvent) -> None:
        """A held event was let in by this one."""
        self._admissions.append(event)

    def header(self, also: Mapping[str, Sequence[MergeEvent]] | None = None) -> dict[str, Any]:
        """The part that all states share. `also`: reason -> events that only the whole set shows to be unreadable."""
        unread = {key: list(events) for key, events in self._unread.items()}
        for reason, events in (also or {}).items():
            for event in events:
                unread.setdefault((event.header.type, reason), []).append(event)
        common = {
            "stream": self.stream,
            "rule_version": self.rule_version,
            "vector": dict(sorted(self._vector.items())),
            "events": sum(map(len, self._seqs.values())),
            "unknown": [
                Unknown(type=kind, reason=reason, count=len(events), events=[event.id for event in by_rank(events)])
                for (kind, reason), events in sorted(unread.items())
            ],
        }
        if self.rule_version > 1 or self.kind == "intervention":
            common["admissions"] = [_admission(event) for event in by_rank(self._admissions)]
        return common

    def book(self) -> Book:
        """What stands here beside events."""
        return Book(
            vector=dict(self._vector),
            seqs={author: sorted(seqs) for author, seqs in self._seqs.items()},
            readable=self.readable,
            sums={name: str(total) for name, total in self.sums.items()},
        )

    def kept(self) -> tuple[list[MergeEvent], dict[str, list[MergeEvent]]]:
        """The admissions, and by reason the events that were not read."""
        by_reason: dict[str, list[MergeEvent]] = defaultdict(list)
        for (_, reason), events in self._unread.items():
            by_reason[reason] += events
        return list(self._admissions), dict(by_reason)

    def reopen(self, book: Book, admissions: Iterable[MergeEvent], unread: Mapping[str, Iterable[MergeEvent]]) -> None:
        """Go on where another record stood."""
        self.readable = book.readable
        self.sums = {name: int(total) for name, total in book.sums.items()}
        self._seqs = defaultdict(set, {author: set(seqs) for author, seqs in book.seqs.items()})
        self._vector = dict(book.vector)
        self._admissions = list(admissions)
        self._unread = defaultdict(list)
        for reason, events in unread.items():
            for event in events:
                self.unread(event, reason)


def _admission(event: MergeEvent) -> Admission:
    body = event.body
    assert isinstance(body, EventAdmitted)
    return Admission(
        event=body.event,
        author=body.author,
        author_seq=body.author_seq,
        supervisor=body.supervisor,
        reason=body.reason,
        origin=event.origin,
    )
