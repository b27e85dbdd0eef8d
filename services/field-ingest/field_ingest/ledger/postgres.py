"""The ledger on Postgres: all SQL of its write side. What is promised stands in ports.py.

The shards' rows are locked last and give the positions, so positions are dense and become visible in order. READ COMMITTED, so
that every statement after a lock sees what the lock waited for. Nothing here decides, and only `PostgresLedger.transaction`
commits.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg

from field_ingest.admission import rejects
from field_ingest.admission.domain import Appended, Author, Chain, Event, Hold, Known
from field_ingest.admission.rejects import Reject
from field_ingest.ledger import tree
from field_ingest.ledger.appending import Decision, Growth, Row, decision, grow
from field_ingest.ledger.facts import Session
from field_ingest.ledger.ports import LedgerAway
from field_ingest.ledger.questions import Answers, Questions, questions, vector_of
from zb_chassis.database import LOST, Connection, Pool
from zb_contracts.events import AuthorKind
from zb_contracts.merkle import Frontier

_AUTHOR_COLUMNS: Final = (
    "author, kind, agency, device, technician, event_key, shard, mark, head_hash, last_at_ms, revoked_at_ms, "
    "stopped_seq, stopped_code, stopped_message, stopped_at_ms, gap_nonce, gap_at_ms, gap_to, stray_refusals"
)
_PASSES: Final = (
    *LOST,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,
)
"""What passes by itself: a lost server, a deadlock's victim, a lock or a resource that could not be had."""


class PostgresLedger:
    """The ledger in the database of this pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read_authors(self, names: Collection[str]) -> dict[str, Author]:
        """See ports.Ledger."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_AUTHOR_COLUMNS} FROM authors WHERE author = ANY ($1)",  # noqa: S608 -- our own constant
                sorted(set(names)),
            )
        return {row["author"]: _author(row) for row in rows}

    async def read_strays(self, asked: Collection[tuple[str, int, bytes]]) -> frozenset[tuple[str, int, bytes]]:
        """See ports.Ledger."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                """
                SELECT l.author, l.seq, l.header_hash
                FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS q (author, seq, header_hash)
                JOIN ledger l ON (l.author, l.seq, l.header_hash) = (q.author, q.seq, q.header_hash) AND NOT l.chained
                """,
                *map(list, zip(*asked, strict=True)),
            )
        return frozenset(tuple(row) for row in rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """See ports.Ledger."""
        async with self._connection() as connection, connection.transaction(isolation="read_committed"):
            yield PostgresTransaction(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with _away():
            try:
                connection = await self._pool.acquire()
            except asyncpg.InterfaceError as fault:
                raise LedgerAway(f"the pool gives no connection: {fault}") from fault
            try:
                yield connection
            except (asyncpg.InterfaceError, asyncpg.InternalClientError) as fault:
                # The driver says the same of a session that died under it and of a call that we should not have made.
                # Only the first passes by itself; the second is a bug, and must end in the dead letters, not in a loop.
                if _is_gone(connection):
                    raise LedgerAway(f"the session is gone: {fault}") from fault
                raise
            finally:
                await self._pool.release(connection)


class PostgresTransaction:
    """A transaction of the ledger on a connection that is in one; see ports.LedgerTransaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock_authors(self, names: Collection[str]) -> dict[str, Author]:
        """See ports.LedgerTransaction."""
        # NO KEY UPDATE: other transactions may go on to insert what refers to the author (sessions, holds).
        rows = await self._connection.fetch(
            f"SELECT {_AUTHOR_COLUMNS} FROM authors WHERE author = ANY ($1) ORDER BY author FOR NO KEY UPDATE",  # noqa: S608
            sorted(set(names)),
        )
        return {row["author"]: _author(row) for row in rows}

    async def known(self, authors: Mapping[str, Author], events: Sequence[Event]) -> dict[str, Known]:
        """See ports.LedgerTransaction."""
        asked = questions(authors, events)
        answers = await _answers(self._connection, asked)
        return {name: answers.known(name) for name in authors}

    async def newest_vector(self, author: str, stream: str) -> dict[str, int]:
        """See ports.LedgerTransaction."""
        return (await _vectors(self._connection, [(author, stream)])).get((author, stream), {})

    async def note_rejects(self, set_aside: Sequence[Reject], *, at_ms: int) -> None:
        """See ports.LedgerTransaction."""
        await rejects.note(self._connection, set_aside, at_ms=at_ms)

    async def write(self, chains: Iterable[Chain], *, received_at_ms: int) -> list[Row]:
        """See ports.LedgerTransaction."""
        decided = decision(chains)
        await _save_authors(self._connection, decided.authors)
        await _note_holds(self._connection, decided, received_at_ms)
        placed: list[Row] = []
        for shard, rows in decided.shards.items():
            placed += await _append(self._connection, shard, rows, received_at_ms)
        return placed


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool took it back by itself, which it does with a dead one only


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (LedgerAway, asyncpg.QueryCanceledError):
        # A statement beyond its time-out would be so at every try: it is some message's matter, found by taking each alone.
        raise
    except _PASSES as fault:
        raise LedgerAway(str(fault) or type(fault).__name__) from fault


