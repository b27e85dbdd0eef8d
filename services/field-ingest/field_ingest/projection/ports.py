"""What the projection needs of its store: one transaction that reads the ledger, takes partitions and writes states.

Owns the rows and the promises, no SQL: `store` keeps them in Postgres, a simulation in memory, and `projector` and
`scoping` run on either. What an event means is `zb_contracts.merge`'s matter, who may hold what is `scope`'s.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from field_ingest.projection.scope import Document, Member, Moved, Order
from zb_chassis.outbox import Message

QUARANTINE_PAUSE_MS: Final = 60_000
QUARANTINE_PAUSE_MS_MAX: Final = 3_600_000

Marks = Mapping[int, int]
"""Shard -> next position to be read."""


class LedgerGap(Exception):
    """The ledger's positions are not dense: nothing may be built on it until somebody has looked."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row as the projection reads it. `author_kind` is the registered kind of its author, `opaque` whether admission could
    not read its body."""

    shard: int
    position: int
    kind: str
    event_id: str
    author: str
    author_kind: str
    seq: int
    stream: str
    type: str
    header: bytes
    body: bytes
    received_ms: int
    opaque: bool


class Claim(NamedTuple):
    """What a header says to have seen: the author's events on the stream up to a number."""

    stream: str
    author: str
    seq: int


