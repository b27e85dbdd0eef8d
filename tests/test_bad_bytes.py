"""Bad bytes on the running platform's broker: refused by name, counted, and nobody beside them waits or falls.

The bytes themselves stand in tests/fuzz/bombs.py and tests/test_broker_headers.py, where each reader and each client is tried
alone; here the whole service takes them all, from a device that holds real keys.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest
import zstandard

from tests.fuzz.bombs import WHOLE
from tests.fuzz.mutation import Form, exchanged
from tests.fuzz.samples import ENROLMENT, REQUEST, TOKEN, written
from tests.test_bad_input import bearer
from tests.test_broker_headers import HOSTILE, say
from zb.play.stage import Stage
from zb.play.stranger import Stranger
from zb_contracts.problems import PROBLEMS
from zb_contracts.segment import SEGMENT_BYTES_MAX
from zb_contracts.subjects import field, sync

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.2
MEMORY_GROWTH_MB_MAX: Final = 300
ANSWER_BYTES_MAX: Final = 8_192
TIME: Final = "2026-03-16T08:00:00.000Z"

Enrol = Callable[[], Awaitable[Stranger]]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Asks until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(POLL_S)


@pytest.fixture
async def http(platform: Stage) -> AsyncIterator[httpx.AsyncClient]:
    headers = bearer(platform, "auditor")
    async with httpx.AsyncClient(base_url=platform.stack.services["field-ingest"].url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
async def enrol(platform: Stage) -> AsyncIterator[Enrol]:
    """Enrols and connects devices of the agency; they are let go afterwards."""
    enrolled: list[Stranger] = []
    ingest = platform.stack.services["field-ingest"].url

    async def one() -> Stranger:
        async with httpx.AsyncClient(headers=bearer(platform, "administrator"), timeout=30) as administrator:
            answer = await administrator.post(f"{ingest}/v1/enrolment-codes", json={"agency": "main", "technician": "ana"})
        stranger = Stranger()
        await stranger.enrol(ingest, answer.raise_for_status().json()["code"])
        await stranger.connect(platform.stack.nats.url)
        enrolled.append(stranger)
        return stranger

    yield one
    for stranger in enrolled:
        await stranger.close()


async def mark(http: httpx.AsyncClient, device: Stranger) -> int:
    return int((await http.get(f"/v1/ledger/{device.me.author}")).raise_for_status().json()["mark"])


async def rejected(http: httpx.AsyncClient, device: Stranger) -> dict[str, int]:
    """How often each code was counted on the device's subject."""
    answer = (await http.get("/v1/rejects")).raise_for_status().json()
    return {row["code"]: row["times"] for row in answer["counts"] if row["subject"] == field(device.me.device)}


