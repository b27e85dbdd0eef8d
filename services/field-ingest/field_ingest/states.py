"""What the projector reads and writes, as SQL: ledger rows in order, checkpoints, states, quarantine, lifted events.

Every table of the read side is named without its schema, so that the same statements build a shadow of it for a replay.
The ledger is only read here. Nothing here commits: the caller's transaction does.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zb_chassis.database import Connection

PROJECTION: Final = "states"
HASH_PAGE_ROWS: Final = 2000


class LedgerGap(Exception):
    """The ledger's positions are not dense: nothing may be built on it until somebody has looked."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row as the projection reads it. `author_kind` is the registered kind of its author."""

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


_ROW = """l.shard, l.position, l.kind, l.event_id, l.author, a.kind, l.seq, l.stream,
    l.type, l.header, l.body, l.received_at_ms"""


async def lock_marks(connection: Connection, projection: str = PROJECTION) -> dict[int, int] | None:
    """The next position of each shard, locked until the transaction ends; None while another projector works."""
    await connection.execute(
        "INSERT INTO projection_mark (projection, shard, position) SELECT $1, shard, 0 FROM shards ON CONFLICT DO NOTHING",
        projection,
    )
    rows = await connection.fetch(
        "SELECT shard, position FROM projection_mark WHERE projection = $1 FOR UPDATE SKIP LOCKED", projection
    )
    known = await connection.fetchval("SELECT count(*) FROM projection_mark WHERE projection = $1", projection)
    return {row["shard"]: row["position"] for row in rows} if len(rows) == known else None


async def read_marks(connection: Connection, projection: str = PROJECTION) -> dict[int, int]:
    """The next position of each shard, as committed."""
    rows = await connection.fetch("SELECT shard, position FROM projection_mark WHERE projection = $1", projection)
    return {row["shard"]: row["position"] for row in rows}


async def ledger_sizes(connection: Connection) -> dict[int, int]:
    """The size of each shard's log."""
    return {row["shard"]: row["size"] for row in await connection.fetch("SELECT shard, size FROM shards")}


async def move_marks(connection: Connection, marks: Mapping[int, int], projection: str = PROJECTION) -> None:
    """Sets the checkpoint of each shard."""
    await connection.executemany(
        "UPDATE projection_mark SET position = $3 WHERE projection = $1 AND shard = $2",
        [(projection, shard, position) for shard, position in marks.items()],
    )


async def ledger_rows(connection: Connection, shard: int, begin: int, limit: int) -> list[LedgerRow]:
    """The shard's rows from position `begin` on, at most `limit`. LedgerGap unless they are dense."""
    rows = await connection.fetch(
        f"""
        SELECT {_ROW} FROM ledger l JOIN authors a ON a.author = l.author
        WHERE l.shard = $1 AND l.position >= $2 ORDER BY l.position LIMIT $3
        """,  # noqa: S608 a constant of this module
        shard,
        begin,
        limit,
    )
    for expected, row in enumerate(rows, begin):
        if row["position"] != expected:
            raise LedgerGap(f"shard {shard} has no position {expected}, the next is {row['position']}")
    return [LedgerRow(*row) for row in rows]


async def stream_rows(connection: Connection, streams: Sequence[str], before: Mapping[int, int]) -> list[LedgerRow]:
    """All that is admitted on these streams, also held events that were let in, below the positions of `before`."""
    rows = await connection.fetch(
        f"""
        SELECT {_ROW} FROM ledger l JOIN authors a ON a.author = l.author
        JOIN unnest($2::integer[], $3::bigint[]) AS m (shard, position) ON m.shard = l.shard AND l.position < m.position
        WHERE l.stream = ANY($1) AND (l.kind = 'admitted' OR (l.kind = 'held' AND EXISTS (
            SELECT 1 FROM lifted f WHERE f.event_id = l.event_id AND f.author = l.author AND f.seq = l.seq)))
        ORDER BY l.shard, l.position
        """,  # noqa: S608 a constant of this module
        list(streams),
        list(before.keys()),
        list(before.values()),
    )
    return [LedgerRow(*row) for row in rows]


async def lift(connection: Connection, admissions: Iterable[tuple[str, str, int, int, int]]) -> None:
    """Notes held events (event id, author, seq) that were let in by the row at (shard, position)."""
    await connection.executemany(
        "INSERT INTO lifted (event_id, author, seq, shard, position) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        list(admissions),
    )


async def lifted_streams(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """The streams of those of these events that are held and were let in."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT l.stream FROM lifted f JOIN ledger l ON l.event_id = f.event_id
        WHERE f.event_id = ANY($1::text[]) AND l.kind = 'held' AND l.author = f.author AND l.seq = f.seq
        """,
        list(event_ids),
    )
    return {row["stream"] for row in rows}


