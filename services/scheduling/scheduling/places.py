"""The SQL of sites, equipment and personal values: what an import compares with and writes.

Content columns hold what is not personal. Personal values are sealed and known by keyed fingerprints, both gone with the key
that seals them; keys are in custody, in a database of their own. It opens nothing, decides nothing and commits nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zb_chassis.database import Connection
from zb_contracts.sealed import SealedValue


@dataclass(frozen=True)
class SiteRecord:
    """A site as it was last written. `content` as intake.py composes it."""

    id: str
    reference: str
    content: dict[str, Any]


@dataclass(frozen=True)
class EquipmentRecord:
    """A piece of equipment as it was last written."""

    id: str
    reference: str
    site: str
    content: dict[str, Any]


async def load_sites(connection: Connection, agency: str, references: Sequence[str]) -> dict[str, SiteRecord]:
    """The sites of the agency with these references, by reference."""
    rows = await connection.fetch(
        "SELECT id, reference, content FROM scheduling.site WHERE agency = $1 AND reference = ANY ($2)",
        agency,
        list(references),
    )
    return {row["reference"]: SiteRecord(row["id"], row["reference"], row["content"]) for row in rows}


async def save_sites(connection: Connection, agency: str, sites: Sequence[SiteRecord]) -> None:
    """Write these sites, whole."""
    await connection.executemany(
        "INSERT INTO scheduling.site (id, agency, reference, content, latitude_e7, longitude_e7)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET content = excluded.content,"
        " latitude_e7 = excluded.latitude_e7, longitude_e7 = excluded.longitude_e7",
        [(site.id, agency, site.reference, site.content, *(site.content.get("location") or (None, None))) for site in sites],
    )


async def load_equipment(connection: Connection, agency: str, references: Sequence[str]) -> dict[str, EquipmentRecord]:
    """The equipment of the agency with these references, by reference."""
    rows = await connection.fetch(
        "SELECT id, reference, site, content FROM scheduling.equipment WHERE agency = $1 AND reference = ANY ($2)",
        agency,
        list(references),
    )
    return {row["reference"]: EquipmentRecord(row["id"], row["reference"], row["site"], row["content"]) for row in rows}


async def save_equipment(connection: Connection, agency: str, equipment: Sequence[EquipmentRecord]) -> None:
    """Write this equipment, whole."""
    await connection.executemany(
        "INSERT INTO scheduling.equipment (id, agency, reference, site, content) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (id) DO UPDATE SET content = excluded.content",
        [(each.id, agency, each.reference, each.site, each.content) for each in equipment],
    )


async def agency_of(connection: Connection, stream: str) -> str | None:
    """Whose site or intervention that stream is."""
    kind, _, stream_id = stream.partition(":")
    if kind == "site":
        found = await connection.fetchval("SELECT agency FROM scheduling.site WHERE id = $1", stream_id)
    else:
        found = await connection.fetchval("SELECT agency FROM scheduling.board WHERE intervention = $1", _uuid(stream_id))
    return None if found is None else str(found)


def _uuid(text: str) -> UUID | None:
    """None for what is no UUID: a device may name anything."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def agency_of_technician(connection: Connection, technician: str) -> str | None:
    """The agency of that technician, the first by name where there are several."""
    found = await connection.fetchval(
        "SELECT agency FROM scheduling.technician WHERE id = $1 ORDER BY agency LIMIT 1", technician
    )
    return None if found is None else str(found)


async def load_fingerprints(connection: Connection, subjects: Sequence[str]) -> dict[str, dict[str, str]]:
    """By subject: the newest fingerprint of each personal field."""
    rows = await connection.fetch(
        "SELECT subject, field, fingerprint FROM scheduling.personal WHERE subject = ANY ($1)", list(subjects)
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["subject"], {})[row["field"]] = row["fingerprint"]
    return found


@dataclass(frozen=True)
class PersonalRecord:
    """The newest value of one personal field, sealed as in the event that said it. `sealed` None: only the event has it."""

    field: str
    kid: str
    fingerprint: str
    event: str | None
    sealed: SealedValue | None


async def load_personal(connection: Connection, subject: str) -> list[PersonalRecord]:
    """What was said last of a subject, by field."""
    rows = await connection.fetch("SELECT * FROM scheduling.personal WHERE subject = $1 ORDER BY field", subject)
    return [
        PersonalRecord(
            row["field"],
            row["kid"],
            row["fingerprint"],
            row["event"],
            SealedValue.model_validate(row["sealed"]) if row["sealed"] else None,
        )
        for row in rows
    ]


async def save_personal(connection: Connection, subject: str, records: Sequence[PersonalRecord]) -> None:
    """Keep these instead of what was said of the same fields before."""
    await connection.executemany(
        "INSERT INTO scheduling.personal (subject, field, kid, fingerprint, event, sealed) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (subject, field) DO UPDATE SET kid = excluded.kid, fingerprint = excluded.fingerprint,"
        " event = excluded.event, sealed = excluded.sealed",
        [
            (
                subject,
                record.field,
                record.kid,
                record.fingerprint,
                record.event,
                record.sealed.model_dump(mode="json") if record.sealed else None,
            )
            for record in records
        ],
    )


async def personal_kids(connection: Connection) -> set[str]:
    """The names of all keys under which the office has a value."""
    return {row["kid"] for row in await connection.fetch("SELECT DISTINCT kid FROM scheduling.personal")}


async def forget_personal(connection: Connection, kids: Sequence[str]) -> None:
    """Forget what was sealed under these keys: a fingerprint is a trace of a value, too."""
    await connection.execute("DELETE FROM scheduling.personal WHERE kid = ANY ($1)", list(kids))