async def metric(http: httpx.AsyncClient, name: str) -> float:
    """The sum of a metric's samples."""
    text = (await http.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


async def sends(device: Stranger, platform: Stage, text: str) -> None:
    """One good event."""
    event = device.compose(platform.story.text(8, 0), text=text)
    await device.publish([event])
    device.chain.append(event)


async def test_bad_segments_are_counted_by_name_and_delay_nobody(platform: Stage, http: httpx.AsyncClient, enrol: Enrol) -> None:
    hostile, honest = await enrol(), await enrol()
    pid, memory = platform.stack.services["field-ingest"].pid, await metric(http, "process_resident_memory_bytes")
    subject, stored = field(hostile.me.device), 0
    for data in (*WHOLE.values(), bytes(SEGMENT_BYTES_MAX + 1)):
        answer = json.loads((await hostile.client.request(subject, data, timeout=DEADLINE_S)).data)
        stored += "error" not in answer
    before = await metric(http, "zb_ingest_messages_total")
    for headers in HOSTILE.values():
        await say(hostile.client, subject, headers, b"hostile")
    await sends(honest, platform, "nobody made me wait")
    await until(lambda: _is(mark(http, honest), 1), "the honest device's event is admitted")

    async def all_counted() -> bool:
        return sum((await rejected(http, hostile)).values()) >= stored

    await until(all_counted, "every bad segment is counted")
    codes = await rejected(http, hostile)
    assert {code for code in codes if code not in PROBLEMS} == set()
    assert {"segment.malformed", "segment.too_large"} <= set(codes)
    assert await metric(http, "zb_ingest_messages_total") > before
    await sends(hostile, platform, "even I am taken when I am right")
    await until(lambda: _is(mark(http, hostile), 1), "the hostile device's good event is admitted")
    assert platform.stack.services["field-ingest"].pid == pid
    assert await metric(http, "process_resident_memory_bytes") - memory < MEMORY_GROWTH_MB_MAX << 20


async def test_bad_requests_are_counted_and_the_next_is_answered(platform: Stage, http: httpx.AsyncClient, enrol: Enrol) -> None:
    hostile, honest = await enrol(), await enrol()
    await sends(honest, platform, "what became of me?")
    await until(lambda: _is(mark(http, honest), 1), "the event is admitted")
    before = await metric(http, "zb_ingest_sync_requests_total")
    memory = await metric(http, "process_resident_memory_bytes")
    subject = sync(hostile.me.device, "ana")
    requests = [*WHOLE.values(), *map(zstandard.ZstdCompressor().compress, _wrong_requests())]
    for data in requests:
        await hostile.client.publish(subject, data, reply=f"_INBOX.{hostile.me.device}.x")
    for headers in HOSTILE.values():
        await say(hostile.client, subject, headers, b"hostile", f"_INBOX.{hostile.me.device}.x")
    answer = await honest.receipts("0" * 32)
    assert [receipt.verdict for receipt in answer.receipts] == ["admitted"]

    async def all_answered() -> bool:
        return await metric(http, "zb_ingest_sync_requests_total") - before > len(requests)

    await until(all_answered, "every request is counted")
    assert 'zb_ingest_sync_requests_total{outcome="failed"}' not in (await http.get("/metrics")).text
    assert await metric(http, "process_resident_memory_bytes") - memory < MEMORY_GROWTH_MB_MAX << 20


@pytest.mark.parametrize("path", ["enrolments", "tokens", "incarnations"])
async def test_bad_bodies_of_strangers_are_refused_by_name(platform: Stage, http: httpx.AsyncClient, path: str) -> None:
    """The endpoints that somebody without a role may call: nothing of a body may cost more than its refusal."""
    memory = await metric(http, "process_resident_memory_bytes")
    headers = {"Content-Type": "application/json", "Zb-Device": "dev-1", "Zb-Proof": "A", "Zb-Proof-Time": "now"}
    bodies = dict(WHOLE) | dict(exchanged(written(ENROLMENT), Form.JSON))
    wrong = {}
    for name, data in bodies.items():
        answer = await http.post(f"/v1/{path}", content=data, headers=headers)
        code = answer.json().get("code") if answer.headers["content-type"] == "application/problem+json" else None
        if answer.status_code not in (401, 403, 413, 422) or code not in PROBLEMS or len(answer.content) > ANSWER_BYTES_MAX:
            wrong[name] = (answer.status_code, answer.text[:200])
    assert wrong == {}
    assert await metric(http, "process_resident_memory_bytes") - memory < MEMORY_GROWTH_MB_MAX << 20


async def test_bad_proofs_of_a_session_are_refused_by_name(http: httpx.AsyncClient) -> None:
    good = {"Authorization": f"Zb-Device {TOKEN}", "Zb-Device": "dev-1", "Zb-Proof": "A" * 86, "Zb-Proof-Time": TIME}
    for name in good:
        for value in ("", "\xff", "a" * 10_000, "..", "eyJ9.eyJ9.eyJ9", "\u0661".encode().decode("latin-1"), "NaN", "-1", "*"):
            headers = {key: text.encode("latin-1") for key, text in (good | {name: value}).items()}
            answer = await http.post("/v1/tokens", content=b'{"device":"dev-1"}', headers=headers)
            assert answer.status_code in (401, 403, 404, 422), (name, value, answer.text)
            assert answer.json()["code"] in PROBLEMS


async def _is(value: Awaitable[Any], wanted: Any) -> bool:
    return bool(await value == wanted)


def _wrong_requests() -> list[bytes]:
    return [data for _, data in exchanged(REQUEST, Form.PACKED) if len(data) < 16_000]
