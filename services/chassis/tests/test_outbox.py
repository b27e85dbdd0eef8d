"""The outbox and its relay on a real nats-server: in order, once, whatever is killed, paused, absent or poisoned."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from tests.fixtures.broker import Broker
from zb_chassis import outbox
from zb_chassis.database import Pool, open_pool, transaction
from zb_chassis.outbox import InvalidMessage, Message, MessageIdConflict, enqueue, enqueue_all
from zb_chassis.relay import LeaseLost, NotNow, Relay, RelayLimits

WITHIN_S = 20
SUBJECT = "boilers.v1.leaky"
QUICK = RelayLimits(lease_s=15, publish_timeout_s=2, poll_s=0.05, backoff_s_min=0.05, backoff_s_max=0.2)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_outbox")
    yield opened
    await opened.close()


@pytest.fixture
async def boilers(streams: JetStreamContext) -> JetStreamContext:
    """JetStream with one stream, BOILERS."""
    await add_stream(streams)
    return streams


async def add_stream(jetstream: JetStreamContext, **limits: Any) -> None:
    await jetstream.add_stream(StreamConfig(name="BOILERS", subjects=["boilers.>"], duplicate_window=120, **limits))


class Faulty:
    """A real JetStream behind a fault: `before` and `after` run around the publish of a payload, and may raise or wait."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self.jetstream = jetstream
        self.before: dict[bytes, Callable[[], Awaitable[None]]] = {}
        self.after: dict[bytes, Callable[[], Awaitable[None]]] = {}

    async def publish(self, subject: str, payload: bytes = b"", timeout: float | None = None, **options: Any) -> Any:
        if payload in self.before:
            await self.before.pop(payload)()
        answer = await self.jetstream.publish(subject, payload, timeout, **options)
        if payload in self.after:
            await self.after.pop(payload)()
        return answer


async def put(pool: Pool, *payloads: str) -> None:
    async with transaction(pool) as connection:
        await enqueue_all(connection, [Message(f"id-{text}", SUBJECT, text.encode()) for text in payloads])


async def stored(jetstream: JetStreamContext) -> list[str]:
    """What the stream holds, in its order."""
    state = (await jetstream.stream_info("BOILERS")).state
    messages = [await jetstream.get_msg("BOILERS", number) for number in range(state.first_seq, state.last_seq + 1)]
    return [(message.data or b"").decode() for message in messages]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await holds():  # noqa: ASYNC110 -- what is waited for lies in the database
            await asyncio.sleep(0.01)


async def waiting(pool: Pool) -> int:
    async with pool.acquire() as connection:
        return (await outbox.backlog(connection)).waiting


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    yield
    stop.set()
    async with asyncio.timeout(WITHIN_S):
        await task


async def refuse_to_go_on() -> None:
    raise ConnectionResetError("the process dies here")


async def test_messages_go_out_in_order_with_their_headers_and_ids(pool: Pool, boilers: JetStreamContext) -> None:
    async with running(Relay(pool, boilers, limits=RelayLimits(poll_s=60))):
        async with transaction(pool) as connection:
            await enqueue(connection, SUBJECT, {"traceparent": "00-ab"}, b"drip", "id-drip")
        await put(pool, "leak", "flood")
        await until(lambda: is_empty(pool))
    assert await stored(boilers) == ["drip", "leak", "flood"]
    first = await boilers.get_msg("BOILERS", 1)
    assert first.headers == {"traceparent": "00-ab", "Nats-Msg-Id": "id-drip", "Zb-Relay-Fence": "1"}


async def is_empty(pool: Pool) -> bool:
    return await waiting(pool) == 0


async def test_a_transaction_that_fails_publishes_nothing(pool: Pool, boilers: JetStreamContext) -> None:
    async with pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        await enqueue(connection, SUBJECT, {}, b"never decided", "id-1")
        await attempt.rollback()
    await put(pool, "decided")
    assert await Relay(pool, boilers).turn() == 1
    assert await stored(boilers) == ["decided"]


async def test_messages_of_many_writers_go_out_in_the_order_of_their_commits(pool: Pool, boilers: JetStreamContext) -> None:
    async def write(writer: int) -> None:
        for number in range(20):
            await put(pool, f"{writer}-{number:02}")

    async with running(Relay(pool, boilers, limits=QUICK)):
        await asyncio.gather(*(write(writer) for writer in range(4)))
        await until(lambda: is_empty(pool))
    rows = await pool.fetch("SELECT convert_from(payload, 'UTF8') FROM chassis.outbox ORDER BY position")
    assert await stored(boilers) == [row[0] for row in rows]
    assert len(rows) == 80


