"""Order of knowledge: which event knew which, and what stands among the writes of one field.

A *knows* B when A's `seen` covers B, or the same author wrote B before A; on causally closed vectors that is a partial
order. Clocks appear only in `rank`, the last tie-break between equals. Nothing here knows a field or a side's rights.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from zb_contracts import canonical
from zb_contracts.canonical import INTEGER_MAX
from zb_contracts.envelope import ParsedEvent
from zb_contracts.events import AuthorKind, Body, Opaque, Plain, plain, type_of, written_body
from zb_contracts.fields import unversioned
from zb_contracts.merge.headers import MergeHeader, narrowed
from zb_contracts.merge.state import Origin, Register, Side

_SIDES: dict[AuthorKind, Side] = {
    AuthorKind.DEVICE: "field",
    AuthorKind.OFFICE: "office",
    AuthorKind.SERVICE: "service",
}


class MergeEvent:
    """One admitted event as it was written; a version of the rules reads it upcast as far as it knows (see `fold`).

    `kind` is the registered kind of its author, a fact of the ledger. `type` is the body's, empty where the body is opaque;
    `name` is it without its version, what the rules dispatch on. `value` is the body as plain JSON without its nulls, sealed
    values sealed. `rank` is the last tie-break, all from the header: trusted time or wall clock, author, seq. Nobody changes
    an event. There are many of them: no attribute is kept that these do not say.
    """

    __slots__ = ("_body", "header", "id", "kind", "name", "origin", "rank", "type", "value")

    def __init__(self, header: MergeHeader, body: Body | Opaque | Plain, kind: AuthorKind) -> None:
        self.header = header
        self.kind = kind
        self.id = header.id
        if isinstance(body, Plain):
            self._body: Body | Opaque | None = None
            self.type, self.value = body
        else:
            self._body = body
            self.type, self.value = ("", {}) if isinstance(body, Opaque) else (type_of(body).name, plain(body))
        self.name = unversioned(self.type)
        self.rank = rank_of(header)
        self.origin = _origin(header, _SIDES[kind])

    def __repr__(self) -> str:
        return f"MergeEvent({self.header!r}, {self.body!r}, {self.kind!r})"

    @property
    def body(self) -> Body | Opaque:
        """The body by its model."""
        return written_body(self.type, canonical.encode(self.value)) if self._body is None else self._body

    @property
    def side(self) -> Side:
        return self.origin.side


def rank_of(header: MergeHeader) -> tuple[int, str, int]:
    """Where an event stands among equals; no two events have the same rank."""
    return header.trusted_ms, header.author, header.seq


def _origin(header: MergeHeader, side: Side) -> Origin:
    return Origin(
        event=header.id,
        author=header.author,
        seq=header.seq,
        type=header.type,
        actor=header.actor,
        visit=header.visit,
        at=header.at,
        # A hostile elapsed time must not make a number that canonical JSON refuses.
        trusted_ms=min(header.trusted_ms, INTEGER_MAX) if header.is_anchored else None,
        side=side,
    )


def merge_event(parsed: ParsedEvent, kind: AuthorKind) -> MergeEvent:
    """The fold's view of a stored event whose author is registered as `kind`. Never raises on a parsed event."""
    return MergeEvent(narrowed(parsed.header), written_body(parsed.header.type, parsed.signed.body), kind)


def knows(later: MergeEvent, earlier: MergeEvent) -> bool:
    """Whether the author of `later` had `earlier` when it wrote."""
    return knows_up_to(later, earlier.header.author) >= earlier.header.seq


def knows_up_to(event: MergeEvent, author: str) -> int:
    """The highest sequence number of `author` that `event` knew; 0 for none."""
    if event.header.author == author:
        return event.header.seq - 1
    return event.header.seen.get(author, 0)


def reach(events: Iterable[MergeEvent]) -> dict[str, int]:
    """Author -> highest sequence number among `events`."""
    highest: dict[str, int] = {}
    for event in events:
        author, seq = event.header.author, event.header.seq
        if seq > highest.get(author, 0):
            highest[author] = seq
    return highest


def covers(event: MergeEvent, wanted: dict[str, int]) -> bool:
    """Whether `event` knew everything that `reach` summed up."""
    return all(knows_up_to(event, author) >= seq for author, seq in wanted.items())


def by_rank(events: Iterable[MergeEvent]) -> list[MergeEvent]:
    """In the one order of every list of a state."""
    return sorted(events, key=_rank)


def earliest(events: Iterable[MergeEvent]) -> MergeEvent:
    """The event that the others know; between equals the lowest rank. `events` is not empty."""
    first, *others = by_rank(events)
    for event in others:
        if knows(first, event):
            first = event
    return first


class Write(NamedTuple):
    """One value that one event gives to one field."""

    event: MergeEvent
    value: Any


class Writes:
    """All writes of one field, kept per author in order of sequence, whatever order they arrive in.

    An author's later write knows its earlier ones, so only the last of each author can stand: questions cost the number of
    authors, not of events. The caller adds no event twice.
    """

    __slots__ = ("_by_author", "decided")

    def __init__(self, writes: Iterable[Write] = ()) -> None:
        self._by_author: dict[str, list[Write]] = {}
        self.decided: Register | None = None
        """What was decided of exactly these writes, where that depends on nothing else; see `registers.decide`."""
        for write in writes:
            self.add(write)

    def __bool__(self) -> bool:
        return bool(self._by_author)

    def copy(self) -> "Writes":
        other = Writes()
        other._by_author = {author: list(writes) for author, writes in self._by_author.items()}
        return other

    def last(self) -> list[Write]:
        """The last write of each author: what `candidates` chooses from."""
        return [writes[-1] for writes in self._by_author.values()]

    def add(self, write: Write) -> None:
        self.decided = None
        writes = self._by_author.setdefault(write.event.header.author, [])
        if not writes or _seq(writes[-1]) < _seq(write):
            writes.append(write)
        else:
            writes.insert(bisect_left(writes, _seq(write), key=_seq), write)

    def candidates(self, known_to: MergeEvent | None = None) -> list[Write]:
        """The writes that no other write knows, greatest rank first; of those `known_to` an event, where given.

        Never empty while there is a write: vectors that are not closed (which admission refuses) could form a circle,
        and then all last writes are candidates.
        """
        last = self.last() if known_to is None else self._last_known(known_to)
        if len(last) == 1:
            return last
        last.sort(key=lambda write: write.event.rank, reverse=True)
        standing = [write for write in last if not any(knows(other.event, write.event) for other in last)]
        return standing or last

    def _last_known(self, event: MergeEvent) -> list[Write]:
        found = []
        for author, writes in self._by_author.items():
            count = bisect_right(writes, knows_up_to(event, author), key=_seq)
            if count:
                found.append(writes[count - 1])
        return found


_rank = attrgetter("rank")


def _seq(write: Write) -> int:
    return write.event.header.seq
