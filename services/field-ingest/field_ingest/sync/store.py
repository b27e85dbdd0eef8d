"""What a sync answer is made of, from Postgres: all SQL of the responder, one repeatable-read snapshot an answer.

It implements `ports`; what an answer says is `responder`'s matter. It writes nothing but who asked last.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from field_ingest.ledger import healing, tree
from field_ingest.ledger.checkpoints import Checkpoints, StoredCheckpoint
from field_ingest.projection import scope_store
from field_ingest.projection.scope_store import Change, Counter
from field_ingest.sync.ports import Asker, Heal
from field_ingest.sync.receipts import Row
from zb_chassis.database import Connection, Pool
from zb_contracts.merkle import Node, SubtreeHash

SESSION_NOTED_EVERY_MS: Final = 60_000

_ROW: Final = "position, kind, event_id, author, seq, stream, header_hash, signature, received_at_ms, facts, code"


class PostgresSnapshot:
    """One connection inside its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def asker(self, author: str, technician: str) -> Asker | None:
        return await _asker(self._connection, author, technician)

    async def rows_after(self, author: str, mark: int, size: int, limit: int) -> list[Row]:
        rows = await self._connection.fetch(
            f"""
            SELECT r.position, r.kind, r.event_id, r.seq, r.header_hash, r.signature, r.received_at_ms, r.facts, r.code,
                r.kind = 'held' AND EXISTS (
                    SELECT 1 FROM lifted f WHERE (f.event_id, f.author, f.seq, f.stream)
                        = (r.event_id, r.author, r.seq, r.stream)) AS lifted
            FROM (
                (SELECT {_ROW} FROM ledger WHERE author = $1 AND seq > $2 AND chained AND position < $3
                    ORDER BY seq LIMIT $4)
                UNION ALL
                (SELECT {_ROW} FROM ledger WHERE author = $1 AND seq > $2 AND NOT chained AND position < $3
                    ORDER BY seq LIMIT $4)
            ) r ORDER BY r.seq, r.position LIMIT $4
            """,  # noqa: S608 a constant of this module
            author,
            mark,
            size,
            limit,
        )
        return [Row(*row) for row in rows]

    async def subtrees(self, shard: int, nodes: set[Node]) -> SubtreeHash:
        return await tree.subtrees(self._connection, shard, nodes)

    async def counter(self, technician: str) -> Counter | None:
        return await scope_store.counter_of(self._connection, technician)

    async def changes_after(self, technician: str, cursor: int, limit: int, *, tombstones: bool) -> list[Change]:
        return await scope_store.changes_after(self._connection, technician, cursor, limit, tombstones=tombstones)


class PostgresSyncStore:
    """The responder's pool, and the checkpoints that it gives out."""

    def __init__(self, pool: Pool, checkpoints: Checkpoints) -> None:
        self._pool, self._checkpoints = pool, checkpoints

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresSnapshot(connection)

    async def asker(self, author: str, technician: str) -> Asker | None:
        return await _asker(self._pool, author, technician)

    async def checkpoint(self, shard: int) -> StoredCheckpoint | None:
        return await self._checkpoints.current(self._pool, shard)

    async def heal(self, shard: int) -> Heal | None:
        return await healing.newest(self._pool, shard)

    async def note_session(self, device: str, technician: str, asked_ms: int) -> None:
        await self._pool.execute(
            """
            INSERT INTO sync_session AS s (device, technician, asked_ms) VALUES ($1, $2, $3)
            ON CONFLICT (device) DO UPDATE SET technician = excluded.technician, asked_ms = excluded.asked_ms
            WHERE s.technician <> excluded.technician OR s.asked_ms < excluded.asked_ms - $4
            """,
            device,
            technician,
            asked_ms,
            SESSION_NOTED_EVERY_MS,
        )


async def _asker(connection: Connection | Pool, author: str, technician: str) -> Asker | None:
    row = await connection.fetchrow(
        """
        SELECT device, shard, mark, revoked_at_ms, revoked_cause, stopped_seq, stopped_code, stopped_message, gap_nonce,
            technician IS NOT DISTINCT FROM $2 OR EXISTS (
                SELECT 1 FROM device_people p WHERE p.device = a.device AND p.technician = $2),
            coalesce(login_key = (SELECT login_key FROM authors n WHERE n.device = a.device ORDER BY incarnation DESC LIMIT 1),
                false),
            (SELECT cause FROM suspensions s WHERE s.device = a.device AND lifted_at_ms IS NULL
                AND (until_ms IS NULL OR until_ms > extract(epoch FROM clock_timestamp()) * 1000))
        FROM authors a WHERE author = $1
        """,
        author,
        technician,
    )
    return Asker(*row) if row else None
