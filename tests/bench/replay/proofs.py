"""How long an inclusion proof takes in a large log: leaves made by the database, tiles over them, proofs at random positions.

The leaves are SHA-256 of their numbers, in rows with nothing else in them. Each proof is verified against the root.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from field_ingest.config import MIGRATIONS
from field_ingest.ledger import tree
from tests.bench.ledger.watching import quantile
from zb_chassis import migrate
from zb_contracts import merkle

PROOFS: Final = 2_000
PAGE_TILES: Final = 400
LEAF_BYTES: Final = 400
"""What a leaf takes on the disk: a row with nothing else in it, its place in the primary key, its share of the tiles."""
UNNEEDED: Final = ("ledger_chain", "ledger_event_id", "ledger_stray", "ledger_stream", "ledger_stream_author")


@dataclass(frozen=True, slots=True)
class Proofs:
    """Milliseconds a proof, of so many leaves."""

    leaves: int
    p50_ms: float
    p99_ms: float


async def measure(dsn: str, leaves: int, seed: int, count: int = PROOFS) -> Proofs:
    """Builds the log in an empty database and asks for proofs one at a time, as somebody who asks would."""
    await migrate.upgrade(dsn, MIGRATIONS)
    connection = await asyncpg.connect(dsn)
    try:
        await _fill(connection, leaves)
        root = await tree.root_at(connection, 0, leaves)
        dice = random.Random(seed)  # noqa: S311 -- positions, no secret
        took = []
        for position in (dice.randrange(leaves) for _ in range(count)):
            leaf = await connection.fetchval("SELECT leaf_hash FROM ledger WHERE shard = 0 AND position = $1", position)
            began = time.perf_counter()
            (path,) = await tree.inclusion_proofs(connection, 0, [position], leaves)
            took.append((time.perf_counter() - began) * 1000)
            merkle.verify_inclusion(leaf, position, leaves, path, root)
        return Proofs(leaves, quantile(took, 0.5), quantile(took, 0.99))
    finally:
        await connection.close()


async def _fill(connection: asyncpg.Connection, leaves: int) -> None:
    await connection.execute("INSERT INTO shards (shard, origin, root, frontier) VALUES (0, 'bench', '', '')")
    await connection.execute(f"DROP INDEX {', '.join(UNNEEDED)}; ALTER TABLE ledger SET UNLOGGED")
    await connection.execute(
        """
        INSERT INTO ledger (shard, position, kind, event_id, author, seq, stream, type, header, header_hash, body, signature,
            received_at_ms, facts, leaf_hash, chained)
        SELECT 0, n, 'admitted', '', 'bench', n, '', '', '', '', '', '', 0, '', sha256(int8send(n)), true
        FROM generate_series(0, $1::bigint - 1) AS n
        """,
        leaves,
        timeout=None,
    )
    level, width = 0, leaves
    while width >= tree.TILE_WIDTH:
        for first in range(0, width // tree.TILE_WIDTH, PAGE_TILES):
            last = min(first + PAGE_TILES, width // tree.TILE_WIDTH)
            records = list(_tiles(await _hashes(connection, level, first, last), level, first))
            await connection.copy_records_to_table("tiles", records=records)
        level, width = level + 1, width // tree.TILE_WIDTH
    await connection.execute("VACUUM (ANALYZE) ledger, tiles")


async def _hashes(connection: asyncpg.Connection, level: int, first: int, last: int) -> list[bytes]:
    if level == 0:
        query = "SELECT leaf_hash FROM ledger WHERE shard = $1 AND position >= $2 AND position < $3 ORDER BY position"
        rows = await connection.fetch(query, 0, first * tree.TILE_WIDTH, last * tree.TILE_WIDTH)
    else:
        query = "SELECT root FROM tiles WHERE shard = 0 AND level = $1 AND tile >= $2 AND tile < $3 ORDER BY tile"
        rows = await connection.fetch(query, level - 1, first * tree.TILE_WIDTH, last * tree.TILE_WIDTH)
    return [row[0] for row in rows]


def _tiles(hashes: list[bytes], level: int, first: int) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    for number in range(len(hashes) // tree.TILE_WIDTH):
        part = hashes[number * tree.TILE_WIDTH : (number + 1) * tree.TILE_WIDTH]
        yield 0, level, first + number, b"".join(part), merkle.root_of(part)