@pytest.mark.parametrize("death", ["before the publish", "after the publish and before the mark"])
async def test_a_relay_that_dies_leaves_each_message_in_the_stream_once(
    pool: Pool, boilers: JetStreamContext, death: str
) -> None:
    await put(pool, "drip", "leak", "flood")
    dying = Faulty(boilers)
    (dying.before if death.startswith("before") else dying.after)[b"leak"] = refuse_to_go_on
    with pytest.raises(NotNow):
        await Relay(pool, dying, holder="first").turn()
    await pool.execute("UPDATE chassis.lease SET expires_at = now() - interval '1 hour'")
    assert await Relay(pool, boilers, holder="second").turn() == 2
    assert await stored(boilers) == ["drip", "leak", "flood"]
    assert await waiting(pool) == 0


async def test_a_relay_killed_after_a_publish_is_replaced_and_nothing_is_lost_or_doubled(
    pool: Pool, database: str, boilers: JetStreamContext, broker: Broker, tmp_path: Path
) -> None:
    names = [f"leak-{number}" for number in range(10)]
    await put(pool, *names)
    (tmp_path / "credentials").write_text(broker.administrator().text())
    script = str(Path(__file__).with_name("relay_process.py"))
    arguments = (script, database, broker.url, str(tmp_path / "credentials"), "leak-4")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        while (await process.stdout.readline()).strip() != b"published":
            assert process.returncode is None
    process.kill()
    await process.wait()
    assert await stored(boilers) == names[:5]
    assert await waiting(pool) == 10, "it died before it marked any"
    async with running(Relay(pool, boilers, limits=QUICK, holder="next")):
        await until(lambda: is_empty(pool))
    assert await stored(boilers) == names


async def test_a_paused_relay_notices_that_another_took_over_and_the_order_stands(pool: Pool, boilers: JetStreamContext) -> None:
    await put(pool, "drip", "leak", "flood")
    paused, resumed = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        paused.set()
        await resumed.wait()

    sleepy = Faulty(boilers)
    sleepy.before[b"leak"] = pause
    old = asyncio.create_task(Relay(pool, sleepy, holder="old").turn())
    async with asyncio.timeout(WITHIN_S):
        await paused.wait()
    await pool.execute("UPDATE chassis.lease SET expires_at = now() - interval '1 second'")
    assert await Relay(pool, boilers, holder="new").turn() == 3
    resumed.set()
    with pytest.raises(LeaseLost, match="another relay has taken over from fence 1"):
        await old
    assert await stored(boilers) == ["drip", "leak", "flood"]
    assert await pool.fetchval("SELECT fence FROM chassis.lease") == 2


async def test_a_relay_whose_lease_ran_out_publishes_nothing_more(pool: Pool, boilers: JetStreamContext) -> None:
    await put(pool, "drip", "leak")
    lapse = 0.3
    sleepy = Faulty(boilers)
    sleepy.before[b"drip"] = lambda: asyncio.sleep(lapse)  # the pause itself is the fault, not a wait for something
    relay = Relay(pool, sleepy, limits=RelayLimits(lease_s=lapse / 2))
    assert await relay.turn() == 1, "what was under way is marked, for nobody took over"
    assert await stored(boilers) == ["drip"]
    assert await relay.turn() == 1, "and the lease is taken again"


async def test_a_second_relay_stands_by_and_takes_over_when_the_first_stops(pool: Pool, boilers: JetStreamContext) -> None:
    standby = Relay(pool, boilers, limits=QUICK, holder="standby")
    first = Relay(pool, boilers, limits=QUICK, holder="first")
    async with running(first):
        await put(pool, "drip")
        await until(lambda: is_empty(pool))
        assert await standby.turn() == 0
        await put(pool, "leak")
        await until(lambda: is_empty(pool))
    await put(pool, "flood")
    assert await standby.turn() == 1
    assert [(await boilers.get_msg("BOILERS", number)).headers["Zb-Relay-Fence"] for number in (1, 2, 3)] == ["1", "1", "2"]


async def test_a_broker_that_is_away_loses_nothing(pool: Pool, own_broker: Callable[[], Broker]) -> None:
    house = own_broker()
    client = await house.connect(house.administrator())
    jetstream = client.jetstream(timeout=10)
    await add_stream(jetstream)
    relay = Relay(pool, jetstream, limits=QUICK)
    async with running(relay):
        await put(pool, "drip")
        await until(lambda: is_empty(pool))
        house.server.kill()
        await put(pool, "leak", "flood")
        await until(lambda: has_failed(relay))
        assert await waiting(pool) == 2
        own_broker()
        await until(lambda: is_empty(pool))
    assert await stored(jetstream) == ["drip", "leak", "flood"]
    await client.close()


