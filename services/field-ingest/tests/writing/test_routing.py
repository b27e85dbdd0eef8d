"""The broker sorts by shard as the ledger does: on a real server, with devices in their account as it is.

What a device sees (its acknowledgement, duplicates, its quota) is as if nothing were sorted.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer
from nats.js.api import StreamSource, SubjectTransform
from nats.js.errors import APIError, NotFoundError

from field_ingest.admission.admitting import Done, Message
from field_ingest.admission.dead_letters import letter, retry
from field_ingest.admission.intake import Intake
from field_ingest.admission.routing import ROUTED, prepare_consumers, prepare_streams, readings, transform
from field_ingest.admission.stored_subjects import as_published, route_of
from field_ingest.ledger.shards import chosen, shard_of
from zb_chassis.broker import Watch
from zb_chassis.consuming import DeadLetters
from zb_chassis.streams import ensure_streams, stream_config
from zb_chassis.subscriber import faststream_broker
from zb_contracts.segment import MESSAGE_ID_HEADER, encode_segment, message_id
from zb_contracts.subjects import DEPOTS, FIELD, OFFICE

SHARDS = 4
DEADLINE_S = 20.0
ONE, OTHER = "van-0", "van-1"  # of two shards among two


@pytest.fixture
async def ingest(broker: Any, streams: Any) -> AsyncIterator[Client]:
    """field-ingest's connection, with its streams sorting for SHARDS."""
    client = await broker.connect("field-ingest")
    await prepare_streams(client.jetstream(), SHARDS)
    yield client
    await client.close()


async def stored(streams: Any, shard: int, stream: str = "FIELD") -> list[str]:
    """The subjects that a shard's consumer is given."""
    return [message.subject for message in await messages(streams, shard, stream)]


async def messages(streams: Any, shard: int, stream: str = "FIELD") -> list[Any]:
    pending = (await streams.consumer_info(stream, f"field-ingest-{shard}")).num_pending
    if not pending:
        return []
    reader = await streams.pull_subscribe_bind(durable=f"field-ingest-{shard}", stream=stream)
    found = await reader.fetch(pending, timeout=DEADLINE_S)
    await reader.unsubscribe()
    return list(found)