async def _append(connection: Connection, shard: int, rows: Sequence[Appended], received_at_ms: int) -> list[Row]:
    frontier = await connection.fetchval("SELECT frontier FROM shards WHERE shard = $1 FOR NO KEY UPDATE", shard)
    if frontier is None:
        raise LookupError(f"there is no shard {shard}")
    growth = grow(shard, Frontier.from_bytes(frontier), rows, received_at_ms)
    # COPY: three times as fast as inserting the same rows (measured).
    await connection.copy_records_to_table("ledger", records=growth.rows, columns=Row._fields)
    await tree.store_tiles(connection, shard, growth.complete)
    await _save_shard(connection, shard, growth)
    return growth.rows


async def _save_shard(connection: Connection, shard: int, growth: Growth) -> None:
    await connection.execute(
        "UPDATE shards SET size = $2, root = $3, frontier = $4 WHERE shard = $1",
        shard,
        growth.frontier.size,
        growth.frontier.root(),
        growth.frontier.to_bytes(),
    )


async def _save_authors(connection: Connection, authors: Sequence[Author]) -> None:
    await connection.executemany(
        """
        UPDATE authors SET mark = $2, head_hash = $3, last_at_ms = $4, stopped_seq = $5, stopped_code = $6,
            stopped_message = $7, stopped_at_ms = $8, gap_nonce = $9, gap_at_ms = $10, gap_to = $11, stray_refusals = $12
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
                author.gap_to,
                author.stray_refusals,
            )
            for author in authors
        ],
    )


async def _note_holds(connection: Connection, decided: Decision, received_at_ms: int) -> None:
    if held := decided.held:
        await connection.executemany(
            "INSERT INTO holds (event_id, author, seq, stream, received_at_ms) VALUES ($1, $2, $3, $4, $5)",
            [(event.id, event.author, event.seq, event.stream, received_at_ms) for event in held],
        )
    for lift in decided.lifts:
        await connection.execute(
            """
            UPDATE holds SET admitted_by = $4 WHERE event_id = $1 AND author = $2 AND seq = $3 AND admitted_by IS NULL
            """,
            lift.event_id,
            lift.author,
            lift.seq,
            lift.admitted_by,
        )


async def _answers(connection: Connection, asked: Questions) -> Answers:
    chained, strays = await _under_numbers(connection, asked.numbers)
    vectors = await _vectors(connection, asked.streams)
    return Answers(
        chained=chained,
        strays={author: frozenset(rows) for author, rows in strays.items()},
        ids=await _under_ids(connection, asked.ids),
        marks=await _marks(connection, asked.marks),
        vectors=vectors,
        knowledge=await _knowledge(connection, asked.knowledge(vectors)),
        people=await _people(connection, asked.people),
        sessions=await _sessions(connection, asked.sessions),
        holds=await _holds(connection, asked.holds),
    )


async def _under_numbers(
    connection: Connection, numbers: Sequence[tuple[str, int]]
) -> tuple[dict[str, dict[int, bytes]], dict[str, set[tuple[int, bytes]]]]:
    """What the ledger has under these (author, seq): of the chain, and beside it."""
    # Two joins, because each partial index (ledger_chain, ledger_stray) serves one of them.
    rows = await connection.fetch(
        """
        WITH asked AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS q (author, seq))
        SELECT l.author, l.seq, l.header_hash, true AS chained
        FROM asked q JOIN ledger l ON l.author = q.author AND l.seq = q.seq AND l.chained
        UNION ALL
        SELECT l.author, l.seq, l.header_hash, false
        FROM asked q JOIN ledger l ON l.author = q.author AND l.seq = q.seq AND NOT l.chained
        """,
        [author for author, _ in numbers],
        [seq for _, seq in numbers],
    )
    chained: dict[str, dict[int, bytes]] = {}
    strays: dict[str, set[tuple[int, bytes]]] = {}
    for row in rows:
        if row["chained"]:
            chained.setdefault(row["author"], {})[row["seq"]] = row["header_hash"]
        else:
            strays.setdefault(row["author"], set()).add((row["seq"], row["header_hash"]))
    return chained, strays


async def _under_ids(connection: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    rows = await connection.fetch(
        "SELECT event_id, header_hash FROM ledger WHERE event_id = ANY ($1) AND kind <> 'refusal'", list(ids)
    )
    return {row["event_id"]: row["header_hash"] for row in rows}


async def _marks(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    rows = await connection.fetch("SELECT author, mark FROM authors WHERE author = ANY ($1)", list(names))
    return {row["author"]: row["mark"] for row in rows}


async def _vectors(connection: Connection, streams: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, int]]:
    """What each author had seen of each stream with its newest event there."""
    # LATERAL with LIMIT 1: one step down the index (stream, author, seq) a question, however long the stream is.
    rows = await connection.fetch(
        """
        SELECT q.author, q.stream, l.header FROM unnest($1::text[], $2::text[]) AS q (author, stream)
        JOIN LATERAL (
            SELECT header FROM ledger
            WHERE stream = q.stream AND author = q.author AND kind <> 'refusal' ORDER BY seq DESC LIMIT 1
        ) l ON true
        """,
        [author for author, _ in streams],
        [stream for _, stream in streams],
    )
    return {(row["author"], row["stream"]): vector_of(row["header"]) for row in rows}


async def _knowledge(
    connection: Connection, entries: Sequence[tuple[str, str, int]]
) -> dict[tuple[str, str, int], dict[str, int]]:
    """What the newest event of (stream, author, up to seq) had seen."""
    if not entries:
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
        *map(list, zip(*entries, strict=True)),
    )
    return {(row["stream"], row["author"], row["seq"]): vector_of(row["header"]) for row in rows}


async def _people(connection: Connection, authors: Sequence[str]) -> dict[str, frozenset[str]]:
    """The technicians who were ever given a session on these authors' devices, under whichever incarnation."""
    if not authors:
        return {}
    rows = await connection.fetch(
        """
        SELECT a.author, array_agg(p.technician) AS people FROM authors a JOIN device_people p ON p.device = a.device
        WHERE a.author = ANY ($1) GROUP BY a.author
        """,
        list(authors),
    )
    return {row["author"]: frozenset(row["people"]) for row in rows}


