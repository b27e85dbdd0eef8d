"""One transaction a message: events, outbox rows and inbox mark together, whatever fails, is repeated or comes out of order.

After every story the same checker looks at the database and at the stream: each message had its effect once.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

import asyncpg
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from zb_chassis.database import Connection, Pool, open_pool
from zb_chassis.inbox import first_time
from zb_chassis.outbox import enqueue
from zb_chassis.relay import Relay
from zb_chassis.repository import EventMapper, Repository

MESSAGES = ("leaky-boiler", "dead-lift", "stuck-gate")
FAULTS = ("none", "before the commit", "after the commit", "the session is cut")


@dataclass(frozen=True)
class Reported:
    what: str


REPORTS: Repository[int, Reported] = Repository(
    EventMapper({"fault.reported": Reported}), initial=0, evolve=lambda count, _: count + 1
)


class Died(Exception):
    """The service died here; the broker delivers the message again."""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_one_transaction")
    yield opened
    await opened.close()


def site_of(message: str) -> UUID:
    return uuid5(NAMESPACE_URL, message)


async def handle(connection: Connection, message: str) -> None:
    if not await first_time(connection, "FIELD", message):
        return
    loaded = await REPORTS.load(connection, site_of(message))
    await REPORTS.append(connection, site_of(message), loaded.version, [Reported(message)])
    await enqueue(connection, "reports.v1.new", {}, message.encode(), message)


async def deliver(pool: Pool, message: str, fault: str) -> None:
    """As a subscriber's edge does it; raises Died where the fault strikes."""
    async with pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        await handle(connection, message)
        if fault == "before the commit":
            await attempt.rollback()
            raise Died
        if fault == "the session is cut":
            await pool.execute("SELECT pg_terminate_backend($1, 10000)", connection.get_server_pid())
        try:
            await attempt.commit()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Died from error
        if fault == "after the commit":
            raise Died


async def check(pool: Pool, jetstream: JetStreamContext, handled: Sequence[str]) -> None:
    """The invariants: dense order, one event, one mark and one published message for each message handled, in one order."""
    assert [row[0] for row in await pool.fetch("SELECT position FROM chassis.event ORDER BY position")] == [
        *range(1, len(handled) + 1)
    ]
    async with pool.acquire() as connection:
        for message in MESSAGES:
            assert (await REPORTS.load(connection, site_of(message))).state == handled.count(message)
    marks = [row[0] for row in await pool.fetch("SELECT message_id FROM chassis.inbox ORDER BY message_id")]
    assert marks == sorted(handled)
    await Relay(pool, jetstream, holder="the service").turn()
    state = (await jetstream.stream_info("REPORTS")).state
    published = [await jetstream.get_msg("REPORTS", number) for number in range(1, state.messages + 1)]
    assert [(message.data or b"").decode() for message in published] == list(handled)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_message_has_its_effect_once_whatever_fails_and_however_often_it_comes(
    pool: Pool, streams: JetStreamContext, fault: str
) -> None:
    await streams.add_stream(StreamConfig(name="REPORTS", subjects=["reports.>"]))
    await deliver(pool, "dead-lift", "none")
    if fault == "none":
        await deliver(pool, "leaky-boiler", fault)
    else:
        with pytest.raises(Died):
            await deliver(pool, "leaky-boiler", fault)
    persisted = fault in ("none", "after the commit")
    await check(pool, streams, ["dead-lift", "leaky-boiler"] if persisted else ["dead-lift"])
    await deliver(pool, "leaky-boiler", "none")
    await deliver(pool, "leaky-boiler", "none")
    await check(pool, streams, ["dead-lift", "leaky-boiler"])


@pytest.mark.parametrize("order", list(itertools.permutations(MESSAGES)), ids="-".join)
async def test_messages_out_of_order_and_twice_each_have_their_effect_once(
    pool: Pool, streams: JetStreamContext, order: Sequence[str]
) -> None:
    await streams.add_stream(StreamConfig(name="REPORTS", subjects=["reports.>"]))
    for message in (*order, *reversed(order)):
        await deliver(pool, message, "none")
    await check(pool, streams, order)
