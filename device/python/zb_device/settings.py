"""The small facts that the device keeps in its encrypted store: keys, what enrolment pinned, session, anchor, checkpoint.

One value of each type, as MessagePack under a stable name. It interprets none of them.
"""

from typing import Final, TypeVar

import msgspec

from zb_contracts.keys import KeyCertificate, KeyPurpose
from zb_device.clock import AnchorMark
from zb_device.database import Connection
from zb_device.keys import StoredKeys
from zb_device.policies import Policy

PROBLEMS_KEPT_MAX: Final = 50


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What the device trusts and where it sends, since its enrolment."""

    device: str
    author: str
    agency: str
    shard: int
    shards: int
    log_origin: str
    root_key: bytes
    certificates: tuple[KeyCertificate, ...]
    ingest_url: str
    nats_url: str
    media_url: str

    @property
    def escrow(self) -> KeyCertificate:
        """The newest escrow key."""
        keys = [certificate for certificate in self.certificates if certificate.purpose == KeyPurpose.ESCROW]
        return max(keys, key=lambda certificate: certificate.not_before_ms)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The newest session token. `technician` None is a drain session."""

    token: str
    token_id: str
    technician: str | None
    expires_ms: int

    def __repr__(self) -> str:
        return f"Session(technician={self.technician!r}, expires_ms={self.expires_ms})"


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Who works with the device now: the actor of what is recorded, locked or not."""

    technician: str


class LedgerView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint of the shard's log that the device verified; all its incarnations are in one shard."""

    size: int = 0
    root: bytes = b""
    note: str = ""
    seen_ms: int = 0
    """When it was verified, by the device's own real time."""
    healing: int = 0
    """The number of the newest loss that the ledger has told of: no such word is taken twice."""


class Testified(msgspec.Struct, frozen=True, kw_only=True):
    """The verified head beside which the device last testified to another history: it does so once for each."""

    size: int
    root: bytes


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment that was sent: the same keys and code are sent again until an answer comes."""

    code: str
    ingest_url: str
    nats_url: str
    media_url: str
    model: str | None


class Unregistered(msgspec.Struct, frozen=True, kw_only=True):
    """The current incarnation was begun here and the ledger has not heard of it yet. `replaces` is the author before it."""

    replaces: str


class ClockOffset(msgspec.Struct, frozen=True, kw_only=True):
    """Real time less the machine's wall clock, as a signed answer of the server showed it last."""

    offset_ms: int = 0


class Problems(msgspec.Struct, frozen=True, kw_only=True):
    """What the server did that the device refused (split view, rollback, false signature), newest last."""

    entries: tuple[tuple[int, str, str], ...] = ()

    def with_entry(self, at_ms: int, code: str, text: str) -> "Problems":
        """With one more; the same again is one entry, and the oldest go."""
        others = tuple(entry for entry in self.entries if entry[1:] != (code, text))
        return Problems(entries=(*others, (at_ms, code, text))[-PROBLEMS_KEPT_MAX:])


_NAMES: Final[dict[type, str]] = {
    StoredKeys: "keys",
    Pinned: "pinned",
    Session: "session",
    SignedIn: "signed_in",
    AnchorMark: "anchor",
    LedgerView: "ledger",
    Testified: "testified",
    Pending: "pending",
    Unregistered: "unregistered",
    ClockOffset: "clock_offset",
    Problems: "problems",
    Policy: "policy",
}

T = TypeVar("T", bound=msgspec.Struct)


class Settings:
    """Typed access to the table `settings`. `put` takes part in the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def get(self, kind: type[T]) -> T | None:
        row = self._db.execute("select value from settings where name = ?", (_NAMES[kind],)).fetchone()
        return msgspec.msgpack.decode(row[0], type=kind) if row else None

    def put(self, value: msgspec.Struct) -> None:
        self._db.execute(
            "insert into settings (name, value) values (?, ?) on conflict (name) do update set value = excluded.value",
            (_NAMES[type(value)], msgspec.msgpack.encode(value)),
        )

    def forget(self, kind: type[msgspec.Struct]) -> None:
        self._db.execute("delete from settings where name = ?", (_NAMES[kind],))
