"""The deletion ledger as a file beside the databases: what was destroyed stays destroyed after any restore.

A line a key, JSON, appended and durable before the key is destroyed. It holds ids, a cause and a time, no personal value and no
key. The copy in the database only grows, too; playing the file into a database is `custody`'s matter.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

FILE_NAME: Final = "deletions.jsonl"
Cause = Literal["request", "expired"]


class JournalDamaged(Exception):
    """A line of the deletion ledger cannot be read; the message names file and line."""


class Deletion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key that is destroyed."""

    kid: str
    subject: str
    cause: Cause
    at_ms: int


_decoder: Final = msgspec.json.Decoder(Deletion)


class Journal:
    """The file. One process writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def append(self, deletions: Sequence[Deletion]) -> None:
        """Durable on return."""
        await asyncio.to_thread(self._append, deletions)

    def read(self) -> list[Deletion]:
        """All of it, oldest first. A last line that a crash cut short was never promised and is left out. JournalDamaged."""
        if not self.path.exists():
            return []
        *lines, _ = self.path.read_bytes().split(b"\n")
        return [self._deletion(number, line) for number, line in enumerate(lines, start=1)]

    def _deletion(self, number: int, line: bytes) -> Deletion:
        try:
            return _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise JournalDamaged(f"line {number} of {self.path} is no deletion ({fault}): restore it from a backup") from fault

    def _append(self, deletions: Sequence[Deletion]) -> None:
        created = not self.path.exists()
        with self.path.open("ab+") as file:
            os.fchmod(file.fileno(), 0o600)
            file.seek(0)
            # Append mode writes at the end whatever was read: what a crash cut short goes first.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in deletions))
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
