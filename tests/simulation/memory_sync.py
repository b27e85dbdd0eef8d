"""What a sync answer is made of, from the stores in memory: `sync.ports` over the simulation's ledger and views."""

from collections.abc import Sequence

from field_ingest.ledger.appending import Row as LedgerRow
from field_ingest.ledger.checkpoints import StoredCheckpoint
from field_ingest.projection.scope_store import Change
from field_ingest.sync.ports import Asker, Glance, Heal, Moment, Since
from field_ingest.sync.receipts import Row
from tests.simulation.memory_views import MemoryViews, ScopeRow
from zb_contracts import merkle
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import Node, SubtreeHash
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint
from zb_contracts.sync import DOCUMENTS_MAX, RECEIPTS_MAX, About, Catalogue


class MemorySyncStore:
    """Ledger and views as the responder sees them; a step is one moment."""

    def __init__(self, views: MemoryViews, key: SigningKey) -> None:
        self._views, self._ledger, self._key = views, views.ledger, key
        self._notes: dict[tuple[int, int], StoredCheckpoint] = {}
        self.sessions: dict[str, tuple[str, int]] = {}
        self.told: dict[str, About] = {}

    def _asker(self, author: str, technician: str) -> Asker | None:
        one = self._ledger.authors.get(author)
        if one is None:
            return None
        return Asker(
            device=one.device,
            shard=one.shard,
            mark=one.mark,
            revoked_at_ms=one.revoked_at_ms,
            revoked_cause="lost" if one.revoked_at_ms is not None else None,
            stopped_seq=one.stopped_seq,
            stopped_code=one.stopped_code,
            stopped_message=one.stopped_message,
            gap_nonce=one.gap_nonce,
            has_session=technician == one.technician or technician in self._ledger.people[author],
        )

    async def glance(self, author: str, technician: str, mark: int) -> Glance | None:
        """See sync.ports.SyncStore."""
        asker = self._asker(author, technician)
        if asker is None:
            return None
        size = len(self._ledger.shards[asker.shard].rows)
        return Glance(
            asker,
            size,
            has_rows=bool(self._rows_after(author, mark, size, 1)),
            has_lost=False,
            counter=self._views.counters.get(technician),
            asked=self.sessions.get(asker.device or ""),
        )

    async def checkpoint(self, shard: int, size: int) -> StoredCheckpoint | None:
        """See sync.ports.SyncStore."""
        log = self._ledger.shards[shard]
        committed = len(log.rows)
        assert committed >= size
        if not committed:
            return None
        if (shard, committed) not in self._notes:
            root = log.frontier.root()
            note = sign_checkpoint(Checkpoint(log.origin, committed, root), NoteSigner(log.origin, self._key))
            self._notes[shard, committed] = StoredCheckpoint(shard, committed, root, note)
        return self._notes[shard, committed]

    async def heal(self, shard: int) -> Heal | None:
        """See sync.ports.SyncStore: this ledger never loses a row."""
        return None

    async def note_about(self, author: str, told: About, head: int, now_ms: int) -> None:
        """See sync.ports.SyncStore."""
        before = self.told.get(author)
        if before is None or before.number < told.number:
            self.told[author] = told

    async def note_session(self, device: str, technician: str, asked_ms: int) -> None:
        """See sync.ports.SyncStore."""
        self.sessions[device] = (technician, asked_ms)

    async def moment(self, author: str, technician: str, mark: int, size: int, since: Since | None) -> Moment | None:
        """See sync.ports.SyncStore."""
        asker = self._asker(author, technician)
        if asker is None:
            return None
        rows = self._rows_after(author, mark, size, RECEIPTS_MAX + 1)
        changes = self._changes_after(technician, since) if since else []
        return Moment(asker, rows, self._views.counters.get(technician), changes)

    def _rows_after(self, author: str, mark: int, size: int, limit: int) -> list[Row]:
        shard = self._ledger.shards[self._ledger.authors[author].shard]
        rows = [row for row in shard.rows[:size] if row.author == author and row.seq > mark]
        return [self._receipted(row) for row in sorted(rows, key=lambda row: (row.seq, row.position))[:limit]]

    async def subtrees(self, shard: int, nodes: set[Node]) -> SubtreeHash:
        """See sync.ports.SyncStore."""
        rows = self._ledger.shards[shard].rows

        def subtree(level: int, number: int) -> bytes:
            return merkle.root_of(row.leaf_hash for row in rows[number << level : (number + 1) << level])

        return subtree

    def _changes_after(self, technician: str, since: Since) -> list[Change]:
        rows = [(stream, row) for (name, stream), row in self._views.documents.items() if name == technician]
        moved = [
            (stream, row)
            for stream, row in rows
            if row.change > since.cursor and (since.tombstones or row.state_hash is not None)
        ]
        moved.sort(key=lambda one: one[1].change)
        return [self._change(stream, row) for stream, row in moved[: DOCUMENTS_MAX + 1]]

    async def catalogues(self, technician: str, wanted: Sequence[str]) -> list[Catalogue]:
        """See sync.ports.SyncStore: this office publishes none."""
        return []

    def _change(self, stream: str, row: ScopeRow) -> Change:
        if row.state_hash is None:
            return Change(stream, row.change, row.vector, None)
        state = self._views.states[stream]
        return Change(stream, row.change, state.vector, state.document or state.state)

    def _receipted(self, row: LedgerRow) -> Row:
        lifted = row.kind == "held" and (row.event_id, row.author, row.seq, row.stream) in self._views.lifted
        proof = (row.header_hash, row.signature, row.received_at_ms, row.facts, row.code)
        return Row(row.position, row.kind, row.event_id, row.seq, *proof, lifted)
