"""What a sync answer is made of, from Postgres: all SQL of the responder, one statement that says whether anything is new,
and one that reads it.

It implements `ports`; what an answer says is `responder`'s matter. It writes nothing but who asked last and what
a device told of itself.
"""

from collections.abc import Sequence
from typing import Final

from field_ingest.devices import about
from field_ingest.ledger import healing
from field_ingest.ledger.checkpoints import Checkpoints, StoredCheckpoint
from field_ingest.ledger.tree import TreeMemory
from field_ingest.projection import scope_store
from field_ingest.projection.scope_store import Change, Counter
from field_ingest.sync.ports import Asker, Glance, Heal, Moment, Since
from field_ingest.sync.receipts import Row
from zb_chassis.database import Pool
from zb_contracts.merkle import Node, SubtreeHash
from zb_contracts.sync import DOCUMENTS_MAX, RECEIPTS_MAX, About, Catalogue

_ROW: Final = "position, kind, event_id, author, seq, stream, header_hash, signature, received_at_ms, facts, code"

_ASKER: Final = """
    a.device, a.shard, a.mark, a.revoked_at_ms, a.revoked_cause, a.stopped_seq, a.stopped_code, a.stopped_message, a.gap_nonce,
    a.technician IS NOT DISTINCT FROM $2 OR EXISTS (
        SELECT 1 FROM device_people p WHERE p.device = a.device AND p.technician = $2),
    coalesce(a.login_key = (SELECT login_key FROM authors n WHERE n.device = a.device ORDER BY incarnation DESC LIMIT 1), false),
    (SELECT cause FROM suspensions s WHERE s.device = a.device AND lifted_at_ms IS NULL
        AND (until_ms IS NULL OR until_ms > extract(epoch FROM clock_timestamp()) * 1000)),
    (SELECT order_id FROM wipes w WHERE w.login_key = a.login_key AND withdrawn_at_ms IS NULL
        AND attested_wipe(w.device, w.login_key) IS NULL),
    coalesce((SELECT at_once FROM wipes w WHERE w.login_key = a.login_key AND withdrawn_at_ms IS NULL), false)
"""
_ASKER_COLUMNS: Final = 14

# One statement, because it is one moment and one way to the database and back.
_MOMENT: Final = f"""
    SELECT {_ASKER}, t.epoch, t.change, t.documents, t.omitted, t.omitted_count,
        ARRAY(
            SELECT row(r.position, r.kind, r.event_id, r.seq, r.header_hash, r.signature, r.received_at_ms, r.facts, r.code,
                r.kind = 'held' AND EXISTS (
                    SELECT 1 FROM lifted f WHERE (f.event_id, f.author, f.seq, f.stream)
                        = (r.event_id, r.author, r.seq, r.stream)))
            FROM (
                (SELECT {_ROW} FROM ledger WHERE author = $1 AND seq > $3 AND chained AND position < $4 ORDER BY seq LIMIT $5)
                UNION ALL
                (SELECT {_ROW} FROM ledger WHERE author = $1 AND seq > $3 AND NOT chained AND position < $4
                    ORDER BY seq LIMIT $5)
            ) r ORDER BY r.seq, r.position LIMIT $5),
        ARRAY({scope_store.changes_after("$2", "$6", tombstones="$7", limit="$8")})
    FROM authors a LEFT JOIN scope_technician t ON t.technician = $2
    WHERE a.author = $1
"""  # noqa: S608 constants of this package


class PostgresSyncStore:
    """The responder's pool, and the checkpoints that it gives out."""

    def __init__(self, pool: Pool, checkpoints: Checkpoints) -> None:
        self._pool, self._checkpoints, self._memory = pool, checkpoints, TreeMemory()

    async def moment(self, author: str, technician: str, mark: int, size: int, since: Since | None) -> Moment | None:
        row = await self._pool.fetchrow(
            _MOMENT,
            author,
            technician,
            mark,
            size,
            RECEIPTS_MAX + 1,
            since.cursor if since else None,
            since.tombstones if since else False,
            DOCUMENTS_MAX + 1,
        )
        if row is None:
            return None
        epoch, change, documents, omitted, omitted_count, rows, changes = row[_ASKER_COLUMNS:]
        return Moment(
            Asker(*row[:_ASKER_COLUMNS]),
            [Row(*one) for one in rows],
            None if epoch is None else Counter(epoch, change, documents, tuple(omitted), omitted_count),
            [Change(*one) for one in changes],
        )

    async def catalogues(self, technician: str, wanted: Sequence[str]) -> list[Catalogue]:
        async with self._pool.acquire() as connection:
            return await scope_store.catalogues_of(connection, technician, wanted)

    async def subtrees(self, shard: int, nodes: set[Node]) -> SubtreeHash:
        return await self._memory.subtrees(self._pool, shard, nodes)

    async def glance(self, author: str, technician: str, mark: int) -> Glance | None:
        row = await self._pool.fetchrow(
            f"""
            SELECT {_ASKER}, s.size, l.has_rows, EXISTS (SELECT 1 FROM heals h WHERE h.shard = a.shard),
                t.epoch, t.change, t.documents, t.omitted, t.omitted_count, o.technician, o.asked_ms
            FROM authors a JOIN shards s ON s.shard = a.shard
            CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM ledger WHERE author = $1 AND seq > $3 AND chained)
                OR EXISTS (SELECT 1 FROM ledger WHERE author = $1 AND seq > $3 AND NOT chained)) AS l (has_rows)
            LEFT JOIN scope_technician t ON t.technician = $2
            LEFT JOIN sync_session o ON o.device = a.device
            WHERE a.author = $1
            """,  # noqa: S608 a constant of this module
            author,
            technician,
            mark,
        )
        if row is None:
            return None
        size, has_rows, has_lost, epoch, change, documents, omitted, omitted_count, asked_by, asked_ms = row[_ASKER_COLUMNS:]
        return Glance(
            Asker(*row[:_ASKER_COLUMNS]),
            size,
            has_rows,
            has_lost,
            None if epoch is None else Counter(epoch, change, documents, tuple(omitted), omitted_count),
            None if asked_by is None else (asked_by, asked_ms),
        )

    async def checkpoint(self, shard: int, size: int) -> StoredCheckpoint | None:
        return await self._checkpoints.covering(self._pool, shard, size)

    async def heal(self, shard: int) -> Heal | None:
        return await healing.newest(self._pool, shard)

    async def note_about(self, author: str, told: About, head: int, now_ms: int) -> None:
        await about.tell(self._pool, author, told, head=head, now_ms=now_ms)

    async def note_session(self, device: str, technician: str, asked_ms: int) -> None:
        await self._pool.execute(
            """
            INSERT INTO sync_session (device, technician, asked_ms) VALUES ($1, $2, $3)
            ON CONFLICT (device) DO UPDATE SET technician = excluded.technician, asked_ms = excluded.asked_ms
            """,
            device,
            technician,
            asked_ms,
        )
