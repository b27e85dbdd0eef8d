"""The rows of the scopes: members, the change order of each technician, what changed after a cursor, what is due.

All SQL of the scope. A technician's counter row is locked before a change takes its number, so whoever reads up to the
counter has every change below it. What belongs to a scope is decided in `scope`, when in `scoping`; who asks, in `sync`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asyncpg import Record

from field_ingest.projection.ports import Due
from field_ingest.projection.scope import Document, Member, Moved, Order
from zb_chassis.database import Connection
from zb_contracts.catalogues import PREFIX, Packed
from zb_contracts.sync import Catalogue

_VAN = "stock:van-"


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a technician's change order stands."""

    epoch: str
    change: int
    documents: int
    omitted: tuple[str, ...]
    omitted_count: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """The latest change of one document; `content` is None for a tombstone. `vector` (canonical JSON) is the content's, or
    that which was last given out with one."""

    document: str
    change: int
    vector: bytes
    content: bytes | None


async def replace_members(connection: Connection, wanted: Mapping[str, Mapping[str, Member]]) -> set[str]:
    """Sets the members of each intervention (stream -> technician -> Member); who was or is concerned by a change."""
    rows = await connection.fetch(
        """
        SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms, catalogues
        FROM scope_member WHERE intervention = ANY($1)
        """,
        list(wanted),
    )
    before = {(row["technician"], row["intervention"]): _member(row) for row in rows}
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
        await _write_members(connection, new)
    return {technician for technician, _ in gone} | {member.technician for member in new}


async def _write_members(connection: Connection, members: Sequence[Member]) -> None:
    await connection.execute(
        """
        INSERT INTO scope_member (technician, intervention, site, equipment, held, planned_ms, expires_ms, catalogues)
        SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms, string_to_array(catalogues, ' ')
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::text[])
            AS w (technician, intervention, site, equipment, held, planned_ms, expires_ms, catalogues)
        ON CONFLICT (technician, intervention) DO UPDATE SET site = excluded.site, equipment = excluded.equipment,
            held = excluded.held, planned_ms = excluded.planned_ms, expires_ms = excluded.expires_ms,
            catalogues = excluded.catalogues
        """,
        [m.technician for m in members],
        [m.intervention for m in members],
        [m.site for m in members],
        [m.equipment for m in members],
        [m.held for m in members],
        [m.planned_ms for m in members],
        [m.expires_ms for m in members],
        [" ".join(m.catalogues) for m in members],
    )


async def note_due(connection: Connection, *, streams: Iterable[str] = (), technicians: Iterable[str] = ()) -> None:
    """Notes whose scopes must be looked at once this transaction is committed."""
    names = [(stream, None) for stream in streams] + [(None, technician) for technician in technicians]
    if names:
        await connection.execute(
            "INSERT INTO scope_due (stream, technician) SELECT * FROM unnest($1::text[], $2::text[])",
            [stream for stream, _ in names],
            [technician for _, technician in names],
        )


async def take_due(connection: Connection, limit: int) -> Due:
    """The oldest notes that nobody else is at; they are gone with the commit."""
    rows = await connection.fetch(
        """
        DELETE FROM scope_due WHERE note IN (SELECT note FROM scope_due ORDER BY note LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING stream, technician
        """,
        limit,
    )
    return Due(
        frozenset(row["stream"] for row in rows if row["stream"]),
        frozenset(row["technician"] for row in rows if row["technician"]),
    )


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
    if shared := [name for name in names if name.startswith(PREFIX)]:
        # It reads all members: a catalogue changes rarely, and every change of a member would have to keep up an index.
        rows += await connection.fetch("SELECT DISTINCT technician FROM scope_member WHERE catalogues && $1", shared)
    return {row["technician"] for row in rows} | {name.removeprefix(_VAN) for name in names if name.startswith(_VAN)}


async def expire(connection: Connection, now_ms: int) -> None:
    """Takes the interventions whose time is over out of their scopes. It waits for nobody: what is locked goes next time."""
    rows = await connection.fetch(
        """
        DELETE FROM scope_member WHERE (technician, intervention) IN (
            SELECT technician, intervention FROM scope_member WHERE expires_ms <= $1 FOR UPDATE SKIP LOCKED)
        RETURNING technician
        """,
        now_ms,
    )
    await note_due(connection, technicians={row["technician"] for row in rows})


async def note_cut(connection: Connection) -> None:
    """Notes the technicians whose budget leaves something out."""
    await connection.execute("INSERT INTO scope_due (technician) SELECT technician FROM scope_technician WHERE omitted_count > 0")


def changes_after(technician: str, cursor: str, *, tombstones: str, limit: str) -> str:
    """SQL: the rows `Change` of a technician's documents that moved after a cursor, in order. The arguments are expressions."""
    return f"""
        SELECT row(d.document, d.change, coalesce(CASE WHEN d.state_hash IS NOT NULL THEN s.vector END, d.vector),
            CASE WHEN d.state_hash IS NOT NULL THEN coalesce(s.document, s.state, c.reference) END)
        FROM scope_document d LEFT JOIN states s ON s.stream = d.document LEFT JOIN catalogues c ON c.document = d.document
        WHERE d.technician = {technician} AND d.change > {cursor} AND ({tombstones} OR d.state_hash IS NOT NULL)
        ORDER BY d.change LIMIT {limit}
    """  # noqa: S608 parameters' names


