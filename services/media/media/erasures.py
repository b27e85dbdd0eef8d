"""Pictures erased for ever: by hash, whenever their bytes come, and again after any restore.

The journal beside the files is durable first; then the tombstone, the file's row and its bytes. A file that nobody has sent yet
is erased, too: it is never taken. Whom a picture shows is not known here.
"""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import structlog

from media import store
from media.files import FileStore
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.journal import Journal
from zb_contracts.announcements import PICTURES_ERASED, PicturesErased
from zb_contracts.problems import INPUT_NOT_FOUND, MEDIA_ERASED, Problem
from zb_contracts.times import format_time_ms

FILE_NAME: Final = "erasures.jsonl"
REPLAYED_AT_ONCE: Final = 500

log: Final = structlog.get_logger(__name__)


class Erased(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that is erased."""

    sha256: str
    at_ms: int


def erasures(folder: Path) -> Journal[Erased]:
    """The journal in the service's data folder."""
    return Journal(folder / FILE_NAME, Erased)


class Erasures:
    """Erases files. Every call may be repeated."""

    def __init__(self, pool: Pool, files: FileStore, journal: Journal[Erased], clock: Clock) -> None:
        self._pool = pool
        self._files = files
        self._journal = journal
        self._clock = clock

    async def erase(self, sha256: str) -> int:
        """Remove a stored file for ever; when, in ms. Its row stays: it counts as evidence, and nobody sends it again.

        Problems INPUT_NOT_FOUND, MEDIA_ERASED.
        """
        stored = await store.find_file(self._pool, sha256)
        if stored is None:
            raise Problem(INPUT_NOT_FOUND, what="stored file", id=sha256)
        check_there(stored)
        erased = Erased(sha256, self._clock())
        await self._forget([erased])
        return erased.at_ms

    async def announced(self, kind: str, payload: bytes) -> None:
        """Erase what custody tells of; other reference data is not ours. A file of another agency alone is left, and told."""
        if kind != PICTURES_ERASED:
            return
        said, now_ms = PicturesErased.model_validate_json(payload), self._clock()
        wanted = []
        for sha256 in said.files:
            agencies = await store.agencies_demanding(self._pool, sha256)
            if agencies and said.agency not in agencies:
                log.warning("a picture of another agency is not erased", sha256=sha256, subject=said.subject)
            elif not await store.is_buried(self._pool, sha256):
                wanted.append(Erased(sha256, now_ms))
        await self._forget(wanted)

    async def again(self) -> None:
        """Play the journal, and remove what is on the disk all the same: after a crash, or put back from a backup."""
        entries = self._journal.read()
        for start in range(0, len(entries), REPLAYED_AT_ONCE):
            async with transaction(self._pool) as connection:
                await self._bury(connection, entries[start : start + REPLAYED_AT_ONCE])
        for sha256 in await store.erased_hashes(self._pool):
            await asyncio.to_thread(self._files.erase, sha256)

    async def _forget(self, erased: list[Erased]) -> None:
        if not erased:
            return
        await self._journal.append(erased)
        async with transaction(self._pool) as connection:
            await self._bury(connection, erased)
        for one in erased:
            await asyncio.to_thread(self._files.erase, one.sha256)

    async def _bury(self, connection: Connection, erased: list[Erased]) -> None:
        await store.lock_hashes(connection, [one.sha256 for one in erased])
        await store.bury(connection, {one.sha256: one.at_ms for one in erased})


def check_there(file: store.StoredFile) -> None:
    """Problem MEDIA_ERASED where the bytes were erased."""
    if file.erased_at_ms is not None:
        raise Problem(MEDIA_ERASED, id=file.sha256, at=format_time_ms(file.erased_at_ms))
