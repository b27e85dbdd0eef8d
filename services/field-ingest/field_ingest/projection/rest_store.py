"""Folds of long streams that were put away, as SQL. What they hold is `zb_contracts.merge.snapshots`' matter.

A row is written in the transaction of the state that it belongs to, and goes with an event that it lacks. Nothing here commits.
"""

from collections.abc import Sequence

from field_ingest.projection.ports import Rest
from zb_chassis.database import Connection
from zb_contracts import canonical


async def rests(connection: Connection, streams: Sequence[str]) -> list[Rest]:
    """What there is of these streams."""
    rows = await connection.fetch(
        "SELECT stream, rule_version, events, received_ms, positions, data FROM fold_rest WHERE stream = ANY($1)", list(streams)
    )
    return [
        Rest(
            row["stream"],
            row["rule_version"],
            row["events"],
            row["received_ms"],
            {int(shard): position for shard, position in canonical.decode(row["positions"]).items()},
            row["data"],
        )
        for row in rows
    ]


async def write(connection: Connection, found: Sequence[Rest]) -> None:
    """Writes them in the place of older ones."""
    await connection.executemany(
        """
        INSERT INTO fold_rest (stream, rule_version, events, received_ms, positions, data) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (stream) DO UPDATE SET rule_version = excluded.rule_version, events = excluded.events,
            received_ms = excluded.received_ms, positions = excluded.positions, data = excluded.data
        """,
        [
            (
                one.stream,
                one.rule_version,
                one.events,
                one.received_ms,
                canonical.encode({str(shard): position for shard, position in one.positions.items()}),
                one.data,
            )
            for one in found
        ],
    )


async def forget(connection: Connection, streams: Sequence[str]) -> None:
    """Drops what there is of these streams."""
    await connection.execute("DELETE FROM fold_rest WHERE stream = ANY($1)", list(streams))
