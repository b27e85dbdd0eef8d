"""Rejects: bytes that no known key signed, or that cannot be placed. Counted without end, kept as samples within limits.

They never reach the ledger, and nobody is told what was in them but who may read this list. Refusals of an authenticated
author are not rejects: they are rows of the ledger.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from zb_chassis.database import Connection
from zb_contracts.printable import printable
from zb_contracts.problems import Problem

SAMPLES_MAX: Final = 100
"""Different messages kept for one subject and code; those beyond are only counted."""
SAMPLE_BYTES_MAX: Final = 64 * 1024
MESSAGE_MAX: Final = 300
LIST_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Reject:
    """One message set aside, as it came."""

    subject: str
    author: str | None
    problem: Problem
    data: bytes


async def note(connection: Connection, rejects: Sequence[Reject], *, at_ms: int) -> None:
    """Count each, and keep its bytes while its subject has room. In one order, so that two writers cannot block each other."""
    for reject in sorted(rejects, key=lambda one: (one.subject, one.problem.code)):
        await _note(connection, reject, at_ms)


async def listed(
    connection: Connection, *, agencies: Sequence[str] | None = None, subject: str | None = None
) -> list[dict[str, Any]]:
    """The newest samples, without their bytes; of these agencies' devices and offices, None for all."""
    rows = await connection.fetch(
        f"""
        SELECT reject, subject, author, code, message, encode(data_hash, 'hex') AS data_sha256, data_bytes,
            first_at_ms, last_at_ms, times
        FROM rejects WHERE {_THEIRS} AND ($2::text IS NULL OR subject = $2) ORDER BY last_at_ms DESC, reject DESC LIMIT $3
        """,  # noqa: S608 -- a constant of this module
        agencies,
        subject,
        LIST_MAX,
    )
    return [dict(row) for row in rows]


async def counts(connection: Connection, *, agencies: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """How often each code came on each subject, the most frequent first; of these agencies, None for all."""
    rows = await connection.fetch(
        f"""
        SELECT subject, code, times, first_at_ms, last_at_ms FROM reject_counts WHERE {_THEIRS}
        ORDER BY times DESC, subject LIMIT $2
        """,  # noqa: S608 -- a constant of this module
        agencies,
        LIST_MAX,
    )
    return [dict(row) for row in rows]


# Who may publish on a subject is the last word of it: a device, or an office's author. What the bytes claim is nobody's word.
_THEIRS: Final = """
    ($1::text[] IS NULL OR EXISTS (
        SELECT FROM authors a WHERE a.agency = ANY ($1) AND split_part(subject, '.', 3) IN (a.device, a.author)))
"""


async def _note(connection: Connection, reject: Reject, at_ms: int) -> None:
    data_hash = hashlib.sha256(reject.data).digest()
    code = reject.problem.code
    samples = await connection.fetchval(
        """
        INSERT INTO reject_counts AS c (subject, code, times, first_at_ms, last_at_ms) VALUES ($1, $2, 1, $3, $3)
        ON CONFLICT (subject, code) DO UPDATE SET times = c.times + 1, last_at_ms = $3 RETURNING samples
        """,
        reject.subject,
        code,
        at_ms,
    )
    again = await connection.fetchval(
        """
        UPDATE rejects SET times = times + 1, last_at_ms = $4
        WHERE subject = $1 AND code = $2 AND data_hash = $3 RETURNING true
        """,
        reject.subject,
        code,
        data_hash,
        at_ms,
    )
    if again or samples >= SAMPLES_MAX:
        return
    await connection.execute(
        """
        INSERT INTO rejects (subject, author, code, message, data_hash, data_bytes, data, first_at_ms, last_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
        """,
        reject.subject,
        reject.author,
        code,
        printable(str(reject.problem))[:MESSAGE_MAX],
        data_hash,
        len(reject.data),
        reject.data[:SAMPLE_BYTES_MAX],
        at_ms,
    )
    await connection.execute(
        "UPDATE reject_counts SET samples = samples + 1 WHERE subject = $1 AND code = $2", reject.subject, code
    )
