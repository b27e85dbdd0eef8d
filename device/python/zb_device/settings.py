"""The small facts that the device keeps in its encrypted store: keys, what enrolment pinned, session, anchor, checkpoint.

One value of each type, as MessagePack under a stable name. It interprets none of them.
"""

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from zb_contracts.keys import KeyCertificate, KeyPurpose
from zb_device.clock import AnchorMark, RealMark
from zb_device.database import Connection
from zb_device.keys import StoredKeys
from zb_device.policies import Policy

PROBLEMS_KEPT_MAX: Final = 50
SESSIONS_KEPT_MAX: Final = 8
IDLE_LOCK_S: Final = 900
"""Unless the policy says otherwise: a technician works with both hands for a quarter of an hour, a thief does not wait."""
IDLE_LOCK_S_MIN: Final = 30
IDLE_LOCK_S_MAX: Final = 8 * 3600


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
    issued_ms: int = 0
    kid: str = ""
    """Of the ledger key that vouches for the token; empty where none does: it opens the broker then, and no reading."""
    word: str = ""
    """That key's signature, base64url."""

    def __repr__(self) -> str:
        return f"Session(technician={self.technician!r}, expires_ms={self.expires_ms})"


class LockPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What opens reading (`passphrase` where nothing but the words protects it), and after how long unused it closes."""

    kind: Literal["pin", "passphrase"] = "pin"
    idle_s: Annotated[int, msgspec.Meta(ge=IDLE_LOCK_S_MIN, le=IDLE_LOCK_S_MAX)] = IDLE_LOCK_S


class KeptSessions(msgspec.Struct, frozen=True, kw_only=True):
    """The newest sessions of the technicians who work with this device: each opens reading for its own technician."""

    sessions: tuple[Session, ...] = ()
    """The one that was renewed last at the end."""

    def of(self, technician: str | None) -> Session | None:
        """The technician's."""
        return next((one for one in self.sessions if one.technician == technician), None)

    def with_session(self, session: Session) -> "KeptSessions":
        """With one more in place of the technician's one before; the oldest go."""
        others = tuple(one for one in self.sessions if one.technician != session.technician)
        return KeptSessions(sessions=(*others, session)[-SESSIONS_KEPT_MAX:])

    def __repr__(self) -> str:
        return f"KeptSessions({len(self.sessions)})"


class ReadingSuspension(msgspec.Struct, frozen=True, kw_only=True):
    """Reading is suspended until an answer no longer says so."""

    cause: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The device was revoked: nobody reads on it again. It sends what it has. `at_ms` is the ledger's time."""

    cause: str
    at_ms: int
    read_models: int
    """How many technicians' keys were destroyed."""


class WipeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to destroy everything. `attested` is the number of the last event and `author` its author, once it was signed."""

    order: str
    at_once: bool
    read_models: int
    attested: int = 0
    author: str = ""


class Custody(msgspec.Struct, frozen=True, kw_only=True):
    """Where the custody of data subjects' keys is, and the key (X25519) to which keys that were made here are boxed."""

    url: str
    key: bytes


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
    """An enrolment that is not finished: the same keys and code are sent again until an answer comes and somebody can sign in."""

    code: str


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


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the host says of the device: its make, its system, the app around this SDK."""

    model: str = ""
    os: str = ""
    app: str = ""


class AboutTold(msgspec.Struct, frozen=True, kw_only=True):
    """The last number under which the device told of itself, and a digest of what an answer came to."""

    number: int = 0
    answered: str = ""


_NAMES: Final[dict[type, str]] = {
    Host: "host",
    AboutTold: "about",
    StoredKeys: "keys",
    Pinned: "pinned",
    Session: "session",
    LockPolicy: "lock_policy",
    KeptSessions: "sessions",
    ReadingSuspension: "reading_suspension",
    Ended: "ended",
    WipeOrder: "wipe",
    RealMark: "real_mark",
    Custody: "custody",
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
