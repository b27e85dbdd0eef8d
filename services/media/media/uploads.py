"""Uploads by hash, in parts: begin, look, append, finish, expire. The rules of tus 1.0.0 without HTTP (tus.py has that).

A part counts once it is on the disk and its offset in the database; the last part counts once the whole has the declared
hash and the file's row is committed together with the evidence that it changes. Killed anywhere in between, an upload goes on
at the last offset that was confirmed. It does not know who may upload.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from media import evidence, store
from media.files import FileStore
from media.handovers import Handovers
from media.store import StoredFile, Upload
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.problems import (
    EXISTS_DIFFERENT,
    INPUT_NOT_FOUND,
    INPUT_TOO_LARGE,
    MEDIA_HASH,
    MEDIA_LENGTH,
    MEDIA_OFFSET,
    MEDIA_QUOTA,
    MEDIA_STORED,
    UNAVAILABLE,
    Problem,
)

DAY_MS: Final = 86_400_000
SWEEP_BATCH_MAX: Final = 200
CHECK_BATCH_MAX: Final = 200
ADOPTER: Final = "adopted"
"""In the place of the device, of a file that was found on the disk."""
ADOPTED_MIME: Final = "application/octet-stream"
"""What nobody says any more; the event that names the file does."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one device may ask for."""

    upload_bytes_max: int
    part_bytes_max: int
    unfinished_max: int
    expiry_s: int
    stored_bytes_max: int
    """Of all that it stored within `stored_days`, and declared and has not finished."""
    stored_days: int


@dataclass(frozen=True, slots=True)
class Declared:
    """What a device says of the bytes before it sends them."""

    sha256: str
    length_bytes: int
    mime: str
    handover: str | None = None
    """Where the bytes come in encrypted chunks: the ledger's word on the file and its key."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is. Complete means stored and verified; only then `offset` equals `length_bytes`."""

    sha256: str
    mime: str
    length_bytes: int
    offset: int
    expires_at_ms: int | None

    @property
    def complete(self) -> bool:
        return self.offset == self.length_bytes


