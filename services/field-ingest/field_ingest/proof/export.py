"""An export of the ledger, or of a part of it, that a stranger verifies off line: rows, tiles, checkpoints, keys, schemas.

One snapshot of the database under checkpoints made just before it, written to a folder beside its final name and renamed
when it is whole. The ledger key signs the manifest, which names every file. What it proves is `verify_export`'s matter.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self

from field_ingest.ledger.checkpoints import Checkpoints, StoredCheckpoint
from field_ingest.ledger.keyring import INGEST, KeyRing, trusted_key
from field_ingest.proof import tiles
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool
from zb_contracts import schemas
from zb_contracts.notes import sign_note
from zb_contracts.sealed import to_base64url

FORMAT: Final = "zone-blanche-export-v1"
PAGE_ROWS: Final = 2_000
PART_ROWS_MAX: Final = 1_000_000
"""Rows of a part: their positions are held in memory. The whole log has no such limit."""
KEY_STATEMENTS: Final = ("device.enrolled.v1", "device.author_registered.v1", "device.revoked.v1")
FILES: Final = ("README.md", "verify_export.py")

Progress = Callable[[int, int], None]
"""Hears rows written, and rows in all."""

_COLUMNS: Final = "position, kind, header, body, signature, received_at_ms, facts"


class ExportRefused(RuntimeError):
    """This cannot be exported as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported: everything, the rows `first` to `last` of a shard, or all of a stream with its authors' keys."""

    stream: str | None = None
    shard: int | None = None
    first: int = 0
    last: int = 0

    def as_json(self) -> dict[str, Any]:
        if self.stream is not None:
            return {"kind": "stream", "stream": self.stream}
        if self.shard is not None:
            return {"kind": "range", "shard": self.shard, "first": self.first, "last": self.last}
        return {"kind": "whole"}

    @property
    def is_whole(self) -> bool:
        return self.stream is None and self.shard is None


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    rows: int
    tiles: int
    written_bytes: int


@dataclass(slots=True)
class _Folder:
    """The folder that is being written, and what the manifest will say of it."""

    path: Path
    files: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    tiles: int = 0
    written_bytes: int = 0

    @classmethod
    def beside(cls, folder: Path) -> Self:
        """A new draft of `folder`, in place of one that a killed export left."""
        if folder.exists():
            raise ExportRefused(f"{folder} exists: give a new folder")
        draft = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        return cls(draft)

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as out:
            for part in parts:
                out.write(part)
                digest.update(part)
                self.written_bytes += len(part)
        self.files[name] = digest.hexdigest()


