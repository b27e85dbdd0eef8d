"""The read model of one technician: the documents of the scope as the server last signed them, and where the scope stands.

It lives in `read-<technician>.db` under a key that needs the PIN. Cursor and documents change in one transaction and never go
back: neither by number within an epoch nor by what a document's vector knows. Lists come from an index; a document is decoded
when somebody looks at it. The device's own events are not here: `local_state` lays them over a document.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from zb_contracts import canonical
from zb_contracts.catalogues import Reference, read_reference
from zb_contracts.problems import SYNC_ROLLBACK, SYNC_SCOPE_LIMIT, Problem
from zb_contracts.sync import (
    SCOPE_BYTES_MAX,
    SCOPE_DOCUMENT_BYTES_MAX,
    SCOPE_DOCUMENTS_MAX,
    ScopeDelta,
    ScopeDocument,
)
from zb_device.database import Connection, open_database, transaction
from zb_device.faults import StoreDamaged
from zb_device.listed import ALL, LISTED_MAX, Listed, Which, line_of, read_line
from zb_device.subject_keys import SubjectKeys


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the technician's copy of the scope stands. `complete`: no continuation and no full resync is due.

    `healing`: the ledger's newest loss when the epoch began. `round`: the number of the newest full resync. `floor`: the cursor
    that it has to reach while it goes on, because the device was there; None while none does. `size`: bytes of all documents.
    """

    epoch: str = ""
    cursor: int = 0
    omitted: tuple[str, ...] = ()
    complete: bool = True
    omitted_count: int = 0
    healing: int = 0
    round: int = 0
    floor: int | None = None
    size: int = 0


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
        self._path = database_path(folder, technician)
        self._db: Connection = open_database(self._path, key, "read", is_whole=True)
        self.keys = SubjectKeys(self._db)
        self.technician = technician
        self.is_open = True

    @property
    def is_damaged(self) -> bool:
        """Some page of it is not what was written; nothing in it is the only copy."""
        return bool(self._db.is_damaged)

    def close(self) -> None:
        """Lock. A damaged one goes: it is begun anew when it is opened next."""
        self.is_open = False
        self._db.close()
        if self.is_damaged:
            _remove(self._path)

    # --- Reading ---

    def scope(self) -> Scope:
        row = self._db.execute(
            "select epoch, cursor, omitted, complete, omitted_count, healing, round, floor, size from scope"
        ).fetchone()
        return Scope(row[0], row[1], tuple(msgspec.json.decode(row[2])), bool(row[3]), *row[4:]) if row else Scope()

    def count(self) -> int:
        (count,) = self._db.execute("select count(*) from documents").fetchone()
        return int(count)

    def document(self, document_id: str) -> Document | None:
        row = self._db.execute("select id, change, vector, content from documents where id = ?", (document_id,)).fetchone()
        return Document(row[0], row[1], dict(canonical.decode(row[2].encode())), bytes(row[3])) if row else None

    def vectors(self, streams: Iterable[str]) -> dict[str, dict[str, int]]:
        """What the documents of these streams know; of those that are here."""
        rows = self._db.execute(
            "select id, vector from documents where id in (select value from json_each(?))", (json.dumps(list(streams)),)
        )
        return {row[0]: dict(canonical.decode(row[1].encode())) for row in rows}

    def ids(self, kind: str) -> list[str]:
        """Documents of one kind (`intervention`, `site`, `catalogue` ...), by id."""
        rows = self._db.execute(
            "select id from documents indexed by documents_listed where id > ? and id < ? order by id", _span(kind)
        )
        return [row[0] for row in rows]

    def references(self) -> list[Reference]:
        """To the catalogues of the scope."""
        rows = self._db.execute("select id, content from documents where id > ? and id < ?", _span("catalogue"))
        return [read_reference(row[0], bytes(row[1])) for row in rows]

    def listed(self, kind: str = "intervention", which: Which = ALL) -> list[Listed]:
        """Documents of one kind by their planned time, those without one last; no document is read for it."""
        rows = self._db.execute(
            """
            select line from documents indexed by documents_listed
            where id > ? and id < ? and (?3 is null or status = ?3) and (?4 is null or planned_ms >= ?4)
                and (?5 is null or planned_ms < ?5)
            order by planned_ms is null, planned_ms, id limit ?6
            """,
            (*_span(kind), which.status, which.from_ms, which.until_ms, max(0, min(which.limit, LISTED_MAX))),
        )
        return [read_line(row[0]) for row in rows]

    # --- Applying ---

    def apply(self, delta: ScopeDelta, healing: int = 0) -> None:
        """Documents and cursor together, or nothing. `healing`: the newest loss that the ledger told this device of.

        SYNC_ROLLBACK when a server wants to go back, SYNC_SCOPE_LIMIT when it sends more than a scope may hold. What a full
        resync does not name goes when the resync has ended, not before: it may never end. A count that does not fit makes the
        next request ask for everything again.
        """
        held = self.scope()
        check_order(delta, held)
        with transaction(self._db) as db:
            begun = self._begun(delta, held, healing)
            size = begun.size + sum([self._put(document, begun) for document in delta.documents])
            if begun.floor is not None and not delta.more:
                size -= self._forget_others(begun.round)
            count = self.count()
            _check_limit("documents", count, SCOPE_DOCUMENTS_MAX)
            _check_limit("bytes", size, SCOPE_BYTES_MAX)
            db.execute(
                "insert or replace into scope"
                " (one, epoch, cursor, omitted, complete, omitted_count, healing, round, floor, size)"
                " values (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    delta.epoch,
                    delta.cursor,
                    msgspec.json.encode(delta.omitted).decode(),
                    delta.more or count == delta.count,
                    delta.omitted_count,
                    begun.healing,
                    begun.round,
                    begun.floor if delta.more else None,
                    size,
                ),
            )

    def _begun(self, delta: ScopeDelta, held: Scope, healing: int) -> Scope:
        """Where the scope stands while this delta is applied; a full one begins a resync."""
        if not delta.full:
            return held
        if healing > held.healing:
            # The ledger said, signed, that it lost rows: what the documents knew may be more than it knows now.
            self._db.execute("delete from documents")
            return replace(held, healing=healing, round=held.round + 1, floor=0, size=0)
        return replace(held, round=held.round + 1, floor=_floor(delta, held))

    def _put(self, document: ScopeDocument, scope: Scope) -> int:
        """By how many bytes the documents grew."""
        row = self._db.execute("select vector, length(content) from documents where id = ?", (document.id,)).fetchone()
        vector, size = (canonical.decode(row[0].encode()), int(row[1])) if row else ({}, 0)
        if document.content is None:
            self._db.execute("delete from documents where id = ?", (document.id,))
            return -size
        _check_limit("bytes in a document", len(document.content), SCOPE_DOCUMENT_BYTES_MAX)
        if any(document.vector.get(author, 0) < number for author, number in vector.items()):
            raise Problem(SYNC_ROLLBACK, held=max(vector.values()), offered=max(document.vector.values(), default=0))
        line = line_of(document.id, document.content)
        self._db.execute(
            "insert or replace into documents (id, change, vector, content, round, planned_ms, status, line)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document.id,
                document.change,
                canonical.encode(document.vector).decode(),
                document.content,
                scope.round,
                line.planned_ms,
                line.status,
                msgspec.json.encode(line).decode(),
            ),
        )
        return len(document.content) - size

    def _forget_others(self, newest: int) -> int:
        """Drop what the resync that ends now did not name; its bytes."""
        (size,) = self._db.execute(
            "select coalesce(sum(length(content)), 0) from documents where round < ?", (newest,)
        ).fetchone()
        self._db.execute("delete from documents where round < ?", (newest,))
        return int(size)


