"""What each SQL statement of a run cost, from PostgreSQL's own statistics: where the database's time went."""

from typing import Any, Final

import asyncpg

SETTINGS: Final = {"shared_preload_libraries": "pg_stat_statements"}
"""With which the server has to be started."""
LISTED_MAX: Final = 25
TEXT_MAX: Final = 200


async def costs(superuser_dsn: str) -> list[dict[str, Any]]:
    """The dearest statements since the server's start, each with its milliseconds, calls, rows and pages read."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        rows = await connection.fetch(
            """
            SELECT round(total_exec_time) AS ms, calls, rows, shared_blks_read AS pages, wal_bytes,
                left(regexp_replace(query, '\\s+', ' ', 'g'), $1) AS statement
            FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT $2
            """,
            TEXT_MAX,
            LISTED_MAX,
        )
    finally:
        await connection.close()
    return [{**row, "wal_bytes": int(row["wal_bytes"])} for row in rows]


def table(found: list[dict[str, Any]]) -> str:
    """For people."""
    lines = [f"{one['ms']:>9,.0f} ms {one['calls']:>8,} calls {one['rows']:>10,} rows  {one['statement']}" for one in found]
    return "\n".join(lines)