async def lock(connection: Connection, technicians: Sequence[str], epochs: Sequence[str]) -> dict[str, Order]:
    """Where the order of each stands (given by name, in order), locked; one without an order gets it with its epoch."""
    await connection.execute(
        "INSERT INTO scope_technician (technician, epoch) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
        list(technicians),
        list(epochs),
    )
    rows = await connection.fetch(
        """
        SELECT technician, change, omitted, omitted_count FROM scope_technician WHERE technician = ANY($1)
        ORDER BY technician COLLATE "C" FOR UPDATE
        """,
        list(technicians),
    )
    return {row["technician"]: Order(row["change"], tuple(row["omitted"]), row["omitted_count"]) for row in rows}


async def members_of(connection: Connection, technicians: Sequence[str]) -> dict[str, list[Member]]:
    """The interventions of each of them."""
    rows = await connection.fetch(
        """
        SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms, catalogues
        FROM scope_member WHERE technician = ANY($1)
        """,
        list(technicians),
    )
    found: dict[str, list[Member]] = defaultdict(list)
    for row in rows:
        found[row["technician"]].append(_member(row))
    return found


def _member(row: Record) -> Member:
    return Member(**dict(row) | {"catalogues": tuple(row["catalogues"])})


async def documents_of(connection: Connection, streams: Sequence[str]) -> dict[str, Document]:
    """What exists of these streams."""
    rows = await connection.fetch(
        """
        SELECT stream, octet_length(coalesce(document, state)) AS size, state_hash, vector FROM states WHERE stream = ANY($1)
        UNION ALL
        SELECT document, octet_length(reference), reference_hash, '{}' FROM catalogues WHERE document = ANY($1)
        """,
        list(streams),
    )
    return {row["stream"]: Document(row["size"], row["state_hash"], row["vector"]) for row in rows}


async def alive(connection: Connection, technicians: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """The documents of each of them that are no tombstones, with the state hash that was given out."""
    rows = await connection.fetch(
        "SELECT technician, document, state_hash FROM scope_document WHERE technician = ANY($1) AND state_hash IS NOT NULL",
        list(technicians),
    )
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for row in rows:
        found[row["technician"]][row["document"]] = row["state_hash"]
    return found


async def put_catalogue(connection: Connection, found: Packed, reference: bytes, reference_hash: bytes) -> bool:
    """Writes a catalogue in the place of an older version; whether it was newer than what was there."""
    written = await connection.fetchval(
        """
        INSERT INTO catalogues AS c (document, version, reference, reference_hash, sha256, packed)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (document) DO UPDATE SET version = excluded.version, reference = excluded.reference,
            reference_hash = excluded.reference_hash, sha256 = excluded.sha256, packed = excluded.packed
        WHERE c.version < excluded.version RETURNING true
        """,
        found.reference.document,
        found.reference.version,
        reference,
        reference_hash,
        found.reference.sha256,
        found.packed,
    )
    return bool(written)


async def catalogues_of(connection: Connection, technician: str, wanted: Sequence[str]) -> list[Catalogue]:
    """Those of these catalogues (by hash) to which the technician's scope refers, smallest first."""
    rows = await connection.fetch(
        """
        SELECT sha256, packed FROM catalogues c WHERE sha256 = ANY($2) AND EXISTS (
            SELECT 1 FROM scope_document d WHERE d.technician = $1 AND d.document = c.document AND d.state_hash IS NOT NULL)
        ORDER BY octet_length(packed), sha256
        """,
        technician,
        list(wanted),
    )
    # Two names of one content are one catalogue.
    return [Catalogue(sha256=sha256, packed=packed) for sha256, packed in {row["sha256"]: row["packed"] for row in rows}.items()]


async def write_moved(connection: Connection, moved: Sequence[Moved]) -> None:
    """Writes what changed in the orders of technicians that are locked."""
    gone = [(one.technician, given) for one in moved for given in one.given if given.document is None]
    new = [(one.technician, given, given.document) for one in moved for given in one.given if given.document is not None]
    await connection.execute(
        """
        UPDATE scope_document d SET change = g.change, state_hash = NULL
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS g (technician, document, change)
        WHERE d.technician = g.technician AND d.document = g.document
        """,
        [technician for technician, _ in gone],
        [given.stream for _, given in gone],
        [given.change for _, given in gone],
    )
    await connection.execute(
        """
        INSERT INTO scope_document (technician, document, change, state_hash, vector)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[])
        ON CONFLICT (technician, document) DO UPDATE
        SET change = excluded.change, state_hash = excluded.state_hash, vector = excluded.vector
        """,
        [technician for technician, _, _ in new],
        [given.stream for _, given, _ in new],
        [given.change for _, given, _ in new],
        [document.state_hash for _, _, document in new],
        [document.vector for _, _, document in new],
    )
    await _write_counters(connection, moved)


async def _write_counters(connection: Connection, moved: Sequence[Moved]) -> None:
    await connection.executemany(
        """
        UPDATE scope_technician SET change = $2, documents = $3, bytes = $4, omitted = $5, omitted_count = $6
        WHERE technician = $1 AND (change, documents, bytes, omitted, omitted_count) IS DISTINCT FROM ($2, $3, $4, $5, $6)
        """,
        [(one.technician, one.change, one.documents, one.size, list(one.omitted), one.omitted_count) for one in moved],
    )