async def has_failed(relay: Relay) -> bool:
    return relay.failures > 0


async def test_a_stream_that_is_made_later_gets_what_waited(pool: Pool, streams: JetStreamContext) -> None:
    relay = Relay(pool, streams, limits=QUICK)
    async with running(relay):
        await put(pool, "drip", "leak")
        await until(lambda: has_failed(relay))
        await add_stream(streams)
        await until(lambda: is_empty(pool))
    assert await stored(streams) == ["drip", "leak"]


async def test_a_poison_message_is_parked_with_its_reason_and_delays_nobody(pool: Pool, streams: JetStreamContext) -> None:
    await add_stream(streams, max_msg_size=200)
    large = "x" * 500
    async with transaction(pool) as connection:
        await enqueue(connection, SUBJECT, {}, large.encode(), "too-large")
        await enqueue(connection, "nobody.listens", {}, b"lost", "no-stream")
        await enqueue(connection, SUBJECT, {}, b"drip", "good")
    limits = RelayLimits(poll_s=0.05, backoff_s_min=0.01, backoff_s_max=0.02, no_stream_refusals_max=3)
    async with running(Relay(pool, streams, limits=limits)):
        await until(lambda: is_empty(pool))
    assert await stored(streams) == ["drip"]
    async with pool.acquire() as connection:
        parked = await outbox.parked(connection)
        assert [(row.message_id, row.refusals) for row in parked] == [("too-large", 1), ("no-stream", 3)]
        assert "size exceeds maximum" in parked[0].reason
        assert "no response from stream" in parked[1].reason
        await streams.update_stream(StreamConfig(name="BOILERS", subjects=["boilers.>"], max_msg_size=2_000))
        assert await outbox.send_again(connection, "too-large")
        assert not await outbox.send_again(connection, "good")
    assert await Relay(pool, streams).turn() == 1
    assert await stored(streams) == ["drip", large]


async def test_a_relay_whose_database_sessions_are_cut_goes_on(pool: Pool, boilers: JetStreamContext) -> None:
    async with running(Relay(pool, boilers, limits=QUICK)):
        await put(pool, "drip")
        await until(lambda: is_empty(pool))
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until(lambda: put_at_last(pool, "leak"))
        await until(lambda: is_empty(pool))
    assert await stored(boilers) == ["drip", "leak"]


async def put_at_last(pool: Pool, text: str) -> bool:
    try:
        await put(pool, text)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return True


async def test_the_same_message_again_is_a_success_and_other_content_a_named_conflict(pool: Pool) -> None:
    await put(pool, "drip")
    await put(pool, "drip", "leak", "leak")
    assert await waiting(pool) == 2
    async with transaction(pool) as connection:
        with pytest.raises(MessageIdConflict, match="id-drip is in the outbox already"):
            await enqueue_all(connection, [Message("id-new", SUBJECT, b"new"), Message("id-drip", SUBJECT, b"other")])
    assert await waiting(pool) == 2


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("", SUBJECT, b""), "a message id has 1 to 256"),
        (Message("i", "boilers.>", b""), "no subject to publish on"),
        (Message("i", "boilers..leaky", b""), "no subject to publish on"),
        (Message("i", SUBJECT, b"x" * 1_000_001), "the limit is 1000000"),
        (Message("i", SUBJECT, b"", {"a": "b\r\nNats-Rollup: all"}), "the header 'a' cannot be sent"),
        (Message("i", SUBJECT, b"", {"a": "b" * 20_000}), "exceed 16384 bytes"),
    ],
)
async def test_a_message_that_no_broker_takes_is_refused_before_it_is_written(pool: Pool, message: Message, said: str) -> None:
    async with transaction(pool) as connection:
        with pytest.raises(InvalidMessage, match=said):
            await enqueue_all(connection, [Message("good", SUBJECT, b""), message])
    assert await waiting(pool) == 0


async def test_what_was_sent_long_ago_is_pruned_and_what_waits_never(pool: Pool, boilers: JetStreamContext) -> None:
    await put(pool, "drip", "leak")
    await Relay(pool, boilers).turn()
    await pool.execute("UPDATE chassis.outbox SET sent_at = now() - interval '8 days', enqueued_at = now() - interval '9 days'")
    await put(pool, "flood")
    await pool.execute("UPDATE chassis.outbox SET enqueued_at = now() - interval '9 days'")
    async with pool.acquire() as connection:
        assert await outbox.prune(connection, older_than_s=7 * 86_400) == 2
        assert (await outbox.backlog(connection)).oldest_age_s > 8 * 86_400
    assert await waiting(pool) == 1
