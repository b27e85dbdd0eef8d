"""The ledger in memory: it keeps the promises of field_ingest's ports, and stores nothing but rows.

What is asked, decided and appended is the real code's; here are tables, their unique keys and transactions that are all or
nothing. `test_conformance` runs one suite over it and over Postgres. A `Gate` may end the process or take the database away at
each of its steps.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from field_ingest.admission import domain
from field_ingest.admission.domain import Appended, Author, Chain, Event, Known
from field_ingest.admission.rejects import Reject
from field_ingest.ledger.appending import Decision, Row, decision, grow
from field_ingest.ledger.facts import Session
from field_ingest.ledger.questions import Answers, Vectors, questions, vector_of
from tests.simulation.undo import Undo
from zb_contracts.merkle import Frontier

K = TypeVar("K")

Gate = Callable[[str], None]
"""Called before each step of a store with its name, and once after the commit; what it raises is the step's fate."""


def open_gate(step: str) -> None:
    """Nothing happens."""


class NotUnique(Exception):
    """A row whose key is taken: the whole transaction fails."""


@dataclass(slots=True)
class Shard:
    """One log: its origin line, rows by position, and the frontier behind them."""

    origin: str
    rows: list[Row] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)


@dataclass(frozen=True, slots=True)
class Hold:
    """A held event, and the event that let it in."""

    event_id: str
    author: str
    seq: int
    stream: str
    received_at_ms: int
    admitted_by: str | None = None


class MemoryLedger:
    """The tables. `people` are the technicians who ever had a session on an author's device."""

    def __init__(self, shards: int, *, log_name: str = "zb.simulation", gate: Gate = open_gate) -> None:
        self.gate = gate
        self.undo: Final = Undo()
        self.shards: dict[int, Shard] = {number: Shard(f"{log_name}/{number}") for number in range(shards)}
        self.authors: dict[str, Author] = {}
        self.people: dict[str, set[str]] = {}
        self.sessions: dict[str, Session] = {}
        self.chain: dict[tuple[str, int], Row] = {}
        self.strays: dict[tuple[str, int, bytes], Row] = {}
        self.ids: dict[str, Row] = {}
        self.on_stream: dict[tuple[str, str], list[Row]] = {}
        self.holds: dict[str, Hold] = {}
        self.rejects: Counter[tuple[str, str]] = Counter()

    def register(self, author: Author, people: Iterable[str] = ()) -> None:
        """A new author, as enrolment and founding make one."""
        if author.author in self.authors or any(known.event_key == author.event_key for known in self.authors.values()):
            raise NotUnique(f"author {author.author}")
        self.authors[author.author] = author
        self.people[author.author] = set(people)

    def revoke(self, author: str, at_ms: int) -> None:
        self.undo.put(self.authors, author, replace(self.authors[author], revoked_at_ms=at_ms))

    def rows(self) -> list[Row]:
        """Every row of every shard."""
        return [row for _, shard in sorted(self.shards.items()) for row in shard.rows]

    async def read_authors(self, names: Collection[str]) -> dict[str, Author]:
        """See ports.Ledger."""
        self.gate("read authors")
        return {name: self.authors[name] for name in sorted(names) if name in self.authors}

    async def read_strays(self, asked: Collection[tuple[str, int, bytes]]) -> frozenset[tuple[str, int, bytes]]:
        """See ports.Ledger."""
        self.gate("read strays")
        return frozenset(one for one in asked if one in self.strays)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        """See ports.Ledger."""
        with self.undo.transaction():
            self.gate("begin")
            yield MemoryTransaction(self)
            self.gate("commit")
        self.gate("committed")


