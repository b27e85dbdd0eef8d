"""Shared catalogues on the device: fetched once by their hash, kept for every technician who works with it.

They lie in `catalogues.db`, apart from the log: what is there can be fetched again, so a damaged file is begun anew. Which of
them a technician may read, the read model's references say; what they mean is the reader's matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zb_contracts import canonical
from zb_contracts.catalogues import Reference, document_of, unpacked
from zb_contracts.problems import SYNC_CATALOGUE_INVALID, Problem
from zb_contracts.sync import CATALOGUES_ASKED_MAX, Catalogue
from zb_device.database import Connection, open_database, transaction
from zb_device.faults import CatalogueMissing, StoreDamaged

FILE_NAME: Final = "catalogues.db"
KEPT_MS: Final = 30 * 86_400_000
"""So long after a scope last referred to it."""
USE_NOTED_EVERY_MS: Final = 86_400_000
BYTES_MAX: Final = 64 << 20
"""Of all that are kept, packed; those that were used longest ago go first."""


@dataclass(slots=True)
class Catalogues:
    """The device's catalogues. The file is opened when something is asked of it."""

    folder: Path
    key: bytes = field(repr=False)
    _connection: Connection | None = field(default=None, init=False)

    def lacking(self, references: Iterable[Reference], but: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """What one request asks for: hashes whose bytes are not here, those in `but` left out."""
        wanted = {reference.sha256 for reference in references} - but
        if not wanted:
            return ()
        here = {row[0] for row in self._db().execute("select sha256 from catalogues")}
        return tuple(sorted(wanted - here)[:CATALOGUES_ASKED_MAX])

    def keep(self, came: Sequence[Catalogue], asked: Sequence[str], now_ms: int) -> None:
        """All of them, or none: SYNC_CATALOGUE_INVALID where one is not what its hash says, or nobody asked for it."""
        for one in came:
            unpacked(one)
            if one.sha256 not in asked:
                raise Problem(SYNC_CATALOGUE_INVALID, name=one.sha256, reason="nobody asked for it")
        if came:
            with transaction(self._db()) as db:
                db.executemany(
                    "insert or replace into catalogues (sha256, packed, length_bytes, used_ms) values (?, ?, ?, ?)",
                    [(one.sha256, one.packed, len(one.packed), now_ms) for one in came],
                )

    def content(self, sha256: str) -> bytes | None:
        """The canonical bytes; None where they have not come."""
        row = self._db().execute("select packed from catalogues where sha256 = ?", (sha256,)).fetchone()
        return unpacked(Catalogue(sha256=sha256, packed=bytes(row[0]))) if row else None

    def read(self, kind: str, name: str, references: Iterable[Reference]) -> Any:
        """The catalogue of this kind and name, if the references of the scope name it. CatalogueMissing else."""
        named = next((one for one in references if one.document == document_of(kind, name)), None)
        if named is None:
            raise CatalogueMissing(f"the scope has no {kind} called {name}")
        content = self.content(named.sha256)
        if content is None:
            raise CatalogueMissing(f"the bytes of {kind} {name} have not come yet: the next sync brings them")
        return canonical.decode(content)

    def tidy(self, references: Iterable[Reference], now_ms: int) -> None:
        """Note what is in use; forget what has not been for long, and the oldest beyond BYTES_MAX."""
        used = {reference.sha256 for reference in references}
        rows = self._db().execute("select sha256, length_bytes, used_ms from catalogues order by used_ms desc, sha256").fetchall()
        noted = [sha256 for sha256, _, used_ms in rows if sha256 in used and abs(now_ms - used_ms) >= USE_NOTED_EVERY_MS]
        gone, size = [], 0
        for sha256, length_bytes, used_ms in sorted(rows, key=lambda row: row[0] not in used):
            size += length_bytes
            if sha256 not in used and (size > BYTES_MAX or now_ms - used_ms >= KEPT_MS):
                gone.append(sha256)
        if noted or gone:
            with transaction(self._db()) as db:
                db.executemany("update catalogues set used_ms = ? where sha256 = ?", [(now_ms, sha256) for sha256 in noted])
                db.executemany("delete from catalogues where sha256 = ?", [(sha256,) for sha256 in gone])

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _db(self) -> Connection:
        if self._connection is not None and self._connection.is_damaged:
            self._begin_anew()
        if self._connection is None:
            try:
                self._connection = open_database(self.folder / FILE_NAME, self.key, "catalogues", is_whole=True)
            except StoreDamaged:
                self._begin_anew()
                self._connection = open_database(self.folder / FILE_NAME, self.key, "catalogues", is_whole=True)
        return self._connection

    def _begin_anew(self) -> None:
        """Nothing in it is the only copy."""
        self.close()
        for path in self.folder.glob(f"{FILE_NAME}*"):
            path.unlink()
