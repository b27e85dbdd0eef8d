"""Migrations: one starter at a time, each file whole or not at all, and never a guess about a database one does not know."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from zb_chassis import catalogue, migrate
from zb_chassis.database import Connection
from zb_chassis.migrate import (
    CHASSIS_MIGRATIONS,
    DatabaseIsNewer,
    DatabaseIsOlder,
    MigrationEdited,
    MigrationError,
    MigrationSet,
)

Write = Callable[[str, str], None]


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    """None: that is what is tried here."""
    return ()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database)
    yield opened
    await opened.close()


@pytest.fixture
def boilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MigrationSet]:
    """A service's package with one migration, on disk and importable."""
    package = tmp_path / "boilers_of_test"
    (package / "sql" / "migrations").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sql" / "migrations" / "0001_boiler.pre.sql").write_text("CREATE TABLE boiler (name text NOT NULL);")
    (package / "sql" / "schema.sql").write_text("CREATE TABLE boiler (name text NOT NULL, leaky boolean);")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield MigrationSet("boilers", package.name)
    sys.modules.pop(package.name, None)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    folder = tmp_path / "boilers_of_test" / "sql" / "migrations"
    return lambda name, text: (folder / name).write_text(text) and None


async def test_schema_and_migrations_of_the_chassis_build_the_same_database(connection: Connection) -> None:
    assert await catalogue.schema_differences(connection, CHASSIS_MIGRATIONS) == []


async def test_a_schema_that_the_migrations_do_not_build_is_told_line_by_line(
    connection: Connection, boilers: MigrationSet, write: Write
) -> None:
    assert await catalogue.schema_differences(connection, boilers) == ["- column boiler.leaky boolean null"]
    write("0002_leaky.pre.sql", "ALTER TABLE boiler ADD COLUMN leaky boolean DEFAULT true; CREATE INDEX leaks ON boiler (leaky);")
    assert await catalogue.schema_differences(connection, boilers) == [
        "- column boiler.leaky boolean null",
        "+ column boiler.leaky boolean null default true",
        "+ index CREATE INDEX leaks ON public.boiler USING btree (leaky)",
    ]


async def test_what_is_missing_is_applied_once_and_a_second_start_changes_nothing(
    database: str, connection: Connection, boilers: MigrationSet, write: Write
) -> None:
    write("0001_boiler.post.sql", "ALTER TABLE boiler ADD COLUMN leaky boolean;")
    sets = [CHASSIS_MIGRATIONS, boilers]
    chassis = [str(one) for one in CHASSIS_MIGRATIONS.migrations()]
    pre, post = "boilers/0001_boiler.pre.sql", "boilers/0001_boiler.post.sql"
    with pytest.raises(DatabaseIsOlder, match="never migrated"):
        await migrate.check(connection, sets)
    assert await migrate.upgrade(database, sets, phases=["pre"]) == [*chassis, pre]
    await migrate.check(connection, sets)
    assert await migrate.upgrade(database, sets) == [post]
    assert await migrate.upgrade(database, sets) == []
    write("0002_valve.pre.sql", "CREATE TABLE valve ();")
    with pytest.raises(DatabaseIsOlder, match="lacks boilers/0002_valve"):
        await migrate.check(connection, sets)


async def test_two_starters_do_not_collide(database: str, boilers: MigrationSet) -> None:
    sets = [CHASSIS_MIGRATIONS, boilers]
    applied = await asyncio.gather(*(migrate.upgrade(database, sets) for _ in range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(CHASSIS_MIGRATIONS.migrations()) + 1]


async def test_an_edited_migration_is_an_error(database: str, boilers: MigrationSet, write: Write) -> None:
    await migrate.upgrade(database, [boilers])
    write("0001_boiler.pre.sql", "CREATE TABLE boiler (name text);")
    with pytest.raises(MigrationEdited, match=r"0001_boiler\.pre\.sql was edited after it was applied"):
        await migrate.upgrade(database, [boilers])


async def test_old_code_runs_on_a_newer_pre_migration_and_stops_at_a_newer_post_migration(
    database: str, connection: Connection, boilers: MigrationSet, write: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "boilers_of_test" / "sql" / "migrations"
    write("0002_valve.pre.sql", "CREATE TABLE valve ();")
    await migrate.upgrade(database, [boilers])
    (folder / "0002_valve.pre.sql").unlink()
    await migrate.check(connection, [boilers])
    with pytest.raises(DatabaseIsNewer, match="0002_valve that this version does not know: start the newer version"):
        await migrate.upgrade(database, [boilers])

    write("0002_valve.pre.sql", "CREATE TABLE valve ();")
    write("0002_valve.post.sql", "DROP TABLE boiler;")
    await migrate.upgrade(database, [boilers])
    (folder / "0002_valve.post.sql").unlink()
    with pytest.raises(DatabaseIsNewer):
        await migrate.check(connection, [boilers])


async def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_mended(
    database: str, connection: Connection, boilers: MigrationSet, write: Write
) -> None:
    write("0002_valve.pre.sql", "CREATE TABLE valve (); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0002_valve\.pre\.sql failed and left nothing behind: division by zero"):
        await migrate.upgrade(database, [boilers])
    assert await connection.fetchval("SELECT to_regclass('valve')") is None
    write("0002_valve.pre.sql", "CREATE TABLE valve ();")
    assert await migrate.upgrade(database, [boilers]) == ["boilers/0002_valve.pre.sql"]


async def test_a_migration_does_not_wait_for_ever_behind_a_long_transaction(
    database: str, connection: Connection, boilers: MigrationSet, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.upgrade(database, [boilers])
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 0.1)
    write("0002_leaky.pre.sql", "ALTER TABLE boiler ADD COLUMN leaky boolean;")
    async with connection.transaction():
        await connection.execute("SELECT name FROM boiler")
        with pytest.raises(MigrationError, match="for a lock: end the long transactions"):
            await migrate.upgrade(database, [boilers])
    assert await migrate.upgrade(database, [boilers]) == ["boilers/0002_leaky.pre.sql"]


@pytest.mark.parametrize("name", ["boiler.sql", "0002_valve.sql", "2_valve.pre.sql", "0002_Valve.pre.sql"])
async def test_a_file_with_a_wrong_name_is_named(database: str, boilers: MigrationSet, write: Write, name: str) -> None:
    write(name, "SELECT 1;")
    with pytest.raises(MigrationError, match=f"boilers/{name} is not named like"):
        await migrate.upgrade(database, [boilers])


async def test_a_number_given_twice_is_refused(database: str, boilers: MigrationSet, write: Write) -> None:
    write("0001_valve.pre.sql", "SELECT 1;")
    with pytest.raises(MigrationError, match="have the same number"):
        await migrate.upgrade(database, [boilers])
