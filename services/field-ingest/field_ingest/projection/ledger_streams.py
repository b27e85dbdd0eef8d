"""The ledger read stream by stream, for a replay and for a look into the past: SQL over its index by stream, and no decision.

Pages follow each other through a cursor, the next one under way while this one is worked on, so that memory holds one page and
one stream. The projection reads by position instead (`states`).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from field_ingest.projection.ports import LedgerGap
from field_ingest.projection.refolding import Author, Cut, Row
from field_ingest.projection.states import OPAQUE
from zb_chassis.database import Connection
from zb_contracts.events import AuthorKind

PAGE_ROWS: Final = 1_000
RECEIVED_MS_MAX: Final = 2**62
BY_INDEX: Final = """
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;
    SET LOCAL max_parallel_workers_per_gather = 0
"""
"""A plan that sorts reads all of a span, or all of the ledger, before its first row; the index has the streams in order."""
_COUNTS: Final = "l.position < coalesce(($1::bigint[])[l.shard + 1], 0) AND l.received_at_ms <= $2"


def _bounds(cut: Cut) -> tuple[list[int], int]:
    """The arguments of `_COUNTS`: the ends by shard, and the last millisecond of receipt."""
    ends = cut.ends
    latest = RECEIVED_MS_MAX if cut.received_ms is None else cut.received_ms
    return [ends.get(shard, 0) for shard in range(max(ends, default=-1) + 1)], latest


async def streams_from(
    connection: Connection, cut: Cut, first: str, past: str | None, *, signatures: bool = False
) -> AsyncGenerator[tuple[str, list[Row]], None]:
    """Each stream from `first` on and before `past` (None: to the last) with its rows that count, refusals apart.

    Inside a transaction of the caller, whose later statements are planned as this one's is. Where the partitions end
    unevenly, `Cut.of_stream` has the last word.
    """
    query = f"""
        SELECT l.stream, l.type, l.author, l.header, l.body, {OPAQUE}, l.kind = 'held', l.shard, l.position, l.received_at_ms,
            {"l.signature" if signatures else "''::bytea"}
        FROM ledger l
        WHERE l.stream >= $3 AND ($4::text IS NULL OR l.stream < $4) AND l.kind <> 'refusal' AND {_COUNTS}
        ORDER BY l.stream
    """  # noqa: S608 constants of this module
    await connection.execute(BY_INDEX)
    cursor = await connection.cursor(query, *_bounds(cut), first, past)
    uneven = not cut.is_even
    make, rows = Row._make, list[Row]()
    async with aclosing(_pages(cursor)) as pages:
        async for page in pages:
            for record in page:
                row = make(record)
                if rows and row.stream != rows[0].stream:
                    yield rows[0].stream, cut.of_stream(rows) if uneven else rows
                    rows = []
                rows.append(row)
    if rows:
        yield rows[0].stream, cut.of_stream(rows) if uneven else rows


async def rows_of(connection: Connection, cut: Cut, stream: str) -> list[Row]:
    """One stream's rows that count, refusals apart."""
    async with aclosing(streams_from(connection, cut, stream, None)) as found:
        async for name, rows in found:
            return rows if name == stream else []
    return []


async def _pages(cursor: Any) -> AsyncGenerator[list[Any], None]:
    coming = asyncio.ensure_future(cursor.fetch(PAGE_ROWS))
    try:
        while page := await coming:
            coming = asyncio.ensure_future(cursor.fetch(PAGE_ROWS))
            await asyncio.sleep(0)  # the question leaves before this page is worked on
            yield page
    finally:
        # Whoever leaves early goes on with the connection: a question under way would stand in the way of the next one.
        await asyncio.gather(coming, return_exceptions=True)


async def authors(connection: Connection) -> dict[str, Author]:
    """All that are registered."""
    rows = await connection.fetch("SELECT author, kind, event_key FROM authors")
    return {row["author"]: Author(AuthorKind(row["kind"]), row["event_key"]) for row in rows}


async def check_dense(connection: Connection, cut: Cut) -> None:
    """LedgerGap unless every shard has each of its positions below its end."""
    for shard, end in cut.ends.items():
        count = await connection.fetchval("SELECT count(*) FROM ledger WHERE shard = $1 AND position < $2", shard, end)
        if count == end:
            continue
        missing = await connection.fetchval(
            """
            SELECT wanted FROM generate_series(0, $2::bigint - 1) AS wanted
            WHERE NOT EXISTS (SELECT FROM ledger WHERE shard = $1 AND position = wanted) ORDER BY wanted LIMIT 1
            """,
            shard,
            end,
        )
        raise LedgerGap(f"shard {shard} has no position {missing}, although its log has {end} rows or more")


async def cut_into_spans(connection: Connection, cut: Cut, rows_a_span: int) -> list[tuple[str, str | None, int]]:
    """The streams' names cut into spans of about so many rows that count: first name, first name of the next, rows."""
    rows = await connection.fetch(
        f"""
        SELECT first, lead(first) OVER (ORDER BY first) AS past, rows FROM (
            SELECT first, sum(rows)::bigint AS rows FROM (
                SELECT min(stream) AS first, count(*) AS rows FROM (
                    SELECT l.stream, (row_number() OVER (ORDER BY l.stream) - 1) / $3 AS part FROM ledger l WHERE {_COUNTS}
                ) numbered GROUP BY part
            ) parts GROUP BY first
        ) spans ORDER BY first
        """,  # noqa: S608 constants of this module
        *_bounds(cut),
        rows_a_span,
    )
    return [(row["first"], row["past"], row["rows"]) for row in rows]
