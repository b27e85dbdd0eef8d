"""Clocks that are wrong: they stop no session and no upload, they judge nothing, and what they said is marked."""

from dataclasses import replace

import pytest

from tests.fixtures.little_platform import Hands, Wire
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.keys import SigningKey
from zb_device.clock import AnchorMark, trusted_time
from zb_device.device import Device
from zb_device.faults import Refused, SessionEnded
from zb_device.recording import Draft
from zb_device.reporting import open_entries, status
from zb_device.settings import Session

BOILER = "intervention:leaky-boiler"
DAY_MS = 86_400_000


async def reopened(device: Device, path, hands: Hands, *, real_error_ms: int) -> Device:
    """The same device on a machine whose wall clock is wrong."""
    await device.close()
    right = hands.clock()
    clock = replace(right, real_ms=lambda: right.real_ms() + real_error_ms)
    return Device.open(path, clock=clock, transport=device.network.transport)


@pytest.mark.parametrize("error_ms", [-400 * DAY_MS, -6 * 60_000, 6 * 60_000, 400 * DAY_MS])
async def test_a_device_whose_clock_is_wrong_learns_the_time_and_renews_its_session(device, platform, hands, tmp_path, error_ms):
    wrong = await reopened(device, tmp_path / "device", hands, real_error_ms=error_ms)
    before = wrong.parts.sessions.current()
    await wrong.parts.sessions.renew("tech-anna", wrong._client)
    assert wrong.parts.sessions.current().token != before.token
    assert abs(status(wrong)["clock"]["real_offset_ms"] + error_ms) < 5_000

    # What it has learnt is enough for the next one.
    platform.time_key = SigningKey.generate()
    await wrong.parts.sessions.renew("tech-anna", wrong._client)
    await wrong.close()


async def test_a_time_that_no_ledger_key_signed_teaches_nothing(device, platform, hands, tmp_path):
    wrong = await reopened(device, tmp_path / "device", hands, real_error_ms=DAY_MS)
    platform.time_key = SigningKey.generate()
    with pytest.raises(Refused) as caught:
        await wrong.parts.sessions.renew("tech-anna", wrong._client)
    assert caught.value.problem == "clock.answer"
    assert status(wrong)["clock"]["real_offset_ms"] == 0
    await wrong.close()


async def test_an_old_answer_to_another_question_teaches_nothing(device, platform, hands, tmp_path):
    wrong = await reopened(device, tmp_path / "device", hands, real_error_ms=DAY_MS)
    old = platform.time("ab" * 16)
    platform.time = lambda _nonce: old
    with pytest.raises(Refused, match="another question"):
        await wrong.parts.sessions.renew("tech-anna", wrong._client)
    await wrong.close()


async def test_a_photo_is_uploaded_in_spite_of_a_wrong_clock(device, platform, hands, tmp_path):
    wrong = await reopened(device, tmp_path / "device", hands, real_error_ms=DAY_MS)
    await wrong.unlock("271828")
    await wrong.attach(b"a leaking boiler" * 100, "image/jpeg", lambda _: [Draft(BOILER, Started())])
    assert await wrong.upload() == 1
    assert list(platform.files.values()) == [b"a leaking boiler" * 100]
    await wrong.close()


async def test_after_a_reboot_the_time_is_an_interval_that_is_open_above(device, platform, hands):
    platform.server_ms += 10_000
    await device.sync()
    hands.pass_ms(60_000)
    known = trusted_time(device.parts.settings.get(AnchorMark), device.parts.log.head().high_water_ms, device.clock)
    assert (known.earliest_ms, known.latest_ms, known.exact) == (platform.server_ms + 60_000,) * 2 + (True,)

    hands.boot, hands.elapsed = "boot-2", 1_000
    after = trusted_time(device.parts.settings.get(AnchorMark), device.parts.log.head().high_water_ms, hands.clock())
    assert (after.earliest_ms, after.latest_ms, after.exact) == (platform.server_ms, None, False)


async def test_the_anchors_interval_is_as_wide_as_its_question_took(device, platform, hands):
    def slow(answer):
        hands.pass_ms(700)
        return answer

    platform.twist = slow
    await device.sync()
    known = trusted_time(device.parts.settings.get(AnchorMark), 0, device.clock)
    assert (known.earliest_ms, known.latest_ms) == (platform.server_ms, platform.server_ms + 700)


async def test_an_event_whose_wall_clock_went_back_is_marked(device, hands):
    await device.record(Started(), stream=BOILER)
    hands.wall -= 3_600_000
    await device.record(CommentAdded(text="the clock was set"), stream=BOILER)
    hands.wall += 60_000
    await device.record(CommentAdded(text="later"), stream=BOILER)
    entries = open_entries(device, open_only=True, limit=10)
    assert [entry["clock_went_back"] for entry in entries] == [False, True, False]


async def test_a_session_that_the_broker_ended_is_exchanged_and_the_round_goes_on(device, platform):
    class Cut(Wire):
        cuts = 1

        async def ask(self, request: bytes) -> bytes:
            if self.cuts:
                self.cuts -= 1
                raise SessionEnded("authorization violation")
            return await super().ask(request)

    device.network.transport = Cut(platform)
    before = device.parts.settings.get(Session)
    await device.record(Started(), stream=BOILER)
    report = await device.sync()
    assert report.mark == 1
    assert device.parts.settings.get(Session).token != before.token
