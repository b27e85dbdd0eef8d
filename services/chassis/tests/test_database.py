"""The pool: sessions with named limits, patience with a server that is not there yet, one transaction a block."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import cast

import asyncpg
import pytest

from tests.fixtures.postgres import PostgresServer
from zb_chassis.database import DatabaseUnreachable, Pool, is_ready, open_pool, transaction, waited_out


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_database", statement_timeout_s=0.2)
    yield opened
    await opened.close()


async def test_a_session_has_its_name_its_isolation_and_its_limits(pool: Pool) -> None:
    async with transaction(pool) as connection:
        assert await connection.fetchval("SHOW application_name") == "test_database"
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
        assert await connection.fetchval("SHOW lock_timeout") == "10s"
        assert await connection.fetchval("SELECT $1::jsonb", {"boiler": ["leaky", 1]}) == {"boiler": ["leaky", 1]}
    with pytest.raises(asyncpg.QueryCanceledError):
        await pool.execute("SELECT pg_sleep(30)")


async def test_a_block_that_fails_leaves_nothing(pool: Pool) -> None:
    await pool.execute("CREATE TABLE boiler (name text PRIMARY KEY)")

    async def leak_twice() -> None:
        async with transaction(pool) as connection:
            await connection.execute("INSERT INTO boiler VALUES ('leaky')")
            await connection.execute("INSERT INTO boiler VALUES ('leaky')")

    with pytest.raises(asyncpg.UniqueViolationError):
        await leak_twice()
    assert await pool.fetchval("SELECT count(*) FROM boiler") == 0


async def test_a_pool_waits_for_a_database_that_is_made_later(postgres_server: PostgresServer) -> None:
    administrator = await asyncpg.connect(postgres_server.dsn())
    waiting = asyncio.create_task(open_pool(postgres_server.dsn("made_later"), application_name="early", deadline_s=30))
    try:
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        await administrator.execute("CREATE DATABASE made_later")
        opened = await waiting
        assert await is_ready(opened)
        await opened.close()
        assert not await is_ready(opened)
    finally:
        await administrator.execute("DROP DATABASE IF EXISTS made_later WITH (FORCE)")
        await administrator.close()


async def test_an_absent_server_is_named_without_its_password() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        port = cast(int, bound.getsockname()[1])
        with pytest.raises(DatabaseUnreachable, match=re.escape(f"127.0.0.1:{port}/media did not take")) as told:
            await open_pool(f"postgresql://media:secret@127.0.0.1:{port}/media", application_name="x", deadline_s=0.3)
    assert "secret" not in str(told.value)


async def test_a_wrong_password_is_said_at_once(postgres_server: PostgresServer) -> None:
    dsn = postgres_server.dsn().replace(postgres_server.password, "guessed")
    with pytest.raises(DatabaseUnreachable, match="refuses the role or its password"):
        await open_pool(dsn, application_name="guesser")


async def test_a_turn_that_finds_the_database_away_is_told_and_over(caplog: pytest.LogCaptureFixture) -> None:
    async with waited_out("sweeping"):
        raise asyncpg.CannotConnectNowError("the database system is starting up")
    assert "sweeping waits for its next turn" in caplog.text
    with pytest.raises(asyncpg.UniqueViolationError):
        async with waited_out("sweeping"):
            raise asyncpg.UniqueViolationError("twice")
