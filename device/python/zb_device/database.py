"""Opening an encrypted SQLite file so that a commit is durable and a wrong key or damaged page is a named fault.

SQLCipher with a raw key (32 bytes), WAL, `synchronous=FULL`. It knows no table: `log` and `reading` bring their schema.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sqlcipher3 import dbapi2

from zb_contracts.problems import NEWER_DATA, Problem
from zb_device.faults import DiskFull, StoreDamaged

BUSY_TIMEOUT_MS: Final = 5_000
CHECKPOINT_PAGES: Final = 4_000
"""The journal is written back when it has so many pages: a commit in some 500 waits for that, and opening reads 16 MB at most."""
SCHEMA_VERSIONS: Final[Mapping[str, int]] = {"device": 5, "read": 3, "catalogues": 1}
"""The newest version of each schema: `sql/<schema>.sql`. `sql/<schema>.<n>.sql` brings one of version n - 1 to n."""

Connection = Any
"""A sqlcipher3 connection; the library has no types."""

Row = tuple[Any, ...]


def open_database(path: Path, key: bytes, schema: str) -> Connection:
    """The database at `path` with the tables of `sql/<schema>.sql`, upgraded where it is of an older version.

    StoreDamaged on a wrong key or a damaged file, NEWER_DATA for one of a newer version.
    """
    connection = dbapi2.connect(str(path), isolation_level=None, cached_statements=256)
    try:
        connection.execute(f"pragma key = \"x'{key.hex()}'\"")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma secure_delete = on")
        connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
        _ensure_schema(connection, path, schema)
    except dbapi2.DatabaseError as fault:
        connection.close()
        raise _named(fault, path) from fault
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)
    return connection


def _ensure_schema(connection: Connection, path: Path, schema: str) -> None:
    (version,) = connection.execute("pragma user_version").fetchone()
    newest = SCHEMA_VERSIONS[schema]
    if version > newest:
        raise Problem(NEWER_DATA, place=path.name, found=version, known=newest)
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
    """Everything inside commits together, durably, or not at all. DiskFull and StoreDamaged name what stopped it."""
    try:
        connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
    except dbapi2.DatabaseError as fault:
        raise _named(fault, None) from fault


def emptied(connection: Connection) -> None:
    """What was deleted is in no journal any more either: with `secure_delete` its pages were overwritten."""
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def check_integrity(connection: Connection, path: Path) -> None:
    """Read and authenticate every page. StoreDamaged names the first that fails."""
    try:
        faults = [row[0] for row in connection.execute("pragma cipher_integrity_check").fetchall()]
        faults += [row[0] for row in connection.execute("pragma quick_check").fetchall() if row[0] != "ok"]
    except dbapi2.DatabaseError as fault:
        raise _named(fault, path) from fault
    if faults:
        raise StoreDamaged(f"{path.name} is damaged: {faults[0]}")


def _named(fault: Exception, path: Path | None) -> Exception:
    text = str(fault)
    place = path.name if path else "the store"
    if "full" in text:
        return DiskFull("the disk is full: nothing was recorded; free some space and try again")
    if "not a database" in text or "malformed" in text or "disk I/O" in text:
        return StoreDamaged(f"{place} cannot be read ({text}): wrong key, damaged or half copied. Do not delete it")
    return fault