class Place(NamedTuple):
    """Where a row lies."""

    shard: int
    position: int


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state as it is stored: canonical JSON, its SHA-256, and how it came to be. `positions`: shard -> next position.

    `document` is what scopes give out, None for the state itself.
    """

    stream: str
    kind: str
    rule_version: int
    state: bytes
    document: bytes | None
    state_hash: bytes
    vector: bytes
    positions: bytes
    version: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The partitions that a transaction has locked until it ends, with their marks; `of` is how many there are.

    `sizes` are the shards' logs as committed: every position below is readable.
    """

    of: int
    marks: Mapping[int, Marks]
    sizes: Marks


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers that live, sorted by name, and how many partitions they share."""

    workers: tuple[str, ...]
    partitions: int


@dataclass(frozen=True, slots=True)
class Lift:
    """An admitted `event.admitted.v1` at (shard, position) lets in this event of its own stream, if it is held there."""

    event_id: str
    author: str
    seq: int
    stream: str
    shard: int
    position: int


@dataclass(frozen=True, slots=True)
class Rest:
    """The fold of a long stream, put away: `data` is its snapshot after `events` events, all that count below `positions`.

    An economy, never the truth. `received_ms` is when the ledger received the newest of them that is no mere bookkeeping.
    """

    stream: str
    rule_version: int
    events: int
    received_ms: int
    positions: Marks
    data: bytes


@dataclass(slots=True)
class Batch:
    """What a step writes of the streams that it touched.

    `faults` are the streams that go into quarantine, with the reason; `whole` those whose state has every event. `members`
    are the technicians of an intervention, for each one whose members were found anew. `rests` may be left unwritten.
    """

    states: list[StateRow] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    members: dict[str, Mapping[str, Member]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Due:
    """Whose scopes must be looked at: technicians, and whoever has one of these streams."""

    streams: frozenset[str] = frozenset()
    technicians: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.streams or self.technicians)


def quarantine_pause_ms(tries: int) -> int:
    """How long a stream in quarantine waits after so many tries."""
    return min(QUARANTINE_PAUSE_MS << min(tries - 1, 10), QUARANTINE_PAUSE_MS_MAX)


class ProjectionTransaction(Protocol):
    """One step's transaction: all of it is committed at its end, or nothing.

    Lock order: partitions, then rows of the partitions' own streams, last the outbox. Only the holder of a stream's
    partition writes what belongs to the stream, so that two steps never wait for each other but at the outbox.
    """

    async def take(self, partitions: Sequence[int] | None) -> Taken:
        """Locks those of these partitions (None: of all) that no other transaction holds; it never waits."""

    async def ledger_rows(self, shard: int, begin: int, end: int, partitions: Sequence[int], of: int) -> list[LedgerRow]:
        """The rows in [begin, end) whose stream is in one of the partitions, in order. LedgerGap unless the whole span,
        other partitions' rows too, is dense."""

    async def places(self, claims: Sequence[Claim]) -> dict[Claim, Place]:
        """Where the newest row of each claim lies that is no refusal; a claim on nothing has no place."""

    async def stream_rows(
        self, streams: Sequence[str], marks: Mapping[int, Marks], of: int, after: Mapping[str, Marks]
    ) -> list[LedgerRow]:
        """All that counts on these streams below their partition's marks: what is admitted, and held events let in. Of a
        stream in `after` only from those positions on."""

    async def rests(self, streams: Sequence[str]) -> list[Rest]:
        """The folds of these streams that were put away. A store may keep none."""

    async def forget_rests(self, streams: Sequence[str]) -> None:
        """The folds of these streams that were put away lack an event: they are gone."""

    async def lift(self, lifts: Sequence[Lift]) -> None:
        """Notes which events were let in. One that was noted before changes nothing."""

    async def lifted_streams(self, event_ids: Sequence[str]) -> set[str]:
        """The streams on which one of these events is held and was let in: same id, author, number and stream."""

    async def stored(self, streams: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Version and hash of the states that exist of these streams."""

    async def write(self, batch: Batch, now_ms: int) -> None:
        """Writes the batch. Scopes that it may concern become due (`ScopeTransaction.due`) when it is committed."""

    async def move(self, marks: Mapping[int, Marks]) -> None:
        """Sets the marks of partitions that are taken."""

    async def of_older_rules(self, partitions: Sequence[int], of: int, rule_version: int, limit: int) -> list[str]:
        """Streams folded by older rules that are not in quarantine."""

    async def to_retry(self, partitions: Sequence[int], of: int, now_ms: int, limit: int) -> list[str]:
        """Streams in quarantine whose pause (`quarantine_pause_ms`) is over."""


class ScopeTransaction(Protocol):
    """One transaction over scopes. Lock order: what is due (never waits), then technicians by name."""

    async def due(self, limit: int) -> Due:
        """Takes at most `limit` notes of what is due; they are gone when the transaction is committed. A note is visible
        only once what it is about was committed, so whoever takes it reads the new state of things."""

    async def concerned(self, streams: Sequence[str]) -> set[str]:
        """The technicians in whose scope one of these streams is or may be."""

    async def lock(self, technicians: Sequence[str], epochs: Sequence[str]) -> dict[str, Order]:
        """Where the order of each stands, locked until the end; one that is new gets its epoch."""

    async def members(self, technicians: Sequence[str]) -> dict[str, list[Member]]:
        """The interventions of each of them."""

    async def documents(self, streams: Sequence[str]) -> dict[str, Document]:
        """What exists of these streams."""

    async def alive(self, technicians: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """For each of them the documents that were given out and not taken back, with the state hash given."""

    async def write(self, moved: Sequence[Moved]) -> None:
        """Writes the changes of technicians that are locked."""

    async def note_cut(self) -> None:
        """Whose budget leaves something out becomes due."""

    async def expire(self, now_ms: int) -> None:
        """Takes interventions whose time is over out of their scopes; whom that concerns becomes due."""


class ReadStore(Protocol):
    """Where the projection reads the ledger and writes what it makes of it."""

    def projection(self) -> AbstractAsyncContextManager[ProjectionTransaction]:
        """A transaction for one step, READ COMMITTED."""

    def scopes(self) -> AbstractAsyncContextManager[ScopeTransaction]:
        """A transaction over scopes, READ COMMITTED."""

    async def crew(self, worker: str) -> Crew:
        """Says that this worker lives; who else said so lately."""

    async def leave(self, worker: str) -> None:
        """This worker takes no more partitions; the others need not wait to see that."""
