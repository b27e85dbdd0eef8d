"""The rows of the scopes: members, the change order of each technician, and what changed after a cursor.

All SQL of the scope. A technician's counter row is locked before a change takes its number, so whoever reads up to the
counter has every change below it. What belongs to a scope is decided in `scope`; who asks is decided in `sync`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from field_ingest.scope import Member, ScopeLimits, Selection, select, stock_of
from zb_chassis.database import Connection

EpochSource = Callable[[], str]
"""Makes the id of a new change order; a device that holds another one starts again from nothing."""

_VAN = "stock:van-"


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a technician's change order stands."""

    epoch: str
    change: int
    documents: int
    omitted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The latest change of one document; `content` is None for a tombstone. `vector` is canonical JSON."""

    document: str
    change: int
    vector: bytes
    content: bytes | None


async def replace_members(connection: Connection, wanted: Mapping[str, Mapping[str, Member]]) -> set[str]:
    """Sets the members of each intervention (stream -> technician -> Member); who was or is concerned by a change."""
    rows = await connection.fetch(
        """
        SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms
        FROM scope_member WHERE intervention = ANY($1)
        """,
        list(wanted),
    )
    before = {(row["technician"], row["intervention"]): Member(*row) for row in rows}
    after = {(name, stream): member for stream, found in wanted.items() for name, member in found.items()}
    gone = [key for key in before if key not in after]
    new = [member for key, member in after.items() if before.get(key) != member]
    if gone:
        await connection.execute(
            "DELETE FROM scope_member WHERE (technician, intervention) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
            [technician for technician, _ in gone],
            [intervention for _, intervention in gone],
        )
    if new:
        await connection.executemany(
            """
            INSERT INTO scope_member (technician, intervention, site, equipment, held, planned_ms, expires_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (technician, intervention) DO UPDATE SET site = excluded.site, equipment = excluded.equipment,
                held = excluded.held, planned_ms = excluded.planned_ms, expires_ms = excluded.expires_ms
            """,
            [(m.technician, m.intervention, m.site, m.equipment, m.held, m.planned_ms, m.expires_ms) for m in new],
        )
    return {technician for technician, _ in gone} | {member.technician for member in new}


async def concerned(connection: Connection, streams: Iterable[str]) -> set[str]:
    """The technicians in whose scope one of these streams is or may be."""
    names = list(streams)
    rows = await connection.fetch(
        """
        SELECT technician FROM scope_member WHERE intervention = ANY($1)
        UNION SELECT technician FROM scope_member WHERE site = ANY($1)
        UNION SELECT technician FROM scope_member WHERE equipment = ANY($1)
        """,
        names,
    )
    return {row["technician"] for row in rows} | {name.removeprefix(_VAN) for name in names if name.startswith(_VAN)}


async def expire(connection: Connection, now_ms: int) -> set[str]:
    """Takes the interventions whose time is over out of their scopes; the technicians concerned."""
    rows = await connection.fetch("DELETE FROM scope_member WHERE expires_ms <= $1 RETURNING technician", now_ms)
    return {row["technician"] for row in rows}


async def refresh(connection: Connection, technicians: Iterable[str], limits: ScopeLimits, new_epoch: EpochSource) -> set[str]:
    """Brings the scopes of these technicians up to their members and the states; those whose order moved."""
    names = sorted(set(technicians))
    if not names:
        return set()
    counters = await _locked(connection, names, new_epoch)
    found = await _members(connection, names)
    states = await _states(connection, names, found)
    alive = await _alive(connection, names)
    sizes = {stream: size for stream, (size, _, _) in states.items()}
    moved = set()
    for name in names:
        selection = select(name, found[name], sizes, limits)
        current = {document: states[document][1] for document in selection.documents}
        if await _write(connection, name, counters[name], alive[name], current, states, selection):
            moved.add(name)
    return moved


async def counter_of(connection: Connection, technician: str) -> Counter | None:
    """Where the technician's change order stands; None where nothing was ever in it."""
    row = await connection.fetchrow(
        "SELECT epoch, change, documents, omitted FROM scope_technician WHERE technician = $1", technician
    )
    return Counter(row["epoch"], row["change"], row["documents"], tuple(row["omitted"])) if row else None


async def changes_after(connection: Connection, technician: str, cursor: int, limit: int, *, tombstones: bool) -> list[Change]:
    """The latest change of each document that moved after `cursor`, in order, at most `limit`."""
    rows = await connection.fetch(
        """
        SELECT d.document, d.change, d.vector,
            CASE WHEN d.state_hash IS NOT NULL THEN coalesce(s.document, s.state) END AS content
        FROM scope_document d LEFT JOIN states s ON s.stream = d.document
        WHERE d.technician = $1 AND d.change > $2 AND ($4 OR d.state_hash IS NOT NULL)
        ORDER BY d.change LIMIT $3
        """,
        technician,
        cursor,
        limit,
        tombstones,
    )
    return [Change(row["document"], row["change"], row["vector"], row["content"]) for row in rows]


async def _locked(connection: Connection, names: list[str], new_epoch: EpochSource) -> dict[str, int]:
    await connection.executemany(
        "INSERT INTO scope_technician (technician, epoch) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        [(name, new_epoch()) for name in names],
    )
    rows = await connection.fetch(
        "SELECT technician, change FROM scope_technician WHERE technician = ANY($1) ORDER BY technician FOR UPDATE", names
    )
    return {row["technician"]: row["change"] for row in rows}


async def _members(connection: Connection, names: list[str]) -> dict[str, list[Member]]:
    rows = await connection.fetch(
        """
        SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms
        FROM scope_member WHERE technician = ANY($1)
        """,
        names,
    )
    found: dict[str, list[Member]] = defaultdict(list)
    for row in rows:
        found[row["technician"]].append(Member(*row))
    return found


async def _states(
    connection: Connection, names: list[str], found: Mapping[str, list[Member]]
) -> dict[str, tuple[int, bytes, bytes]]:
    streams = {stock_of(name) for name in names}
    streams |= {stream for members in found.values() for member in members for stream in member.documents}
    rows = await connection.fetch(
        """
        SELECT stream, octet_length(coalesce(document, state)) AS size, state_hash, vector FROM states WHERE stream = ANY($1)
        """,
        sorted(streams),
    )
    return {row["stream"]: (row["size"], row["state_hash"], row["vector"]) for row in rows}


async def _alive(connection: Connection, names: list[str]) -> dict[str, dict[str, bytes]]:
    rows = await connection.fetch(
        "SELECT technician, document, state_hash FROM scope_document WHERE technician = ANY($1) AND state_hash IS NOT NULL",
        names,
    )
    alive: dict[str, dict[str, bytes]] = defaultdict(dict)
    for row in rows:
        alive[row["technician"]][row["document"]] = row["state_hash"]
    return alive


async def _write(
    connection: Connection,
    technician: str,
    change: int,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
    states: Mapping[str, tuple[int, bytes, bytes]],
    selection: Selection,
) -> bool:
    gone = sorted(document for document in before if document not in after)
    new = sorted(document for document, state_hash in after.items() if before.get(document) != state_hash)
    await connection.executemany(
        "UPDATE scope_document SET change = $3, state_hash = NULL WHERE technician = $1 AND document = $2",
        [(technician, document, number) for number, document in enumerate(gone, change + 1)],
    )
    await connection.executemany(
        """
        INSERT INTO scope_document (technician, document, change, state_hash, vector) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (technician, document) DO UPDATE
        SET change = excluded.change, state_hash = excluded.state_hash, vector = excluded.vector
        """,
        [
            (technician, document, number, states[document][1], states[document][2])
            for number, document in enumerate(new, change + len(gone) + 1)
        ],
    )
    await connection.execute(
        "UPDATE scope_technician SET change = $2, documents = $3, bytes = $4, omitted = $5 WHERE technician = $1",
        technician,
        change + len(gone) + len(new),
        len(after),
        selection.bytes,
        list(selection.omitted),
    )
    return bool(gone or new)
