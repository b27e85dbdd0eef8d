"""The inbox: a message delivered twice has one effect, whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from zb_chassis import inbox
from zb_chassis.database import Connection, Pool, open_pool, transaction
from zb_chassis.inbox import MessageIdTooLong, first_time


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_inbox")
    yield opened
    await opened.close()


async def handle(connection: Connection, message_id: str) -> bool:
    """A handler whose effect can be counted."""
    if not await first_time(connection, "FIELD", message_id):
        return False
    await connection.execute("INSERT INTO chassis.tracking VALUES ($1, 1)", message_id)
    return True


async def effects(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM chassis.tracking") or 0


async def test_a_message_delivered_twice_is_handled_once(pool: Pool) -> None:
    async with transaction(pool) as connection:
        assert await handle(connection, "leaky-boiler")
    async with transaction(pool) as connection:
        assert not await handle(connection, "leaky-boiler")
        assert await first_time(connection, "OFFICE", "leaky-boiler"), "another source's ids are its own"
    assert await effects(pool) == 1


async def test_a_handler_that_failed_before_its_commit_gets_the_message_again_as_new(pool: Pool) -> None:
    async with pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        assert await handle(connection, "leaky-boiler")
        await attempt.rollback()
    assert await effects(pool) == 0
    async with transaction(pool) as connection:
        assert await handle(connection, "leaky-boiler")
    assert await effects(pool) == 1


async def test_two_deliveries_at_the_same_moment_are_handled_once(pool: Pool) -> None:
    async def deliver() -> bool:
        async with transaction(pool) as connection:
            return await handle(connection, "leaky-boiler")

    assert sorted(await asyncio.gather(*(deliver() for _ in range(5)))) == [False, False, False, False, True]
    assert await effects(pool) == 1


async def test_marks_are_pruned_by_age_and_in_batches(pool: Pool) -> None:
    async with transaction(pool) as connection:
        for number in range(5):
            await first_time(connection, "FIELD", f"old-{number}")
        await connection.execute("UPDATE chassis.inbox SET seen_at = now() - interval '2 days'")
        await first_time(connection, "FIELD", "fresh")
        assert await inbox.prune(connection, older_than_s=86_400, batch_max=3) == 3
        assert await inbox.prune(connection, older_than_s=86_400, batch_max=3) == 2
        assert await inbox.prune(connection, older_than_s=86_400) == 0
        assert not await first_time(connection, "FIELD", "fresh")
        assert await first_time(connection, "FIELD", "old-0")


async def test_an_endless_message_id_is_refused(pool: Pool) -> None:
    async with transaction(pool) as connection:
        with pytest.raises(MessageIdTooLong):
            await first_time(connection, "FIELD", "x" * 513)
