"""A device's disk: what a killed process or a lost battery leaves of an encrypted database, and old copies of it.

The databases are real SQLCipher files on a memory disk. A write-ahead log only grows here (nothing is checkpointed while a run
lasts), so that every moment of the past of a file is a prefix of it: a torn write is a cut.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.simulation.world import Killed

WAL: Final = "-wal"
_WRITES: Final = ("insert", "update", "delete")

Fate = Callable[[str], str | None]
"""Asked at each write with `write` or `commit`: None, or `before`, `torn` or `after`, where the process dies."""


class Disk:
    """A connection whose every write may be the process' last. It stands where zb_device has one of its `Connection`s."""

    def __init__(self, connection: Any, file: Path, fate: Fate) -> None:
        self._connection, self._file, self._fate = connection, file, fate
        self._cut_at: tuple[int, int] | None = None
        self.dead = False
        connection.execute("pragma wal_autocheckpoint = 0")

    @property
    def in_transaction(self) -> bool:
        return not self.dead and bool(self._connection.in_transaction)

    @property
    def is_damaged(self) -> bool:
        return bool(self._connection.is_damaged)

    def execute(self, statement: str, values: Any = ()) -> Any:
        if self.dead:
            raise Killed
        if statement == "commit":
            return self._commit()
        if statement.startswith(_WRITES) and self._fate("write"):
            self._die()
        return self._connection.execute(statement, values)

    def _commit(self) -> Any:
        fate = self._fate("commit")
        if fate == "before":
            self._die()
        before = self._size()
        done = self._connection.execute("commit")
        if fate == "torn":
            self._cut_at = (before, self._size())
        if fate is not None:
            self._die()
        return done

    def _die(self) -> None:
        self.dead = True
        raise Killed

    def _size(self) -> int:
        log = self._file.with_name(self._file.name + WAL)
        return log.stat().st_size if log.exists() else 0

    def tear(self, folder: Path, where: float) -> None:
        """In a copy of the folder: cut the write under way at this share of it, short of its end."""
        if self._cut_at is not None:
            before, after = self._cut_at
            log = folder / (self._file.name + WAL)
            with log.open("r+b") as out:
                out.truncate(before + int((after - before) * where))

    def close(self) -> None:
        self._connection.close()


def copied(folder: Path, to: Path) -> Path:
    """The folder as it is on disk at this moment. The lock is another one; what only memory mapped is left out."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*-shm", "device.lock"))
    return to
