"""All SQL of the ledger's write side: locked authors, what a decision needs to know, and appending.

One way in: lock the authors (by name), read what is known, decide (domain.py), append. The shards' rows are locked last and
give the positions, so positions are dense and become visible in order. Nothing here commits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from field_ingest import tree
from field_ingest.domain import Appended, Author, Chain, Event, Known
from zb_chassis.database import Connection
from zb_contracts import ledger_leaf
from zb_contracts.events import AuthorKind
from zb_contracts.events.office import EventAdmitted
from zb_contracts.events.registry import read_body
from zb_contracts.merkle import Frontier, Subtree

ADMISSION_TYPE: Final = "event.admitted.v1"

_AUTHOR_COLUMNS: Final = (
    "author, kind, agency, device, technician, event_key, shard, mark, head_hash, last_at_ms, revoked_at_ms, "
    "stopped_seq, stopped_code, stopped_message, stopped_at_ms, gap_nonce, gap_at_ms, stray_refusals"
)
_LEDGER_COLUMNS: Final = (
    "shard",
    "position",
    "kind",
    "event_id",
    "author",
    "seq",
    "stream",
    "type",
    "header",
    "header_hash",
    "body",
    "signature",
    "received_at_ms",
    "facts",
    "leaf_hash",
    "code",
    "chained",
)


class _Seen(msgspec.Struct, frozen=True):
    seen: dict[str, int]


_seen_of = msgspec.json.Decoder(_Seen)


@dataclass(frozen=True, slots=True)
class Placed:
    """A row that was appended, and where."""

    row: Appended
    shard: int
    position: int


async def read_authors(connection: Connection, names: Iterable[str]) -> dict[str, Author]:
    """The authors of these names, as they are now, unlocked. An author's key, shard and owner never change."""
    rows = await connection.fetch(
        f"SELECT {_AUTHOR_COLUMNS} FROM authors WHERE author = ANY ($1)",  # noqa: S608 -- our own constant
        sorted(set(names)),
    )
    return {row["author"]: _author(row) for row in rows}


async def lock_authors(connection: Connection, names: Iterable[str]) -> dict[str, Author]:
    """The authors of these names, locked in the order of their names until the transaction ends."""
    rows = await connection.fetch(
        f"SELECT {_AUTHOR_COLUMNS} FROM authors WHERE author = ANY ($1) ORDER BY author FOR NO KEY UPDATE",  # noqa: S608
        sorted(set(names)),
    )
    return {row["author"]: _author(row) for row in rows}


async def newest_vector(connection: Connection, author: str, stream: str) -> dict[str, int]:
    """What the author had seen of the stream with its newest event there; empty before its first."""
    header = await connection.fetchval(
        """
        SELECT header FROM ledger WHERE stream = $1 AND author = $2 AND kind <> 'refusal' ORDER BY seq DESC LIMIT 1
        """,
        stream,
        author,
    )
    return _seen_of.decode(header).seen if header else {}


async def open_chains(
    connection: Connection, authors: Mapping[str, Author], events: Sequence[Event], *, received_at_ms: int
) -> dict[str, Chain]:
    """A chain for each locked author, knowing what the decision on these events needs."""
    chained, strays = await _rows_of(connection, events)
    new = [event for event in events if event.seq > authors[event.author].mark and event.header is not None]
    ids = await _hashes_of_ids(connection, new)
    marks = await _marks(connection, new)
    vectors = await _vectors(connection, new)
    knowledge = await _knowledge(connection, new, vectors)
    people = await _people(connection, authors)
    return {
        name: Chain(
            author,
            Known(
                chained=chained.get(name, {}),
                strays=frozenset(strays.get(name, ())),
                ids=ids,
                marks=marks,
                vectors={stream: seen for (owner, stream), seen in vectors.items() if owner == name},
                knowledge=knowledge,
                people=people.get(name, frozenset()),
            ),
            received_at_ms=received_at_ms,
        )
        for name, author in authors.items()
    }


async def _people(connection: Connection, authors: Iterable[str]) -> dict[str, frozenset[str]]:
    """The technicians who were ever given a session on these authors' devices."""
    rows = await connection.fetch(
        """
        SELECT author, array_agg(DISTINCT technician) AS people FROM tokens
        WHERE author = ANY ($1) AND technician IS NOT NULL GROUP BY author
        """,
        list(authors),
    )
    return {row["author"]: frozenset(row["people"]) for row in rows}


