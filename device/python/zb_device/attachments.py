"""Files that a person attaches: their bytes and MIME type, from a path on this machine or from memory, one at a time.

Limits are checked before anything is read. The bytes are on disk before an event names them, and go again where none comes to.
Keeping and queueing them is `media`'s matter.
"""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from zb_contracts.events.values import File
from zb_device.faults import FileInvalid
from zb_device.log import ReaderBox
from zb_device.media import FILE_BYTES_MAX, MediaStore, Prepared, described

Picture = Path | bytes
"""A file by its path, or the bytes themselves."""


async def bytes_of(picture: Picture, mime: str | None) -> tuple[bytes, str]:
    """The bytes and their MIME type, which a path's name may tell. FileInvalid else."""
    if isinstance(picture, bytes):
        if mime is None:
            raise FileInvalid("name the MIME type of these bytes, e.g. image/jpeg")
        return picture, mime
    known = mime or mimetypes.guess_type(picture.name)[0]
    if known is None:
        raise FileInvalid(f"{picture.name}: name its MIME type")
    try:
        if picture.stat().st_size > FILE_BYTES_MAX:
            raise FileInvalid(f"{picture.name} is larger than {FILE_BYTES_MAX} bytes")
        return await asyncio.to_thread(picture.read_bytes), known
    except OSError as fault:
        raise FileInvalid(f"{picture} cannot be read: {fault.strerror}") from fault


@dataclass(slots=True)
class Attachments:
    """Of one device. `reader`: to whom a file is sealed beside escrow now."""

    media: Callable[[], MediaStore]
    reader: Callable[[], ReaderBox | None]
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def written(self, data: bytes, mime: str) -> AsyncIterator[Prepared]:
        """The bytes, encrypted and durable, for the events that are recorded within. FileInvalid, DiskFull or DiskFailing."""
        async with self._one:
            file = await asyncio.to_thread(described, data, mime)
            prepared = self.media().known(file) or await self._written(data, file)
            try:
                yield prepared
            except BaseException:
                self.media().discard(file)
                raise

    async def _written(self, data: bytes, file: File) -> Prepared:
        writing = asyncio.ensure_future(asyncio.to_thread(self.media().prepare, data, file, self.reader()))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            # A thread cannot be stopped: until it has ended nobody else may write the same chunks under another key.
            await asyncio.wait([writing])
            self.media().discard(file)
            raise
