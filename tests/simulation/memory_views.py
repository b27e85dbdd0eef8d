"""The read side in memory: states, members, scopes and what is due, as `projection.ports` promises them.

Rows only: what a batch makes of streams and what belongs to a scope is the real code's. The ledger that it reads is the
simulation's; announcements go into the outbox of the same transaction.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from field_ingest.ledger.appending import Row
from field_ingest.projection.partitions import partition_of
from field_ingest.projection.ports import Batch, Claim, Crew, Due, LedgerRow, Lift, Marks, Place, Rest, StateRow, Taken
from field_ingest.projection.scope import Document, Given, Member, Moved, Order
from field_ingest.projection.scope_store import Counter
from field_ingest.projection.store import IN_SCOPES
from tests.simulation.memory_ledger import Gate, MemoryLedger, open_gate
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.undo import Undo

_VAN = "stock:van-"


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """The latest change of a document of a technician; a tombstone has no hash and keeps the vector given last."""

    change: int
    state_hash: bytes | None
    vector: bytes


class MemoryViews:
    """The tables of the projection."""

    def __init__(self, ledger: MemoryLedger, outbox: MemoryOutbox, *, partitions: int = 1, gate: Gate = open_gate) -> None:
        self.ledger, self.outbox, self.gate = ledger, outbox, gate
        self.undo = Undo()
        self.partitions = partitions
        self.marks: dict[tuple[int, int], int] = {}
        self.states: dict[str, StateRow] = {}
        self.quarantine: dict[str, str] = {}
        self.lifted: dict[tuple[str, str, int, str], Lift] = {}
        self.members: dict[tuple[str, str], Member] = {}
        self.counters: dict[str, Counter] = {}
        self.documents: dict[tuple[str, str], ScopeRow] = {}
        self.due: dict[int, tuple[str | None, str | None]] = {}
        self.notes = 0

    @asynccontextmanager
    async def projection(self) -> AsyncIterator["MemoryProjectionTransaction"]:
        """See projection.ports.ReadStore."""
        with self.undo.transaction():
            self.gate("begin")
            yield MemoryProjectionTransaction(self)
            self.gate("commit")
        self.gate("committed")

    @asynccontextmanager
    async def scopes(self) -> AsyncIterator["MemoryScopeTransaction"]:
        """See projection.ports.ReadStore."""
        with self.undo.transaction():
            self.gate("begin")
            yield MemoryScopeTransaction(self)
            self.gate("commit")
        self.gate("committed")

    async def crew(self, worker: str) -> Crew:
        """See projection.ports.ReadStore."""
        return Crew((worker,), self.partitions)

    async def leave(self, worker: str) -> None:
        """See projection.ports.ReadStore."""

    def note_due(self, *, streams: Sequence[str] = (), technicians: Sequence[str] = ()) -> None:
        for note in [*((stream, None) for stream in streams), *((None, name) for name in technicians)]:
            self.notes += 1
            self.undo.put(self.due, self.notes, note)


class MemoryProjectionTransaction:
    """See projection.ports.ProjectionTransaction. One transaction at a time: no partition is ever somebody else's."""

    def __init__(self, views: MemoryViews) -> None:
        self._views, self._undo = views, views.undo

    async def take(self, partitions: Sequence[int] | None) -> Taken:
        views = self._views
        wanted = range(views.partitions) if partitions is None else partitions
        sizes = {number: len(shard.rows) for number, shard in views.ledger.shards.items()}
        marks = {one: {shard: views.marks.get((one, shard), 0) for shard in sizes} for one in wanted}
        return Taken(views.partitions, marks, sizes)

    async def ledger_rows(self, shard: int, begin: int, end: int, partitions: Sequence[int], of: int) -> list[LedgerRow]:
        rows = self._views.ledger.shards[shard].rows[begin:end]
        return [self._row(row) for row in rows if partition_of(row.stream, of) in partitions]

    async def places(self, claims: Sequence[Claim]) -> dict[Claim, Place]:
        found: dict[Claim, tuple[int, Place]] = {}
        for number, shard in self._views.ledger.shards.items():
            for row in shard.rows:
                for claim in claims:
                    newest = found.get(claim, (0, None))[0]
                    if (row.stream, row.author) == claim[:2] and row.kind != "refusal" and newest < row.seq <= claim.seq:
                        found[claim] = (row.seq, Place(number, row.position))
        return {claim: place for claim, (_, place) in found.items()}

    async def rests(self, streams: Sequence[str]) -> list[Rest]:
        """See projection.ports.ProjectionTransaction: none is kept, so every restart folds from the first event."""
        return []

    async def forget_rests(self, streams: Sequence[str]) -> None:
        """See projection.ports.ProjectionTransaction."""

    async def stream_rows(
        self, streams: Sequence[str], marks: Mapping[int, Marks], of: int, after: Mapping[str, Marks]
    ) -> list[LedgerRow]:
        return [
            self._row(row)
            for number, shard in self._views.ledger.shards.items()
            for row in shard.rows
            if row.stream in streams and row.position < marks[partition_of(row.stream, of)][number] and self._counts(row)
        ]

    async def lift(self, lifts: Sequence[Lift]) -> None:
        for lift in lifts:
            key = (lift.event_id, lift.author, lift.seq, lift.stream)
            if key not in self._views.lifted:
                self._undo.put(self._views.lifted, key, lift)

    async def lifted_streams(self, event_ids: Sequence[str]) -> set[str]:
        rows = [self._views.ledger.ids.get(event_id) for event_id in event_ids]
        return {row.stream for row in rows if row is not None and row.kind == "held" and self._counts(row)}

    async def stored(self, streams: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        found = {stream: self._views.states.get(stream) for stream in streams}
        return {stream: (row.version, row.state_hash) for stream, row in found.items() if row is not None}

    async def write(self, batch: Batch, now_ms: int) -> None:
        views = self._views
        views.gate("write states")
        for stream, reason in batch.faults.items():
            self._undo.put(views.quarantine, stream, reason)
        for stream in batch.whole:
            if stream not in batch.faults:
                self._undo.drop(views.quarantine, stream)
        for row in batch.states:
            self._undo.put(views.states, row.stream, row)
        views.note_due(streams=[row.stream for row in batch.states if row.stream.startswith(IN_SCOPES)])
        views.note_due(technicians=sorted(self._replace_members(batch.members)))
        views.outbox.enqueue(self._undo, batch.messages)

    async def move(self, marks: Mapping[int, Marks]) -> None:
        self._views.gate("move marks")
        for partition, one in marks.items():
            for shard, position in one.items():
                self._undo.put(self._views.marks, (partition, shard), position)

    async def of_older_rules(self, partitions: Sequence[int], of: int, rule_version: int, limit: int) -> list[str]:
        old = [row.stream for row in self._views.states.values() if row.rule_version < rule_version]
        return [stream for stream in old if partition_of(stream, of) in partitions][:limit]

    async def to_retry(self, partitions: Sequence[int], of: int, now_ms: int, limit: int) -> list[str]:
        return [stream for stream in self._views.quarantine if partition_of(stream, of) in partitions][:limit]

    def _row(self, row: Row) -> LedgerRow:
        kind = self._views.ledger.authors[row.author].kind.value
        place = (row.shard, row.position, row.kind, row.event_id, row.author, kind)
        opaque = b'"opaque":' in row.facts
        return LedgerRow(*place, row.seq, row.stream, row.type, row.header, row.body, row.received_at_ms, opaque)

    def _counts(self, row: Row) -> bool:
        lifted = (row.event_id, row.author, row.seq, row.stream) in self._views.lifted
        return row.kind == "admitted" or (row.kind == "held" and lifted)

    def _replace_members(self, wanted: Mapping[str, Mapping[str, Member]]) -> set[str]:
        table = self._views.members
        before = {key: member for key, member in table.items() if member.intervention in wanted}
        after = {(name, stream): member for stream, found in wanted.items() for name, member in found.items()}
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        for key in sorted(changed):
            if key in after:
                self._undo.put(table, key, after[key])
            else:
                self._undo.drop(table, key)
        return {technician for technician, _ in changed}


class MemoryScopeTransaction:
    """See projection.ports.ScopeTransaction."""

    def __init__(self, views: MemoryViews) -> None:
        self._views, self._undo = views, views.undo

    async def due(self, limit: int) -> Due:
        taken = {note: self._views.due[note] for note in sorted(self._views.due)[:limit]}
        for note in taken:
            self._undo.drop(self._views.due, note)
        streams = frozenset(stream for stream, _ in taken.values() if stream)
        return Due(streams, frozenset(name for _, name in taken.values() if name))

    async def concerned(self, streams: Sequence[str]) -> set[str]:
        members = self._views.members.values()
        found = {member.technician for member in members if not {*member.documents}.isdisjoint(streams)}
        return found | {stream.removeprefix(_VAN) for stream in streams if stream.startswith(_VAN)}

    async def lock(self, technicians: Sequence[str], epochs: Sequence[str]) -> dict[str, Order]:
        counters = self._views.counters
        for technician, epoch in zip(technicians, epochs, strict=True):
            if technician not in counters:
                self._undo.put(counters, technician, Counter(epoch, 0, 0, ()))
        found = [(technician, counters[technician]) for technician in technicians]
        return {technician: Order(one.change, one.omitted, one.omitted_count) for technician, one in found}

    async def members(self, technicians: Sequence[str]) -> dict[str, list[Member]]:
        members = list(self._views.members.values())
        return {name: [member for member in members if member.technician == name] for name in technicians}

    async def documents(self, streams: Sequence[str]) -> dict[str, Document]:
        rows = [self._views.states[stream] for stream in streams if stream in self._views.states]
        return {row.stream: Document(len(row.document or row.state), row.state_hash, row.vector) for row in rows}

    async def alive(self, technicians: Sequence[str]) -> dict[str, dict[str, bytes]]:
        found: dict[str, dict[str, bytes]] = {name: {} for name in technicians}
        for (technician, stream), row in self._views.documents.items():
            if technician in found and row.state_hash is not None:
                found[technician][stream] = row.state_hash
        return found

    async def write(self, moved: Sequence[Moved]) -> None:
        self._views.gate("write scopes")
        for one in moved:
            for given in one.given:
                self._undo.put(self._views.documents, (one.technician, given.stream), self._given(one.technician, given))
            epoch = self._views.counters[one.technician].epoch
            counter = Counter(epoch, one.change, one.documents, one.omitted, one.omitted_count)
            self._undo.put(self._views.counters, one.technician, counter)

    async def note_cut(self) -> None:
        counters = self._views.counters.items()
        self._views.note_due(technicians=sorted(technician for technician, one in counters if one.omitted_count))

    async def expire(self, now_ms: int) -> None:
        members = self._views.members
        gone = [key for key, member in members.items() if member.expires_ms is not None and member.expires_ms <= now_ms]
        for key in gone:
            self._undo.drop(members, key)
        self._views.note_due(technicians=sorted({technician for technician, _ in gone}))

    def _given(self, technician: str, given: Given) -> ScopeRow:
        if given.document is None:
            return ScopeRow(given.change, None, self._views.documents[technician, given.stream].vector)
        return ScopeRow(given.change, given.document.state_hash, given.document.vector)