class Exporter:
    """Writes exports of one ledger, which `log_name` names."""

    def __init__(
        self,
        pool: Pool,
        checkpoints: Checkpoints,
        keys: KeyRing,
        clock: Clock,
        *,
        log_name: str,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self._pool, self._checkpoints, self._keys, self._clock = pool, checkpoints, keys, clock
        self._log_name, self._progress = log_name, progress

    async def export(self, folder: Path, selection: Selection) -> Exported:
        """Write the selection to `folder`, which must not exist. ExportRefused; what was begun is removed again."""
        draft = _Folder.beside(folder)
        try:
            await self._write(draft, selection)
            draft.path.rename(folder)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
        return Exported(folder, draft.rows, draft.tiles, draft.written_bytes)

    async def _write(self, draft: _Folder, selection: Selection) -> None:
        async with self._pool.acquire() as connection:
            shards = [row["shard"] for row in await connection.fetch("SELECT shard FROM shards ORDER BY shard")]
        heads = {shard: head for shard in shards if (head := await self._checkpoints.current(self._pool, shard))}
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            wanted = await _positions(connection, selection, heads)
            total = sum(len(positions) for positions in wanted.values())
            shard_entries = [await self._shard(connection, draft, heads[one], wanted[one], total) for one in sorted(wanted)]
        self._write_around(draft)
        self._write_manifest(draft, selection, shard_entries)

    async def _shard(
        self, connection: Connection, draft: _Folder, head: StoredCheckpoint, positions: range | list[int], total: int
    ) -> dict[str, Any]:
        folder, before = f"shard-{head.shard}", draft.rows
        draft.write(f"{folder}/checkpoint", [head.note.encode()])
        digest = hashlib.sha256()
        with (draft.path / folder / "rows.jsonl").open("wb") as out:
            async for row in _rows(connection, head.shard, positions):
                line = json.dumps(_row(row), separators=(",", ":")).encode() + b"\n"
                out.write(line)
                digest.update(line)
                draft.written_bytes += len(line)
                draft.rows += 1
                if draft.rows % PAGE_ROWS == 0 or draft.rows == total:
                    self._progress(draft.rows, total)
        draft.files[f"{folder}/rows.jsonl"] = digest.hexdigest()
        whole = isinstance(positions, range) and len(positions) == head.size
        for tile in tiles.tiles_of(head.size) if whole else tiles.tiles_for(positions, head.size):
            draft.write(f"{folder}/{tile.path}", [await tiles.read_tile(connection, head.shard, tile, head.size)])
            draft.tiles += 1
        origin = head.note.partition("\n")[0]
        return {"shard": head.shard, "origin": origin, "size": head.size, "rows": draft.rows - before}

    def _write_around(self, draft: _Folder) -> None:
        """What a reader needs beside the rows: the keys' history, the schemas, the program, the page for the judge."""
        keys = {
            "root": self._keys.root_public.hex(),
            "certificates": [trusted_key(one).model_dump(mode="json") for one in self._keys.ledger.certificates],
            "ledger_author": {"author": INGEST, "public": to_base64url(self._keys.ingest.public)},
        }
        draft.write("keys.json", [_json(keys)])
        draft.write("schemas/header.json", [_json(schemas.message_schemas()["header"])])
        for name, schema in schemas.event_schemas().items():
            draft.write(f"schemas/{name}.json", [_json(schema)])
        for name in FILES:
            draft.write(name, [resources.files("field_ingest.proof").joinpath(name).read_bytes()])

    def _write_manifest(self, draft: _Folder, selection: Selection, shard_entries: list[dict[str, Any]]) -> None:
        manifest = {
            "format": FORMAT,
            "log_name": self._log_name,
            "made_at_ms": self._clock(),
            "selection": selection.as_json(),
            "shards": shard_entries,
            "files": dict(sorted(draft.files.items())),
        }
        data = _json(manifest)
        note = sign_note(f"{FORMAT}\n{hashlib.sha256(data).hexdigest()}\n", self._keys.ledger.signers(self._log_name)[0])
        (draft.path / "manifest.json").write_bytes(data)
        (draft.path / "manifest.note").write_bytes(note.encode())


async def _positions(
    connection: Connection, selection: Selection, heads: Mapping[int, StoredCheckpoint]
) -> dict[int, range | list[int]]:
    """Shard -> the positions to export. ExportRefused where there is nothing, or too much for a part."""
    if selection.is_whole:
        return {shard: range(head.size) for shard, head in heads.items()}
    if selection.shard is not None:
        head = heads.get(selection.shard)
        if head is None or not 0 <= selection.first <= selection.last < head.size:
            raise ExportRefused(f"shard {selection.shard} has {head.size if head else 0} rows: give a range within them")
        rows = await connection.fetch(
            f"SELECT shard, position FROM ({_RANGE} UNION {_KEYS.format(authors=_RANGE_AUTHORS)}) p ORDER BY 1, 2 LIMIT $4",  # noqa: S608
            selection.shard,
            selection.first,
            selection.last,
            PART_ROWS_MAX + 1,
        )
    else:
        rows = await connection.fetch(
            f"SELECT shard, position FROM ({_STREAM} UNION {_KEYS.format(authors=_STREAM_AUTHORS)}) p ORDER BY 1, 2 LIMIT $2",  # noqa: S608
            selection.stream,
            PART_ROWS_MAX + 1,
        )
    if len(rows) > PART_ROWS_MAX:
        raise ExportRefused(f"the part has more than {PART_ROWS_MAX} rows: export a smaller range, or the whole ledger")
    found: dict[int, list[int]] = {}
    for row in rows:
        if row["position"] < heads[row["shard"]].size:
            found.setdefault(row["shard"], []).append(row["position"])
    if selection.stream is not None and not rows:
        raise ExportRefused(f"the ledger has nothing on {selection.stream}")
    return dict(found)


_STREAM: Final = "SELECT shard, position FROM ledger WHERE stream = $1"
_STREAM_AUTHORS: Final = "SELECT DISTINCT author FROM ledger WHERE stream = $1"
_RANGE: Final = "SELECT shard, position FROM ledger WHERE shard = $1 AND position BETWEEN $2 AND $3"
_RANGE_AUTHORS: Final = "SELECT DISTINCT author FROM ledger WHERE shard = $1 AND position BETWEEN $2 AND $3"
# The statements about an author's key stand on the stream of its device, or of its own name.
_KEYS: Final = f"""
    SELECT l.shard, l.position FROM ledger l
    WHERE l.author = '{INGEST}' AND l.kind = 'admitted' AND l.type IN {KEY_STATEMENTS} AND l.stream IN (
        SELECT 'device:' || coalesce(a.device, a.author) FROM authors a WHERE a.author IN ({{authors}}))
"""  # noqa: S608 -- constants of this module


async def _rows(connection: Connection, shard: int, positions: range | list[int]) -> AsyncIterator[Any]:
    for at in range(0, len(positions), PAGE_ROWS):
        page = positions[at : at + PAGE_ROWS]
        query = f"SELECT {_COLUMNS} FROM ledger WHERE shard = $1 AND position = ANY ($2) ORDER BY position"  # noqa: S608
        for row in await connection.fetch(query, shard, list(page)):
            yield row


def _row(row: Any) -> dict[str, Any]:
    """A row as it travels: bytes in base64, the verdict facts as the text that the leaf holds."""
    return {
        "position": row["position"],
        "kind": row["kind"],
        "header": base64.b64encode(row["header"]).decode(),
        "body": base64.b64encode(row["body"]).decode(),
        "signature": base64.b64encode(row["signature"]).decode(),
        "received_at_ms": row["received_at_ms"],
        "facts": row["facts"].decode(),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
