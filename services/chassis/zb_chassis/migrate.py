"""Numbered plain SQL migrations: `sql/migrations/0001_name.pre.sql` and `.post.sql` in a package.

A `pre` file runs before the new code and the old code must go on working on it; a `post` file runs once no old code is
left. `upgrade` runs what is missing, each file in its own transaction with its checksum recorded. One starter at a time.
A fresh database is built from the migrations; `sql/schema.sql` is the truth they are compared with (`catalogue.py`).
It never runs anything backwards.
"""

import hashlib
import importlib.resources
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import asyncpg

from zb_chassis.database import START_DEADLINE_S, Connection, connect

Phase = Literal["pre", "post"]
PHASES: tuple[Phase, ...] = ("pre", "post")

LOCK_TIMEOUT_S = 5
STARTER_TIMEOUT_S = 120
ADVISORY_LOCK = 0x7A62_6D69_6772  # "zbmigr"
FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<phase>pre|post)\.sql")

LEDGER = """
CREATE SCHEMA IF NOT EXISTS migrations;
CREATE TABLE IF NOT EXISTS migrations.applied (
    set_name text NOT NULL,
    number integer NOT NULL,
    phase text NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (set_name, number, phase)
);
"""


class MigrationError(Exception):
    """A database cannot be brought to what the code needs; the message is one sentence that says what to do."""


class MigrationEdited(MigrationError):
    """A migration that was applied is no longer the same text."""


class DatabaseIsNewer(MigrationError):
    """The database has migrations that this code does not know."""


class DatabaseIsOlder(MigrationError):
    """The database lacks migrations that this code needs."""


@dataclass(frozen=True)
class MigrationSet:
    """The migrations of one package, kept apart from other sets in the same database by `name`."""

    name: str
    package: str

    def schema(self) -> str:
        """The text of `sql/schema.sql`, and behind it of each `sql/schema_<noun>.sql`."""
        folder = importlib.resources.files(self.package).joinpath("sql")
        parts = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("schema_"))
        return "\n".join(folder.joinpath(name).read_text("utf-8") for name in ("schema.sql", *parts))

    def migrations(self) -> list["Migration"]:
        """All migrations in the order in which a fresh database gets them; raises MigrationError on a wrong name."""
        folder = importlib.resources.files(self.package).joinpath("sql", "migrations")
        found = [_read(self.name, entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.is_file()]
        found.sort(key=lambda migration: migration.order)
        for before, after in itertools.pairwise(found):
            if before.order == after.order:
                raise MigrationError(f"{before} and {after} have the same number: renumber one of them")
        return found


@dataclass(frozen=True)
class Migration:
    """One file: its place, its text, and the digest that must never change once it was applied."""

    set_name: str
    number: int
    phase: Phase
    name: str
    text: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.set_name}/{self.number:04}_{self.name}.{self.phase}.sql"

    @property
    def order(self) -> tuple[int, int]:
        return self.number, PHASES.index(self.phase)


CHASSIS_MIGRATIONS = MigrationSet("chassis", "zb_chassis")


async def upgrade(
    dsn: str,
    sets: Sequence[MigrationSet],
    *,
    phases: Iterable[Phase] = PHASES,
    deadline_s: float = START_DEADLINE_S,
) -> list[str]:
    """Apply what is missing of each set in turn; returns the names applied, an empty list when nothing was.

    Raises DatabaseUnreachable, MigrationEdited, DatabaseIsNewer, or MigrationError with the file's name when a file
    fails: that file leaves nothing behind, the files before it stay.
    """
    connection = await connect(dsn, application_name="migrate", deadline_s=deadline_s)
    try:
        await _take_turn(connection)
        await connection.execute(LEDGER)
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        return [str(migration) for one in sets for migration in await _upgrade_set(connection, one, tuple(phases))]
    finally:
        await connection.close()  # gives the turn back


async def check(connection: Connection, sets: Sequence[MigrationSet]) -> None:
    """For a service's start: raises DatabaseIsOlder when a `pre` migration is missing, DatabaseIsNewer when a `post`
    migration unknown to this code was applied. An unknown `pre` migration is allowed: old code must run on it."""
    if await connection.fetchval("SELECT to_regclass('migrations.applied') IS NULL"):
        raise DatabaseIsOlder("the database was never migrated: run the migrations first")
    for one in sets:
        known = {migration.order: migration for migration in one.migrations()}
        applied = await _applied(connection, one)
        _refuse_unknown(one, known, {order: row for order, row in applied.items() if row["phase"] == "post"})
        for order, migration in known.items():
            if migration.phase == "pre" and order not in applied:
                raise DatabaseIsOlder(f"the database lacks {migration}: run the migrations first")


async def _take_turn(connection: Connection) -> None:
    await connection.execute(f"SET lock_timeout = '{STARTER_TIMEOUT_S}s'")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            f"another process has been migrating this database for {STARTER_TIMEOUT_S} s: wait for it or end it"
        ) from error


async def _upgrade_set(connection: Connection, one: MigrationSet, phases: tuple[Phase, ...]) -> list[Migration]:
    known = {migration.order: migration for migration in one.migrations()}
    applied = await _applied(connection, one)
    _refuse_unknown(one, known, applied)
    for order, row in applied.items():
        if row["sha256"] != known[order].sha256:
            raise MigrationEdited(f"{known[order]} was edited after it was applied: restore it and add a new migration")
    missing = [migration for migration in known.values() if migration.order not in applied]
    wanted = [migration for migration in missing if migration.phase in phases]
    for migration in wanted:
        await _apply(connection, migration)
    return wanted


def _refuse_unknown(
    one: MigrationSet, known: dict[tuple[int, int], Migration], applied: dict[tuple[int, int], asyncpg.Record]
) -> None:
    for order, row in applied.items():
        if order not in known:
            raise DatabaseIsNewer(
                f"the database has {one.name} migration {row['number']:04}_{row['name']} that this version does not know: "
                "start the newer version that wrote it, or use another database"
            )


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(migration.text)
            await connection.execute(
                "INSERT INTO migrations.applied (set_name, number, phase, name, sha256) VALUES ($1, $2, $3, $4, $5)",
                migration.set_name,
                migration.number,
                migration.phase,
                migration.name,
                migration.sha256,
            )
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            f"{migration} waited {LOCK_TIMEOUT_S} s for a lock: end the long transactions and run it again"
        ) from error
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration} failed and left nothing behind: {error}") from error


async def _applied(connection: Connection, one: MigrationSet) -> dict[tuple[int, int], asyncpg.Record]:
    rows = await connection.fetch(
        "SELECT number, phase, name, sha256 FROM migrations.applied WHERE set_name = $1 ORDER BY number", one.name
    )
    return {(row["number"], PHASES.index(row["phase"])): row for row in rows}


def _read(set_name: str, file_name: str, content: bytes) -> Migration:
    match = FILE_NAME.fullmatch(file_name)
    if match is None:
        raise MigrationError(f"{set_name}/{file_name} is not named like 0001_name.pre.sql or 0001_name.post.sql")
    phase: Phase = "pre" if match["phase"] == "pre" else "post"
    digest = hashlib.sha256(content).hexdigest()
    return Migration(set_name, int(match["number"]), phase, match["name"], content.decode("utf-8"), digest)
