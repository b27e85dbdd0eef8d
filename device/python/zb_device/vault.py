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
from zb_device.clock import Clock
from zb_device.database import Connection, emptied, transaction
from zb_device.faults import AlreadyEnrolled, NoTechnician, PinBlocked, PinTooWeak, ReadingDestroyed, WrongPin
from zb_device.settings import LockPolicy, Settings

PIN_LENGTH_MIN: Final = 4
PASSPHRASE_LENGTH_MIN: Final = 12
PIN_LENGTH_MAX: Final = 128
FREE_TRIES: Final = 5
TRIES_MAX: Final = 20
"""Wrong ones in a row, after which the technician's keys are destroyed: some 14 hours of trying. What was signed stays."""
BACKOFF_FIRST_S: Final = 30
BACKOFF_S_MAX: Final = 3_600
ARGON2_MEMORY_KIB: Final = 64 * 1024
ARGON2_PASSES: Final = 3
ARGON2_LANES: Final = 1
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
DATABASE_KEY_BYTES: Final = 32
BOXED: Final = ("log", "media", "key_deposits")
"""Tables with boxes for a reader, in the columns `reader` and `for_reader`."""


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

    def __init__(self, connection: Connection, settings: Settings, secret: BoundSecret) -> None:
        self._db = connection
        self._settings = settings
        self._secret = secret

    @property
    def policy(self) -> LockPolicy:
        """What opens reading here, and for how long."""
        return self._settings.get(LockPolicy) or LockPolicy()

    def idle_s(self) -> int:
        """After so long without use it locks."""
        return self.policy.idle_s

    def set_policy(self, policy: LockPolicy) -> None:
        """For whoever signs in from now on; a technician who has a PIN keeps it until they change it."""
        with transaction(self._db):
            self._settings.put(policy)

    def technicians(self) -> list[str]:
        return [row[0] for row in self._db.execute("select technician from readers order by technician")]

    def reader_public(self, technician: str) -> bytes | None:
        """To whom the technician's events are sealed, known while locked too."""
        row = self._db.execute("select public from readers where technician = ?", (technician,)).fetchone()
        return bytes(row[0]) if row else None

    def prepared(self, technician: str, pin: str) -> tuple[NewReader, Unlocked]:
        """A reader to be, and what it opens: stretches the PIN, touches no database. `check_strength` has been asked."""
        unlocked = Unlocked(technician, WrapKey.generate(), os.urandom(DATABASE_KEY_BYTES))
        return self.wrapped(unlocked, pin), unlocked

    def wrapped(self, unlocked: Unlocked, pin: str) -> NewReader:
        """The same keys under another PIN: stretches it, touches no database."""
        salt, nonce, technician = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES), unlocked.technician
        plain = msgspec.msgpack.encode(_Secrets(unlocked.reader.private, unlocked.database_key))
        key = self._key(technician, stretch(pin, salt))
        wrapped = nonce + AESGCM(key).encrypt(nonce, plain, technician.encode())
        return NewReader(technician, unlocked.reader.public, salt, wrapped)

    def check_strength(self, pin: str) -> None:
        """PinTooWeak where the policy asks for more."""
        is_passphrase = self.policy.kind == "passphrase"
        least = PASSPHRASE_LENGTH_MIN if is_passphrase else PIN_LENGTH_MIN
        if not least <= len(pin) <= PIN_LENGTH_MAX:
            raise PinTooWeak(f"a {self.policy.kind} has {least} to {PIN_LENGTH_MAX} characters here")
        if is_passphrase and pin.isdigit():
            raise PinTooWeak("a passphrase is more than digits")

    def add(self, reader: NewReader) -> None:
        """Keep a reader for a technician who has none here. AlreadyEnrolled else."""
        if self.reader_public(reader.technician) is not None:
            raise AlreadyEnrolled(f"{reader.technician} has a read model on this device already")
        with transaction(self._db) as db:
            db.execute(
                "insert into readers (technician, public, salt, wrapped) values (?, ?, ?, ?)",
                (reader.technician, reader.public, reader.salt, reader.wrapped),
            )

    def forget(self, technician: str | None = None) -> None:
        """In the caller's transaction: the technician (None: whoever) reads nothing of what is here again.

        The keys go, and with them every box for them, which would pass for damage under the technician's next keys. What is
        sealed to escrow stays.
        """
        who = {"technician": technician}
        self._db.execute("delete from readers where :technician is null or technician = :technician", who)
        for table in BOXED:
            self._db.execute(
                f"update {table} set reader = null, for_reader = null"  # noqa: S608
                " where for_reader is not null and (:technician is null or reader = :technician)",
                who,
            )
        self._db.execute("delete from deliveries where :technician is null or reader = :technician", who)
        self._db.execute("delete from scope_places where :technician is null or technician = :technician", who)
        # What was boxed for nobody else can be handed in by nobody.
        self._db.execute("delete from key_deposits where for_custody is null and for_reader is null")

    def rewrap(self, reader: NewReader) -> None:
        """Another PIN for keys that are there."""
        with transaction(self._db) as db:
            db.execute(
                "update readers set salt = ?, wrapped = ? where technician = ?", (reader.salt, reader.wrapped, reader.technician)
            )
        emptied(self._db)

    def salt(self, technician: str, clock: Clock) -> bytes:
        """For `stretch`, if a try is allowed now. NoTechnician or PinBlocked else."""
        return self._allowed(technician, clock)[0]

    def _allowed(self, technician: str, clock: Clock) -> tuple[bytes, bytes]:
        """Salt and wrapped keys, if a try is allowed now."""
        row = self._db.execute(
            "select salt, wrapped, wait_ms, wait_boot, wait_from_ms from readers where technician = ?", (technician,)
        ).fetchone()
        if row is None:
            raise NoTechnician(f"{technician} has no read model on this device")
        salt, wrapped, *wait = row
        left_ms = self._left_ms(technician, clock, *wait)
        if left_ms > 0:
            raise PinBlocked(f"too many wrong PINs: try again in {(left_ms + 999) // 1000} s")
        return bytes(salt), bytes(wrapped)

    def _left_ms(self, technician: str, clock: Clock, wait_ms: int, boot: str, from_ms: int) -> int:
        """Of the pause that wrong tries cost. Nobody knows how long a device was off: after a reboot it begins anew."""
        if not wait_ms:
            return 0
        now_ms = clock.real_elapsed_ms()
        if boot == clock.boot:
            return max(0, wait_ms - (now_ms - from_ms))
        with transaction(self._db) as db:
            db.execute(
                "update readers set wait_boot = ?, wait_from_ms = ? where technician = ?", (clock.boot, now_ms, technician)
            )
        return wait_ms

    def open(self, technician: str, stretched: bytes, clock: Clock) -> Unlocked:
        """The technician's keys. WrongPin is counted durably before this returns; beyond FREE_TRIES each one costs time, and with
        TRIES_MAX the keys are destroyed: ReadingDestroyed. NoTechnician or PinBlocked as `salt`, asked again here: others may
        have tried while this one was stretched."""
        _, wrapped = self._allowed(technician, clock)
        key = self._key(technician, stretched)
        try:
            plain = AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], technician.encode())
        except InvalidTag as fault:
            self._count_wrong(technician, clock)
            raise WrongPin("the PIN or passphrase is not right") from fault
        with transaction(self._db) as db:
            db.execute("update readers set tries = 0, wait_ms = 0 where technician = ?", (technician,))
        secrets = msgspec.msgpack.decode(plain, type=_Secrets)
        return Unlocked(technician, WrapKey(secrets.reader_private), secrets.database_key)

    def _count_wrong(self, technician: str, clock: Clock) -> None:
        with transaction(self._db) as db:
            (tries,) = db.execute(
                "update readers set tries = tries + 1 where technician = ? returning tries", (technician,)
            ).fetchone()
            if tries >= TRIES_MAX:
                self.forget(technician)
            elif tries >= FREE_TRIES:
                wait_s = min(BACKOFF_S_MAX, BACKOFF_FIRST_S << min(tries - FREE_TRIES, 10))
                db.execute(
                    "update readers set wait_ms = ?, wait_boot = ?, wait_from_ms = ? where technician = ?",
                    (wait_s * 1000, clock.boot, clock.real_elapsed_ms(), technician),
                )
        if tries >= TRIES_MAX:
            emptied(self._db)
            raise ReadingDestroyed(
                f"{tries} wrong PINs: what {technician} could read here was destroyed. Everything recorded is kept and sent; "
                "sign in again with a network"
            )

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
