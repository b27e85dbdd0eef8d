"""All SQL of the evidence store: verified files, unfinished uploads, demands and evidence.

Nothing here commits: the caller's transaction does. Hash locks order "a file was stored" against "a file was demanded", so
that of the two transactions the later one always sees the earlier.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from media.domain import Demand, Evidence
from zb_chassis.database import Connection, Pool


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Bytes that are on the disk, verified; or were, until they were erased."""

    sha256: str
    length_bytes: int
    mime: str
    erased_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished upload of one device. `received_bytes` are durable."""

    device: str
    sha256: str
    length_bytes: int
    mime: str
    received_bytes: int
    expires_at_ms: int
    key_box: bytes | None = None
    """The file's key, in a box for this store, where the parts are encrypted chunks."""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """What was last announced of an intervention's evidence. `version` 0: nothing yet."""

    intervention: str
    agency: str | None
    state_version: int
    version: int
    complete: bool
    items: list[dict[str, Any]]


_FILE = "sha256, length_bytes, mime, erased_at_ms"
_UPLOAD = "device, sha256, length_bytes, mime, received_bytes, expires_at_ms, key_box"
_EVIDENCE = "intervention::text, agency, state_version, version, complete, items"


async def lock_hashes(connection: Connection, hashes: Iterable[str]) -> None:
    """Wait for, then exclude, other transactions that store or demand one of these hashes; until the transaction ends."""
    keys = sorted({int.from_bytes(bytes.fromhex(one)[:8], "big", signed=True) for one in hashes})
    await connection.execute("SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key", keys)


# --- files ---


async def find_file(connection: Connection | Pool, sha256: str) -> StoredFile | None:
    row = await connection.fetchrow(f"SELECT {_FILE} FROM media.file WHERE sha256 = $1", sha256)  # noqa: S608
    return StoredFile(*row) if row else None


async def insert_file(connection: Connection, file: StoredFile, device: str, now_ms: int) -> None:
    await connection.execute(
        "INSERT INTO media.file (sha256, length_bytes, mime, device, stored_at_ms) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (sha256) DO NOTHING",
        file.sha256,
        file.length_bytes,
        file.mime,
        device,
        now_ms,
    )


async def delete_file(connection: Connection, sha256: str) -> None:
    """Take the word back that these bytes are stored: they were found missing or damaged."""
    await connection.execute("DELETE FROM media.file WHERE sha256 = $1", sha256)


async def files_after(connection: Connection | Pool, sha256: str, limit: int) -> list[StoredFile]:
    """The next `limit` files that are on the disk, in the order of their hashes."""
    rows = await connection.fetch(
        f"SELECT {_FILE} FROM media.file WHERE sha256 > $1 AND erased_at_ms IS NULL ORDER BY sha256 LIMIT $2",  # noqa: S608
        sha256,
        limit,
    )
    return [StoredFile(*row) for row in rows]


async def bury(connection: Connection, erased_at_ms: Mapping[str, int]) -> None:
    """The bytes are to go, and never to be taken; rows stay. What was buried before stays as it was."""
    rows = list(erased_at_ms.items())
    await connection.executemany(
        "INSERT INTO media.tombstone (sha256, erased_at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING", rows
    )
    await connection.executemany(
        "UPDATE media.file SET erased_at_ms = $2 WHERE sha256 = $1 AND erased_at_ms IS NULL",
        rows,
    )


async def is_buried(connection: Connection | Pool, sha256: str) -> bool:
    """Whether a file was erased, stored or not."""
    return bool(await connection.fetchval("SELECT true FROM media.tombstone WHERE sha256 = $1", sha256))


async def insert_buried(connection: Connection, file: StoredFile, device: str, now_ms: int) -> StoredFile | None:
    """The row of a file that was erased before its bytes came; None where it was not."""
    at_ms = await connection.fetchval("SELECT erased_at_ms FROM media.tombstone WHERE sha256 = $1", file.sha256)
    if at_ms is None:
        return None
    await insert_file(connection, file, device, now_ms)
    await connection.execute("UPDATE media.file SET erased_at_ms = $2 WHERE sha256 = $1", file.sha256, at_ms)
    return replace(file, erased_at_ms=at_ms)


async def erased_hashes(connection: Connection | Pool) -> list[str]:
    """Every file that was erased."""
    return [row["sha256"] for row in await connection.fetch("SELECT sha256 FROM media.tombstone")]


async def stored_lengths(connection: Connection, hashes: Iterable[str]) -> dict[str, int]:
    """Which of these files are stored: hash -> length."""
    rows = await connection.fetch("SELECT sha256, length_bytes FROM media.file WHERE sha256 = ANY ($1)", list(hashes))
    return {row["sha256"]: row["length_bytes"] for row in rows}


# --- uploads ---


async def find_upload(connection: Connection | Pool, device: str, sha256: str, now_ms: int) -> Upload | None:
    """The unfinished upload, unless it has expired."""
    row = await connection.fetchrow(
        f"SELECT {_UPLOAD} FROM media.upload WHERE device = $1 AND sha256 = $2 AND expires_at_ms > $3",  # noqa: S608
        device,
        sha256,
        now_ms,
    )
    return Upload(*row) if row else None


async def lock_upload(connection: Connection, device: str, sha256: str, now_ms: int) -> Upload | None:
    """The same, locked: one part of an upload at a time."""
    row = await connection.fetchrow(
        f"SELECT {_UPLOAD} FROM media.upload"  # noqa: S608
        " WHERE device = $1 AND sha256 = $2 AND expires_at_ms > $3 FOR UPDATE",
        device,
        sha256,
        now_ms,
    )
    return Upload(*row) if row else None


async def lock_device(connection: Connection, device: str) -> None:
    """One creation of an upload at a time for each device, so that its quota holds."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"media.upload:{device}")


