"""States, quarantine and lifted events as SQL, and the ledger's rows as the projection reads them.

Every table of the read side is named without its schema, so that the same statements build a shadow of it for a replay.
The ledger is only read here. Nothing here commits: the caller's transaction does.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from field_ingest.projection.partitions import partition_of
from field_ingest.projection.ports import (
    QUARANTINE_PAUSE_MS,
    QUARANTINE_PAUSE_MS_MAX,
    Claim,
    LedgerGap,
    LedgerRow,
    Lift,
    Marks,
    Place,
    StateRow,
)
from zb_chassis.database import Connection

HASH_PAGE_ROWS: Final = 2000
VERSIONS_APART: Final = 1_000_000
"""Between the versions of before a loss and those after it: more than one state ever had."""
NO_STATE: Final = bytes(32)
"""In the place of a state's hash: whatever is folded differs from it."""
OPAQUE: Final = """position('"opaque":'::bytea IN l.facts) > 0"""
"""Whether the row's verdict facts say that its body could not be read."""
_ROW = f"""l.shard, l.position, l.kind, l.event_id, l.author, a.kind, l.seq, l.stream,
    l.type, l.header, l.body, l.received_at_ms, {OPAQUE}"""


async def ledger_sizes(connection: Connection) -> dict[int, int]:
    """The size of each shard's log."""
    return {row["shard"]: row["size"] for row in await connection.fetch("SELECT shard, size FROM shards")}


async def ledger_rows(
    connection: Connection, shard: int, begin: int, end: int, partitions: Sequence[int], of: int
) -> list[LedgerRow]:
    """The rows in [begin, end) of the shard whose stream is in one of the partitions. LedgerGap unless the span is dense."""
    rows = await connection.fetch(
        f"""
        SELECT {_ROW} FROM ledger l JOIN authors a ON a.author = l.author
        WHERE l.shard = $1 AND l.position >= $2 AND l.position < $3
            AND (cardinality($4::integer[]) = $5 OR stream_partition(l.stream, $5) = ANY($4))
        ORDER BY l.position
        """,  # noqa: S608 a constant of this module
        shard,
        begin,
        end,
        list(partitions),
        of,
    )
    if len(rows) < end - begin:  # other partitions' rows are not among them
        await _check_dense(connection, shard, begin, end)
    return [LedgerRow(*row) for row in rows]


async def places(connection: Connection, claims: Sequence[Claim]) -> dict[Claim, Place]:
    """Where the newest row lies that each claim covers. An author's rows of a stream lie in the order of their numbers."""
    rows = await connection.fetch(
        """
        SELECT q.stream, q.author, q.seq, l.shard, l.position
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS q (stream, author, seq)
        JOIN LATERAL (
            SELECT shard, position FROM ledger
            WHERE stream = q.stream AND author = q.author AND seq <= q.seq AND kind <> 'refusal' ORDER BY seq DESC LIMIT 1
        ) l ON true
        """,
        [claim.stream for claim in claims],
        [claim.author for claim in claims],
        [claim.seq for claim in claims],
    )
    return {Claim(row["stream"], row["author"], row["seq"]): Place(row["shard"], row["position"]) for row in rows}


async def _check_dense(connection: Connection, shard: int, begin: int, end: int) -> None:
    count = await connection.fetchval(
        "SELECT count(*) FROM ledger WHERE shard = $1 AND position >= $2 AND position < $3", shard, begin, end
    )
    if count == end - begin:
        return
    rows = await connection.fetch(
        "SELECT position FROM ledger WHERE shard = $1 AND position >= $2 AND position < $3 ORDER BY position", shard, begin, end
    )
    found = [row["position"] for row in rows]
    missing = next(expected for expected, position in enumerate([*found, None], begin) if position != expected)
    raise LedgerGap(f"shard {shard} has no position {missing}, although its log has {end} rows or more")


async def stream_rows(
    connection: Connection, streams: Sequence[str], marks: Mapping[int, Marks], of: int, after: Mapping[str, Marks]
) -> list[LedgerRow]:
    """All that is admitted on these streams, also held events that were let in, below their partition's marks; of a stream
    in `after` from those positions on."""
    spans = [
        (stream, shard, after.get(stream, {}).get(shard, 0), position)
        for stream in streams
        for shard, position in marks[partition_of(stream, of)].items()
    ]
    rows = await connection.fetch(
        f"""
        SELECT {_ROW} FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS w (stream, shard, first, next)
        JOIN ledger l ON l.stream = w.stream AND l.shard = w.shard AND l.position >= w.first AND l.position < w.next
        JOIN authors a ON a.author = l.author
        WHERE l.kind = 'admitted' OR (l.kind = 'held' AND EXISTS (
            SELECT 1 FROM lifted f
            WHERE f.event_id = l.event_id AND f.author = l.author AND f.seq = l.seq AND f.stream = l.stream))
        """,  # noqa: S608 a constant of this module
        [stream for stream, _, _, _ in spans],
        [shard for _, shard, _, _ in spans],
        [first for _, _, first, _ in spans],
        [position for _, _, _, position in spans],
    )
    return [LedgerRow(*row) for row in rows]


