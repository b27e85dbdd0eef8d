"""The projection's marks as SQL: how far each partition has read each shard, who has it locked, which workers live.

A partition's row is the lock; its marks are written only by who holds it. How many partitions there are is how many rows
there are. Nothing here commits: the caller's transaction does.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from field_ingest.projection.partitions import PARTITIONS_DEFAULT, PARTITIONS_MAX
from field_ingest.projection.ports import Marks, Taken
from zb_chassis.database import Connection

PROJECTION: Final = "states"
WORKER_LIVES_S: Final = 5.0
"""A worker that has not said for so long that it lives gets no partition any more."""


async def take(connection: Connection, partitions: Sequence[int] | None, projection: str = PROJECTION) -> Taken:
    """Locks those of these partitions (None: of all) that nobody else holds, and reads their marks."""
    taken = await _lock(connection, partitions, projection)
    if not taken:
        of = await how_many(connection, projection)
        if of:
            return Taken(of, {}, {})
        await found(connection, PARTITIONS_DEFAULT, projection)
        taken = await _lock(connection, partitions, projection)
    # A statement of its own: what it sees is younger than the locks.
    rows = await connection.fetch(
        """
        SELECT p.partition, s.shard, coalesce(m.position, 0) AS position, s.size,
            (SELECT count(*) FROM projection_partition WHERE projection = $1) AS partitions
        FROM unnest($2::integer[]) AS p (partition) CROSS JOIN shards s
        LEFT JOIN partition_mark m ON m.projection = $1 AND m.partition = p.partition AND m.shard = s.shard
        """,
        projection,
        taken,
    )
    marks: dict[int, dict[int, int]] = {partition: {} for partition in taken}
    for row in rows:
        marks[row["partition"]][row["shard"]] = row["position"]
    sizes = {row["shard"]: row["size"] for row in rows}
    return Taken(rows[0]["partitions"] if rows else len(taken), marks, sizes)


async def _lock(connection: Connection, partitions: Sequence[int] | None, projection: str) -> list[int]:
    rows = await connection.fetch(
        """
        SELECT partition FROM projection_partition
        WHERE projection = $1 AND ($2::integer[] IS NULL OR partition = ANY($2)) ORDER BY partition FOR UPDATE SKIP LOCKED
        """,
        projection,
        partitions,
    )
    return [row["partition"] for row in rows]


async def how_many(connection: Connection, projection: str = PROJECTION) -> int:
    """The number of partitions; 0 before the first worker made them."""
    count: int = await connection.fetchval("SELECT count(*) FROM projection_partition WHERE projection = $1", projection)
    return count


async def found(connection: Connection, of: int, projection: str = PROJECTION) -> None:
    """Makes the partitions; ones that are there stay. ValueError beyond PARTITIONS_MAX."""
    if not 1 <= of <= PARTITIONS_MAX:
        raise ValueError(f"{of} partitions: there are 1 to {PARTITIONS_MAX}")
    await connection.execute(
        """
        INSERT INTO projection_partition (projection, partition) SELECT $1, generate_series(0, $2 - 1) ON CONFLICT DO NOTHING
        """,
        projection,
        of,
    )


async def move(connection: Connection, marks: Mapping[int, Marks], projection: str = PROJECTION) -> None:
    """Sets marks of partitions that this transaction holds."""
    places = [(partition, shard, position) for partition, one in marks.items() for shard, position in one.items()]
    await connection.execute(
        """
        INSERT INTO partition_mark (projection, partition, shard, position)
        SELECT $1, * FROM unnest($2::integer[], $3::integer[], $4::bigint[])
        ON CONFLICT (projection, partition, shard) DO UPDATE SET position = excluded.position
        """,
        projection,
        [partition for partition, _, _ in places],
        [shard for _, shard, _ in places],
        [position for _, _, position in places],
    )


async def read_all(connection: Connection, projection: str = PROJECTION) -> dict[int, dict[int, int]]:
    """Partition -> shard -> next position, as committed."""
    rows = await connection.fetch(
        """
        SELECT p.partition, s.shard, coalesce(m.position, 0) AS position FROM projection_partition p CROSS JOIN shards s
        LEFT JOIN partition_mark m ON m.projection = p.projection AND m.partition = p.partition AND m.shard = s.shard
        WHERE p.projection = $1
        """,
        projection,
    )
    found: dict[int, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row["partition"], {})[row["shard"]] = row["position"]
    return found


async def read_marks(connection: Connection, projection: str = PROJECTION) -> dict[int, int]:
    """Up to where every partition has read each shard, as committed."""
    lowest: dict[int, int] = {}
    for one in (await read_all(connection, projection)).values():
        for shard, position in one.items():
            lowest[shard] = min(position, lowest.get(shard, position))
    return lowest


async def workers(connection: Connection, worker: str, projection: str = PROJECTION) -> list[str]:
    """Says that this worker lives; all that do, by name. Forgets those that have not said so for long."""
    rows = await connection.fetch(
        """
        WITH said AS (
            INSERT INTO projection_worker (projection, worker, seen_at) VALUES ($1, $2, clock_timestamp())
            ON CONFLICT (projection, worker) DO UPDATE SET seen_at = excluded.seen_at RETURNING worker
        ), gone AS (
            DELETE FROM projection_worker WHERE seen_at < clock_timestamp() - make_interval(secs => 10 * $3) AND worker <> $2
        )
        SELECT worker COLLATE "C" AS worker FROM projection_worker
        WHERE projection = $1 AND seen_at >= clock_timestamp() - make_interval(secs => $3)
        UNION SELECT worker FROM said ORDER BY worker
        """,
        projection,
        worker,
        WORKER_LIVES_S,
    )
    return [row["worker"] for row in rows]


async def leave(connection: Connection, worker: str, projection: str = PROJECTION) -> None:
    """Takes the worker off the list."""
    await connection.execute("DELETE FROM projection_worker WHERE projection = $1 AND worker = $2", projection, worker)
