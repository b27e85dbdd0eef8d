"""Opening an encrypted SQLite file so that a commit is durable, and a wrong key, a damaged page or a full disk is a named fault.

SQLCipher with a raw key (32 bytes), WAL, `synchronous=FULL`. The fault has its name whichever statement meets it: a page may be
damaged that nobody reads for days. It knows no table: `log` and `reading` bring their schema.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sqlcipher3 import dbapi2

from zb_contracts.problems import NEWER_DATA, Problem
from zb_device.faults import DeviceFault, DiskFailing, DiskFull, StoreDamaged

BUSY_TIMEOUT_MS: Final = 5_000
CHECKPOINT_PAGES: Final = 4_000
"""The journal is written back when it has so many pages: a commit in some 500 waits for that, and opening reads 16 MB at most."""
SCHEMA_VERSIONS: Final[Mapping[str, int]] = {"device": 7, "read": 4, "catalogues": 1}
"""The newest version of each schema: `sql/<schema>.sql`. `sql/<schema>.<n>.sql` brings one of version n - 1 to n."""

Row = tuple[Any, ...]


def _naming(method: Callable[..., Any]) -> Callable[..., Any]:
    """The cursor's method, with names for the faults of the file."""

    @wraps(method)
    def named(cursor: Any, *values: Any) -> Any:
        try:
            return method(cursor, *values)
        except dbapi2.DatabaseError as fault:
            name = _named(fault, cursor.connection)
            if name is None:
                raise
            raise name from fault

    return named


class _Cursor(dbapi2.Cursor):  # type: ignore[misc]
    """Rows are read from the file one by one, so each step may meet the fault."""

    execute = _naming(dbapi2.Cursor.execute)
    executemany = _naming(dbapi2.Cursor.executemany)
    executescript = _naming(dbapi2.Cursor.executescript)
    fetchone = _naming(dbapi2.Cursor.fetchone)
    fetchall = _naming(dbapi2.Cursor.fetchall)
    __next__ = _naming(dbapi2.Cursor.__next__)


class Connection(dbapi2.Connection):  # type: ignore[misc]
    """An open database. StoreDamaged, DiskFull and DiskFailing name what is wrong with its file; the rest are the caller's."""

    path: Path
    is_damaged: bool = False
    """Something in it is not what was written: some statement has met it."""

    def cursor(self, factory: type = _Cursor) -> Any:
        return super().cursor(factory)


def open_database(path: Path, key: bytes, schema: str, *, is_whole: bool = False) -> Connection:
    """The database at `path` with the tables of `sql/<schema>.sql`, upgraded where it is of an older version.

    StoreDamaged on a wrong key or a damaged file, NEWER_DATA for one of a newer version. `is_whole`: every page is authenticated
    first (10 ms a MB), for what is begun anew rather than used with a hole.
    """
    # Its journals get the mode of the file.
    path.touch(mode=0o600)
    connection: Connection = dbapi2.connect(str(path), isolation_level=None, cached_statements=256, factory=Connection)
    connection.path = path
    try:
        # The library would print each fault as well, between the lines of whoever runs in this terminal.
        connection.execute("pragma cipher_log_level = none")
        connection.execute(f"pragma key = \"x'{key.hex()}'\"")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma secure_delete = on")
        connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
        if is_whole and (faults := damaged_pages(connection)):
            raise StoreDamaged(f"{path.name} is damaged: {faults[0]}")
        _ensure_schema(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _ensure_schema(connection: Connection, schema: str) -> None:
    (version,) = connection.execute("pragma user_version").fetchone()
    newest = SCHEMA_VERSIONS[schema]
    if version > newest:
        raise Problem(NEWER_DATA, place=connection.path.name, found=version, known=newest)
    if version == 0:
        _run(connection, f"{schema}.sql", newest)
    for number in range(version + 1 if version else newest + 1, newest + 1):
        _run(connection, f"{schema}.{number}.sql", number)


def _run(connection: Connection, name: str, version: int) -> None:
    """The script and the version that it makes, together or not at all."""
    script = files("zb_device").joinpath("sql", name).read_text()
    connection.executescript(f"begin immediate;\n{script}\npragma user_version = {version};\ncommit;")


@contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """Everything inside commits together, durably, or not at all."""
    connection.execute("begin immediate")
    try:
        yield connection
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def emptied(connection: Connection) -> None:
    """What was deleted is in no journal any more either: with `secure_delete` its pages were overwritten."""
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def damaged_pages(connection: Connection) -> list[str]:
    """What is wrong with which page. SQLCipher does not always say so when it reads one: where a long value ends in a damaged
    page it hands out zeros, and the next statement fails."""
    return [row[0] for row in connection.execute("pragma cipher_integrity_check").fetchall()]


def check_integrity(connection: Connection) -> None:
    """Read and authenticate every page. StoreDamaged names the first that fails."""
    faults = damaged_pages(connection)
    faults += [row[0] for row in connection.execute("pragma quick_check").fetchall() if row[0] != "ok"]
    if faults:
        raise StoreDamaged(f"{connection.path.name} is damaged: {faults[0]}")


def _named(fault: Exception, connection: Connection) -> DeviceFault | None:
    """None where the fault is not the file's."""
    text, name = str(fault), connection.path.name
    if "full" in text:
        return DiskFull("the disk is full: nothing was recorded; free some space and try again")
    if "disk I/O" in text:
        return DiskFailing(f"{name} could not be read or written ({text}): try again")
    if "not a database" in text or "malformed" in text:
        connection.is_damaged = True
        return StoreDamaged(f"{name} cannot be read ({text}): wrong key, damaged or half copied. Do not delete it")
    return None
