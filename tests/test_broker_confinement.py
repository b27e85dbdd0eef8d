"""No device can do more than write as itself and hear its own: every way out that we know, tried on the real server.

A refused publish looks like a time-out to the client; the reason comes on the error callback, so that is what is asserted.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NoAnswer
from nats.js import JetStreamContext

from tests.fixtures.broker import Broker
from tests.fixtures.ears import DEADLINE_S, Ears
from zb_chassis.streams import stream_config
from zb_contracts import subjects


@pytest.fixture
def ears() -> Ears:
    return Ears("mallory")


@pytest.fixture
async def mallory(broker: Broker, ingest: Client, ears: Ears) -> AsyncIterator[Client]:
    """A device with a valid session of the technician `eve`."""
    client = await broker.connect(broker.device("mallory", "eve"), ears)
    yield client
    ears.stopping = True
    await client.close()


async def field_messages(streams: JetStreamContext) -> int:
    return (await streams.stream_info("FIELD")).state.messages


async def test_a_device_publishes_as_itself_and_gets_its_acknowledgement(mallory: Client) -> None:
    answer = await mallory.request("field.v1.mallory", b"segment", timeout=DEADLINE_S)
    assert answer.data == b'{"stream":"FIELD","seq":1}'


async def test_a_device_asks_as_itself_and_its_technician(mallory: Client, responder: list[str]) -> None:
    assert (await mallory.request("sync.v1.mallory.eve", b"", timeout=DEADLINE_S)).data == b"receipts"
    assert responder == ["sync.v1.mallory.eve"]


async def test_a_device_hears_its_own_hint_only(mallory: Client, ingest: Client) -> None:
    hints = await mallory.subscribe("hint.v1.mallory")
    await mallory.flush()
    async with asyncio.timeout(DEADLINE_S):
        # Said again until it is heard: a new connection's import may lag behind its subscription (one in ten, on a busy machine).
        while not hints.pending_msgs:
            await ingest.publish("hint.v1.alice", b"1")
            await ingest.publish("hint.v1.mallory", b"2")
            await ingest.flush()
            await mallory.flush()
    assert {(await hints.next_msg(timeout=DEADLINE_S)).data for _ in range(hints.pending_msgs)} == {b"2"}


@pytest.mark.parametrize(
    "subject",
    [
        "field.v1.alice",
        "field.v1.mallory.more",
        "sync.v1.alice.anna",
        "sync.v1.mallory.anna",
        "sync.v1.mallory.drain",
        "hint.v1.alice",
        "office.v1.office-paris",
        "interventions.v1.leaky-boiler",
        "deadletter.v1.field-ingest",
        "_INBOX.alice.x",
        "_INBOX.field-ingest.x",
        "_R_.x",
        "$JS.API.INFO",
        "$JS.API.STREAM.PURGE.FIELD",
        "$JS.API.STREAM.DELETE.FIELD",
        "$JS.API.STREAM.MSG.GET.FIELD",
        "$JS.API.CONSUMER.CREATE.FIELD.field-ingest",
        "$JS.API.CONSUMER.CREATE.FIELD.mallory.field.v1.alice",
        "$JS.API.CONSUMER.DURABLE.CREATE.FIELD.mallory",
        "$JS.API.CONSUMER.DELETE.FIELD.field-ingest",
        "$JS.API.CONSUMER.RESET.FIELD.field-ingest",
        "$JS.API.STREAM.UPDATE.FIELD",
        "$JS.API.STREAM.MSG.DELETE.FIELD",
        "$JS.API.DIRECT.GET.FIELD.field.v1.alice",
        "$JS.API.STREAM.RESTORE.FIELD",
        "$JS.API.ACCOUNT.PURGE.CORE",
        "$JS.FC.FIELD.field-ingest.x",
        "$JS.API.CONSUMER.MSG.NEXT.FIELD.field-ingest",
        "$JS.ACK.FIELD.field-ingest.1.1.1.1.0",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.USER.INFO",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.ACCOUNT.CORE.CLAIMS.LOOKUP",
        "$SYS.ACCOUNT.CORE.CONNECT",
        "$SRV.PING",
        "$LDS.x",
        "$GR.x",
    ],
)
async def test_a_device_may_not_publish(
    mallory: Client, ears: Ears, responder: list[str], streams: JetStreamContext, subject: str
) -> None:
    answers = await mallory.subscribe("_INBOX.mallory.answers")
    await mallory.publish(subject, b"{}", reply="_INBOX.mallory.answers")
    # The broker has said that it dropped this very message: nobody can answer it later.
    await ears.heard("permissions violation for publish", subject)
    await mallory.flush()
    assert (await field_messages(streams), responder, answers.pending_msgs) == (0, [], 0)


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "*",
        "field.v1.*",
        "field.v1.mallory",
        "sync.v1.>",
        "hint.v1.*",
        "hint.v1.alice",
        "_INBOX.>",
        "_INBOX.alice.>",
        "_INBOX.*.x",
        "_R_.>",
        "$JS.>",
        "$JS.EVENT.ADVISORY.>",
        "$SYS.>",
        "interventions.v1.*",
        "_INBOX.mallory",
        "_INBOX.mallory-2.>",
        "$JS.ACK.>",
        "deadletter.v1.*",
    ],
)
async def test_a_device_may_not_listen(mallory: Client, ears: Ears, subject: str) -> None:
    await mallory.subscribe(subject)
    await mallory.flush()
    await ears.heard("permissions violation for subscription", subject)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.API.STREAM.PURGE.FIELD",
        "$JS.API.STREAM.DELETE.FIELD",
        "field.v1.alice",
        "office.v1.office-paris",
        "_INBOX.field-ingest.x",
    ],
)
async def test_an_answer_sent_to_a_chosen_reply_subject_stays_among_the_devices(
    broker: Broker, mallory: Client, ingest: Client, responder: list[str], streams: JetStreamContext, reply: str
) -> None:
    overheard: list[str] = []

    async def overhear(message: Msg) -> None:
        overheard.append(message.subject)

    await ingest.subscribe("_INBOX.field-ingest.x", cb=overhear)
    await ingest.flush()
    await mallory.publish("field.v1.mallory", b"purge me", reply=reply)
    await mallory.publish("sync.v1.mallory.eve", b"", reply=reply)
    # What was sent before these answers has been dealt with when they come.
    await mallory.request("field.v1.mallory", b"after", timeout=DEADLINE_S)
    await mallory.request("sync.v1.mallory.eve", b"", timeout=DEADLINE_S)
    await ingest.flush()

    assert await field_messages(streams) == 2
    assert (await streams.stream_info("OFFICE")).state.messages == 0
    assert overheard == []


async def test_a_reply_subject_acknowledges_nothing_for_ingest(
    mallory: Client, ingest: Client, streams: JetStreamContext
) -> None:
    await mallory.request("field.v1.mallory", b"segment", timeout=DEADLINE_S)
    reader = await ingest.jetstream().pull_subscribe("field.v1.*", durable="field-ingest", stream="FIELD")
    (message,) = await reader.fetch(1, timeout=DEADLINE_S)
    await mallory.publish("field.v1.mallory", b"+TERM", reply=message.reply)
    await mallory.request("field.v1.mallory", b"after", timeout=DEADLINE_S)
    assert (await streams.consumer_info("FIELD", "field-ingest")).num_ack_pending == 1


async def test_a_provoked_hint_carries_only_the_answer_to_the_one_who_provoked_it(
    broker: Broker, mallory: Client, responder: list[str]
) -> None:
    """A reply subject is looked up among the devices, and a hint's subject can be guessed: so a hint's body is ignored and
    its rate limited by whoever hears it. An inbox cannot be guessed, and what arrives there is signed and echoes a nonce.
    """
    alice = await broker.connect(broker.device("alice", "anna"))
    hints = await alice.subscribe("hint.v1.alice")
    await alice.flush()
    await mallory.publish("field.v1.mallory", b"words of mallory's choice", reply="hint.v1.alice")
    assert (await hints.next_msg(timeout=DEADLINE_S)).data == b'{"stream":"FIELD","seq":1}'
    await mallory.publish("sync.v1.mallory.eve", b"words of mallory's choice", reply="hint.v1.alice")
    assert (await hints.next_msg(timeout=DEADLINE_S)).data == b"receipts"
    await alice.close()


async def test_a_device_joins_no_queue_group_of_the_platform(
    mallory: Client, ears: Ears, responder: list[str], streams: JetStreamContext
) -> None:
    for subject in ("sync.v1.*.*", "sync.v1.mallory.eve", "field.v1.mallory"):
        await mallory.subscribe(subject, queue="ingest")
        await mallory.flush()
        await ears.heard("permissions violation for subscription", subject)
    for _ in range(20):
        assert (await mallory.request("sync.v1.mallory.eve", b"", timeout=DEADLINE_S)).data == b"receipts"
    assert len(responder) == 20


async def test_a_queue_group_on_its_own_hint_takes_nobody_elses(broker: Broker, mallory: Client, ingest: Client) -> None:
    alice = await broker.connect(broker.device("alice", "anna"))
    theirs = await mallory.subscribe("hint.v1.mallory", queue="hints")
    hints = await alice.subscribe("hint.v1.alice", queue="hints")
    await mallory.flush()
    await alice.flush()
    for _ in range(10):
        await ingest.publish("hint.v1.alice", b"")
    for _ in range(10):
        await hints.next_msg(timeout=DEADLINE_S)
    assert theirs.pending_msgs == 0
    await alice.close()


async def test_a_flood_fills_only_its_own_place(broker: Broker, mallory: Client, streams: JetStreamContext) -> None:
    """FIELD as it is, but with a place of 20 messages a device, so that a test can fill it."""
    await streams.update_stream(stream_config(replace(subjects.FIELD, messages_per_subject_max=20)))
    answers = [(await mallory.request("field.v1.mallory", b"flood", timeout=DEADLINE_S)).data for _ in range(25)]
    assert [b'"err_code":10077' in answer for answer in answers] == [False] * 20 + [True] * 5
    alice = await broker.connect(broker.device("alice", "anna"))
    assert b"error" not in (await alice.request("field.v1.alice", b"segment", timeout=DEADLINE_S)).data
    await alice.close()


async def test_the_broker_listens_for_clients_and_its_monitor_only(broker: Broker) -> None:
    """No route, gateway, leaf node or MQTT port by which a stranger could come in another way."""
    async with httpx.AsyncClient(base_url=broker.monitor_url) as monitor:
        state = (await monitor.get("/varz")).raise_for_status().json()
        leaves = (await monitor.get("/leafz")).raise_for_status().json()
    for way in ("cluster", "gateway", "leaf", "mqtt"):
        assert not state.get(way, {}).get("port"), way
    assert leaves["leafnodes"] == 0


async def test_two_devices_meet_on_no_subject(broker: Broker, mallory: Client, ears: Ears) -> None:
    alice = await broker.connect(broker.device("alice", "anna"))
    inbox = await alice.subscribe("_INBOX.alice.answers")
    await alice.flush()
    await mallory.publish("_INBOX.alice.answers", b"forged receipts")
    await ears.heard("permissions violation for publish", "_INBOX.alice.answers")
    with pytest.raises(NoAnswer):
        await inbox.next_msg(timeout=0.2)
    await alice.close()


async def test_a_payload_beyond_the_limit_cuts_the_connection(mallory: Client, ears: Ears, streams: JetStreamContext) -> None:
    # nats-py checks the server's limit itself; a device's is lower and checked by the server only.
    await mallory.publish("field.v1.mallory", bytes(600_000))
    await ears.cut()
    assert await field_messages(streams) == 0


async def test_too_many_subscriptions_cut_the_connection(mallory: Client, ears: Ears) -> None:
    for number in range(9):
        await mallory.subscribe(f"_INBOX.mallory.{number}")
    assert "maximum subscriptions exceeded" in (await ears.cut()).lower()


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")
async def test_a_browser_is_confined_alike(broker: Broker, ingest: Client, streams: JetStreamContext) -> None:
    ears = Ears("mallory")
    client = await broker.connect(broker.device("mallory", "eve"), ears, url=broker.websocket_url)
    await client.request("field.v1.mallory", b"segment", timeout=DEADLINE_S)
    await client.publish("field.v1.alice", b"segment")
    await client.flush()
    await ears.heard("permissions violation for publish", "field.v1.alice")
    assert await field_messages(streams) == 1
    await client.close()
