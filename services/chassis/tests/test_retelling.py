"""A stream that was lost is told again from the outbox, once, in order; one that is still the same is left alone."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nats.js import JetStreamContext

from zb_chassis import outbox
from zb_chassis.database import Pool, open_pool, transaction
from zb_chassis.outbox import Message
from zb_chassis.relay import Relay
from zb_chassis.retelling import tell_again
from zb_chassis.streams import ensure_streams
from zb_contracts.subjects import EVIDENCE, REFERENCE

TOLD = [Message(f"told-{number}", "evidence.v1.leaky-boiler", f"version {number}".encode()) for number in range(1, 6)]


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_retelling")
    yield opened
    await opened.close()


@pytest.fixture
def relay(pool: Pool, streams: JetStreamContext) -> Relay:
    return Relay(pool, streams)


@pytest.fixture
async def told(pool: Pool, streams: JetStreamContext, relay: Relay) -> JetStreamContext:
    """EVIDENCE has five messages, REFERENCE one; the service has worked with both streams."""
    await ensure_streams(streams, [EVIDENCE, REFERENCE])
    assert await tell_again(pool, streams, [EVIDENCE, REFERENCE]) == 0
    async with transaction(pool) as connection:
        await outbox.enqueue_all(connection, [*TOLD, Message("prices", "reference.v1.prices", b"list")])
    assert await relay.turn() == 6
    return streams


async def held(jetstream: JetStreamContext) -> list[bytes]:
    """What EVIDENCE holds, in order."""
    state = (await jetstream.stream_info("EVIDENCE")).state
    numbers = range(state.first_seq, state.last_seq + 1) if state.messages else ()
    return [(await jetstream.get_msg("EVIDENCE", number)).data or b"" for number in numbers]


async def test_what_a_lost_stream_held_is_published_again_in_order(pool: Pool, told: JetStreamContext, relay: Relay) -> None:
    await told.delete_stream("EVIDENCE")
    await ensure_streams(told, [EVIDENCE])
    assert await held(told) == []
    assert await tell_again(pool, told, [EVIDENCE, REFERENCE]) == 5
    assert await relay.turn() == 5
    assert await held(told) == [message.payload for message in TOLD]
    assert await tell_again(pool, told, [EVIDENCE, REFERENCE]) == 0


async def test_a_stream_that_is_still_there_is_told_nothing_again(pool: Pool, told: JetStreamContext, relay: Relay) -> None:
    await ensure_streams(told, [replace(EVIDENCE, max_age_s=600)])
    assert await tell_again(pool, told, [EVIDENCE, REFERENCE]) == 0
    assert await relay.turn() == 0


async def test_what_the_stream_would_have_forgotten_is_not_told_again(pool: Pool, told: JetStreamContext) -> None:
    await pool.execute(
        "UPDATE chassis.outbox SET sent_at = now() - make_interval(secs => $1) WHERE message_id IN ('told-1', 'told-2')",
        EVIDENCE.max_age_s + 60.0,
    )
    await told.delete_stream("EVIDENCE")
    await ensure_streams(told, [EVIDENCE])
    assert await tell_again(pool, told, [EVIDENCE]) == 3


async def test_of_two_who_see_the_new_stream_one_tells_again(pool: Pool, told: JetStreamContext) -> None:
    await told.delete_stream("EVIDENCE")
    await ensure_streams(told, [EVIDENCE])
    assert await tell_again(pool, told, [EVIDENCE]) + await tell_again(pool, told, [EVIDENCE]) == 5
