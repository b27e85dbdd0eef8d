"""What a device writes in a message's headers steers nobody: neither who reads it, nor the stream, nor another's messages.

A client library reads statuses of the broker (no messages, consumer deleted, idle) from headers, and a device may put the same
into its own message. The broker checks no header, so the services' clients do (zb_chassis.broker). JetStream's own headers
(rollup, schedules, message ids) are tried too.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from faststream.nats import NatsMessage
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js import JetStreamContext

from tests.fixtures.broker import Broker
from tests.fixtures.ears import DEADLINE_S, Ears
from zb_chassis.broker import Watch
from zb_chassis.consuming import DeadLetters, Subscription
from zb_chassis.streams import ensure_streams
from zb_chassis.subscriber import faststream_broker
from zb_contracts import subjects
from zb_contracts.envelope import parse_header, sign_event
from zb_contracts.segment import message_id
from zb_contracts.times import parse_time_ms
from zb_contracts.vectors import EVENT_KEY, chain
from zb_device.ids import uuid7

HOSTILE = {
    "no messages": b"NATS/1.0 404 No Messages\r\n\r\n",
    "request time-out": b"NATS/1.0 408 Request Timeout\r\n\r\n",
    "consumer deleted": b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    "no responders": b"NATS/1.0 503\r\n\r\n",
    "idle": b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    "flow control": b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    "idle and stalled": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.API.STREAM.PURGE.FIELD\r\n\r\n",
    "a status as a header": b"NATS/1.0\r\nStatus: 409\r\nDescription: Consumer Deleted\r\n\r\n",
    "an idle status as a header": b"NATS/1.0\r\nStatus: 100\r\n\r\n",
    "a status of no digits": b"NATS/1.0 abc\r\n\r\n",
    "a status that is no text": b"NATS/1.0 \xff\xfe\xfd\r\n\r\n",
    "a description that is no text": b"NATS/1.0 404 \xff\xfe\r\n\r\n",
    "a header that is no text": b"NATS/1.0\r\n\xff\xfe: \xc3\x28\r\n\r\n",
    "a header without a colon": b"NATS/1.0\r\nnonsense\r\n\r\n",
    "a header without a name": b"NATS/1.0\r\n: x\r\n\r\n",
    "a NUL": b"NATS/1.0\r\nA\x00B: c\x00d\r\n\r\n",
    "a trace that is none": b"NATS/1.0\r\ntraceparent: 00-\xff-zz-01\r\n\r\n",
    "the first line only": b"NATS/1.0\r\n\r\n",
    "no end": b"NATS/1.0\r\nA: b",
    "a cut first line": b"NATS/1.0",
    "another protocol": b"HTTP/9.9 418 teapot\r\n\r\n",
    "one byte": b"N",
    "30,000 bytes": b"NATS/1.0\r\nA: " + b"b" * 30_000 + b"\r\n\r\n",
    "2,000 headers": b"NATS/1.0\r\n" + b"".join(b"A%d: b\r\n" % number for number in range(2_000)) + b"\r\n",
}


async def say(client: Client, subject: str, headers: bytes, body: bytes, reply: str = "") -> None:
    """Publish with these very header bytes, which no client library would send."""
    line = f"HPUB {subject} {reply} {len(headers)} {len(headers) + len(body)}\r\n".encode()
    await client._send_command(line + headers + body + b"\r\n")
    await client.flush()


@pytest.fixture
async def mallory(broker: Broker, ingest: Client) -> AsyncIterator[Client]:
    ears = Ears("mallory")
    client = await broker.connect(broker.device("mallory", "eve"), ears)
    yield client
    ears.stopping = True
    await client.close()


async def heard(broker: Broker, ingest: Client, together: bool) -> AsyncIterator[bytes]:
    """The bodies of FIELD as field-ingest's subscriber hears them, each acknowledged."""
    watch, bodies = Watch("field-ingest"), asyncio.Queue[bytes]()
    reader = faststream_broker(broker.url, broker.credentials("field-ingest"), watch)
    subscription = Subscription(subjects.FIELD, "field-ingest", batch_max=8)
    await subscription.prepare(ingest.jetstream())

    @subscription.on(reader, together=together)  # type: ignore[untyped-decorator]
    async def take(message: NatsMessage) -> None:
        raw = message.raw_message
        for one in raw if isinstance(raw, list) else [raw]:
            await one.ack()
            bodies.put_nowait(one.data)

    await reader.start()
    try:
        while True:
            yield await asyncio.wait_for(bodies.get(), DEADLINE_S)
    finally:
        watch.stopping = True
        await reader.stop()


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("together", [True, False], ids=["in batches", "one by one"])
async def test_no_header_hides_a_message_or_those_behind_it(
    broker: Broker, ingest: Client, mallory: Client, streams: JetStreamContext, headers: bytes, together: bool
) -> None:
    alice = await broker.connect(broker.device("alice", "anna"))
    async with aclosing(heard(broker, ingest, together)) as bodies:
        await say(mallory, "field.v1.mallory", headers, b"hostile")
        await alice.request("field.v1.alice", b"honest", timeout=DEADLINE_S)
        while await anext(bodies) != b"honest":
            pass
        info = await streams.consumer_info("FIELD", "field-ingest")
        assert (info.num_pending, info.num_redelivered) == (0, 0)
    await alice.close()


