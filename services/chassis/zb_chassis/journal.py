"""A journal beside a database: lines of JSON that are durable before what they say is done, and that no restore takes back.

It only grows; one process writes it. What a line means, and playing it into a database, is its owner's matter.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class JournalDamaged(Exception):
    """A line of a journal cannot be read; the message names file and line."""


class Journal(Generic[T]):
    """The file at `path`; each line is a `kind`."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(kind)

    async def append(self, entries: Sequence[T]) -> None:
        """Durable on return."""
        await asyncio.to_thread(self._append, entries)

    def read(self) -> list[T]:
        """All of it, oldest first. A last line that a crash cut short was never promised and is left out. JournalDamaged."""
        if not self.path.exists():
            return []
        *lines, _ = self.path.read_bytes().split(b"\n")
        return [self._entry(number, line) for number, line in enumerate(lines, start=1)]

    def _entry(self, number: int, line: bytes) -> T:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise JournalDamaged(f"line {number} of {self.path} cannot be read ({fault}): restore it from a backup") from fault

    def _append(self, entries: Sequence[T]) -> None:
        created = not self.path.exists()
        with self.path.open("ab+") as file:
            os.fchmod(file.fileno(), 0o600)
            file.seek(0)
            # Append mode writes at the end whatever was read: what a crash cut short goes first.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in entries))
            file.flush()
            os.fsync(file.fileno())
        if created:
            self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
