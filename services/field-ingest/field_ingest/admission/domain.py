"""The decision of admission: what becomes of each event of an author's chain. Pure; errors are data.

A `Chain` is one author's chain as the ledger has it, with what the decision needs of other rows (`Known`). It takes events
in order, whose signature and body digest were verified, and gives one outcome each. It knows no message, clock or database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from field_ingest.ledger.facts import MESSAGE_MAX, Session, Vouches, anchor_fact, clock_facts, refusal_facts, token_fact
from zb_contracts import canonical
from zb_contracts.envelope import Header, SignedEvent
from zb_contracts.events import EVENT_TYPES, AuthorKind, Opaque, read_body
from zb_contracts.events.office import EventAdmitted
from zb_contracts.ledger_leaf import RowKind
from zb_contracts.problems import (
    BODY_NOT_CANONICAL,
    FORK,
    HEADER_MALFORMED,
    HOLD_TURN,
    HOLD_UNKNOWN,
    ID_TAKEN,
    LINK_BROKEN,
    SEEN_AHEAD,
    SEEN_OPEN,
    SEEN_SHRINKS,
    SEGMENT_AHEAD,
    TYPE_NOT_ALLOWED,
    Problem,
)

STRAY_REFUSALS_MAX: Final = 1_000
"""Refusal rows beside the chain (forks, broken links) that one author may leave in the ledger; beyond it: rejects."""
ADMISSION_TYPE: Final = "event.admitted.v1"
"""A supervisor's word that a held event is admitted."""

# What a chain that goes on is free of: columns of its author's row.
_GOES_ON: Final[Mapping[str, Any]] = dict.fromkeys(("stopped_seq", "stopped_code", "stopped_message", "stopped_at_ms"))
_NO_GAP: Final[Mapping[str, Any]] = dict.fromkeys(("gap_nonce", "gap_at_ms", "gap_to"))


