"""The read model of one technician: the documents of the scope as the server last signed them, and where the scope stands.

It lives in `read-<technician>.db` under a key that needs the PIN. Cursor and documents change in one transaction and never go
back. The device's own events are not here: `local_state` lays them over a document.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from zb_contracts import canonical
from zb_contracts.problems import SYNC_ROLLBACK, Problem
from zb_contracts.sync import ScopeDelta, ScopeDocument
from zb_device.database import Connection, open_database, transaction


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the technician's copy of the scope stands. `complete`: no continuation and no full resync is due."""

    epoch: str = ""
    cursor: int = 0
    omitted: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """The newest version that the server signed of one document."""

    id: str
    change: int
    vector: dict[str, int]
    content: bytes


class ReadModel:
    """An open read model. Close it to lock."""

    def __init__(self, folder: Path, technician: str, key: bytes) -> None:
        self._db: Connection = open_database(database_path(folder, technician), key, "read")
        self.technician = technician
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self._db.close()

    def scope(self) -> Scope:
        row = self._db.execute("select epoch, cursor, omitted, complete from scope").fetchone()
        return Scope(row[0], row[1], tuple(msgspec.json.decode(row[2])), bool(row[3])) if row else Scope()

    def count(self) -> int:
        (count,) = self._db.execute("select count(*) from documents").fetchone()
        return int(count)

    def document(self, document_id: str) -> Document | None:
        row = self._db.execute("select id, change, vector, content from documents where id = ?", (document_id,)).fetchone()
        return Document(row[0], row[1], dict(canonical.decode(row[2].encode())), bytes(row[3])) if row else None

    def ids(self, kind: str) -> list[str]:
        """Documents of one kind (`intervention`, `site`, `catalogue` ...), by id."""
        rows = self._db.execute("select id from documents where id > ? and id < ? order by id", (f"{kind}:", f"{kind};"))
        return [row[0] for row in rows]

    def apply(self, delta: ScopeDelta) -> None:
        """Documents and cursor together. SYNC_ROLLBACK when a server wants to go back within an epoch.

        A count that does not fit makes the next request ask for everything again.
        """
        held = self.scope()
        if not delta.full and (delta.epoch != held.epoch or delta.cursor < held.cursor):
            raise Problem(SYNC_ROLLBACK, held=held.cursor, offered=delta.cursor)
        if delta.full and delta.epoch == held.epoch and delta.cursor < held.cursor and held.complete and not delta.more:
            raise Problem(SYNC_ROLLBACK, held=held.cursor, offered=delta.cursor)
        with transaction(self._db) as db:
            if delta.full:
                db.execute("delete from documents")
            for document in delta.documents:
                self._put(document)
            complete = delta.more or self.count() == delta.count
            db.execute(
                "insert into scope (one, epoch, cursor, omitted, complete) values (1, ?, ?, ?, ?) on conflict (one) do update"
                " set epoch = excluded.epoch, cursor = excluded.cursor, omitted = excluded.omitted,"
                " complete = excluded.complete",
                (delta.epoch, delta.cursor, msgspec.json.encode(delta.omitted).decode(), complete),
            )

    def _put(self, document: ScopeDocument) -> None:
        if document.content is None:
            self._db.execute("delete from documents where id = ?", (document.id,))
            return
        held = self._db.execute("select change from documents where id = ?", (document.id,)).fetchone()
        if held and document.change < held[0]:
            raise Problem(SYNC_ROLLBACK, held=held[0], offered=document.change)
        self._db.execute(
            "insert into documents (id, change, vector, content) values (?, ?, ?, ?) on conflict (id) do update"
            " set change = excluded.change, vector = excluded.vector, content = excluded.content",
            (document.id, document.change, canonical.encode(document.vector).decode(), document.content),
        )

    def put_subject_key(self, kid: str, key: bytes) -> None:
        """A data subject's key that was made here, so that the technician can read what was just sealed."""
        with transaction(self._db) as db:
            db.execute("insert or ignore into subject_keys (kid, key) values (?, ?)", (kid, key))

    def subject_key(self, kid: str) -> bytes | None:
        row = self._db.execute("select key from subject_keys where kid = ?", (kid,)).fetchone()
        return bytes(row[0]) if row else None


def database_path(folder: Path, technician: str) -> Path:
    """Two technicians on one device have two files."""
    return folder / f"read-{technician}.db"
