"""The broker's plumbing against a real server: streams, waiting, bounded handling, safe subscriptions, refusals."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, ServiceUnavailableError

from tests.fixtures.broker import Broker
from zb_chassis.broker import BrokerLost, BrokerRefused, Watch, connect
from zb_chassis.consuming import DeadLetters, Outcome, Subscription, Tries, handle_bounded, unsafe_subscribers
from zb_chassis.streams import StreamMissing, consumer_config, ensure_consumer, ensure_streams, wait_for_streams
from zb_chassis.subscriber import faststream_broker
from zb_contracts import problems, subjects
from zb_contracts.problems import Problem

NOT_YET = (NoAnswer, NoRespondersError, ServiceUnavailableError)
QUICK = Tries(tries_max=3, pauses_s=(0.01,))


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def media(broker: Broker, streams: JetStreamContext):
    """The media service with its streams there: reads INTERVENTIONS, buries in DEADLETTER."""
    ingest = await broker.connect("field-ingest")
    await ensure_streams(ingest.jetstream(), [subjects.INTERVENTIONS, subjects.DEADLETTER])
    client = await broker.connect("media")
    await ensure_consumer(client.jetstream(), "INTERVENTIONS", consumer_config("media", subjects=["interventions.v1.*"]))
    await ingest.jetstream().publish("interventions.v1.leaky-boiler", b"closed")
    yield client
    await client.close()
    await ingest.close()


async def fetch(client: Client, tries: int = 1) -> Msg:
    reader = await client.jetstream().pull_subscribe_bind(durable="media", stream="INTERVENTIONS")
    (message,) = await reader.fetch(1, timeout=10)
    await reader.unsubscribe()
    assert message.metadata.num_delivered == tries
    return message


async def dead(streams: JetStreamContext) -> RawStreamMsg:
    return await streams.get_last_msg("DEADLETTER", "deadletter.v1.media")


async def test_a_stream_refuses_new_messages_when_it_is_full_and_keeps_the_old(broker: Broker, streams: JetStreamContext) -> None:
    client = await broker.connect("field-ingest")
    quota = replace(subjects.FIELD, messages_per_subject_max=2)
    await ensure_streams(client.jetstream(), [quota])
    await streams.publish("field.v1.flood", b"1")
    await streams.publish("field.v1.flood", b"2")
    with pytest.raises(APIError) as refused:
        await streams.publish("field.v1.flood", b"3")
    assert refused.value.err_code == 10077
    await streams.publish("field.v1.calm", b"1")
    await client.close()


async def test_ensuring_a_stream_again_changes_its_limits_and_keeps_its_messages(
    broker: Broker, streams: JetStreamContext
) -> None:
    client = await broker.connect("media")
    await ensure_streams(client.jetstream(), [subjects.EVIDENCE])
    await client.jetstream().publish("evidence.v1.leaky-boiler", b"photo")
    await ensure_streams(client.jetstream(), [replace(subjects.EVIDENCE, max_age_s=600)])
    info = await client.jetstream().stream_info("EVIDENCE")
    assert (info.config.max_age, info.state.messages) == (600, 1)
    await client.close()


async def test_a_service_waits_for_a_stream_that_another_creates_later(broker: Broker, streams: JetStreamContext) -> None:
    billing, scheduling = await broker.connect("billing-bridge"), await broker.connect("scheduling")
    waiting = asyncio.create_task(wait_for_streams(billing.jetstream(), [subjects.REFERENCE], timeout_s=20))
    await ensure_streams(scheduling.jetstream(), [subjects.REFERENCE])
    await waiting
    with pytest.raises(StreamMissing, match=r"stream EVIDENCE is not there after 0 s: is media running\?"):
        await wait_for_streams(billing.jetstream(), [subjects.EVIDENCE], timeout_s=0)
    await billing.close()
    await scheduling.close()


async def test_a_handled_message_is_acknowledged(media: Client, streams: JetStreamContext) -> None:
    seen: list[bytes] = []

    async def handle(message: Msg) -> None:
        seen.append(message.data)

    assert await handle_bounded(await fetch(media), handle, DeadLetters(media.jetstream(), "media")) is Outcome.DONE
    assert seen == [b"closed"]

    async def settled() -> bool:
        return (await streams.consumer_info("INTERVENTIONS", "media")).num_ack_pending == 0

    await until(settled)


async def test_a_permanent_problem_is_buried_at_once_with_its_reason(media: Client, streams: JetStreamContext) -> None:
    async def handle(message: Msg) -> None:
        raise Problem(problems.INPUT_NOT_FOUND, what="intervention", id="leaky-boiler")

    outcome = await handle_bounded(await fetch(media), handle, DeadLetters(media.jetstream(), "media"))
    assert outcome is Outcome.BURIED
    letter = await dead(streams)
    assert letter.data == b"closed"
    assert letter.headers is not None
    assert letter.headers["Zb-Dead-Code"] == "input.not_found"
    assert letter.headers["Zb-Dead-Reason"] == "there is no intervention leaky-boiler"
    assert letter.headers["Zb-Dead-Subject"] == "interventions.v1.leaky-boiler"


async def test_an_unknown_fault_is_tried_again_a_bounded_number_of_times_then_buried(
    media: Client, streams: JetStreamContext
) -> None:
    async def handle(message: Msg) -> None:
        raise RuntimeError("line one\nline two: café")

    letters = DeadLetters(media.jetstream(), "media")
    outcomes = [await handle_bounded(await fetch(media, tries), handle, letters, QUICK) for tries in (1, 2, 3)]
    assert outcomes == [Outcome.PUT_OFF, Outcome.PUT_OFF, Outcome.BURIED]
    letter = await dead(streams)
    assert letter.headers is not None
    assert letter.headers["Zb-Dead-Reason"] == r"RuntimeError: line one line two: caf\xe9"


async def test_a_message_that_kills_the_process_each_time_is_buried_without_another_try(
    media: Client, streams: JetStreamContext
) -> None:
    async def handle(message: Msg) -> None:
        raise AssertionError("must not be tried again")

    for tries in (1, 2, 3):
        await (await fetch(media, tries)).nak()
    outcome = await handle_bounded(await fetch(media, 4), handle, DeadLetters(media.jetstream(), "media"), QUICK)
    assert outcome is Outcome.BURIED
    letter = await dead(streams)
    assert letter.headers is not None
    assert letter.headers["Zb-Dead-Reason"] == "the process ended in each of 3 tries"


async def test_a_message_is_not_ended_while_the_dead_letter_stream_is_missing(media: Client, streams: JetStreamContext) -> None:
    await streams.delete_stream("DEADLETTER")

    async def handle(message: Msg) -> None:
        raise Problem(problems.INPUT_INVALID)

    letters = DeadLetters(media.jetstream(), "media")
    assert await handle_bounded(await fetch(media), handle, letters, QUICK) is Outcome.PUT_OFF
    await ensure_streams(streams, [subjects.DEADLETTER])
    assert await handle_bounded(await fetch(media, 2), handle, letters, QUICK) is Outcome.BURIED


@pytest.mark.parametrize("together", [False, True])
async def test_a_poison_message_delays_nobody(media: Client, broker: Broker, streams: JetStreamContext, together: bool) -> None:
    await streams.publish("interventions.v1.good", b"good")
    handled: list[str] = []
    letters = DeadLetters(media.jetstream(), "media")
    app = faststream_broker(broker.url, broker.credentials("media"), Watch("media"))

    async def settle(message: Msg) -> None:
        if message.data == b"closed":
            raise RuntimeError("poison")
        handled.append(message.subject)

    subscription = Subscription(subjects.INTERVENTIONS, "media", batch_max=10)

    @subscription.on(app, together=together)
    async def react(message: NatsMessage) -> None:
        raw = message.raw_message
        for each in raw if isinstance(raw, list) else [raw]:
            await handle_bounded(each, settle, letters, QUICK)

    assert unsafe_subscribers(app) == []
    await subscription.prepare(media.jetstream())
    await app.start()

    async def buried() -> bool:
        return handled == ["interventions.v1.good"] and (await streams.stream_info("DEADLETTER")).state.messages == 1

    await until(buried)
    await app.stop()


def test_every_unsafe_subscription_is_found() -> None:
    app = NatsBroker()
    stream = JStream("INTERVENTIONS", declare=False)

    @app.subscriber("interventions.v1.*", stream=stream)
    async def pushed(body: bytes) -> None: ...

    @app.subscriber("interventions.v1.x", stream=stream, durable="media", pull_sub=PullSub(batch_size=1, timeout=5.0))
    async def slow(body: bytes) -> None: ...

    @app.subscriber("sync.v1.*.*", queue="ingest")
    async def core(body: bytes) -> None: ...

    assert sorted(unsafe_subscribers(app)) == [
        "INTERVENTIONS interventions.v1.*: ack policy reject_on_error loses a message at the first fault",
        "INTERVENTIONS interventions.v1.*: it is not durable: a restart forgets its place",
        "INTERVENTIONS interventions.v1.*: it is pushed: nothing bounds what is in flight",
        "INTERVENTIONS interventions.v1.x: ack policy reject_on_error loses a message at the first fault",
        "INTERVENTIONS interventions.v1.x: its pull waits 5.0 s, more than 0.1 s",
    ]


async def test_a_refused_user_is_named(broker: Broker, own_broker: Callable[[], Broker]) -> None:
    other = own_broker()
    with pytest.raises(BrokerRefused, match="the broker refused media"):
        await connect(other.url, broker.credentials("media"))


async def test_a_restarted_broker_keeps_its_messages_and_its_clients(own_broker: Callable[[], Broker]) -> None:
    first = own_broker()
    client = await first.connect("media")
    await ensure_streams(client.jetstream(), [subjects.EVIDENCE])
    await client.jetstream().publish("evidence.v1.leaky-boiler", b"photo")
    first.server.kill()
    own_broker()

    async def there() -> bool:
        try:
            return (await client.jetstream(timeout=1).stream_info("EVIDENCE")).state.messages == 1
        except NOT_YET:
            return False

    await until(there)
    await client.close()


async def test_a_connection_closed_for_good_is_told(broker: Broker) -> None:
    watch = Watch("media")
    client = await broker.connect("media", watch)
    await client.close()
    with pytest.raises(BrokerLost, match="the broker closed the connection of media"):
        await watch.lost()
