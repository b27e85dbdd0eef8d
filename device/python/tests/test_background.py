"""The retry timer is its own: what failed once goes up without anybody writing, and a fault never stops it."""

import asyncio

import pytest

from zb_contracts.events.fieldwork import Started
from zb_device import background
from zb_device.background import Background
from zb_device.faults import Unreachable

BOILER = "intervention:leaky-boiler"
DEADLINE_S = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(background, "RETRY_FIRST_S", 0.02)


async def test_fail_once_write_nothing_and_the_queue_drains(device, platform):
    platform.connected = False
    await device.record(Started(), stream=BOILER)
    device.start()
    assert await device.wait_until(lambda: device.network.events.failures > 0, DEADLINE_S)
    platform.connected = True

    assert await device.wait_until(device.settled, DEADLINE_S)
    assert len(platform.rows) == 1


async def test_an_event_waits_for_no_photo_that_is_on_its_way(device, platform):
    platform.takes_parts.clear()
    boiler = device.work_on("leaky-boiler")
    await boiler.attach(b"a photo of a boiler", mime="image/jpeg")
    device.start()
    assert await asyncio.to_thread(platform.parts_begun.acquire, timeout=DEADLINE_S)
    await boiler.start()

    assert await device.wait_until(device.settled, DEADLINE_S)
    assert (len(platform.rows), platform.files) == (2, {})
    platform.takes_parts.set()
    assert await device.wait_until(device.uploaded, DEADLINE_S)


async def test_an_evidence_store_that_is_away_slows_no_event_down(device, platform):
    platform.fail_patches = 1_000
    boiler = device.work_on("leaky-boiler")
    await boiler.attach(b"a photo of a boiler", mime="image/jpeg")
    device.start()
    assert await device.wait_until(lambda: device.network.photos.failures > 1, DEADLINE_S)
    await boiler.start()
    assert await device.wait_until(device.settled, DEADLINE_S)
    assert device.network.events.failures == 0
    assert "cannot be reached" in str(device.status()["last_fault"])

    platform.fail_patches = 0
    assert await device.wait_until(device.uploaded, DEADLINE_S)


async def test_a_round_is_done_at_the_appointed_moment_though_the_timer_would_rest():
    rounds: list[int] = []
    again = asyncio.Event()

    async def attempt() -> bool:
        rounds.append(1)
        if len(rounds) == 2:
            again.set()
        return False

    timer = Background(attempt, idle_s=lambda: 3_600, appointment_s=lambda: 0.02)
    timer.start()
    await asyncio.wait_for(again.wait(), DEADLINE_S)
    await timer.stop()


async def test_a_recorded_event_goes_up_by_itself(device, platform):
    device.start()
    await device.record(Started(), stream=BOILER)
    assert await device.wait_until(device.settled, DEADLINE_S)


async def test_switched_off_nothing_leaves_and_switched_on_everything_does(device, platform):
    device.start()
    await device.offline()
    await device.record(Started(), stream=BOILER)
    assert not await device.wait_until(device.settled, 0.2)
    assert platform.published == []
    device.online()
    assert await device.wait_until(device.settled, DEADLINE_S)


async def test_a_fault_that_nobody_foresaw_stops_no_later_round():
    rounds: list[int] = []
    again = asyncio.Event()

    async def breaks_once() -> bool:
        rounds.append(1)
        if len(rounds) == 1:
            raise RuntimeError("a bug of ours")
        again.set()
        return False

    timer = Background(breaks_once)
    timer.start()
    await asyncio.wait_for(again.wait(), DEADLINE_S)
    await timer.stop()
    assert len(rounds) == 2


async def test_each_pause_after_a_failure_is_longer_up_to_a_limit(monkeypatch):
    pauses: list[float] = []
    enough = asyncio.Event()

    async def noted(self: Background, delay_s: float) -> None:
        pauses.append(delay_s)
        if len(pauses) == 6:
            enough.set()
        await asyncio.sleep(0)

    async def fails() -> bool:
        raise Unreachable("no signal")

    monkeypatch.setattr(Background, "_pause", noted)
    monkeypatch.setattr(background.random, "uniform", lambda low, high: high)
    timer = Background(fails, retry_s_max=0.5)
    timer.start()
    await asyncio.wait_for(enough.wait(), DEADLINE_S)
    await timer.stop()

    assert pauses[:6] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5]
    assert timer.last_fault == "no signal"


async def test_it_stops_though_a_round_swallows_the_cancel():
    begun = asyncio.Event()

    async def stubborn() -> bool:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return False
        raise AssertionError

    timer = Background(stubborn)
    timer.start()
    await begun.wait()
    async with asyncio.timeout(DEADLINE_S):
        await timer.stop()