@dataclass(frozen=True, slots=True)
class Author:
    """An author's row: who it is, and how far its chain goes. Times in ms since 1970.

    `gap_nonce` is set while the ledger asks for `mark + 1` to `gap_to` once more.
    """

    author: str
    kind: AuthorKind
    agency: str | None
    device: str | None
    technician: str | None
    event_key: bytes
    shard: int
    mark: int
    head_hash: bytes
    last_at_ms: int | None = None
    revoked_at_ms: int | None = None
    stopped_seq: int | None = None
    stopped_code: str | None = None
    stopped_message: str | None = None
    stopped_at_ms: int | None = None
    gap_nonce: str | None = None
    gap_at_ms: int | None = None
    gap_to: int | None = None
    stray_refusals: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One verified event. `header` is None where it was signed but cannot be read: then `fault` says why."""

    author: str
    seq: int
    prev: bytes
    id: str
    stream: str
    type: str
    header_hash: bytes
    signed: SignedEvent
    header: Header | None
    fault: Problem | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A held event. `earlier` counts those of its author with smaller numbers that nobody has decided yet."""

    author: str
    seq: int
    stream: str
    earlier: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the decision needs of the ledger beside the author's own row.

    `chained` and `strays` are header hashes of this author's rows, `ids` the header hashes under event ids, `marks` those
    of other authors, `vectors` the author's newest `seen` of a stream, `knowledge` what the newest event of another
    author up to a number had seen of a stream (no entry: there is no such event), `people` the technicians who ever had a
    session on this author's device, `sessions` those that the events name, `holds` the held events that they would admit.
    """

    chained: Mapping[int, bytes] = field(default_factory=dict)
    strays: frozenset[tuple[int, bytes]] = frozenset()
    ids: Mapping[str, bytes] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    knowledge: Mapping[tuple[str, str, int], Mapping[str, int]] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    sessions: Mapping[str, Session] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Appended:
    """A new row: admitted, held, or a permanent refusal (`problem`). `chained` moves the mark over it."""

    event: Event
    kind: RowKind
    facts: bytes
    chained: bool = True
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The ledger has exactly this event: same id, same content, nothing changes. `chained` as it stands there."""

    event: Event
    chained: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not now: something before it is missing. Nothing of the chain from here on can be decided."""

    event: Event
    problem: Problem


@dataclass(frozen=True, slots=True)
class Dropped:
    """Refused without a row, because the author has left too many beside its chain already."""

    event: Event
    problem: Problem


Outcome = Appended | Duplicate | Waiting | Dropped


class Chain:
    """One author's chain while events are decided; `outcomes` is what was decided so far.

    `vouches` tells the ledger's own anchors from others; without it no fact says so.
    """

    def __init__(self, author: Author, known: Known, *, received_at_ms: int, vouches: Vouches | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self._author = author
        self._mark, self._head_hash, self._last_at_ms = author.mark, author.head_hash, author.last_at_ms
        self._noted: dict[str, Any] = {}
        self._known = known
        self._received_at_ms = received_at_ms
        self._vouches = vouches
        self._lifted: set[str] = set()
        self._chained = dict(known.chained)
        self._strays = set(known.strays)
        self._ids = dict(known.ids)
        self._vectors = dict(known.vectors)

    @property
    def author(self) -> Author:
        """The author's row as it will be."""
        return replace(self._author, mark=self._mark, head_hash=self._head_hash, last_at_ms=self._last_at_ms, **self._noted)

    def take(self, event: Event) -> Outcome:
        """Decide one event. Events of one segment come in order; after one that is Waiting or Dropped nothing can be decided."""
        outcome = self._decided(event)
        self.outcomes.append(outcome)
        if isinstance(outcome, Appended):
            self._advance(outcome)
        elif isinstance(outcome, Waiting) and outcome.problem.kind is SEEN_AHEAD:
            self._stop(event, outcome.problem)
        return outcome

    def ask_again(self, nonce: str, *, to: int, used: bool) -> None:
        """Note that the ledger wants `mark + 1` to `to` once more. A nonce that nobody has used yet stays."""
        author = self.author
        if to <= author.mark:
            return
        if author.gap_nonce is None or used:
            self._noted |= {"gap_nonce": nonce, "gap_at_ms": self._received_at_ms}
        self._noted["gap_to"] = max(to, author.gap_to or 0)

    def _decided(self, event: Event) -> Outcome:
        mark = self._mark
        if event.seq <= mark:
            if self._chained.get(event.seq) == event.header_hash:
                return Duplicate(event)
            return self._stray(event, Problem(FORK, seq=event.seq))
        if event.seq > mark + 1:
            if (event.seq - 1, event.prev) in self._strays:
                # It descends from a fork: nothing that is still to come leads to it, and what was signed is kept.
                return self._stray(event, Problem(LINK_BROKEN, seq=event.seq))
            return Waiting(event, Problem(SEGMENT_AHEAD, first=event.seq, mark=mark))
        if event.prev != self._head_hash:
            return self._stray(event, Problem(LINK_BROKEN, seq=event.seq))
        if event.header is None:
            return self._refused(event, event.fault or Problem(HEADER_MALFORMED, reason="unreadable"))
        problem = self._refusal(event, event.header)
        if problem is None:
            return self._admitted(event, event.header)
        return Waiting(event, problem) if problem.retryable else self._refused(event, problem)

    def _refusal(self, event: Event, header: Header) -> Problem | None:
        return (
            self._wrong_type(header)
            or _wrong_body(event)
            or self._taken_id(event)
            or self._wrong_claim(header)
            or self._shrunk(header)
            or self._open(header)
            or self._out_of_turn(event)
        )

    def _wrong_type(self, header: Header) -> Problem | None:
        known = EVENT_TYPES.get(header.type)
        if known is None or self._author.kind in known.writers:
            return None
        return Problem(TYPE_NOT_ALLOWED, kind=self._author.kind.value, type=header.type)

    def _taken_id(self, event: Event) -> Problem | None:
        taken = self._ids.get(event.id)
        return None if taken is None or taken == event.header_hash else Problem(ID_TAKEN, id=event.id)

    def _wrong_claim(self, header: Header) -> Problem | None:
        """A vector that names the event itself, or more than the ledger has (which may have been rewound)."""
        if header.seen.get(header.author, 0) >= header.seq:
            return Problem(HEADER_MALFORMED, reason="seen names the event itself or a later one of its author")
        for other, claimed in header.seen.items():
            if other != header.author and claimed > (known := self._known.marks.get(other, 0)):
                return Problem(SEEN_AHEAD, author=other, claimed=claimed, known=known)
        return None

    def _shrunk(self, header: Header) -> Problem | None:
        for other, seq in self._vectors.get(header.stream, {}).items():
            if other != header.author and header.seen.get(other, 0) < seq:
                return Problem(SEEN_SHRINKS, author=other)
        return None

    def _open(self, header: Header) -> Problem | None:
        before = self._vectors.get(header.stream, {})
        for other, seq in header.seen.items():
            knew = self._known.knowledge.get((header.stream, other, seq))
            if knew is None and other != header.author and before.get(other) != seq:
                # Names without events would fill everybody's vectors, which have a limit, until nobody can write here.
                return Problem(HEADER_MALFORMED, reason=f"seen names {other}, of whom this stream has nothing up to {seq}")
            for third, needed in (knew or {}).items():
                if third not in (header.author, other) and header.seen.get(third, 0) < needed:
                    return Problem(SEEN_OPEN, author=other, seq=seq)
        return None

    def _out_of_turn(self, event: Event) -> Problem | None:
        """An admission that names no held event exactly, or one before which others of its author are undecided."""
        named = admission_in(event)
        if named is None:
            return None
        hold = self._known.holds.get(named.event)
        if hold is None or (hold.author, hold.seq, hold.stream) != (named.author, named.author_seq, event.stream):
            return Problem(HOLD_UNKNOWN, id=named.event, author=named.author, seq=named.author_seq, stream=event.stream)
        # Those that this chain has just admitted were among the undecided.
        before = (self._known.holds[one] for one in self._lifted)
        earlier = hold.earlier - sum(one.author == hold.author and one.seq < hold.seq for one in before)
        return Problem(HOLD_TURN, id=named.event, author=named.author, earlier=earlier) if earlier > 0 else None

    def _admitted(self, event: Event, header: Header) -> Appended:
        received_at_ms = self._received_at_ms
        facts = clock_facts(header, received_at_ms, self._last_at_ms) | anchor_fact(header, self._vouches)
        facts |= token_fact(header, self._author.device, self._known.sessions, received_at_ms)
        body = read_body(header.type, event.signed.body)
        if isinstance(body, Opaque):
            facts["opaque"] = body.reason
        revoked_at_ms = self._author.revoked_at_ms
        facts |= {"key": "valid"} if revoked_at_ms is None else {"key": "revoked", "revoked_at_ms": revoked_at_ms}
        if self._is_stranger(header.actor):
            facts["actor"] = "without_session"
        is_held = revoked_at_ms is not None or "actor" in facts
        return Appended(event, "held" if is_held else "admitted", canonical.encode(facts))

    def _is_stranger(self, actor: str | None) -> bool:
        """A device that acts in the name of somebody who never had a session on it: a supervisor decides, nothing is lost."""
        return self._author.kind is AuthorKind.DEVICE and actor not in (None, self._author.technician, *self._known.people)

    def _refused(self, event: Event, problem: Problem) -> Appended:
        return Appended(event, "refusal", refusal_facts(problem), problem=problem)

    def _stray(self, event: Event, problem: Problem) -> Outcome:
        if (event.seq, event.header_hash) in self._strays:
            return Duplicate(event, chained=False)
        if self._stray_refusals() >= STRAY_REFUSALS_MAX:
            return Dropped(event, problem)
        return Appended(event, "refusal", refusal_facts(problem), chained=False, problem=problem)

    def _stray_refusals(self) -> int:
        return int(self._noted.get("stray_refusals", self._author.stray_refusals))

    def _advance(self, outcome: Appended) -> None:
        event = outcome.event
        if not outcome.chained:
            self._strays.add((event.seq, event.header_hash))
            self._noted["stray_refusals"] = self._stray_refusals() + 1
            return
        self._chained[event.seq] = event.header_hash
        if outcome.kind == "admitted" and (named := admission_in(event)) is not None:
            self._lifted.add(named.event)
        if outcome.kind != "refusal" and event.header is not None:
            self._ids[event.id] = event.header_hash
            self._vectors[event.stream] = event.header.seen
            self._last_at_ms = event.header.at_ms
        self._mark, self._head_hash = event.seq, event.header_hash
        self._noted |= _GOES_ON
        gap_to = self._noted.get("gap_to", self._author.gap_to)
        if gap_to is None or event.seq >= gap_to:
            self._noted |= _NO_GAP

    def _stop(self, event: Event, problem: Problem) -> None:
        self._noted |= {
            "stopped_seq": event.seq,
            "stopped_code": problem.code,
            "stopped_message": str(problem)[:MESSAGE_MAX],
            "stopped_at_ms": self._received_at_ms,
        }


def admission_in(event: Event) -> EventAdmitted | None:
    """What an `event.admitted.v1` says; None for every other event, and for one that cannot be read."""
    if event.type != ADMISSION_TYPE:
        return None
    body = read_body(ADMISSION_TYPE, event.signed.body)
    return body if isinstance(body, EventAdmitted) else None


def _wrong_body(event: Event) -> Problem | None:
    try:
        canonical.decode(event.signed.body)
    except canonical.NotCanonical as fault:
        return Problem(BODY_NOT_CANONICAL, reason=str(fault)[:200])
    return None
