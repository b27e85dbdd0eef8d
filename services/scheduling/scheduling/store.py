"""All SQL of scheduling but the intake's: the author's row, what was seen, the board, announcements, technicians, reference.

Every function takes the caller's connection and writes in the caller's transaction. It decides nothing. Times are ms since
1970. The chassis' own tables (events, outbox, inbox) are the chassis' matter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import asyncpg

from scheduling.domain import Assigned, Intervention, NotThere, Planned
from scheduling.values import Reported, Request, Visit
from zb_chassis.database import Connection
from zb_contracts.envelope import GENESIS


@dataclass(frozen=True, slots=True)
class AuthorHead:
    """The number of an author's last event and the hash of its header."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Announced:
    """What one announcement says that the office works with."""

    intervention: str
    version: int
    state_hash: str
    reported: Reported
    merged: dict[str, Any]
    """The value of each field as merged, by field name."""
    conflicts: list[dict[str, Any]]
    set_aside: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TechnicianRecord:
    """A technician as the office keeps them: where the day starts, its hours (local `08:00`), and what they can do."""

    id: str
    name: str
    latitude_e7: int
    longitude_e7: int
    starts: str
    ends: str
    timezone: str
    skills: tuple[str, ...]
    active: bool


async def lock_author(connection: Connection, author: str) -> AuthorHead:
    """The author's head, locked until the transaction ends; made at its first use."""
    await connection.execute(
        "INSERT INTO scheduling.author (author, seq, head_hash) VALUES ($1, 0, $2) ON CONFLICT (author) DO NOTHING",
        author,
        GENESIS,
    )
    row = await connection.fetchrow("SELECT seq, head_hash FROM scheduling.author WHERE author = $1 FOR UPDATE", author)
    assert row is not None
    return AuthorHead(row["seq"], row["head_hash"])


async def save_author(connection: Connection, author: str, head: AuthorHead) -> None:
    """Move the author's head; its row is locked by this transaction."""
    await connection.execute(
        "UPDATE scheduling.author SET seq = $2, head_hash = $3 WHERE author = $1", author, head.seq, head.hash
    )


async def catch_up(connection: Connection, author: str, head: AuthorHead) -> bool:
    """After a loss: go on from what the ledger has of this author, where that is further. Whether it was.

    What was signed in between is in the ledger; signing those numbers again would be a fork.
    """
    if (await lock_author(connection, author)).seq >= head.seq:
        return False
    await save_author(connection, author, head)
    return True


async def load_knowledge(connection: Connection, author: str, streams: Iterable[str]) -> dict[str, dict[str, int]]:
    """What the author's events have claimed to know of these streams."""
    rows = await connection.fetch(
        "SELECT stream, vector FROM scheduling.knowledge WHERE author = $1 AND stream = ANY ($2)", author, list(set(streams))
    )
    return {row["stream"]: row["vector"] for row in rows}


async def save_knowledge(connection: Connection, author: str, known: Mapping[str, Mapping[str, int]]) -> None:
    """Remember it. The caller merged it with what was there."""
    await connection.executemany(
        "INSERT INTO scheduling.knowledge (author, stream, vector) VALUES ($1, $2, $3)"
        " ON CONFLICT (author, stream) DO UPDATE SET vector = excluded.vector",
        [(author, stream, dict(vector)) for stream, vector in known.items() if vector],
    )


async def load_reported(connection: Connection, intervention: str) -> Reported:
    """What the newest announcement says of the field; nothing where there was none."""
    row = await connection.fetchrow(
        "SELECT status, vector, visits, requests FROM scheduling.announced WHERE intervention = $1", UUID(intervention)
    )
    return Reported() if row is None else reported_in(row, row["status"])


def reported_in(row: asyncpg.Record, status: str) -> Reported:
    """What the field reported, of a row with an announcement's vector, visits and requests."""
    return Reported(
        status=status,
        vector=tuple(sorted(row["vector"].items())),
        visits=tuple(Visit(**visit) for visit in row["visits"]),
        requests=tuple(Request(**request) for request in row["requests"]),
    )


async def save_announced(connection: Connection, announced: Announced) -> bool:
    """Take the announcement if it is newer than what is there; False when it is not, and then nothing changed."""
    reported = announced.reported
    taken = await connection.fetchval(
        "INSERT INTO scheduling.announced AS held (intervention, version, state_hash, status, vector, visits, requests,"
        " merged, conflicts, set_aside) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (intervention) DO UPDATE SET version = excluded.version, state_hash = excluded.state_hash,"
        " status = excluded.status, vector = excluded.vector, visits = excluded.visits, requests = excluded.requests,"
        " merged = excluded.merged, conflicts = excluded.conflicts, set_aside = excluded.set_aside"
        " WHERE held.version < excluded.version"
        " RETURNING true",
        UUID(announced.intervention),
        announced.version,
        announced.state_hash,
        reported.status,
        dict(reported.vector),
        [asdict(visit) for visit in reported.visits],
        [asdict(request) for request in reported.requests],
        announced.merged,
        announced.conflicts,
        announced.set_aside,
    )
    return taken is True


async def lacking(connection: Connection) -> list[asyncpg.Record]:
    """Interventions that were announced and that this database has no record of, by id: made after the backup it is from."""
    return await connection.fetch(
        "SELECT announced.intervention, announced.status, announced.merged ->> 'reference' AS reference,"
        " announced.merged ->> 'title' AS title FROM scheduling.announced"
        " LEFT JOIN scheduling.board USING (intervention) WHERE board.intervention IS NULL ORDER BY announced.intervention"
    )


