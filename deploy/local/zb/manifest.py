"""What a backup says of itself: every file with its size and SHA-256, and what the ledger and the states were.

Pure apart from reading the files it speaks of. A backup without a manifest, or whose files differ from it, is none.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

NAME: Final = "manifest.json"
FORMAT: Final = 1
READ_BYTES: Final = 1 << 20
MANIFEST_BYTES_MAX: Final = 1 << 30


class BackupError(Exception):
    """The backup cannot be made or used; the message is one sentence that says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One file, by its path below the backup's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardHead:
    """One shard of the ledger as it is in the backup. `root` is hex."""

    shard: int
    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup's table of contents. `missing`: evidence files that the database names and the disk had not, or not whole."""

    made_at: str
    data_version: int
    databases: tuple[str, ...]
    shards: tuple[ShardHead, ...]
    streams: int
    state_hash: str
    files: tuple[BackedUp, ...]
    missing: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`. BackupError where there is none, or none that this program reads."""
    file = folder / NAME
    if not file.is_file():
        raise BackupError(f"{folder} is no backup: it has no {NAME} (a backup that was cut short has none)")
    if file.stat().st_size > MANIFEST_BYTES_MAX:
        raise BackupError(f"{file} is larger than any manifest")
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        if found.pop("format") != FORMAT:
            raise BackupError(
                f"{file} is of a format that this program does not know: use the program that made it, or a newer one"
            )
        return Manifest(
            **found
            | {
                "databases": tuple(found["databases"]),
                "shards": tuple(ShardHead(**one) for one in found["shards"]),
                "files": tuple(BackedUp(**one) for one in found["files"]),
                "missing": tuple(found["missing"]),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise BackupError(f"{file} is damaged: {type(fault).__name__}") from fault


def check(folder: Path, manifest: Manifest) -> Iterator[BackedUp]:
    """Each file once it was found to be what the manifest says. BackupError names the first that is not."""
    for file in manifest.files:
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BackupError(f"the manifest names {file.path}, which is outside the backup")
        if not path.is_file():
            raise BackupError(f"{path} is missing")
        if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            raise BackupError(f"{path} is not what the manifest says: the copy is damaged")
        yield file


def described(folder: Path, path: Path) -> BackedUp:
    """The file as the manifest names it."""
    return BackedUp(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))


def sha256_of(path: Path) -> str:
    """Of the file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
