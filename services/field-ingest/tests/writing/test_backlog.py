"""What waits is counted from a real database and a real broker, and a gauge says it."""

from typing import Any

from nats.aio.client import Client
from prometheus_client import REGISTRY

from field_ingest.admission.routing import prepare_consumers, prepare_streams, readings
from field_ingest.backlog import Backlog
from tests.fixtures.broker import Broker
from zb_contracts import subjects


def gauge(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, f"nobody set {name}"
    return value


async def counted(house: Any, ingest: Client) -> None:
    every = readings(range(1), batch_max=1, ack_wait_s=10)
    jetstream = ingest.jetstream()
    await prepare_streams(jetstream, 1)
    await prepare_consumers(jetstream, every)
    await Backlog(house.pool, jetstream, every, house.clock).count()


async def test_rows_that_nobody_projected_and_no_checkpoint_covers_are_counted(house: Any, ingest: Client) -> None:
    pen = await house.hire("leaky")
    await counted(house, ingest)
    before = gauge("zb_ingest_waiting_rows", shard="0")
    await house.deliver(pen, pen.writes(3))
    await counted(house, ingest)
    assert gauge("zb_ingest_waiting_rows", shard="0") == before + 3
    assert gauge("zb_ingest_rows_without_checkpoint", shard="0") == before + 3
    assert gauge("zb_ingest_streams_in_quarantine") == 0


async def test_a_device_of_the_future_is_seen(house: Any, ingest: Client) -> None:
    pen = await house.hire("leaky")
    await house.deliver(pen, [pen.write(at_ms=house.now_ms + 90_000)])
    await house.deliver(pen, [pen.write(at_ms=house.now_ms)])
    await counted(house, ingest)
    assert gauge("zb_ingest_clock_ahead_seconds") == 90
    assert gauge("zb_ingest_clocks_went_back") == 1


async def test_what_waits_for_a_person_is_counted(house: Any, ingest: Client) -> None:
    pen = await house.hire("leaky")
    await house.deliver(pen, [pen.write(actor="nobody-we-know")])
    await house.deliver(pen, [pen.write(seen={"office-main": 999})])
    await counted(house, ingest)
    assert gauge("zb_ingest_events_held") == 1
    assert gauge("zb_ingest_authors_stopped") == 1


async def test_messages_and_dead_letters_that_nobody_settled_are_counted(house: Any, broker: Broker, ingest: Client) -> None:
    await counted(house, ingest)
    assert gauge("zb_ingest_dead_letters_open") == 0
    await ingest.jetstream().publish(subjects.deadletter("field-ingest"), b"a grave")
    device = await broker.connect(broker.device("leaky", "anna"))
    await device.request("field.v1.leaky", b"segment", timeout=10)
    await device.close()
    await counted(house, ingest)
    assert gauge("zb_ingest_dead_letters_open") == 1
    assert gauge("zb_ingest_waiting_messages", stream="FIELD", consumer="field-ingest-0") == 1
    assert gauge("zb_ingest_waiting_messages", stream="OFFICE", consumer="field-ingest-0") == 0
