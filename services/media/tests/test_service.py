"""The service as it runs: its own process, a real broker and database; killed in the middle of an upload and started again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from media.app import hears
from media.config import SERVICE
from zb_chassis.broker import Watch
from zb_chassis.clock import system_clock
from zb_chassis.consuming import DeadLetters, unsafe_subscribers
from zb_chassis.messaging import subscribe
from zb_chassis.streams import ensure_streams
from zb_chassis.subscriber import faststream_broker
from zb_contracts.announcements import EvidenceAnnounced, InterventionAnnounced
from zb_contracts.subjects import DEADLETTER, INTERVENTIONS, REFERENCE, announcement, evidence

DEADLINE_S = 30.0


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Running:
    """`python -m media serve`, with a device that speaks to it."""

    environment: dict[str, str]
    url: str
    log: Path
    process: Any = None
    phone: Any = None
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "media", "serve", env=os.environ | self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await self.http.get(f"{self.url}/ready")).status_code == 200:
                    return
            assert self.process.returncode is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return int(await asyncio.wait_for(self.process.wait(), DEADLINE_S))


@pytest.fixture
async def running(
    broker: Any, streams: JetStreamContext, database: str, tmp_path: Path, new_phone: Any
) -> AsyncIterator[Running]:
    await ensure_streams(streams, [INTERVENTIONS, REFERENCE, DEADLETTER])
    (tmp_path / "media.creds").write_text(broker.credentials("media").text())
    signer, account = broker.layout.keys["device-signer"], broker.layout.account("DEV")
    (tmp_path / "device-signer.pub").write_text(json.dumps({"signer": signer.public, "account": account}))
    for name in ("root.pub", "media-wrap.key"):
        (tmp_path / name).write_text(os.urandom(32).hex())
    port = free_port()
    settings = {
        "DATABASE_URL": database,
        "NATS_URL": broker.url,
        "NATS_CREDS": str(tmp_path / "media.creds"),
        "HTTP_PORT": str(port),
        "OIDC_ISSUER": "http://127.0.0.1:1",
        "KEYS_DIR": str(tmp_path),
        "DATA_DIR": str(tmp_path / "data"),
    }
    url = f"http://127.0.0.1:{port}"
    one = Running({f"ZB_MEDIA_{key}": value for key, value in settings.items()}, url, tmp_path / "media.log")
    async with httpx.AsyncClient(base_url=url) as http:
        one.phone = new_phone(http, signer, account)
        await one.start()
        yield one
        if one.process.returncode is None:
            await one.end(signal.SIGKILL)
    await one.http.aclose()


async def next_evidence(streams: JetStreamContext, intervention: str, version: int) -> EvidenceAnnounced:
    """The announcement of that version, once it is there."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(NotFoundError):
            found = await streams.get_last_msg("EVIDENCE", evidence(intervention))
            assert found.data
            told = EvidenceAnnounced.model_validate_json(found.data)
            if told.version >= version:
                return told
        assert time.monotonic() < deadline, f"no evidence of version {version}"
        await asyncio.sleep(0.05)


async def publish(streams: JetStreamContext, message: InterventionAnnounced) -> None:
    await streams.publish(announcement(message.intervention), message.model_dump_json().encode())


async def test_an_upload_survives_kill_9_and_the_evidence_is_announced(
    running: Running, streams: JetStreamContext, story: Any
) -> None:
    data = story.PHOTO * 100
    digest = story.sha256(data)
    await publish(streams, story.announced(1, story.line(1, data)))
    assert not (await next_evidence(streams, story.LEAKY_BOILER, 1)).complete
    assert (await running.phone.begin(data)).status_code == 201
    assert (await running.phone.send(digest, 0, data[:50_000])).status_code == 204
    sending = asyncio.create_task(running.phone.send(digest, 50_000, data[50_000:100_000]))
    await running.end(signal.SIGKILL)
    await asyncio.gather(sending, return_exceptions=True)
    await running.start()
    offset = int((await running.phone.look(digest)).headers["upload-offset"])
    assert offset in (50_000, 100_000)
    assert (await running.phone.send(digest, offset, data[offset:])).status_code == 204
    told = await next_evidence(streams, story.LEAKY_BOILER, 2)
    assert (told.version, told.complete) == (2, True)


async def test_a_part_cut_off_on_the_wire_is_no_part(running: Running, story: Any) -> None:
    data = story.PHOTO * 50
    digest = story.sha256(data)
    await running.phone.begin(data)
    path = f"/v1/uploads/{digest}"
    headers = running.phone.headers("PATCH", path, data) | {
        "Host": "media",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(data)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    _, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
    writer.write(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode() + data[:1000])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await running.phone.look(digest)).headers["upload-offset"] == "0"
    assert (await running.phone.send(digest, 0, data)).headers["upload-offset"] == str(len(data))
    assert await running.end(signal.SIGTERM) == 0
    assert "unexpected fault" not in running.log.read_text()


async def test_a_poison_announcement_is_buried_and_the_next_one_is_read(
    running: Running, streams: JetStreamContext, story: Any
) -> None:
    await streams.publish(announcement("poison"), b"{ no json", headers={"content-type": "application/json"})
    await publish(streams, story.announced(1))
    assert (await next_evidence(streams, story.LEAKY_BOILER, 1)).complete


async def test_it_drains_on_sigterm(running: Running) -> None:
    assert await running.end(signal.SIGTERM) == 0, running.log.read_text()


async def test_a_missing_setting_is_named() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZB_MEDIA_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "media", "serve", env=kept, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    assert b"ZB_MEDIA_DATABASE_URL" in said


async def test_a_missing_key_file_is_one_sentence(running: Running, tmp_path: Path) -> None:
    await running.end(signal.SIGTERM)
    (tmp_path / "device-signer.pub").unlink()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "media", "serve", env=os.environ | running.environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert (process.returncode, said.count(b"\n")) == (1, 1), said
    assert b"device-signer.pub" in said


async def test_every_subscription_is_safe(broker: Any, streams: JetStreamContext) -> None:
    credentials = broker.credentials(SERVICE)
    reading = faststream_broker(broker.url, credentials, Watch(SERVICE))
    # No pool and no files are needed to look at a subscription.
    subscribe(reading, hears(None, system_clock, None), DeadLetters(streams, SERVICE))  # type: ignore[arg-type]
    assert unsafe_subscribers(reading) == []
