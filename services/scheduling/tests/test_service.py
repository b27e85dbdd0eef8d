"""The whole process against a real broker and database: started, used, killed, started again, stopped."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.js import JetStreamContext

from scheduling.ids import id_of
from zb_chassis.streams import ensure_streams
from zb_contracts import subjects
from zb_contracts.envelope import parse_event
from zb_contracts.segment import decode_segment

DEADLINE_S = 30.0
SITES = b"reference,name,town,country\nA-1,Alexanderplatz,Berlin,DE\n"
WORK = b"reference,kind,title,site_reference\nW-1,repair,Cabin stuck,A-1\n"
STUCK = id_of("intervention", "main", "W-1")


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first truthy answer; an assertion when none came before the deadline."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        answer = await condition()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


@dataclass
class Service:
    """One process of scheduling, and its HTTP as the integrator."""

    environment: dict[str, str]
    http: httpx.AsyncClient
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "scheduling", "serve"]
        self.process = await asyncio.create_subprocess_exec(*command, env=self.environment, stderr=asyncio.subprocess.PIPE)
        await until(self._is_ready, "the service is not ready")

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        _, errors = await asyncio.wait_for(self.process.communicate(), DEADLINE_S)
        if self.process.returncode == 1:
            raise AssertionError(errors.decode())
        return int(self.process.returncode or 0)

    async def feed(self, kind: str, data: bytes) -> dict[str, Any]:
        answer = await self.http.post(f"/v1/imports/{kind}", content=data, headers={"Content-Type": "text/csv"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def intervention(self) -> dict[str, Any]:
        return dict((await self.http.get(f"/v1/interventions/{STUCK}")).json())

    async def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            await self.end(signal.SIGTERM)
            raise AssertionError(f"the service ended with {self.process.returncode}")
        try:
            return (await self.http.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
async def environment(broker: Any, databases: Any, key_folder: Any, issuer: Any, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The settings of a process on servers of this test."""
    async with databases(2) as (database, custody):
        settings = _settings(broker, key_folder, issuer, tmp_path) | {"DATABASE_URL": database, "CUSTODY_URL": custody}
        yield os.environ | {f"ZB_SCHEDULING_{name}": value for name, value in settings.items()}


def _settings(broker: Any, key_folder: Any, issuer: Any, tmp_path: Path) -> dict[str, str]:
    credentials = tmp_path / "scheduling.creds"
    credentials.write_text(broker.credentials("scheduling").text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        "NATS_URL": broker.url,
        "NATS_CREDS": str(credentials),
        "HTTP_PORT": str(port),
        "OIDC_ISSUER": issuer[0],
        "KEYS_DIR": str(key_folder[0]),
        "DATA_DIR": str(tmp_path),
    }


@pytest.fixture
async def service(environment: dict[str, str], issuer: Any) -> AsyncIterator[Service]:
    url = f"http://127.0.0.1:{environment['ZB_SCHEDULING_HTTP_PORT']}"
    headers = {"Authorization": f"Bearer {issuer[1]['integrator']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        one = Service(environment, http)
        yield one
        if one.process is not None and one.process.returncode is None:
            await one.end(signal.SIGKILL)


async def of_ingest(streams: JetStreamContext) -> None:
    """What field-ingest makes."""
    await ensure_streams(streams, [subjects.OFFICE, subjects.INTERVENTIONS, subjects.DEADLETTER])


async def sequences(streams: JetStreamContext) -> list[int]:
    """The numbers of the office's events in OFFICE, in order of arrival."""
    found = []
    for number in range(1, (await streams.stream_info("OFFICE")).state.messages + 1):
        message = await streams.get_msg("OFFICE", number)
        assert message.subject == "office.v1.office-main"
        assert message.data is not None
        found += [parse_event(event).header.seq for event in decode_segment(message.data)]
    return found


async def test_what_is_decided_reaches_the_broker_and_what_is_announced_the_board(
    service: Service, streams: JetStreamContext, announcement: Any
) -> None:
    await of_ingest(streams)
    await service.start()
    await service.feed("sites", SITES)
    await service.feed("interventions", WORK)

    async def all_there() -> bool:
        return await sequences(streams) == [1, 2]

    await until(all_there, "the segments did not arrive")
    subject = subjects.announcement(STUCK)
    for number, kind in enumerate(("application/json", "text/plain")):
        headers = {"Nats-Msg-Id": f"poison-{number}", "content-type": kind}
        await streams.publish(subject, b"no announcement", headers=headers)
    await streams.publish(subject, announcement(STUCK, 3, {"dev-1": 2}), headers={"Nats-Msg-Id": "a-3"})
    await streams.publish(subject, announcement(STUCK, 2, {"dev-1": 1}, "assigned"), headers={"Nats-Msg-Id": "a-2"})

    async def shown() -> bool:
        return (await service.intervention())["status"] == "in_progress"

    await until(shown, "the announcement was not applied")

    async def buried() -> bool:
        return (await streams.stream_info("DEADLETTER")).state.messages == 2

    await until(buried, "the poison messages were not buried")

    async def settled() -> bool:
        consumer = await streams.consumer_info("INTERVENTIONS", "scheduling")
        return consumer.num_pending == 0 and consumer.num_ack_pending == 0

    await until(settled, "a message was not settled")
    assert (await service.intervention())["field"]["version"] == 3
    assert await service.end(signal.SIGTERM) == 0


async def test_kill_and_start_again_loses_nothing_and_sends_nothing_twice(service: Service, streams: JetStreamContext) -> None:
    """The broker's streams are not there yet: what was decided waits in the outbox, through a kill -9."""
    await service.start()
    await service.feed("sites", SITES)
    assert await service.end(signal.SIGKILL) == -signal.SIGKILL
    await service.start()
    assert (await service.feed("sites", SITES))["rows"][0]["outcome"] == "unchanged"
    await of_ingest(streams)
    await service.feed("interventions", WORK)

    async def all_there() -> bool:
        return await sequences(streams) == [1, 2]

    await until(all_there, "the segments did not arrive")
    assert await service.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HTTP_PORT", "none", "ZB_SCHEDULING_HTTP_PORT: "),
        ("KEYS_DIR", "/nonexistent", "give the folder that holds the office's key"),
        ("NATS_CREDS", "/nonexistent.creds", "credentials file /nonexistent.creds"),
    ],
)
async def test_a_bad_setting_is_one_sentence(environment: dict[str, str], name: str, value: str, sentence: str) -> None:
    command = [sys.executable, "-m", "scheduling", "serve"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment | {f"ZB_SCHEDULING_{name}": value}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode in (1, 2)
    assert sentence in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_migrating_twice_names_what_was_applied_once(environment: dict[str, str]) -> None:
    said = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduling", "migrate", env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        assert process.returncode == 0
        said.append(output.decode().split())
    assert {"scheduling/0001_scheduling.pre.sql", "custody/0180_custody.pre.sql"} <= set(said[0])
    assert said[1] == []
