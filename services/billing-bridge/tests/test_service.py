"""The bridge as it runs: its own process, a real broker and database, the command line beside it, and kill -9."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from pydantic import BaseModel

from billing_bridge.app import hears
from billing_bridge.config import SERVICE
from zb.processes import Service, free_port
from zb_chassis.broker import Watch
from zb_chassis.consuming import DeadLetters, unsafe_subscribers
from zb_chassis.messaging import subscribe
from zb_chassis.streams import ensure_streams
from zb_chassis.subscriber import faststream_broker
from zb_contracts import subjects
from zb_contracts.announcements import CONTRACTS, PRICE_LIST, BatchAnnounced, ContractsPublished
from zb_contracts.envelope import check_signature, parse_event
from zb_contracts.keys import SigningKey
from zb_contracts.segment import decode_segment

DEADLINE_S = 30.0
SEED = b"billing-bridge-service-seed".ljust(32, b".")


@pytest.fixture
async def service(broker: Any, streams: JetStreamContext, database: str, tmp_path: Path) -> AsyncIterator[Service]:
    others = (subjects.INTERVENTIONS, subjects.EVIDENCE, subjects.REFERENCE, subjects.OFFICE, subjects.DEADLETTER)
    await ensure_streams(streams, others)
    (tmp_path / "bridge.creds").write_text(broker.credentials(SERVICE).text())
    (tmp_path / "authors").mkdir()
    (tmp_path / "authors" / "billing-bridge.seed").write_text(SEED.hex())
    port = free_port()
    settings = {
        "DATABASE_URL": database,
        "NATS_URL": broker.url,
        "NATS_CREDS": str(tmp_path / "bridge.creds"),
        "HTTP_PORT": str(port),
        "OIDC_ISSUER": "http://127.0.0.1:1",
        "KEYS_DIR": str(tmp_path),
        "DATA_DIR": str(tmp_path / "data"),
    }
    environment = {f"ZB_BILLING_{key}": value for key, value in settings.items()}
    one = Service(SERVICE, ("billing_bridge", "serve"), port, environment, tmp_path / "bridge.log")
    one.start()
    await asyncio.to_thread(one.wait_ready)
    yield one
    await asyncio.to_thread(one.stop)


async def publish(streams: JetStreamContext, subject: str, message: BaseModel, kind: str = "") -> None:
    await streams.publish(
        subject, message.model_dump_json().encode(), headers={"ce-type": kind, "content-type": "application/json"}
    )


async def tell(streams: JetStreamContext, story: Any, announced: Any, *, number: int = 1) -> None:
    """Reference data and one closed intervention under a contract."""
    await publish(streams, subjects.reference("price-list"), story.prices(), PRICE_LIST)
    contracts = ContractsPublished(agency="main", version=1, contracts=(story.contract(),))
    await publish(streams, subjects.reference("contracts"), contracts, CONTRACTS)
    await publish(streams, subjects.announcement(story.id(number)), announced(story.state(number, contract="C-1")))


async def export(service: Service) -> dict[str, Any]:
    """What `python -m billing_bridge export` says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "billing_bridge",
        "export",
        env={**os.environ, **service.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out))


async def export_until_made(service: Service) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while (made := await export(service))["batch"] is None:
        assert time.monotonic() < deadline, service.last_words()
    return made


async def last(streams: JetStreamContext, stream: str, subject: str) -> bytes:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(NotFoundError):
            found = await streams.get_last_msg(stream, subject)
            assert found.data
            return found.data
        assert time.monotonic() < deadline, f"nothing on {subject}"
        await asyncio.sleep(0.05)


async def test_announced_work_becomes_files_and_events_and_a_second_export_changes_nothing(
    service: Service, streams: JetStreamContext, story: Any, announced: Any
) -> None:
    await tell(streams, story, announced)
    made = await export_until_made(service)
    paths = [Path(path) for path in made["paths"]]
    assert [path.suffix for path in paths] == [".txt", ".csv", ".done"]
    before = [path.read_bytes() for path in paths]
    assert b"411SYN" in before[0]
    assert await export(service) == {"batch": None, "unchanged": 1}
    assert [path.read_bytes() for path in paths] == before
    (signed,) = decode_segment(await last(streams, "OFFICE", subjects.office("billing-bridge")))
    check_signature(SigningKey.from_seed(SEED).public, parse_event(signed))
    told = BatchAnnounced.model_validate_json(await last(streams, "BILLING", subjects.billing("erp")))
    assert {file.sha256 for file in told.files} == {file["sha256"] for file in made["files"]}


async def test_killed_between_the_batch_and_the_broker_it_tells_after_the_restart(
    service: Service, streams: JetStreamContext, story: Any, announced: Any
) -> None:
    await tell(streams, story, announced)
    await export_until_made(service)
    await last(streams, "BILLING", subjects.billing("erp"))
    await publish(streams, subjects.announcement(story.id(2)), announced(story.state(2)))
    deadline = time.monotonic() + DEADLINE_S
    while (await streams.consumer_info("INTERVENTIONS", SERVICE)).ack_floor.stream_seq < 2:
        assert time.monotonic() < deadline, service.last_words()
        await asyncio.sleep(0.05)
    service.kill()
    made = await export(service)
    assert made["batch"] == 2, "the command line makes batches while the service is down"
    assert BatchAnnounced.model_validate_json(await last(streams, "BILLING", subjects.billing("erp"))).batch == 1
    service.start()
    deadline = time.monotonic() + DEADLINE_S
    while BatchAnnounced.model_validate_json(await last(streams, "BILLING", subjects.billing("erp"))).batch < 2:
        assert time.monotonic() < deadline, service.last_words()
        await asyncio.sleep(0.05)
    signed = decode_segment(await last(streams, "OFFICE", subjects.office("billing-bridge")))
    assert parse_event(signed[0]).header.seq == 2


async def test_every_subscription_is_safe(broker: Any, streams: JetStreamContext) -> None:
    reading = faststream_broker(broker.url, broker.credentials(SERVICE), Watch(SERVICE))
    # No pool is needed to look at a subscription.
    heard = hears(None)  # type: ignore[arg-type]
    subscribe(reading, heard, DeadLetters(streams, SERVICE))
    assert len(heard) == 3
    assert unsafe_subscribers(reading) == []


async def test_a_missing_seed_is_one_sentence(service: Service, tmp_path: Path) -> None:
    (tmp_path / "authors" / "billing-bridge.seed").unlink()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "billing_bridge",
        "export",
        env={**os.environ, **service.environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert (process.returncode, said.count(b"\n")) == (1, 1), said
    assert b"billing-bridge.seed" in said