async def test_the_broker_computes_the_shard_that_enrolment_stores(ingest: Client, streams: Any) -> None:
    names = [f"d-{number:016x}" for number in range(0, 1 << 40, (1 << 40) // 97)] + ["-", "a", "office-main", "x" * 64]
    for name in names:
        await streams.publish(f"field.v1.{name}", b"segment")
    await prepare_consumers(ingest.jetstream(), readings(range(SHARDS), batch_max=64, ack_wait_s=10))
    for shard in range(SHARDS):
        mine = [f"field.v1.{shard}.{name}" for name in names if shard_of(name, SHARDS) == shard]
        assert mine
        assert await stored(streams, shard) == mine


async def test_an_offices_author_is_sorted_by_its_name(ingest: Client, streams: Any) -> None:
    await streams.publish("office.v1.office-main", b"segment")
    await prepare_consumers(ingest.jetstream(), readings(range(SHARDS), batch_max=64, ack_wait_s=10))
    found = {shard: await stored(streams, shard, "OFFICE") for shard in range(SHARDS)}
    mine = shard_of("office-main", SHARDS)
    assert {shard for shard, given in found.items() if given} == {mine}
    assert [as_published(subject) for subject in found[mine]] == ["office.v1.office-main"]


async def test_a_device_is_acknowledged_and_its_repeat_is_dropped_as_ever(broker: Any, ingest: Client, streams: Any) -> None:
    device = await broker.connect(broker.device("leaky"))
    headers = {MESSAGE_ID_HEADER: "leaky-i1:1-3:aa"}
    first = await device.request("field.v1.leaky", b"segment", timeout=DEADLINE_S, headers=headers)
    again = await device.request("field.v1.leaky", b"segment", timeout=DEADLINE_S, headers=headers)
    assert json.loads(first.data) == {"stream": "FIELD", "seq": 1}
    assert json.loads(again.data) == {"stream": "FIELD", "seq": 1, "duplicate": True}
    assert (await streams.stream_info("FIELD")).state.messages == 1
    await device.close()


async def test_a_flood_fills_only_its_own_quota_although_another_name_is_stored(ingest: Client, streams: Any) -> None:
    await ensure_streams(
        ingest.jetstream(), [replace(FIELD, messages_per_subject_max=2)], transforms={"FIELD": transform(FIELD, SHARDS)}
    )
    for _ in range(2):
        await streams.publish("field.v1.flood", b"segment")
    with pytest.raises(APIError) as refused:
        await streams.publish("field.v1.flood", b"segment")
    assert refused.value.err_code == 10077
    calm = next(name for name in map("calm-{}".format, range(99)) if shard_of(name, SHARDS) == shard_of("flood", SHARDS))
    await streams.publish(f"field.v1.{calm}", b"segment")


async def test_nobody_publishes_under_a_stored_subject(broker: Any, ingest: Client, streams: Any) -> None:
    shard = shard_of("mallory", SHARDS)
    device = await broker.connect(broker.device("mallory"))
    with pytest.raises((NoAnswer, NoRespondersError)):
        await device.request(f"field.v1.{shard}.mallory", b"segment", timeout=0.7)
    everything = await broker.connect(broker.administrator())
    with pytest.raises(NoRespondersError):  # no stream takes it, even from who may publish anything
        await everything.request(f"field.v1.{shard}.mallory", b"segment", timeout=DEADLINE_S)
    await everything.close()
    assert (await streams.stream_info("FIELD")).state.messages == 0
    await device.close()


async def test_a_devices_messages_are_found_again_by_its_subject(ingest: Client, streams: Any) -> None:
    for name in ("leaky", "dripping", "leaky"):
        await streams.publish(f"field.v1.{name}", name.encode())
    newest = await streams.get_last_msg("FIELD", f"field.v1.{shard_of('leaky', SHARDS)}.leaky")
    assert (newest.seq, as_published(newest.subject)) == (3, "field.v1.leaky")
    counted = (await streams.stream_info("FIELD", subjects_filter="field.v1.*.leaky")).state.subjects
    assert list(counted.values()) == [2]


async def test_what_was_stored_before_the_broker_sorted_is_read_by_shard_0_and_the_old_consumer_goes(
    broker: Any, streams: Any
) -> None:
    client = await broker.connect("field-ingest")
    for stream in ROUTED:
        await streams.add_stream(stream_config(stream))
        await streams.add_consumer(
            stream.name, name="field-ingest", durable_name="field-ingest", filter_subject=stream.subjects[0]
        )
    await streams.publish("field.v1.leaky", b"before")
    await prepare_streams(client.jetstream(), 2)
    await streams.publish(f"field.v1.{ONE}", b"after")
    await prepare_consumers(client.jetstream(), readings(range(2), batch_max=64, ack_wait_s=10))
    await prepare_consumers(client.jetstream(), readings(range(2), batch_max=64, ack_wait_s=10))  # as the next process does
    found = {shard: await stored(streams, shard) for shard in range(2)}
    expected: dict[int, list[str]] = {0: ["field.v1.leaky"], 1: []}
    expected[shard_of(ONE, 2)].append(f"field.v1.{shard_of(ONE, 2)}.{ONE}")
    assert found == expected
    for stream in ROUTED:
        with pytest.raises(NotFoundError):
            await streams.consumer_info(stream.name, "field-ingest")
    await client.close()


# --- the ledger behind it ---


async def send(streams: Any, pen: Any, events: Any) -> None:
    await streams.publish(pen.subject, encode_segment(events), headers={MESSAGE_ID_HEADER: message_id(events)})


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def two(empty_house: Any) -> Any:
    """A ledger of two shards."""
    await empty_house.found(shards=2)
    yield empty_house
    await empty_house.check_invariants()


class Worker:
    """An admission worker of some shards, as a process of its own would be: own connections, own consumer loops."""

    def __init__(self, broker: Any, house: Any, shards: tuple[int, ...], *, depots: bool = False) -> None:
        self._house, self._shards, self._server, self._depots = house, shards, broker, depots
        self.noted: list[Message] = []

    async def __aenter__(self) -> "Worker":
        credentials = self._server.credentials("field-ingest")
        self._watch = Watch("field-ingest")
        self._client = await self._server.connect("field-ingest")
        self._subscriber = faststream_broker(self._server.url, credentials, self._watch)
        jetstream = self._client.jetstream()
        wanted = readings(self._shards, batch_max=8, ack_wait_s=10, depots=self._depots)
        await prepare_consumers(jetstream, wanted)
        letters = DeadLetters(jetstream, "field-ingest")
        Intake(self._house.admission, letters, wanted, noted=self.noted.extend).subscribe(self._subscriber)
        await self._subscriber.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.stopping = True
        await self._subscriber.stop()
        await self._client.close()


@pytest.fixture
async def routed(broker: Any, streams: Any) -> Any:
    """The owner's streams sorting for two shards; the administrator's JetStream."""
    client = await broker.connect("field-ingest")
    await prepare_streams(client.jetstream(), 2)
    await prepare_consumers(client.jetstream(), readings(range(2), batch_max=64, ack_wait_s=10))
    yield streams
    await client.close()


async def test_a_shards_worker_admits_its_own_and_the_others_wait(broker: Any, routed: Any, two: Any) -> None:
    one, other = await two.hire(ONE), await two.hire(OTHER)
    assert ((await two.row(one))["shard"], (await two.row(other))["shard"]) == (shard_of(ONE, 2), shard_of(OTHER, 2))
    assert shard_of(ONE, 2) != shard_of(OTHER, 2)
    for pen in (one, other):
        await send(routed, pen, pen.writes(3))
    async with Worker(broker, two, (shard_of(ONE, 2),)):
        await until(lambda: admitted(two, one, 3))
        assert (await two.row(other))["mark"] == 0
        waiting = await routed.consumer_info("FIELD", f"field-ingest-{shard_of(OTHER, 2)}")
        assert (waiting.num_pending, waiting.num_ack_pending) == (1, 0)
        async with Worker(broker, two, (shard_of(OTHER, 2),)):
            await until(lambda: admitted(two, other, 3))
    assert {row["shard"] for pen in (one, other) for row in await two.rows(pen)} == {0, 1}


async def test_two_workers_of_one_shard_admit_everything_once_and_in_order(broker: Any, routed: Any, two: Any) -> None:
    pens = [await two.hire(f"van-{number}") for number in range(3)]
    for _ in range(6):
        for pen in pens:
            await send(routed, pen, pen.writes(2))
    async with Worker(broker, two, (0, 1)), Worker(broker, two, (0, 1)):
        for pen in pens:
            await until(lambda pen=pen: admitted(two, pen, 12))
    for pen in pens:
        assert [row["seq"] for row in await two.rows(pen)] == list(range(1, 13))


async def test_a_depot_cannot_have_a_device_suspended_by_sending_in_its_name(broker: Any, routed: Any, two: Any) -> None:
    """The subject of what a depot's store gives is that depot's word: only what a device newly signed counts as sent by it."""
    pen = await two.hire(ONE)
    shard = shard_of(ONE, 2)
    await routed.add_stream(name="STORE", subjects=["store.*"])
    as_sent = SubjectTransform("store.*", f"field.v1.{shard}.{{{{wildcard(1)}}}}")
    await routed.add_stream(name=DEPOTS.name, sources=[StreamSource("STORE", subject_transforms=[as_sent])])
    segment = encode_segment(pen.writes(3))
    async with Worker(broker, two, (shard,), depots=True) as worker:
        for data in (b"forged", segment, segment, b"forged again"):
            await routed.publish(f"store.{ONE}", data)
        await until(lambda: settled(routed, f"field-ingest-{shard}", 4))
        assert [(one.subject, one.data) for one in worker.noted] == [(pen.subject, segment)]
        await send(routed, pen, pen.writes(1))
        await routed.publish(pen.subject, b"its own nonsense")
        await until(lambda: admitted(two, pen, 4))
        await until(lambda: said(worker, 3))


async def settled(streams: Any, durable: str, count: int) -> bool:
    info = await streams.consumer_info(DEPOTS.name, durable)
    return bool(info.ack_floor.stream_seq == count)


async def said(worker: Worker, count: int) -> bool:
    return len(worker.noted) == count


async def test_a_message_on_another_shards_route_lands_in_its_authors_shard(broker: Any, routed: Any, two: Any) -> None:
    """Whatever the broker sorted by (an older layout, another number): the author's row says where its events are."""
    pen = await two.hire(ONE)
    mine = shard_of(ONE, 2)
    await two.pool.execute("UPDATE authors SET shard = $2 WHERE author = $1", pen.author, 1 - mine)
    await send(routed, pen, pen.writes(3))
    [message] = await messages(routed, mine)
    assert route_of(message.subject) == mine
    await message.nak()
    async with Worker(broker, two, (mine,)):
        await until(lambda: admitted(two, pen, 3))
    assert {row["shard"] for row in await two.rows(pen)} == {1 - mine}


async def test_somebody_elses_subject_is_refused_also_when_it_is_sorted(broker: Any, routed: Any, two: Any) -> None:
    honest, hostile = await two.hire(ONE), await two.hire(OTHER)
    events = honest.writes(2)
    await routed.publish(hostile.subject, encode_segment(events), headers={MESSAGE_ID_HEADER: message_id(events)})

    async def rejected() -> bool:
        rows = await two.pool.fetch("SELECT subject, code FROM rejects")
        return [(row["subject"], row["code"]) for row in rows] == [(hostile.subject, "segment.wrong_subject")]

    async with Worker(broker, two, (0, 1)):
        await until(rejected)
    assert (await two.row(honest))["mark"] == 0


async def test_a_dead_letter_is_tried_again_from_the_subject_as_it_was_published(broker: Any, routed: Any, two: Any) -> None:
    pen = await two.hire(ONE)
    await send(routed, pen, pen.writes(2))
    [message] = await messages(routed, shard_of(ONE, 2))
    client = await broker.connect("field-ingest")
    await DeadLetters(client.jetstream(), "field-ingest").bury(
        message, "system.internal", "the process ended in each of 32 tries"
    )
    buried = await letter(client.jetstream(), 1)
    assert buried.header("Subject") == message.subject
    assert await retry(two.pool, two.admission, buried, two.clock) == Done(admitted=2)
    await client.close()


async def admitted(house: Any, pen: Any, mark: int) -> bool:
    return bool((await house.row(pen))["mark"] == mark)


# --- names and numbers ---


def test_a_list_of_shards_is_read_or_refused_with_a_sentence() -> None:
    assert chosen("", 3) == (0, 1, 2)
    assert chosen(" 2, 0,2", 3) == (0, 2)
    with pytest.raises(ValueError, match="shards 0 to 2: '3' names another"):
        chosen("3", 3)
    with pytest.raises(ValueError, match="numbers separated by commas, not 'all'"):
        chosen("all", 3)
    with pytest.raises(ValueError, match="names another"):
        chosen("-1", 3)


@pytest.mark.parametrize("stream", [FIELD, OFFICE])
def test_a_stored_subject_says_where_it_was_published_and_for_whom(stream: Any) -> None:
    published = stream.subjects[0].replace("*", "leaky")
    kept = stream.subjects[0].replace("*", "1.leaky")
    assert (as_published(kept), route_of(kept)) == (published, 1)
    assert (as_published(published), route_of(published)) == (published, None)


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_shards_are_filled_evenly(shards: int) -> None:
    filled = [shard_of(f"d-{number:016x}", shards) for number in range(0, 1 << 50, (1 << 50) // 4000)]
    counts = [filled.count(shard) for shard in range(shards)]
    assert min(counts) > 0.8 * max(counts)
