"""What a device hands over that can no longer open its own files: whether the ledger vouches for it, and its chunks' bytes.

The file's key comes in a box that only the key of this store opens; it is opened for each part and kept nowhere. Who may
upload is `zb_chassis.devices`' matter, which bytes count is `uploads`'.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zb_chassis.clock import Clock
from zb_contracts.faults import CryptoFault
from zb_contracts.handover import CHUNK_BYTES, Handover, opened_chunk, read_handover
from zb_contracts.keys import KEY_BYTES, WrapKey, open_sealed
from zb_contracts.problems import MEDIA_CHECKSUM, MEDIA_HANDOVER, MEDIA_OFFSET, Problem
from zb_contracts.sealed import from_base64url

KEY_FILE: Final = "media-wrap.key"
ROOT_FILE: Final = "root.pub"


class HandoverKeysUnusable(Exception):
    """A file of the keys folder is missing or damaged; the message names it."""


@dataclass(frozen=True, slots=True)
class Handovers:
    """The evidence store's key. `clock` is real time."""

    root: bytes
    key: WrapKey = field(repr=False)
    clock: Clock

    @classmethod
    def read(cls, folder: Path, clock: Clock) -> "Handovers":
        """From the keys folder. HandoverKeysUnusable."""
        return cls(_key(folder / ROOT_FILE), WrapKey(_key(folder / KEY_FILE)), clock)

    def taken(self, text: str, device: str, sha256: str, length_bytes: int) -> bytes:
        """The box of the file's key, where the ledger handed over this very file of this device. Problem MEDIA_HANDOVER else."""
        try:
            handover = read_handover(text, self.root, self.clock())
            box = from_base64url(handover.box)
            open_sealed(self.key.private, box)
        except CryptoFault as fault:
            raise Problem(MEDIA_HANDOVER, reason=str(fault)) from fault
        if not _is_about(handover, device, sha256, length_bytes):
            raise Problem(MEDIA_HANDOVER, reason="it is about another file, or another device's")
        return box

    def opened(self, box: bytes | None, sha256: str, offset: int, data: bytes) -> bytes:
        """The bytes in the clear of the chunk at `offset`. Problems MEDIA_HANDOVER, MEDIA_OFFSET, MEDIA_CHECKSUM."""
        if box is None:
            raise Problem(MEDIA_HANDOVER, reason="the upload was begun without one")
        number, within = divmod(offset, CHUNK_BYTES)
        if within:
            raise Problem(MEDIA_OFFSET, actual=number * CHUNK_BYTES, offered=offset)
        try:
            return opened_chunk(open_sealed(self.key.private, box), sha256, number, data)
        except CryptoFault as fault:
            raise Problem(MEDIA_CHECKSUM) from fault


def _is_about(handover: Handover, device: str, sha256: str, length_bytes: int) -> bool:
    return (handover.device, handover.sha256, handover.length_bytes) == (device, sha256, length_bytes)


def _key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as fault:
        raise HandoverKeysUnusable(f"{path} cannot be read: {fault}") from fault
    if len(key) != KEY_BYTES:
        raise HandoverKeysUnusable(f"{path} has {len(key)} bytes, not {KEY_BYTES}")
    return key
