"""Sessions that must end before their token does: noted here, in the transaction that decided it; the warden tells the broker.

A cut is a login key and a moment of real time, in seconds: tokens issued until then are void, later ones count. It decides
nobody's cut and speaks to no broker.
"""

from typing import Final

from zb_chassis.database import Connection, Pool

CHANNEL: Final = "sessions_cut"
"""PostgreSQL notifies here when a cut was committed."""


async def lock_device(connection: Connection, device: str) -> None:
    """One decision about a device and its sessions at a time, until the transaction ends. Taken before any row is locked."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"device:{device}")


async def cut_device(connection: Connection, device: str, at_ms: int) -> None:
    """End the sessions of every login key that the device ever had, issued up to this moment (real time)."""
    await connection.execute(
        """
        INSERT INTO session_cuts AS c (login_key, cut_at_s)
        SELECT DISTINCT login_key, $2::bigint FROM authors WHERE device = $1 AND login_key IS NOT NULL
        ON CONFLICT (login_key) DO UPDATE SET cut_at_s = excluded.cut_at_s WHERE c.cut_at_s < excluded.cut_at_s
        """,
        device,
        at_ms // 1000,
    )


async def earliest_issue_s(connection: Connection, login_key: str) -> int:
    """The first second in which a token for this key may be issued so that no cut voids it; 0 where there is none."""
    cut_at_s = await connection.fetchval("SELECT cut_at_s FROM session_cuts WHERE login_key = $1", login_key)
    return 0 if cut_at_s is None else int(cut_at_s) + 1


async def newest(pool: Pool, since_s: int, limit: int) -> dict[str, int]:
    """The newest cuts after that moment: login key -> seconds, at most `limit`."""
    rows = await pool.fetch(
        "SELECT login_key, cut_at_s FROM session_cuts WHERE cut_at_s >= $1 ORDER BY cut_at_s DESC, login_key LIMIT $2",
        since_s,
        limit,
    )
    return {row["login_key"]: row["cut_at_s"] for row in rows}
