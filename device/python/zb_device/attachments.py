"""Files that a person attaches: their bytes and MIME type, from a path on this machine or from memory.

Limits are checked before anything is read. Keeping and queueing the bytes is `media`'s matter.
"""

import asyncio
import mimetypes
from pathlib import Path

from zb_device.faults import FileInvalid
from zb_device.media import FILE_BYTES_MAX

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