async def write(connection: Connection, chains: Iterable[Chain], *, received_at_ms: int) -> list[Placed]:
    """Write what the chains decided: authors, holds, and last, under the shards' locks, the rows. In decided order."""
    ordered = sorted(chains, key=lambda chain: chain.author.author)
    rows = [(chain.author.shard, row) for chain in ordered for row in chain.outcomes if isinstance(row, Appended)]
    await _save_authors(connection, [chain.author for chain in ordered])
    await _note_holds(connection, [row for _, row in rows], received_at_ms)
    placed: list[Placed] = []
    for shard in sorted({shard for shard, _ in rows}):
        mine = [row for owner, row in rows if owner == shard]
        placed += await _append(connection, shard, mine, received_at_ms)
    return placed


async def _append(connection: Connection, shard: int, rows: Sequence[Appended], received_at_ms: int) -> list[Placed]:
    locked = await connection.fetchrow("SELECT size, frontier FROM shards WHERE shard = $1 FOR NO KEY UPDATE", shard)
    if locked is None:
        raise LookupError(f"there is no shard {shard}")
    frontier, size = Frontier.from_bytes(locked["frontier"]), locked["size"]
    complete: list[Subtree] = []
    records = []
    for position, row in enumerate(rows, size):
        leaf = ledger_leaf.leaf_hash(_leaf(row, received_at_ms))
        complete += frontier.append(leaf)
        records.append(_record(shard, position, row, received_at_ms, leaf))
    await connection.copy_records_to_table("ledger", records=records, columns=_LEDGER_COLUMNS)
    await tree.store_tiles(connection, shard, complete)
    await connection.execute(
        "UPDATE shards SET size = $2, root = $3, frontier = $4 WHERE shard = $1",
        shard,
        frontier.size,
        frontier.root(),
        frontier.to_bytes(),
    )
    return [Placed(row, shard, position) for position, row in enumerate(rows, size)]


def _leaf(row: Appended, received_at_ms: int) -> bytes:
    return ledger_leaf.leaf_bytes(
        kind=row.kind,
        header_hash=row.event.header_hash,
        signature=row.event.signed.signature,
        received_at_ms=received_at_ms,
        facts=row.facts,
    )


def _record(shard: int, position: int, row: Appended, received_at_ms: int, leaf: bytes) -> tuple[object, ...]:
    event = row.event
    return (
        shard,
        position,
        row.kind,
        event.id,
        event.author,
        event.seq,
        event.stream,
        event.type,
        event.signed.header,
        event.header_hash,
        event.signed.body,
        event.signed.signature,
        received_at_ms,
        row.facts,
        leaf,
        row.problem.code if row.problem else None,
        row.chained,
    )


async def _save_authors(connection: Connection, authors: Sequence[Author]) -> None:
    await connection.executemany(
        """
        UPDATE authors SET mark = $2, head_hash = $3, last_at_ms = $4, stopped_seq = $5, stopped_code = $6,
            stopped_message = $7, stopped_at_ms = $8, gap_nonce = $9, gap_at_ms = $10, stray_refusals = $11
        WHERE author = $1
        """,
        [
            (
                author.author,
                author.mark,
                author.head_hash,
                author.last_at_ms,
                author.stopped_seq,
                author.stopped_code,
                author.stopped_message,
                author.stopped_at_ms,
                author.gap_nonce,
                author.gap_at_ms,
                author.stray_refusals,
            )
            for author in authors
        ],
    )


async def _note_holds(connection: Connection, rows: Sequence[Appended], received_at_ms: int) -> None:
    held = [row.event for row in rows if row.kind == "held"]
    if held:
        await connection.executemany(
            "INSERT INTO holds (event_id, author, seq, stream, received_at_ms) VALUES ($1, $2, $3, $4, $5)",
            [(event.id, event.author, event.seq, event.stream, received_at_ms) for event in held],
        )
    for row in rows:
        if row.kind == "admitted" and row.event.type == ADMISSION_TYPE:
            body = read_body(ADMISSION_TYPE, row.event.signed.body)
            if isinstance(body, EventAdmitted):
                await connection.execute(
                    "UPDATE holds SET admitted_by = $2 WHERE event_id = $1 AND admitted_by IS NULL", body.event, row.event.id
                )


