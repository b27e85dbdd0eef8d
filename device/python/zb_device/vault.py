"""The technician's lock: what the PIN or passphrase opens, and how guessing is slowed down.

Each technician of a device has a reader key (X25519, to which events are sealed) and a read model with a key of its own; both
are wrapped by HKDF(Argon2id(PIN), device-bound secret). The public half stays in clear, so that recording goes on while locked.
"""

import os
from dataclasses import dataclass, field
from typing import Final

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zb_contracts.keys import WrapKey
from zb_device.bound_secret import BoundSecret
from zb_device.database import Connection, transaction
from zb_device.faults import AlreadyEnrolled, NoTechnician, PinBlocked, PinTooWeak, WrongPin

PIN_LENGTH_MIN: Final = 4
PIN_LENGTH_MAX: Final = 128
FREE_TRIES: Final = 5
BACKOFF_FIRST_S: Final = 30
BACKOFF_S_MAX: Final = 3_600
ARGON2_MEMORY_KIB: Final = 64 * 1024
ARGON2_PASSES: Final = 3
ARGON2_LANES: Final = 1
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
DATABASE_KEY_BYTES: Final = 32


class _Secrets(msgspec.Struct, frozen=True):
    reader_private: bytes
    database_key: bytes


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What an open lock gives: the reader key and the key of `read-<technician>.db`."""

    technician: str
    reader: WrapKey = field(repr=False)
    database_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewReader:
    """A reader as it is kept: only `wrapped` is secret, and it needs the PIN."""

    technician: str
    public: bytes
    salt: bytes
    wrapped: bytes


class Vault:
    """The readers of one device. Stretching a PIN takes some 0.2 s: `stretch` and `prepared` touch no database and may run
    in a thread."""

    def __init__(self, connection: Connection, secret: BoundSecret) -> None:
        self._db = connection
        self._secret = secret

    def technicians(self) -> list[str]:
        return [row[0] for row in self._db.execute("select technician from readers order by technician")]

    def reader_public(self, technician: str) -> bytes | None:
        """To whom the technician's events are sealed, known while locked too."""
        row = self._db.execute("select public from readers where technician = ?", (technician,)).fetchone()
        return bytes(row[0]) if row else None

    def prepared(self, technician: str, pin: str) -> tuple[NewReader, Unlocked]:
        """A reader to be, and what it opens: stretches the PIN, touches no database. PinTooWeak else."""
        if not PIN_LENGTH_MIN <= len(pin) <= PIN_LENGTH_MAX:
            raise PinTooWeak(f"a PIN or passphrase has {PIN_LENGTH_MIN} to {PIN_LENGTH_MAX} characters")
        salt, nonce, reader = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES), WrapKey.generate()
        unlocked = Unlocked(technician, reader, os.urandom(DATABASE_KEY_BYTES))
        plain = msgspec.msgpack.encode(_Secrets(reader.private, unlocked.database_key))
        key = self._key(technician, stretch(pin, salt))
        wrapped = nonce + AESGCM(key).encrypt(nonce, plain, technician.encode())
        return NewReader(technician, reader.public, salt, wrapped), unlocked

    def add(self, reader: NewReader) -> None:
        """Keep a reader for a technician who has none here. AlreadyEnrolled else."""
        if self.reader_public(reader.technician) is not None:
            raise AlreadyEnrolled(f"{reader.technician} has a read model on this device already")
        with transaction(self._db) as db:
            db.execute(
                "insert into readers (technician, public, salt, wrapped) values (?, ?, ?, ?)",
                (reader.technician, reader.public, reader.salt, reader.wrapped),
            )

    def salt(self, technician: str, real_ms: int) -> bytes:
        """For `stretch`, if a try is allowed now. NoTechnician or PinBlocked else."""
        row = self._db.execute("select salt, blocked_until_ms from readers where technician = ?", (technician,)).fetchone()
        if row is None:
            raise NoTechnician(f"{technician} has no read model on this device")
        if real_ms < row[1]:
            raise PinBlocked(f"too many wrong PINs: try again in {(row[1] - real_ms + 999) // 1000} s")
        return bytes(row[0])

    def open(self, technician: str, stretched: bytes, real_ms: int) -> Unlocked:
        """The technician's keys. WrongPin is counted durably before this returns; beyond FREE_TRIES each one costs time."""
        (wrapped,) = self._db.execute("select wrapped from readers where technician = ?", (technician,)).fetchone()
        key = self._key(technician, stretched)
        try:
            plain = AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], technician.encode())
        except InvalidTag as fault:
            self._count_wrong(technician, real_ms)
            raise WrongPin("the PIN or passphrase is not right") from fault
        with transaction(self._db) as db:
            db.execute("update readers set tries = 0, blocked_until_ms = 0 where technician = ?", (technician,))
        secrets = msgspec.msgpack.decode(plain, type=_Secrets)
        return Unlocked(technician, WrapKey(secrets.reader_private), secrets.database_key)

    def _count_wrong(self, technician: str, real_ms: int) -> None:
        with transaction(self._db) as db:
            (tries,) = db.execute(
                "update readers set tries = tries + 1 where technician = ? returning tries", (technician,)
            ).fetchone()
            if tries >= FREE_TRIES:
                wait_s = min(BACKOFF_S_MAX, BACKOFF_FIRST_S << min(tries - FREE_TRIES, 10))
                db.execute("update readers set blocked_until_ms = ? where technician = ?", (real_ms + wait_s * 1000, technician))

    def _key(self, technician: str, stretched: bytes) -> bytes:
        return self._secret.derive(f"reader {technician}", stretched)


def stretch(pin: str, salt: bytes) -> bytes:
    """Argon2id of a PIN: 64 MiB, three passes."""
    return hash_secret_raw(
        pin.encode(),
        salt,
        time_cost=ARGON2_PASSES,
        memory_cost=ARGON2_MEMORY_KIB,
        parallelism=ARGON2_LANES,
        hash_len=32,
        type=Type.ID,
    )
