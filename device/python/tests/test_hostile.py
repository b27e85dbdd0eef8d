"""A hostile or broken server, and long absences: refused *and* reported, and nothing signed is lost.

| story | test |
|---|---|
| unsigned or falsely signed answer | here, `test_syncing` (a stranger's key, another type) |
| a key of another root, an ended key | here, `test_rotation` |
| receipt without a place, verdict turned | `test_syncing` |
| split view, shorter history | `test_syncing`, `test_testimony`, `test_healed_ledger` |
| scope goes back | `test_syncing`; a document that goes back: here |
| huge answer, bomb, nonsense, by the broker and over HTTP | here |
| answers lost, duplicated, late | here, `test_syncing`, `test_sessions` (renewal), `test_incarnations`, `test_ending` |
| revoked in mid sync, suspended, wiped | here, `test_sessions`, `test_ending` |
| token expired ten days, 30 days off line | `test_sessions`, here |
| clock back a year, clock ahead, reboot | `test_sessions`, `test_clocks` |
| killed at every write point | `test_crash_points`, `test_store` |
| full disk, damaged page, torn write, wrong key, old copy | `test_store_faults`, `test_store`, `test_incarnations` |
"""

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
import zstandard

from tests.fixtures.little_platform import PIN, Platform, Wire
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.keys import KeyPurpose, SigningKey, certify
from zb_contracts.problems import Problem
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, UNPACKED_BYTES_MAX, Command, ScopeDocument, SyncAnswer, answer_payload
from zb_device import http
from zb_device.device import Device
from zb_device.faults import Locked, Refused, SessionEnded, Unreachable
from zb_device.http import answered
from zb_device.log import EventState
from zb_device.reporting import status

BOILER = "intervention:leaky-boiler"
DAY_MS = 86_400_000


async def refused_and_reported(device: Device, code: str) -> None:
    """The sync fails by name, nothing of the answer was taken, the person is told, and what waits still waits."""
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == code
    assert device.parts.log.counts()[EventState.ADMITTED] == 0
    assert code in [problem["code"] for problem in status(device)["problems"]]
    assert device.parts.log.outgoing(1), "its bytes are kept"


@pytest.mark.parametrize(("signature", "code"), [(b"", "sync.malformed"), (bytes(64), "sync.signature_invalid")])
async def test_an_unsigned_answer_is_refused_and_reported(device, platform, signature, code):
    await device.record(Started(), stream=BOILER)
    platform.seal_with = lambda answer: msgspec.structs.replace(
        sign_document(ANSWER_TYPE, answer_payload(answer), platform.ledger), signature=signature
    )
    await refused_and_reported(device, code)


async def test_an_answer_under_a_key_that_another_root_certified_is_refused_and_reported(device, platform):
    await device.record(Started(), stream=BOILER)
    stranger, root = SigningKey.generate(), SigningKey.generate()
    certificate = certify(root, stranger.public, KeyPurpose.LEDGER, not_before_ms=0)
    platform.twist = lambda answer: msgspec.structs.replace(answer, certificates=(certificate,))
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), stranger)
    await refused_and_reported(device, "sync.signature_invalid")


@pytest.mark.parametrize(
    "answer",
    [
        zstandard.ZstdCompressor(level=19).compress(bytes(UNPACKED_BYTES_MAX + 1)),
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        b"",
        b"not zstd at all",
        zstandard.ZstdCompressor().compress(b"\xc1 no MessagePack"),
        zstandard.ZstdCompressor().compress(b"\x91" * 200_000),
    ],
    ids=["bomb", "skippable", "empty", "nonsense", "not-msgpack", "deep"],
)
async def test_a_huge_or_senseless_answer_is_refused_before_it_is_unpacked(device, platform, answer):
    await device.record(Started(), stream=BOILER)
    platform.answer = lambda _: answer
    await refused_and_reported(device, "sync.malformed")