async def count_uploads(connection: Connection, device: str, now_ms: int) -> int:
    count = await connection.fetchval(
        "SELECT count(*) FROM media.upload WHERE device = $1 AND expires_at_ms > $2", device, now_ms
    )
    return int(count)


async def bytes_of(connection: Connection, device: str, but: str, *, since_ms: int, now_ms: int) -> int:
    """What the device stored since then, and what it has declared and not finished, but for the file `but`."""
    total = await connection.fetchval(
        "SELECT (SELECT coalesce(sum(length_bytes), 0) FROM media.file WHERE device = $1 AND stored_at_ms > $3)"
        " + (SELECT coalesce(sum(length_bytes), 0) FROM media.upload WHERE device = $1 AND sha256 <> $2 AND expires_at_ms > $4)",
        device,
        but,
        since_ms,
        now_ms,
    )
    return int(total)


async def save_upload(connection: Connection, upload: Upload) -> None:
    """A new upload, or the newest word on an old one."""
    await connection.execute(
        "INSERT INTO media.upload (device, sha256, length_bytes, mime, received_bytes, expires_at_ms, key_box)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (device, sha256) DO UPDATE SET"
        " length_bytes = $3, mime = $4, received_bytes = $5, expires_at_ms = $6, key_box = $7",
        upload.device,
        upload.sha256,
        upload.length_bytes,
        upload.mime,
        upload.received_bytes,
        upload.expires_at_ms,
        upload.key_box,
    )


async def delete_upload(connection: Connection, device: str, sha256: str) -> None:
    await connection.execute("DELETE FROM media.upload WHERE device = $1 AND sha256 = $2", device, sha256)


async def take_expired(connection: Connection, now_ms: int, limit: int) -> list[tuple[str, str]]:
    """Delete expired uploads; returns (device, sha256) of each. Those that a part is being written to are left."""
    rows = await connection.fetch(
        "DELETE FROM media.upload WHERE (device, sha256) IN (SELECT device, sha256 FROM media.upload"
        " WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING device, sha256",
        now_ms,
        limit,
    )
    return [(row["device"], row["sha256"]) for row in rows]


# --- evidence ---


async def find_evidence(connection: Connection | Pool, intervention: str) -> EvidenceRow | None:
    row = await connection.fetchrow(
        f"SELECT {_EVIDENCE} FROM media.evidence WHERE intervention = $1",  # noqa: S608
        intervention,
    )
    return EvidenceRow(*row) if row else None


async def lock_evidence(connection: Connection, intervention: str) -> EvidenceRow:
    """The intervention's row, locked; made if there is none."""
    await connection.execute(
        "INSERT INTO media.evidence (intervention) VALUES ($1) ON CONFLICT (intervention) DO NOTHING", intervention
    )
    row = await connection.fetchrow(
        f"SELECT {_EVIDENCE} FROM media.evidence WHERE intervention = $1 FOR UPDATE",  # noqa: S608
        intervention,
    )
    assert row is not None
    return EvidenceRow(*row)


async def save_read_state(connection: Connection, intervention: str, agency: str | None, state_version: int) -> None:
    await connection.execute(
        "UPDATE media.evidence SET agency = $2, state_version = $3 WHERE intervention = $1",
        intervention,
        agency,
        state_version,
    )


async def save_evidence(connection: Connection, intervention: str, version: int, evidence: Evidence) -> None:
    await connection.execute(
        "UPDATE media.evidence SET version = $2, complete = $3, items = $4 WHERE intervention = $1",
        intervention,
        version,
        evidence.complete,
        [item.model_dump(mode="json") for item in evidence.items],
    )


async def replace_demands(connection: Connection, intervention: str, demands: Sequence[Demand]) -> None:
    await connection.execute("DELETE FROM media.demand WHERE intervention = $1", intervention)
    await connection.executemany(
        "INSERT INTO media.demand (intervention, line, place, kind, sha256, length_bytes, mime)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(intervention, d.line, place, d.kind, d.sha256, d.length_bytes, d.mime) for place, d in enumerate(demands)],
    )


async def load_demands(connection: Connection, intervention: str) -> list[Demand]:
    rows = await connection.fetch(
        "SELECT line::text, kind, sha256, length_bytes, mime FROM media.demand WHERE intervention = $1 ORDER BY place",
        intervention,
    )
    return [Demand(*row) for row in rows]


async def interventions_demanding(connection: Connection, sha256: str) -> list[str]:
    """Ids, in one order, so that two transactions lock their rows in the same one."""
    rows = await connection.fetch(
        "SELECT DISTINCT intervention::text AS id FROM media.demand WHERE sha256 = $1 ORDER BY id", sha256
    )
    return [row["id"] for row in rows]


async def agencies_demanding(connection: Connection | Pool, sha256: str) -> set[str]:
    """The agencies whose interventions name this file."""
    rows = await connection.fetch(
        "SELECT DISTINCT e.agency FROM media.demand d JOIN media.evidence e USING (intervention)"
        " WHERE d.sha256 = $1 AND e.agency IS NOT NULL",
        sha256,
    )
    return {row["agency"] for row in rows}


def same_items(row: EvidenceRow, evidence: Evidence) -> bool:
    """Whether what was announced last already says this."""
    said: list[Mapping[str, Any]] = [item.model_dump(mode="json") for item in evidence.items]
    return row.version > 0 and row.items == said