class Uploads:
    """The uploads of all devices. Each call is one transaction, or none."""

    def __init__(self, pool: Pool, files: FileStore, limits: Limits, handovers: Handovers, clock: Clock) -> None:
        self.limits = limits
        self._handovers = handovers
        self._pool = pool
        self._files = files
        self._clock = clock

    async def begin(self, device: str, declared: Declared) -> Progress:
        """Begin an upload, or go on with the one that this device began. A stored hash answers as complete.

        Problems MEDIA_LENGTH, MEDIA_QUOTA, MEDIA_STORED, and EXISTS_DIFFERENT when the hash is stored with another length.
        """
        if declared.length_bytes > self.limits.upload_bytes_max:
            raise Problem(MEDIA_LENGTH, declared=declared.length_bytes, limit=self.limits.upload_bytes_max)
        box = self._box(device, declared)
        async with transaction(self._pool) as connection:
            stored = await store.find_file(connection, declared.sha256)
            if stored is not None:
                if stored.length_bytes != declared.length_bytes:
                    raise Problem(EXISTS_DIFFERENT, what="file", id=declared.sha256)
                return _whole(stored)
            await store.lock_device(connection, device)
            now_ms = self._clock()
            if await self._buried(connection, device, declared, now_ms):
                return Progress(declared.sha256, declared.mime, declared.length_bytes, declared.length_bytes, None)
            upload = await store.lock_upload(connection, device, declared.sha256, now_ms)
            if upload is None:
                count = await store.count_uploads(connection, device, now_ms)
                if count >= self.limits.unfinished_max:
                    raise Problem(MEDIA_QUOTA, count=count, limit=self.limits.unfinished_max)
            if upload is None or upload.length_bytes != declared.length_bytes:
                await self._check_stored(connection, device, declared, now_ms)
                # Another length is a correction of a wrong declaration: what came under it is not trusted.
                expiry_ms = self._expiry(now_ms)
                upload = Upload(device, declared.sha256, declared.length_bytes, declared.mime, 0, expiry_ms, box)
                await store.save_upload(connection, upload)
            elif box is not None:
                # Begun while somebody could still read it: the rest comes in encrypted chunks.
                upload = replace(upload, key_box=box)
                await store.save_upload(connection, upload)
            return await self._progress(upload)

    async def _buried(self, connection: Connection, device: str, declared: Declared, now_ms: int) -> bool:
        """Whether the file was erased before it came: it counts as evidence that was there, and no byte of it is taken."""
        await store.lock_hashes(connection, [declared.sha256])
        file = StoredFile(declared.sha256, declared.length_bytes, declared.mime)
        if await store.insert_buried(connection, file, device, now_ms) is None:
            return False
        await store.delete_upload(connection, device, declared.sha256)
        await evidence.stored_changed(connection, declared.sha256, now_ms)
        return True

    def _box(self, device: str, declared: Declared) -> bytes | None:
        """The file's key in its box, where the file is handed over. Problem MEDIA_HANDOVER."""
        if declared.handover is None:
            return None
        return self._handovers.taken(declared.handover, device, declared.sha256, declared.length_bytes)

    async def _check_stored(self, connection: Connection, device: str, declared: Declared, now_ms: int) -> None:
        """MEDIA_STORED when the file would be more than one device may fill of the store: a thief's, or a broken one."""
        limits = self.limits
        since_ms = now_ms - limits.stored_days * DAY_MS
        stored = await store.bytes_of(connection, device, declared.sha256, since_ms=since_ms, now_ms=now_ms)
        if stored + declared.length_bytes > limits.stored_bytes_max:
            raise Problem(MEDIA_STORED, stored=stored, days=limits.stored_days, limit=limits.stored_bytes_max)

    async def look(self, device: str, sha256: str) -> Progress:
        """How far this device's upload is. Problem INPUT_NOT_FOUND when it began none, or the bytes were refused."""
        stored = await store.find_file(self._pool, sha256)
        if stored is not None:
            return _whole(stored)
        upload = await store.find_upload(self._pool, device, sha256, self._clock())
        if upload is None:
            raise Problem(INPUT_NOT_FOUND, what="upload", id=sha256)
        return await self._progress(upload)

    async def append(self, device: str, sha256: str, offset: int, data: bytes, *, is_sealed: bool = False) -> Progress:
        """Take a part that arrived whole; a sealed one is an encrypted chunk of a file that was handed over.

        Problems MEDIA_OFFSET, INPUT_TOO_LARGE, INPUT_NOT_FOUND, MEDIA_HANDOVER, UNAVAILABLE (disk full), and MEDIA_HASH for the
        last part when the whole is not what was declared: all of it is dropped then."""
        async with transaction(self._pool) as connection, _disk_with_room():
            upload = await store.lock_upload(connection, device, sha256, self._clock())
            # Looked for after the lock: the part that we waited for may have been the last.
            stored = await store.find_file(connection, sha256)
            if stored is not None:
                raise Problem(MEDIA_OFFSET, actual=stored.length_bytes, offered=offset)
            if upload is None:
                raise Problem(INPUT_NOT_FOUND, what="upload", id=sha256)
            if is_sealed:
                data = await asyncio.to_thread(self._handovers.opened, upload.key_box, sha256, offset, data)
            at = (await self._progress(upload)).offset
            if offset != at:
                raise Problem(MEDIA_OFFSET, actual=at, offered=offset)
            if offset + len(data) > upload.length_bytes:
                raise Problem(INPUT_TOO_LARGE, limit=upload.length_bytes - offset)
            await asyncio.to_thread(self._files.write_part, sha256, device, offset, data)
            now_ms = self._clock()
            upload = replace(upload, received_bytes=offset + len(data), expires_at_ms=self._expiry(now_ms))
            if upload.received_bytes < upload.length_bytes:
                await store.save_upload(connection, upload)
                return _partial(upload, upload.received_bytes)
            actual = await self._finish(connection, upload, now_ms)
        if actual != sha256:
            raise Problem(MEDIA_HASH, actual=actual, declared=sha256)
        # Only now: had the commit failed, the device would go on from these bytes.
        await asyncio.to_thread(self._files.drop_part, sha256, device)
        return Progress(sha256, upload.mime, upload.length_bytes, upload.length_bytes, None)

    async def sweep(self) -> int:
        """Drop expired uploads; returns how many. Call it again while it returns more than none."""
        async with transaction(self._pool) as connection:
            expired = await store.take_expired(connection, self._clock(), SWEEP_BATCH_MAX)
            for device, sha256 in expired:
                await asyncio.to_thread(self._files.drop_part, sha256, device)
        return len(expired)

    async def check(self) -> list[str]:
        """Read every stored file again; one that is missing or damaged stops counting as stored. Returns their hashes."""
        damaged: list[str] = []
        after = ""
        while files := await store.files_after(self._pool, after, CHECK_BATCH_MAX):
            for file in files:
                if not await asyncio.to_thread(self._files.is_whole, file.sha256, file.length_bytes):
                    await self._unstore(file.sha256)
                    damaged.append(file.sha256)
            after = files[-1].sha256
        return damaged

    async def adopt(self) -> list[str]:
        """Count whole files as stored that the disk has and the database, from a backup, does not know. Returns their hashes.

        Their devices had the word that they are stored, and dropped them: nobody would send them again.
        """
        adopted: list[str] = []
        for sha256, length_bytes in await asyncio.to_thread(lambda: list(self._files.kept())):
            known = await store.find_file(self._pool, sha256) is not None or await store.is_buried(self._pool, sha256)
            if not length_bytes or known:
                continue
            if not await asyncio.to_thread(self._files.is_whole, sha256, length_bytes):
                continue
            async with transaction(self._pool) as connection:
                await store.lock_hashes(connection, [sha256])
                await store.insert_file(connection, StoredFile(sha256, length_bytes, ADOPTED_MIME), ADOPTER, self._clock())
                await evidence.stored_changed(connection, sha256, self._clock())
            adopted.append(sha256)
        return adopted

    async def _finish(self, connection: Connection, upload: Upload, now_ms: int) -> str:
        """Verify the whole and keep it, or forget it; returns the hash that the bytes have."""
        actual = await asyncio.to_thread(self._files.part_sha256, upload.sha256, upload.device)
        await store.delete_upload(connection, upload.device, upload.sha256)
        if actual != upload.sha256:
            await asyncio.to_thread(self._files.drop_part, upload.sha256, upload.device)
            return actual
        await asyncio.to_thread(self._files.keep, upload.sha256, upload.device)
        await store.lock_hashes(connection, [upload.sha256])
        file = StoredFile(upload.sha256, upload.length_bytes, upload.mime)
        if await store.insert_buried(connection, file, upload.device, now_ms) is not None:
            # Erased while it was on its way.
            await asyncio.to_thread(self._files.erase, upload.sha256)
        await store.insert_file(connection, file, upload.device, now_ms)
        await evidence.stored_changed(connection, upload.sha256, now_ms)
        return actual

    async def _unstore(self, sha256: str) -> None:
        async with transaction(self._pool) as connection:
            await store.lock_hashes(connection, [sha256])
            await store.delete_file(connection, sha256)
            await evidence.stored_changed(connection, sha256, self._clock())

    async def _progress(self, upload: Upload) -> Progress:
        # A disk that lost the temporary file has less than the database says; more was never confirmed.
        on_disk = await asyncio.to_thread(self._files.part_bytes, upload.sha256, upload.device)
        return _partial(upload, min(upload.received_bytes, on_disk))

    def _expiry(self, now_ms: int) -> int:
        return now_ms + self.limits.expiry_s * 1000


def _whole(file: StoredFile) -> Progress:
    return Progress(file.sha256, file.mime, file.length_bytes, file.length_bytes, None)


def _partial(upload: Upload, offset: int) -> Progress:
    return Progress(upload.sha256, upload.mime, upload.length_bytes, offset, upload.expires_at_ms)


@asynccontextmanager
async def _disk_with_room() -> AsyncIterator[None]:
    try:
        yield
    except OSError as fault:
        if fault.errno in _FULL:
            raise Problem(UNAVAILABLE, what="room on the evidence store's disk") from fault
        raise
