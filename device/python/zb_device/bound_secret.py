"""The device-bound secret: 32 random bytes from which the keys of the device's own files are derived.

On this platform it is a file with mode 0600 in the device's folder: there is no TPM or key store behind it, so whoever copies
the whole folder has it. What a thief of the folder still cannot read is said in `vault` and `log`: events are sealed to escrow
and to the technician's reader key, which needs the PIN as well.
"""

import os
import secrets
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zb_device.faults import StoreDamaged

SECRET_BYTES: Final = 32
FILE_NAME: Final = "device.secret"


class BoundSecret:
    """The secret of one device folder. `repr` does not show it."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise StoreDamaged(f"the device's secret has {len(secret)} bytes, not {SECRET_BYTES}")
        self._secret = secret

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new secret, durable before this returns. An existing one is kept: it may hold an unfinished enrolment."""
        place = folder / FILE_NAME
        if place.exists():
            return cls.read(folder)
        durably_written(place, secrets.token_bytes(SECRET_BYTES))
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The folder's secret. StoreDamaged when there is none or it was cut."""
        try:
            return cls((folder / FILE_NAME).read_bytes())
        except FileNotFoundError as fault:
            raise StoreDamaged(f"{folder / FILE_NAME} is missing: the store cannot be opened without it") from fault

    def derive(self, purpose: str, extra: bytes = b"") -> bytes:
        """32 bytes for one purpose; `extra` is what a person adds (an Argon2 hash of a PIN)."""
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"zb-device-v1 " + purpose.encode())
        return kdf.derive(extra + self._secret)

    def __repr__(self) -> str:
        return "BoundSecret()"


def destroy(folder: Path) -> None:
    """Overwrite and remove the secret. A flash medium may keep the old block: SECURITY.md says what that means."""
    place = folder / FILE_NAME
    if place.exists():
        with place.open("r+b") as file:
            file.write(bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        place.unlink()
        sync_folder(folder)


def durably_written(place: Path, content: bytes) -> None:
    """A file with mode 0600, whole or not at all, durable before this returns."""
    temporary = place.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(place)
    sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