async def versions(connection: Connection, streams: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Version and hash of the states that exist of these streams."""
    rows = await connection.fetch("SELECT stream, version, state_hash FROM states WHERE stream = ANY($1)", list(streams))
    return {row["stream"]: (row["version"], row["state_hash"]) for row in rows}


async def of_older_rules(connection: Connection, rule_version: int, limit: int) -> list[str]:
    """Streams whose state was folded by another version of the rules, and that are not in quarantine."""
    rows = await connection.fetch(
        """
        SELECT s.stream FROM states s
        WHERE s.rule_version <> $1 AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.stream = s.stream) LIMIT $2
        """,
        rule_version,
        limit,
    )
    return [row["stream"] for row in rows]


async def write_states(connection: Connection, rows: Sequence[StateRow]) -> None:
    """Writes states, whole."""
    await connection.executemany(
        """
        INSERT INTO states (stream, kind, rule_version, state, document, state_hash, vector, positions, version, changed_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (stream) DO UPDATE SET rule_version = excluded.rule_version, state = excluded.state,
            document = excluded.document, state_hash = excluded.state_hash, vector = excluded.vector,
            positions = excluded.positions, version = excluded.version, changed_ms = excluded.changed_ms
        """,
        [
            (
                r.stream,
                r.kind,
                r.rule_version,
                r.state,
                r.document,
                r.state_hash,
                r.vector,
                r.positions,
                r.version,
                r.changed_ms,
            )
            for r in rows
        ],
    )


async def read_state(connection: Connection, stream: str) -> StateRow | None:
    """One state, or None."""
    row = await connection.fetchrow(
        """
        SELECT stream, kind, rule_version, state, document, state_hash, vector, positions, version, changed_ms
        FROM states WHERE stream = $1
        """,
        stream,
    )
    return StateRow(*row) if row else None


async def streams_of_reference(connection: Connection, reference: str) -> list[str]:
    """The interventions that bear this number, one an agency at the most. It reads every state: for a person who asks."""
    rows = await connection.fetch(
        """
        SELECT stream FROM states
        WHERE kind = 'intervention' AND convert_from(state, 'UTF8')::jsonb #>> '{fields,reference,value}' = $1
        ORDER BY stream
        """,
        reference,
    )
    return [row["stream"] for row in rows]


async def quarantine(connection: Connection, reasons: Mapping[str, str], now_ms: int) -> None:
    """Lists these streams with the reason why their newest events are not in their state."""
    await connection.executemany(
        """
        INSERT INTO quarantine AS q (stream, reason, since_ms, last_ms) VALUES ($1, $2, $3, $3)
        ON CONFLICT (stream) DO UPDATE SET reason = excluded.reason, tries = q.tries + 1, last_ms = excluded.last_ms
        """,
        [(stream, reason, now_ms) for stream, reason in reasons.items()],
    )


async def release(connection: Connection, streams: Sequence[str]) -> None:
    """Takes streams whose state is whole again off the list."""
    await connection.execute("DELETE FROM quarantine WHERE stream = ANY($1)", list(streams))


async def quarantined(connection: Connection) -> dict[str, str]:
    """Stream -> reason, of all that are listed."""
    rows = await connection.fetch("SELECT stream, reason FROM quarantine ORDER BY stream")
    return {row["stream"]: row["reason"] for row in rows}


def hash_of(state_json: bytes) -> bytes:
    """The hash of a state's canonical bytes."""
    return hashlib.sha256(state_json).digest()


@dataclass(frozen=True, slots=True)
class TotalHash:
    """The hash over all states: SHA-256 of the lines `stream state_hash`, sorted bytewise by stream."""

    streams: int
    state_hash: str


async def total_hash(connection: Connection) -> TotalHash:
    """The hash of the states as one snapshot shows them: call it inside a repeatable-read transaction."""
    digest, streams = hashlib.sha256(), 0
    async for stream, state_hash in _hashes(connection):
        digest.update(f"{stream} {state_hash.hex()}\n".encode())
        streams += 1
    return TotalHash(streams, digest.hexdigest())


async def _hashes(connection: Connection) -> AsyncIterator[tuple[str, bytes]]:
    last = ""
    while rows := await connection.fetch(
        "SELECT stream, state_hash FROM states WHERE stream > $1 ORDER BY stream LIMIT $2", last, HASH_PAGE_ROWS
    ):
        for row in rows:
            yield row["stream"], row["state_hash"]
        last = rows[-1]["stream"]
