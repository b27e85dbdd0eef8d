"""The SQL of sites, equipment and their subject keys: what an import compares with and writes.

Content columns hold what is not personal. Personal values are known only by keyed fingerprints beside the wrapped key; a
database of their own for subject keys comes with their erasure. It decides nothing and commits nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zb_chassis.database import Connection
from zb_contracts.events.values import WrappedKey


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


async def load_fingerprints(connection: Connection, subjects: Sequence[str]) -> dict[str, dict[str, str]]:
    """By subject: the newest fingerprint of each personal field."""
    rows = await connection.fetch(
        "SELECT subject, fingerprints FROM scheduling.subject_key WHERE subject = ANY ($1) ORDER BY made_at_ms, kid",
        list(subjects),
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["subject"], {}).update(row["fingerprints"])
    return found


async def save_subject_key(
    connection: Connection, subject: str, key: WrappedKey, fingerprints: dict[str, str], made_at_ms: int
) -> None:
    """Keep a wrapped key with the fingerprints of what it seals."""
    await connection.execute(
        "INSERT INTO scheduling.subject_key (kid, subject, recipient_kid, wrapped, fingerprints, made_at_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        key.kid,
        subject,
        key.recipient_kid,
        key.wrapped,
        fingerprints,
        made_at_ms,
    )