async def _sessions(connection: Connection, tokens: Sequence[str]) -> dict[str, Session]:
    if not tokens:
        return {}
    rows = await connection.fetch(
        """
        SELECT t.token_id, a.device, t.technician, t.expires_at_ms FROM tokens t JOIN authors a USING (author)
        WHERE t.token_id = ANY ($1)
        """,
        list(tokens),
    )
    return {row["token_id"]: Session(row["device"], row["technician"], row["expires_at_ms"]) for row in rows}


async def _holds(connection: Connection, ids: Sequence[str]) -> dict[str, Hold]:
    if not ids:
        return {}
    # The unique index (author, seq) serves the count, and holds never come before others of their author.
    rows = await connection.fetch(
        """
        SELECT h.event_id, h.author, h.seq, h.stream,
            (SELECT count(*) FROM holds e WHERE e.author = h.author AND e.seq < h.seq AND e.admitted_by IS NULL) AS earlier
        FROM holds h WHERE h.event_id = ANY ($1)
        """,
        list(ids),
    )
    return {row["event_id"]: Hold(row["author"], row["seq"], row["stream"], row["earlier"]) for row in rows}


def _author(row: asyncpg.Record) -> Author:
    return Author(**dict(row) | {"kind": AuthorKind(row["kind"])})