async def _rows_of(
    connection: Connection, events: Sequence[Event]
) -> tuple[dict[str, dict[int, bytes]], dict[str, set[tuple[int, bytes]]]]:
    """What the ledger has under the (author, seq) of these events: of the chain, and beside it."""
    rows = await connection.fetch(
        """
        WITH asked AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS q (author, seq))
        SELECT l.author, l.seq, l.header_hash, true AS chained
        FROM asked q JOIN ledger l ON l.author = q.author AND l.seq = q.seq AND l.chained
        UNION ALL
        SELECT l.author, l.seq, l.header_hash, false
        FROM asked q JOIN ledger l ON l.author = q.author AND l.seq = q.seq AND NOT l.chained
        """,
        [event.author for event in events],
        [event.seq for event in events],
    )
    chained: dict[str, dict[int, bytes]] = {}
    strays: dict[str, set[tuple[int, bytes]]] = {}
    for row in rows:
        if row["chained"]:
            chained.setdefault(row["author"], {})[row["seq"]] = row["header_hash"]
        else:
            strays.setdefault(row["author"], set()).add((row["seq"], row["header_hash"]))
    return chained, strays


async def _hashes_of_ids(connection: Connection, events: Sequence[Event]) -> dict[str, bytes]:
    rows = await connection.fetch(
        "SELECT event_id, header_hash FROM ledger WHERE event_id = ANY ($1) AND kind <> 'refusal'",
        [event.id for event in events],
    )
    return {row["event_id"]: row["header_hash"] for row in rows}


async def _marks(connection: Connection, events: Sequence[Event]) -> dict[str, int]:
    names = {other for event in events if event.header for other in event.header.seen if other != event.author}
    if not names:
        return {}
    rows = await connection.fetch("SELECT author, mark FROM authors WHERE author = ANY ($1)", list(names))
    return {row["author"]: row["mark"] for row in rows}


async def _vectors(connection: Connection, events: Sequence[Event]) -> dict[tuple[str, str], dict[str, int]]:
    """What each author had seen of each stream with its newest event there."""
    asked = list({(event.author, event.stream) for event in events})
    rows = await connection.fetch(
        """
        SELECT q.author, q.stream, l.header FROM unnest($1::text[], $2::text[]) AS q (author, stream)
        JOIN LATERAL (
            SELECT header FROM ledger
            WHERE stream = q.stream AND author = q.author AND kind <> 'refusal' ORDER BY seq DESC LIMIT 1
        ) l ON true
        """,
        [author for author, _ in asked],
        [stream for _, stream in asked],
    )
    return {(row["author"], row["stream"]): _seen_of.decode(row["header"]).seen for row in rows}


async def _knowledge(
    connection: Connection, events: Sequence[Event], vectors: Mapping[tuple[str, str], Mapping[str, int]]
) -> dict[tuple[str, str, int], dict[str, int]]:
    """What the newest event of (stream, author, up to seq) had seen, for each entry that no admitted vector had yet."""
    asked: set[tuple[str, str, int]] = set()
    for event in events:
        if event.header is None:
            continue
        before = vectors.get((event.author, event.stream), {})
        entries = event.header.seen.items()
        asked |= {(event.stream, other, seq) for other, seq in entries if other != event.author and before.get(other) != seq}
    if not asked:
        return {}
    rows = await connection.fetch(
        """
        SELECT q.stream, q.author, q.seq, l.header
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS q (stream, author, seq)
        JOIN LATERAL (
            SELECT header FROM ledger
            WHERE stream = q.stream AND author = q.author AND seq <= q.seq AND kind <> 'refusal' ORDER BY seq DESC LIMIT 1
        ) l ON true
        """,
        *map(list, zip(*asked, strict=True)),
    )
    return {(row["stream"], row["author"], row["seq"]): _seen_of.decode(row["header"]).seen for row in rows}


def _author(row: asyncpg.Record) -> Author:
    return Author(**dict(row) | {"kind": AuthorKind(row["kind"])})