async def save_board(connection: Connection, states: Sequence[Intervention]) -> None:
    """Write the office's view of these interventions, whole."""
    await connection.executemany(
        "INSERT INTO scheduling.board (intervention, agency, reference, version, status, kind, title, site, equipment,"
        " details, window_start_ms, window_end_ms, duration_min, planned_start_ms, technician, tour_position,"
        " settled) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        " ON CONFLICT (intervention) DO UPDATE SET version = excluded.version, status = excluded.status,"
        " title = excluded.title, details = excluded.details, window_start_ms = excluded.window_start_ms,"
        " window_end_ms = excluded.window_end_ms, duration_min = excluded.duration_min,"
        " planned_start_ms = excluded.planned_start_ms, technician = excluded.technician,"
        " tour_position = excluded.tour_position, settled = excluded.settled",
        [_board_row(state) for state in states],
    )


def _board_row(state: Intervention) -> tuple[Any, ...]:
    office = state.office
    assert not isinstance(office, NotThere)
    identity, plan = office.identity, office.plan if isinstance(office, Planned | Assigned) else None
    wish = office.wish if plan is None else plan
    return (
        UUID(identity.intervention),
        identity.agency,
        identity.reference,
        state.version,
        office.name,
        identity.kind,
        office.details.title,
        identity.site,
        identity.equipment,
        asdict(office.details),
        wish.window_start_ms,
        wish.window_end_ms,
        wish.duration_min,
        plan.start_ms if plan else None,
        office.technician if isinstance(office, Assigned) else None,
        plan.tour_position if plan else None,
        sorted(office.settled),
    )


_BOARD = """
SELECT board.intervention, board.agency, board.reference, board.version, board.status, board.kind, board.title, board.site,
    board.equipment, board.details, board.window_start_ms, board.window_end_ms, board.duration_min,
    board.planned_start_ms, board.technician, board.tour_position, board.settled,
    site.reference AS site_reference, site.latitude_e7, site.longitude_e7,
    announced.version AS announced_version, announced.status AS announced_status, announced.state_hash,
    announced.vector, announced.visits, announced.requests, announced.merged, announced.conflicts, announced.set_aside
FROM scheduling.board
LEFT JOIN scheduling.site ON site.id = board.site
LEFT JOIN scheduling.announced ON announced.intervention = board.intervention
"""


async def board_of_day(connection: Connection, agency: str, start_ms: int, end_ms: int, limit: int) -> list[asyncpg.Record]:
    """What starts in the day, and what has no place yet and may be done in it, by tour."""
    return await connection.fetch(
        _BOARD + " WHERE board.agency = $1 AND (board.planned_start_ms >= $2 AND board.planned_start_ms < $3"
        " OR board.planned_start_ms IS NULL AND board.status = 'draft'"
        " AND coalesce(board.window_start_ms, $2) < $3 AND coalesce(board.window_end_ms, $2) >= $2)"
        " ORDER BY board.technician NULLS LAST, board.planned_start_ms NULLS LAST, board.reference LIMIT $4",
        agency,
        start_ms,
        end_ms,
        limit,
    )


async def board_entry(connection: Connection, intervention: str) -> asyncpg.Record | None:
    """One intervention's row."""
    return await connection.fetchrow(_BOARD + " WHERE board.intervention = $1", UUID(intervention))


async def save_technicians(connection: Connection, agency: str, technicians: Sequence[TechnicianRecord]) -> None:
    """Write these technicians; others of the agency stay as they are."""
    await connection.executemany(
        "INSERT INTO scheduling.technician (agency, id, name, latitude_e7, longitude_e7, starts, ends, timezone, skills,"
        " active) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (agency, id) DO UPDATE SET"
        " name = excluded.name, latitude_e7 = excluded.latitude_e7, longitude_e7 = excluded.longitude_e7,"
        " starts = excluded.starts, ends = excluded.ends, timezone = excluded.timezone, skills = excluded.skills,"
        " active = excluded.active",
        [
            (
                agency,
                each.id,
                each.name,
                each.latitude_e7,
                each.longitude_e7,
                each.starts,
                each.ends,
                each.timezone,
                list(each.skills),
                each.active,
            )
            for each in technicians
        ],
    )


async def load_technicians(connection: Connection, agency: str) -> list[TechnicianRecord]:
    """The agency's technicians by id."""
    rows = await connection.fetch(
        "SELECT id, name, latitude_e7, longitude_e7, starts, ends, timezone, skills, active FROM scheduling.technician"
        " WHERE agency = $1 ORDER BY id",
        agency,
    )
    return [TechnicianRecord(**(dict(row) | {"skills": tuple(row["skills"])})) for row in rows]


async def lock_reference(connection: Connection, kind: str, id_: str) -> None:
    """Two writers of the same thing go one after the other, also before its first row exists."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{kind}/{id_}")


async def load_reference(connection: Connection, kind: str, id_: str) -> tuple[int, dict[str, Any]] | None:
    """Version and content of a piece of reference data."""
    row = await connection.fetchrow("SELECT version, content FROM scheduling.reference WHERE kind = $1 AND id = $2", kind, id_)
    return None if row is None else (row["version"], row["content"])


async def save_reference(connection: Connection, kind: str, id_: str, version: int, content: dict[str, Any]) -> None:
    """Write a new version."""
    await connection.execute(
        "INSERT INTO scheduling.reference (kind, id, version, content) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, content = excluded.content",
        kind,
        id_,
        version,
        content,
    )