async def test_no_header_deafens_who_answers(broker: Broker, mallory: Client, responder: list[str]) -> None:
    for headers in HOSTILE.values():
        await say(mallory, "sync.v1.mallory.eve", headers, b"hostile")
    answer = await mallory.request("sync.v1.mallory.eve", b"", timeout=DEADLINE_S)
    assert answer.data == b"receipts"


async def test_each_can_be_buried_and_no_device_writes_a_tombstone(
    ingest: Client, mallory: Client, streams: JetStreamContext
) -> None:
    """A message that cannot be stored among the dead letters would come again for ever."""
    await ensure_streams(ingest.jetstream(), [subjects.DEADLETTER])
    forged = b"NATS/1.0\r\nZb-Dead-Code: nothing\r\nZb-Dead-Body-Bytes: 9\r\nNats-Msg-Id: x\r\nStatus: 409\r\n\r\n"
    for headers in (*HOSTILE.values(), forged):
        await say(mallory, "field.v1.mallory", headers, b"hostile")
    await mallory.request("field.v1.mallory", b"after", timeout=DEADLINE_S)
    stored = (await streams.stream_info("FIELD")).state.messages
    assert stored > len(HOSTILE) / 2
    reader = await ingest.jetstream().pull_subscribe("field.v1.*", durable="field-ingest", stream="FIELD")
    letters = DeadLetters(ingest.jetstream(), "field-ingest")
    buried = 0
    while buried < stored:
        for message in await reader.fetch(10, timeout=DEADLINE_S):
            await letters.bury(message, "system.internal", "cannot be handled")
            buried += 1
    assert (await streams.stream_info("DEADLETTER")).state.messages == stored
    for number in range(1, stored + 1):
        grave = (await streams.get_msg("DEADLETTER", number)).headers or {}
        assert (grave["Zb-Dead-Code"], grave["Zb-Dead-Subject"]) == ("system.internal", "field.v1.mallory")
        assert "Zb-Dead-Body-Bytes" not in grave


# --- headers that are meant for JetStream ---

COMMANDS = {
    "roll up the stream": {"Nats-Rollup": "all"},
    "roll up the subject": {"Nats-Rollup": "sub"},
    "another stream": {"Nats-Expected-Stream": "OFFICE"},
    "a sequence": {"Nats-Expected-Last-Sequence": "99"},
    "a short life": {"Nats-TTL": "1s"},
    "a counter": {"Nats-Incr": "5"},
    "a batch": {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    "a schedule": {"Nats-Schedule": "@at 2026-11-23T00:00:00Z", "Nats-Schedule-Target": "field.v1.alice"},
    "a source": {"Nats-Stream-Source": "FIELD 1 > >"},
}


@pytest.mark.parametrize("headers", COMMANDS.values(), ids=COMMANDS)
async def test_a_header_commands_the_stream_nothing(mallory: Client, streams: JetStreamContext, headers: dict[str, str]) -> None:
    answer = await mallory.request("field.v1.mallory", b"segment", timeout=DEADLINE_S, headers=headers)
    assert b"error" in answer.data
    assert (await streams.stream_info("FIELD")).state.messages == 0


@pytest.mark.parametrize("place", ["field.v1.alice", "office.v1.office-paris", "hint.v1.alice", "_INBOX.alice.x", "$JS.API.INFO"])
async def test_a_trace_of_a_message_goes_nowhere_that_its_sender_may_not_publish(
    broker: Broker, mallory: Client, streams: JetStreamContext, place: str
) -> None:
    alice = await broker.connect(broker.device("alice", "anna"))
    inbox, hints = await alice.subscribe("_INBOX.alice.x"), await alice.subscribe("hint.v1.alice")
    await alice.flush()
    await mallory.publish("field.v1.mallory", b"segment", headers={"Nats-Trace-Dest": place})
    await mallory.request("field.v1.mallory", b"after", timeout=DEADLINE_S)
    await alice.flush()
    assert (await streams.stream_info("FIELD", subjects_filter=">")).state.subjects == {"field.v1.mallory": 1}
    assert (await streams.stream_info("OFFICE")).state.messages == 0
    assert (inbox.pending_msgs, hints.pending_msgs) == (0, 0)
    await alice.close()


# --- message ids ---


async def test_the_broker_drops_a_known_message_id_whoever_used_it_first(broker: Broker, mallory: Client) -> None:
    """The window is the stream's, not the subject's. That is why an id must hold what nobody else can know beforehand."""
    alice = await broker.connect(broker.device("alice", "anna"))
    headers = {"Nats-Msg-Id": "an id that mallory knew"}
    await mallory.request("field.v1.mallory", b"first", timeout=DEADLINE_S, headers=headers)
    answer = await alice.request("field.v1.alice", b"lost", timeout=DEADLINE_S, headers=headers)
    assert json.loads(answer.data)["duplicate"] is True
    await alice.close()


def test_a_message_id_holds_what_only_its_author_knows_before_it_is_sent() -> None:
    """All that others may know of an event (author, number, link, time, content) leaves its message id open."""
    known = chain()["start"]
    header = parse_header(known.header)
    twins = {
        message_id([sign_event(EVENT_KEY, replace(header, id=uuid7(parse_time_ms(header.at))), known.body)]) for _ in range(100)
    }
    assert len(twins) == 100
    assert all(len(name.rpartition(":")[2]) == 32 for name in twins)
