"""The technician's keys of data subjects, given by custody or made here; they lie in the read model, under the PIN.

A key opens what stands in documents and own events. It is forgotten when custody says so, and with the read model. Which keys a
device gets is custody's matter; fetching them is `key_exchange`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from zb_contracts.faults import CryptoFault
from zb_contracts.sealed import SealedValue, open_sealed_value
from zb_contracts.subject_keys import Purpose
from zb_device.database import Connection, emptied, transaction

MADE_HERE: Final = ""
"""In the place of the subject: custody knows whose key it is."""
_SEALED: Final = "sealed"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """An opened key. With a span (wall clock, ms) custody gave it to seal under."""

    kid: str
    key: bytes = field(repr=False)
    subject: str
    purpose: Purpose
    used_from_ms: int | None = None
    used_until_ms: int | None = None


class SubjectKeys:
    """The table `subject_keys` of an open read model."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def put(self, keys: Sequence[HeldKey]) -> None:
        """Hold these as well."""
        if not keys:
            return
        with transaction(self._db) as db:
            db.executemany(
                "insert or replace into subject_keys (kid, key, subject, purpose, used_from_ms, used_until_ms)"
                " values (?, ?, ?, ?, ?, ?)",
                [(one.kid, one.key, one.subject, one.purpose, one.used_from_ms, one.used_until_ms) for one in keys],
            )

    def drop(self, kids: Sequence[str]) -> None:
        """Forget these: in no page and no journal either."""
        if kids:
            with transaction(self._db) as db:
                db.executemany("delete from subject_keys where kid = ?", [(kid,) for kid in kids])
            emptied(self._db)

    def kids(self) -> list[str]:
        return [row[0] for row in self._db.execute("select kid from subject_keys order by kid")]

    def key(self, kid: str) -> bytes | None:
        row = self._db.execute("select key from subject_keys where kid = ?", (kid,)).fetchone()
        return bytes(row[0]) if row else None

    def to_seal(self, purpose: Purpose, subject: str, wall_ms: int) -> tuple[str, bytes] | None:
        """The name and key that custody gave for this purpose and time; None where it gave none."""
        row = self._db.execute(
            "select kid, key from subject_keys where purpose = ? and subject = ? and used_from_ms <= ? and used_until_ms > ?"
            " order by kid limit 1",
            (purpose, subject, wall_ms, wall_ms),
        ).fetchone()
        return (row[0], bytes(row[1])) if row else None

    def opened(self, state: object) -> Any:
        """A merged state as plain JSON, with every sealed value opened whose key is here; the others stay as they are."""
        return self._walk(msgspec.to_builtins(state), "", "")

    def _walk(self, node: Any, event: str, name: str) -> Any:
        if isinstance(node, list):
            return [self._walk(one, event, name) for one in node]
        if not isinstance(node, dict):
            return node
        if node.keys() == {_SEALED}:
            return self._value(node, event, name)
        origin = node.get("origin")
        if isinstance(origin, dict):
            event = str(origin.get("event", ""))
        # A value that was set aside names its field beside it; everywhere else it is the key under which it stands.
        own = node.get("field")
        name = own if isinstance(own, str) and origin else name
        return {key: self._walk(value, event, name if key in ("value", "set_aside") else key) for key, value in node.items()}

    def _value(self, node: dict[str, Any], event: str, name: str) -> Any:
        try:
            sealed = SealedValue.model_validate(node)
            key = self.key(sealed.kid)
            text = None if key is None else open_sealed_value(key, event, name, sealed)
        except (ValueError, CryptoFault):
            # What somebody else wrote may be sealed to nobody, or for another event: it is shown as it stands.
            return node
        return node if text is None else as_said(name, text)


def as_said(name: str, text: str) -> Any:
    """A sealed text as its author said it: positions are JSON, all else is text."""
    return msgspec.json.decode(text) if name == "position" else text