async def lift(connection: Connection, lifts: Sequence[Lift]) -> None:
    """Notes which events were let in, and by which row."""
    await connection.executemany(
        """
        INSERT INTO lifted (event_id, author, seq, stream, shard, position) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
        """,
        [(one.event_id, one.author, one.seq, one.stream, one.shard, one.position) for one in lifts],
    )


async def lifted_streams(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """The streams of those of these events that are held and were let in."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT l.stream FROM lifted f
        JOIN ledger l ON l.event_id = f.event_id AND l.author = f.author AND l.seq = f.seq AND l.stream = f.stream
        WHERE f.event_id = ANY($1::text[]) AND l.kind = 'held'
        """,
        list(event_ids),
    )
    return {row["stream"] for row in rows}


async def versions(connection: Connection, streams: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Version and hash of the states that exist of these streams; after a loss, of the others the version they go on from."""
    rows = await connection.fetch("SELECT stream, version, state_hash FROM states WHERE stream = ANY($1)", list(streams))
    found = {row["stream"]: (row["version"], row["state_hash"]) for row in rows}
    floor = await version_floor(connection) if len(found) < len(streams) else 0
    return dict.fromkeys(streams, (floor, NO_STATE)) | found if floor else found


async def version_floor(connection: Connection) -> int:
    """Readers may have seen higher versions before the ledger's last loss than it would give now: all of them are below this."""
    losses: int = await connection.fetchval("SELECT coalesce(max(number), 0) FROM heals")
    return losses * VERSIONS_APART


async def begin_anew(connection: Connection) -> None:
    """After a loss: every state is folded and announced once more, under a version that no reader takes for an older one."""
    await connection.execute(
        "UPDATE states SET version = version + $1, state_hash = $2, rule_version = 0", VERSIONS_APART, NO_STATE
    )


async def of_older_rules(connection: Connection, partitions: Sequence[int], of: int, rule_version: int, limit: int) -> list[str]:
    """Streams whose state was folded by older rules, and that are not in quarantine. Newer ones are left alone: two programs
    that run beside each other during an update would fold them to and fro."""
    rows = await connection.fetch(
        """
        SELECT s.stream FROM states s
        WHERE s.rule_version < $1 AND stream_partition(s.stream, $3) = ANY($2)
            AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.stream = s.stream) LIMIT $4
        """,
        rule_version,
        list(partitions),
        of,
        limit,
    )
    return [row["stream"] for row in rows]


async def write_states(connection: Connection, rows: Sequence[StateRow]) -> None:
    """Writes states, whole."""
    await connection.execute(
        """
        INSERT INTO states (stream, kind, rule_version, state, document, state_hash, vector, positions, version, changed_ms)
        SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[],
            $8::bytea[], $9::bigint[], $10::bigint[])
        ON CONFLICT (stream) DO UPDATE SET rule_version = excluded.rule_version, state = excluded.state,
            document = excluded.document, state_hash = excluded.state_hash, vector = excluded.vector,
            positions = excluded.positions, version = excluded.version, changed_ms = excluded.changed_ms
        """,
        [r.stream for r in rows],
        [r.kind for r in rows],
        [r.rule_version for r in rows],
        [r.state for r in rows],
        [r.document for r in rows],
        [r.state_hash for r in rows],
        [r.vector for r in rows],
        [r.positions for r in rows],
        [r.version for r in rows],
        [r.changed_ms for r in rows],
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


async def to_retry(connection: Connection, partitions: Sequence[int], of: int, now_ms: int, limit: int) -> list[str]:
    """Streams in quarantine whose pause is over, those that waited longest first."""
    rows = await connection.fetch(
        """
        SELECT stream FROM quarantine
        WHERE last_ms + least($4 * 2 ^ least(tries - 1, 10), $5) <= $3 AND stream_partition(stream, $2) = ANY($1)
        ORDER BY last_ms LIMIT $6
        """,
        list(partitions),
        of,
        now_ms,
        QUARANTINE_PAUSE_MS,
        QUARANTINE_PAUSE_MS_MAX,
        limit,
    )
    return [row["stream"] for row in rows]


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