@pytest.fixture
async def speaker() -> AsyncIterator[Callable[[bytes, Iterable[bytes]], Awaitable[str]]]:
    """Makes an HTTP server that says these headers and these blocks to whoever asks; its address."""
    servers = []

    async def speak(headers: bytes, blocks: Iterable[bytes]) -> str:
        async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + headers + b"\r\n")
                for block in blocks:
                    writer.write(block)
                    await writer.drain()
            writer.close()

        servers.append(await asyncio.start_server(said, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/v1/tokens"

    yield speak
    for server in servers:
        server.close()


async def test_an_http_answer_without_an_end_is_refused_and_not_gathered(speaker):
    url = await speaker(b"", itertools.repeat(bytes(65_536)))
    async with http.bounded_client() as client:
        with pytest.raises(Refused) as caught:
            await answered(client, "POST", url, {}, timeout_s=5)
    assert (caught.value.problem, caught.value.retryable) == ("http.answer", True)


async def test_an_http_answer_is_never_unpacked(speaker):
    bomb = gzip.compress(bytes(1 << 24))
    url = await speaker(b"Content-Encoding: gzip\r\n", [bomb])
    async with http.bounded_client() as client:
        assert (await answered(client, "GET", url, {}, timeout_s=5)).content == bomb


async def test_a_server_that_drips_is_left_after_a_time(speaker, monkeypatch):
    monkeypatch.setattr(http, "EXCHANGE_S_MAX", 0.2)
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1 << 40)
    url = await speaker(b"", itertools.repeat(b"."))
    async with http.bounded_client() as client:
        with pytest.raises(Unreachable):
            await answered(client, "GET", url, {}, timeout_s=5)


async def test_a_document_that_goes_back_is_refused_and_the_newer_one_stays(device, platform):
    platform.put_document(BOILER, [])
    platform.put_document("intervention:dry-cellar", [])
    platform.put_document(BOILER, [])
    await device.sync()
    held = device.opened().reading.document(BOILER)

    def older(answer: SyncAnswer) -> SyncAnswer:
        assert answer.scope is not None
        document = ScopeDocument(id=BOILER, change=1, vector={}, content=b"{}")
        return msgspec.structs.replace(answer, scope=msgspec.structs.replace(answer.scope, documents=(document,)))

    platform.twist = older
    platform.put_document("intervention:dry-cellar", [])
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.rollback"
    assert status(device)["problems"][-1]["code"] == "sync.rollback"
    assert device.opened().reading.document(BOILER) == held


async def test_an_answer_that_comes_twice_or_late_is_no_answer_to_the_next_question(device, platform):
    await device.record(Started(), stream=BOILER)
    first: list[bytes] = []
    real = platform.answer

    def repeating(data: bytes) -> bytes:
        answer = real(data)
        first.append(answer)
        return first[0]

    platform.answer = repeating
    await device.sync()
    mark = device.parts.log.mark()
    await device.record(CommentAdded(text="second"), stream=BOILER)
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.wrong_nonce"
    assert device.parts.log.mark() == mark
    platform.answer = real
    await device.sync()
    assert device.settled()


async def test_a_segment_that_arrives_twice_is_admitted_once(device, platform):
    class Doubling(Wire):
        async def publish(self, data: bytes, message_id: str) -> None:
            await super().publish(data, message_id)
            await super().publish(data, message_id)

    device.network.transport = Doubling(platform)
    await device.record(Started(), stream=BOILER)
    await device.record(CommentAdded(text="twice on the way"), stream=BOILER)
    await device.sync()
    assert [row.event.header.seq for row in platform.rows] == [1, 2]
    assert device.settled()


async def test_a_device_revoked_in_the_middle_of_a_sync_sends_the_rest_and_reads_nothing_more(device, platform):
    """The broker cuts it between sending and asking; the next token is a drain's, and the answer says why."""

    class Cut(Wire):
        cuts = 1

        async def ask(self, request: bytes) -> bytes:
            if self.cuts:
                self.cuts -= 1
                platform.hold_from = 1
                platform.refuse_person = "enrolment.revoked"
                platform.commands = (Command(kind="wipe", argument="lost"),)
                raise SessionEnded("authorization violation")
            return await super().ask(request)

    device.network.transport = Cut(platform)
    await device.record(Started(), stream=BOILER)
    await device.sync()
    assert device.parts.sessions.current().technician is None
    assert not device.unlocked
    with pytest.raises(Locked):
        device.state(BOILER)
    assert status(device)["ending"]["cause"] == "lost"
    assert device.settled()


async def test_thirty_days_off_line_everything_is_there_and_goes_up_in_order(device, platform: Platform, hands, tmp_path):
    """A month in a dead zone with reboots: recording asks nobody, reading ends with the session, one sync settles it all."""
    await device.close()
    passed = [0]
    right = hands.clock()
    for day in range(30):
        clock = replace(
            hands.clock(),
            boot=f"boot-of-day-{day}",
            real_ms=lambda: right.real_ms() + passed[0],
            real_elapsed_ms=lambda: 60_000,
        )
        today = Device.open(tmp_path / "device", clock=clock, transport=Wire(platform))
        for number in range(4):
            await today.record(CommentAdded(text=f"day {day}, remark {number}"), stream=BOILER)
        await today.close()
        passed[0] += DAY_MS
        hands.pass_ms(DAY_MS)
    platform.server_ms += 30 * DAY_MS
    platform.real_error_ms += 30 * DAY_MS
    home = Device.open(tmp_path / "device", clock=clock, transport=Wire(platform))
    with pytest.raises(Locked):
        await home.unlock(PIN)
    await home.sync()
    assert home.settled()
    assert [row.event.header.seq for row in platform.rows] == list(range(1, 121))
    await home.unlock(PIN)
    assert len(home.intervention("leaky-boiler").lines) == 120
    await home.close()
