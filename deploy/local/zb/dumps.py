"""One database of the embedded PostgreSQL into a file and back, with the server's own pg_dump and pg_restore.

A dump is of one snapshot, which its caller opened and in which it may read what it wants to know beside it. It knows no table.
Passwords travel in the environment, never on a command line.
"""

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg

from zb.postgres import Postgres, PostgresError, program_folder

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

COMMAND_TIMEOUT_S: Final = 6 * 3600.0
"""Of one dump or one load: a ledger of years is some hundred gigabytes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of one database, held open; `name` lets other sessions read the same."""

    database: str
    name: str
    connection: "Connection"


@asynccontextmanager
async def snapshot(postgres: Postgres, database: str) -> AsyncIterator[Snapshot]:
    """A repeatable-read snapshot, open to the end of the block. Writers do not wait for it."""
    connection = await asyncpg.connect(postgres.superuser_dsn(database))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Snapshot(database, await connection.fetchval("SELECT pg_export_snapshot()"), connection)
    finally:
        await connection.close()


def dump(postgres: Postgres, at: Snapshot, file: Path, *, without: Sequence[str] = ()) -> None:
    """The database as it is in the snapshot, schema and rows, durable before it returns. PostgresError.

    `without`: schemas that are left out, where there are any of those names.
    """
    options = ("--format=custom", "--no-owner", f"--snapshot={at.name}", f"--file={file}")
    left_out = [f"--exclude-schema={schema}" for schema in without]
    _run(postgres.superuser_dsn(at.database), "pg_dump", (*options, *left_out))
    file.chmod(0o600)


def load(postgres: Postgres, database: str, file: Path) -> None:
    """The dump into a new database, all or nothing, owned by the role of its name. PostgresError."""
    dsn = postgres.create_database(database)
    _run(dsn, "pg_restore", ("--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={database}", str(file)))


async def databases(postgres: Postgres) -> list[str]:
    """The databases of the platform, by name."""
    connection = await asyncpg.connect(postgres.superuser_dsn())
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
    finally:
        await connection.close()
    return sorted(row["datname"] for row in rows)


def _run(dsn: str, program: str, options: Sequence[str]) -> None:
    place = urlsplit(dsn)
    environment: dict[str, Any] = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "PGHOST": place.hostname,
        "PGPORT": str(place.port),
        "PGUSER": place.username,
        "PGPASSWORD": place.password,
        "PGDATABASE": place.path.strip("/"),
    }
    done = subprocess.run(  # noqa: S603 -- our own binary, no shell
        [str(program_folder() / program), *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PostgresError(f"{program} of {environment['PGDATABASE']} failed: {said[-1] if said else 'it said nothing'}")
