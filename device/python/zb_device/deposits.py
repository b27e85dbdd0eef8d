"""Keys that were made here and that custody does not have yet: each in a box, from the moment at which its event is signed.

The box is for custody's key, once it is known, and for the technician, who can open it again if custody has another key by then.
It goes when custody has the key. In no event such a key stands, so that destroying it at custody destroys it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from zb_contracts.faults import CryptoFault
from zb_contracts.keys import WrapKey, kid, open_sealed, seal_to
from zb_contracts.sealed import to_base64url
from zb_contracts.subject_keys import DEPOSITS_MAX, Deposit
from zb_device.database import Connection, emptied, transaction
from zb_device.faults import StoreDamaged
from zb_device.log import ReaderBox
from zb_device.recording import Draft
from zb_device.settings import Custody, Settings

_COLUMNS: Final = "kid, purpose, actor, stream, event, fields, at_ms, file, recipient_kid, for_custody, reader, for_reader"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A key's box and what is to be said of it. The columns of the table `key_deposits`."""

    kid: str
    purpose: str
    actor: str
    stream: str
    event: str
    fields: str
    at_ms: int
    file: str | None
    recipient_kid: str | None
    for_custody: bytes | None
    reader: str | None
    for_reader: bytes | None


class Deposits:
    """The table `key_deposits` of device.db."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._db = connection
        self._settings = settings

    def add(self, drafts: Sequence[Draft], actor: str, reader: ReaderBox | None, at_ms: int) -> None:
        """Keep the boxes of all keys that were made for these events, in the transaction that signs them."""
        custody = self.custody
        for draft in drafts:
            for made in draft.keys:
                row = Waiting(
                    kid=made.kid,
                    purpose=made.purpose,
                    actor=actor,
                    stream=draft.stream,
                    event=draft.id,
                    fields=" ".join(made.fields),
                    at_ms=at_ms,
                    file=made.file,
                    recipient_kid=kid(custody.key) if custody else None,
                    for_custody=seal_to(custody.key, made.key) if custody else None,
                    reader=reader.technician if reader else None,
                    for_reader=seal_to(reader.public, made.key) if reader else None,
                )
                self._db.execute(
                    f"insert into key_deposits ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    _row(row),
                )

    @property
    def custody(self) -> Custody | None:
        """Where keys are handed in; None before the ledger has said so."""
        return self._settings.get(Custody)

    def know(self, custody: Custody) -> None:
        """Where custody is from now on."""
        if custody != self.custody:
            with transaction(self._db):
                self._settings.put(custody)

    def kids(self) -> set[str]:
        """Keys that custody does not have: it says nothing of them."""
        return {row[0] for row in self._db.execute("select kid from key_deposits")}

    def ready(self, custody: Custody, technician: str | None, reader: WrapKey | None) -> list[Deposit]:
        """What can be handed in now, what was refused least and is oldest first; with the technician's key also what was boxed
        for nobody, or for an old key."""
        found: list[Deposit] = []
        rows = self._db.execute(f"select {_COLUMNS} from key_deposits order by tries, at_ms, kid")  # noqa: S608
        for row in (Waiting(*row) for row in rows.fetchall()):
            if len(found) == DEPOSITS_MAX:
                break
            box = _box(row, custody, technician, reader)
            if box is not None:
                found.append(_deposit(row, custody, box))
        return found

    def forget(self, kids: Sequence[str]) -> None:
        """Custody has these."""
        if kids:
            with transaction(self._db) as db:
                db.executemany("delete from key_deposits where kid = ?", [(one,) for one in kids])
            emptied(self._db)

    def put_off(self, kids: Sequence[str]) -> None:
        """Custody did not take these: others go first the next time."""
        with transaction(self._db) as db:
            db.executemany("update key_deposits set tries = tries + 1 where kid = ?", [(one,) for one in kids])


def _box(row: Waiting, custody: Custody, technician: str | None, reader: WrapKey | None) -> bytes | None:
    if row.for_custody is not None and row.recipient_kid == kid(custody.key):
        return bytes(row.for_custody)
    if reader is None or row.for_reader is None or row.reader != technician:
        return None
    try:
        return seal_to(custody.key, open_sealed(reader.private, bytes(row.for_reader)))
    except CryptoFault as fault:
        raise StoreDamaged(f"the box of the key {row.kid} does not open") from fault


def _deposit(row: Waiting, custody: Custody, box: bytes) -> Deposit:
    return Deposit.model_validate(
        {
            "kid": row.kid,
            "purpose": row.purpose,
            "actor": row.actor,
            "stream": row.stream,
            "event": row.event,
            "fields": row.fields.split(),
            "at_ms": row.at_ms,
            "recipient_kid": kid(custody.key),
            "wrapped": to_base64url(box),
            "file": row.file,
        }
    )


def _row(row: Waiting) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in Waiting.__slots__)