def check_order(delta: ScopeDelta, held: Scope) -> None:
    """SYNC_ROLLBACK unless the delta goes on from where the device is, each change after the one before."""
    if not delta.full and (delta.epoch != held.epoch or delta.cursor < held.cursor):
        raise Problem(SYNC_ROLLBACK, held=held.cursor, offered=delta.cursor)
    floor = _floor(delta, held) if delta.full else held.floor or 0
    if not delta.more and delta.cursor < floor:
        raise Problem(SYNC_ROLLBACK, held=floor, offered=delta.cursor)
    at = 0 if delta.full else held.cursor
    for document in delta.documents:
        if not at < document.change <= delta.cursor:
            raise Problem(SYNC_ROLLBACK, held=at, offered=document.change)
        at = document.change


def _floor(delta: ScopeDelta, held: Scope) -> int:
    """Where a full resync has to come to: cursors of two epochs have nothing to do with each other."""
    return max(held.cursor, held.floor or 0) if delta.epoch == held.epoch else 0


def _check_limit(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise Problem(SYNC_SCOPE_LIMIT, what=what, size=size, limit=limit)


def _span(kind: str) -> tuple[str, str]:
    """All ids of a kind lie between these."""
    return f"{kind}:", f"{kind};"


def read_model(folder: Path, technician: str, key: bytes, damaged: Callable[[str], None]) -> ReadModel:
    """The technician's read model. A damaged one is begun anew, and `damaged` is told: the platform has all that was in it."""
    try:
        return ReadModel(folder, technician, key)
    except StoreDamaged:
        _remove(database_path(folder, technician))
        damaged(technician)
        return ReadModel(folder, technician, key)


def _remove(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}*"):
        part.unlink(missing_ok=True)


def remove_read_models(folder: Path, *, keep: Sequence[str]) -> None:
    """Remove the files of every technician but these, with their journals."""
    kept = {database_path(folder, technician).name for technician in keep}
    for path in folder.glob("read-*.db*"):
        if path.name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal") not in kept:
            path.unlink(missing_ok=True)


def database_path(folder: Path, technician: str) -> Path:
    """Two technicians on one device have two files."""
    return folder / f"read-{technician}.db"
