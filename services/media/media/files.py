"""The files on disk, by their hash: `ab/cd/<sha256>`, and the unfinished ones beside them under temporary names.

Owns bytes and their durability: written, fsynced, verified, linked to their final name without replacing, folder fsynced.
What counts as stored is the database's word (store.py), written after this; a file here without a row is not evidence.
Every call blocks: callers run it in a thread.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

READ_BYTES: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")

log: Final = structlog.get_logger(__name__)


class FileStore:
    """The evidence files below `folder`. Hashes are 64 hex digits, checked by whoever took them from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the verified file lies, whether it is there or not."""
        return self.folder / sha256[:2] / sha256[2:4] / sha256

    def part_bytes(self, sha256: str, device: str) -> int:
        """How many bytes of this device's unfinished upload are on the disk."""
        with suppress(FileNotFoundError):
            return self._part(sha256, device).stat().st_size
        return 0

    def write_part(self, sha256: str, device: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, cut off what lay behind it, and return once it is on the disk."""
        part = self._part(sha256, device)
        self._make_folders(part.parent)
        if part.exists() and part.stat().st_nlink > 1:
            # A crash between `keep` and `drop_part` left it a second name of the kept file, whose bytes must not change.
            _detach(part)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def part_sha256(self, sha256: str, device: str) -> str:
        """The hash that the unfinished upload's bytes really have."""
        return _hash_of(self._part(sha256, device))

    def keep(self, sha256: str, device: str) -> None:
        """Give verified bytes their final name. A file that is there with the same bytes is as good; the temporary
        name stays until `drop_part`, so that a crash in between loses nothing."""
        part, final = self._part(sha256, device), self.path(sha256)
        try:
            os.link(part, final)
        except FileExistsError:
            if _hash_of(final) != sha256:
                # Only a damaged disk leaves this behind; the verified bytes take its place.
                log.error("a stored file was damaged and is replaced", sha256=sha256)
                os.replace(part, final)
        _sync_folder(final.parent)

    def drop_part(self, sha256: str, device: str) -> None:
        """Forget the unfinished upload's bytes."""
        self._part(sha256, device).unlink(missing_ok=True)

    def erase(self, sha256: str) -> None:
        """Remove the file and every unfinished copy of it, durably. One that is not there is as good."""
        final = self.path(sha256)
        if not final.parent.is_dir():
            return
        for path in (final, *final.parent.glob(f".{sha256}.*")):
            path.unlink(missing_ok=True)
        _sync_folder(final.parent)

    def kept(self) -> Iterator[tuple[str, int]]:
        """Hash and length of every file that has its final name, by hash; that it is whole is not looked at."""
        for path in sorted(self.folder.glob("??/??/*")):
            if _HASH.fullmatch(path.name):
                yield path.name, path.stat().st_size

    def is_whole(self, sha256: str, length_bytes: int) -> bool:
        """Whether the file is there and is, byte for byte, what its name says."""
        path = self.path(sha256)
        try:
            return path.stat().st_size == length_bytes and _hash_of(path) == sha256
        except OSError:
            return False

    def _part(self, sha256: str, device: str) -> Path:
        return self.path(sha256).with_name(f".{sha256}.{device}.part")

    def _make_folders(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for parent in (folder.parent, self.folder):
            _sync_folder(parent)


def _detach(path: Path) -> None:
    """Give the name a copy of its own."""
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    os.replace(copy, path)
    _sync_folder(path.parent)


def _hash_of(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


def _sync_folder(folder: Path) -> None:
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