class MemoryTransaction:
    """One transaction; see ports.LedgerTransaction. The simulation's steps are one after the other, so a lock never waits."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger, self._undo = ledger, ledger.undo

    async def lock_authors(self, names: Collection[str]) -> dict[str, Author]:
        """See ports.LedgerTransaction."""
        self._ledger.gate("lock authors")
        return {name: self._ledger.authors[name] for name in sorted(names) if name in self._ledger.authors}

    async def known(self, authors: Mapping[str, Author], events: Sequence[Event]) -> dict[str, Known]:
        """See ports.LedgerTransaction."""
        self._ledger.gate("read what is known")
        ledger, asked = self._ledger, questions(authors, events)
        chained: dict[str, dict[int, bytes]] = {}
        strays: dict[str, set[tuple[int, bytes]]] = {}
        for author, seq in asked.numbers:
            if (author, seq) in ledger.chain:
                chained.setdefault(author, {})[seq] = ledger.chain[author, seq].header_hash
        for author, seq, header_hash in ledger.strays:
            strays.setdefault(author, set()).add((seq, header_hash))
        vectors = self._vectors(asked.streams)
        answers = Answers(
            chained=chained,
            strays={author: frozenset(found) for author, found in strays.items()},
            ids={one: ledger.ids[one].header_hash for one in asked.ids if one in ledger.ids},
            marks={one: ledger.authors[one].mark for one in asked.marks if one in ledger.authors},
            vectors=vectors,
            knowledge=self._knowledge(asked.knowledge(vectors)),
            people={one: frozenset(ledger.people[one]) for one in asked.people if ledger.people.get(one)},
            sessions={one: ledger.sessions[one] for one in asked.sessions if one in ledger.sessions},
            holds={one: self._hold(ledger.holds[one]) for one in asked.holds if one in ledger.holds},
        )
        return {name: answers.known(name) for name in authors}

    async def newest_vector(self, author: str, stream: str) -> dict[str, int]:
        """See ports.LedgerTransaction."""
        return dict(self._vectors([(author, stream)]).get((author, stream), {}))

    async def note_rejects(self, rejects: Sequence[Reject], *, at_ms: int) -> None:
        """See ports.LedgerTransaction. Counted only: the samples are Postgres' matter."""
        self._ledger.gate("note rejects")
        for reject in rejects:
            key = (reject.subject, reject.problem.code)
            self._undo.put(self._ledger.rejects, key, self._ledger.rejects[key] + 1)

    async def write(self, chains: Iterable[Chain], *, received_at_ms: int) -> list[Row]:
        """See ports.LedgerTransaction."""
        decided = decision(chains)
        self._ledger.gate("save authors")
        for author in decided.authors:
            # As an UPDATE of these columns does: what revocation wrote meanwhile stays.
            kept = self._ledger.authors[author.author].revoked_at_ms
            self._undo.put(self._ledger.authors, author.author, replace(author, revoked_at_ms=kept))
        self._note_holds(decided, received_at_ms)
        placed: list[Row] = []
        for shard, rows in decided.shards.items():
            self._ledger.gate("append")
            placed += self._append(shard, rows, received_at_ms)
        return placed

    def _append(self, number: int, appended: Sequence[Appended], received_at_ms: int) -> list[Row]:
        shard = self._ledger.shards[number]
        growth = grow(number, shard.frontier, appended, received_at_ms)
        for row in growth.rows:
            if row.position != len(shard.rows):
                raise NotUnique(f"position {row.position} of shard {number}")
            self._insert(row)
            self._undo.append(shard.rows, row)
        self._undo.put(self._ledger.shards, number, Shard(shard.origin, shard.rows, growth.frontier))
        return growth.rows

    def _insert(self, row: Row) -> None:
        ledger = self._ledger
        if row.chained:
            self._unique(ledger.chain, (row.author, row.seq), row)
        else:
            self._unique(ledger.strays, (row.author, row.seq, row.header_hash), row)
        if row.kind != "refusal":
            self._unique(ledger.ids, row.event_id, row)
            self._undo.append(ledger.on_stream.setdefault((row.stream, row.author), []), row)

    def _unique(self, index: dict[K, Row], key: K, row: Row) -> None:
        if key in index:
            raise NotUnique(f"{key}")
        self._undo.put(index, key, row)

    def _note_holds(self, decided: Decision, received_at_ms: int) -> None:
        holds = self._ledger.holds
        for event in decided.held:
            self._undo.put(holds, event.id, Hold(event.id, event.author, event.seq, event.stream, received_at_ms))
        for lift in decided.lifts:
            hold = holds.get(lift.event_id)
            if hold is not None and hold.admitted_by is None and (hold.author, hold.seq) == (lift.author, lift.seq):
                self._undo.put(holds, hold.event_id, replace(hold, admitted_by=lift.admitted_by))

    def _hold(self, hold: Hold) -> domain.Hold:
        undecided = (one for one in self._ledger.holds.values() if one.author == hold.author and one.admitted_by is None)
        return domain.Hold(hold.author, hold.seq, hold.stream, sum(one.seq < hold.seq for one in undecided))

    def _vectors(self, streams: Sequence[tuple[str, str]]) -> Vectors:
        found = {}
        for author, stream in streams:
            if rows := self._ledger.on_stream.get((stream, author)):
                found[author, stream] = vector_of(rows[-1].header)
        return found

    def _knowledge(self, entries: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], dict[str, int]]:
        found = {}
        for stream, author, seq in entries:
            rows = [row for row in self._ledger.on_stream.get((stream, author), ()) if row.seq <= seq]
            if rows:
                found[stream, author, seq] = vector_of(rows[-1].header)
        return found
