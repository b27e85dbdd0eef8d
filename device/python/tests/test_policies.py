"""Photos wait for Wi-Fi, charge or the evening; events never wait; the day is fetched before it begins; status says why."""

import asyncio
from datetime import UTC, datetime

import pytest

from zb_contracts.events.fieldwork import Started
from zb_contracts.handover import CHUNK_BYTES
from zb_device.commands import run
from zb_device.faults import PolicyInvalid
from zb_device.policies import (
    SPARING,
    STANDARD,
    UNRESTRICTED,
    Conditions,
    Link,
    WaitsFor,
    Window,
    idle_s,
    photos_wait_for,
    policy_of,
    until_appointment_s,
)
from zb_device.reporting import status

BOILER = "intervention:leaky-boiler"
DEADLINE_S = 20
WIFI = Conditions()
MOBILE = Conditions(link=Link.METERED)


def at(hour: int, minute: int = 0, day: int = 20) -> int:
    """Milliseconds of a winter's moment in Paris (UTC+1)."""
    return int(datetime(2026, 11, day, hour - 1, minute, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("policy", "conditions", "now_ms", "expected"),
    [
        (STANDARD, WIFI, at(10), None),
        (STANDARD, MOBILE, at(10), WaitsFor.UNMETERED_LINK),
        (STANDARD, Conditions(link=Link.NONE), at(10), WaitsFor.NETWORK),
        (STANDARD, Conditions(battery_percent=19), at(10), WaitsFor.BATTERY),
        (STANDARD, Conditions(battery_percent=19, charging=True), at(10), None),
        (SPARING, WIFI, at(10), WaitsFor.WINDOW),
        (SPARING, WIFI, at(18), None),
        (SPARING, WIFI, at(6, 15), None),
        (UNRESTRICTED, Conditions(link=Link.METERED, battery_percent=1), at(10), None),
    ],
)
def test_what_photos_wait_for(policy, conditions, now_ms, expected):
    assert photos_wait_for(policy, conditions, now_ms, now_ms - 60_000) is expected


def test_evidence_does_not_stay_away_for_ever():
    three_days_ms = 3 * 86_400_000
    assert photos_wait_for(SPARING, MOBILE, at(10), at(10) - three_days_ms + 1) is WaitsFor.UNMETERED_LINK
    assert photos_wait_for(SPARING, MOBILE, at(10), at(10) - three_days_ms) is None


def test_each_device_has_a_moment_of_its_own_in_the_morning_and_in_the_evening():
    assert until_appointment_s(STANDARD, at(4), 0) == 3600
    assert until_appointment_s(STANDARD, at(4), 0.5) == 3600 + 45 * 60
    assert until_appointment_s(STANDARD, at(12), 0) == 5.5 * 3600
    assert until_appointment_s(STANDARD, at(20), 0) == 9 * 3600
    assert until_appointment_s(UNRESTRICTED, at(4), 0) is None
    night = policy_of("standard", morning=Window(23 * 60, 60), evening=None)
    assert until_appointment_s(night, at(23, 30), 0.5) == 30 * 60
    assert until_appointment_s(night, at(1, 0, day=21), 0.75) == 23.5 * 3600


def test_where_the_clocks_change_the_moment_stays_where_people_expect_it():
    before = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp() * 1000)
    assert until_appointment_s(STANDARD, before, 0) == 6 * 3600  # from midnight to 05:00, with one hour twice


def test_a_weak_battery_asks_less_often():
    assert idle_s(STANDARD, Conditions(battery_percent=10)) > idle_s(STANDARD, WIFI)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("frugal", {}),
        ("standard", {"idle_s": 1}),
        ("standard", {"morning": [0, 1440]}),
        ("standard", {"zone": "Europe/Atlantis"}),
        ("standard", {"photos_battery_percent_min": 101}),
        ("standard", {"surprise": 1}),
        ("standard", {"photos_link": "pigeon"}),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_name(name, changes):
    with pytest.raises(PolicyInvalid):
        policy_of(name, **changes)


async def test_events_go_by_any_link_and_photos_wait_for_wifi(device, platform, tmp_path):
    photo = tmp_path / "boiler.jpg"
    photo.write_bytes(b"a photo of a boiler")
    device.tell(MOBILE)
    device.start()
    await device.record(Started(), stream=BOILER)
    await device.work_on("leaky-boiler").attach(photo)
    assert await device.wait_until(device.settled, DEADLINE_S)
    assert platform.files == {}
    assert [(one["what"], one["for"], one["count"]) for one in status(device)["waits"]] == [("photos", "unmetered_link", 1)]

    device.tell(WIFI)
    assert await device.wait_until(device.uploaded, DEADLINE_S)
    assert list(platform.files.values()) == [b"a photo of a boiler"]
    assert status(device)["waits"] == []


async def test_a_large_photo_stops_where_the_link_becomes_dear_and_goes_on_from_there(device, platform):
    platform.takes_parts.clear()
    picture = bytes(range(256)) * (3 * CHUNK_BYTES // 256)
    device.start()
    await device.work_on("leaky-boiler").attach(picture, mime="image/jpeg")
    assert await asyncio.to_thread(platform.parts_begun.acquire, timeout=DEADLINE_S)
    device.tell(MOBILE)
    platform.takes_parts.set()
    assert await device.wait_until(lambda: [len(data) for _, data in platform.uploads.values()] == [CHUNK_BYTES], DEADLINE_S)
    assert await device.wait_until(device.settled, DEADLINE_S)
    assert [file.waits_for for file in device.outbox().files] == [WaitsFor.UNMETERED_LINK]

    device.tell(WIFI)
    assert await device.wait_until(device.uploaded, DEADLINE_S)
    assert list(platform.files.values()) == [picture]


async def test_without_a_link_nothing_is_tried_and_with_one_everything_drains(device, platform):
    device.tell(Conditions(link=Link.NONE))
    device.start()
    await device.record(Started(), stream=BOILER)
    assert await device.wait_until(lambda: device.network.events.failures > 0, DEADLINE_S)
    assert (platform.published, device.outbox().events[0].waits_for) == ([], WaitsFor.NETWORK)

    device.tell(WIFI)
    assert await device.wait_until(device.settled, DEADLINE_S)


async def test_a_person_can_send_photos_whatever_the_policy_says(device, platform, tmp_path):
    photo = tmp_path / "boiler.jpg"
    photo.write_bytes(b"a photo of a boiler")
    device.tell(MOBILE)
    await device.work_on("leaky-boiler").attach(photo)
    assert (await run(device, "sync", {}))["uploaded"] == 0
    assert (await run(device, "sync", {"regardless": True}))["uploaded"] == 1


async def test_a_chosen_policy_is_kept(device):
    assert device.policy == STANDARD
    shown = await run(device, "policy", {"name": "sparing", "changes": {"zone": "Indian/Reunion"}})
    assert (shown["name"], device.policy) == ("sparing", policy_of("sparing", zone="Indian/Reunion"))
    with pytest.raises(PolicyInvalid, match="battery"):
        device.tell(Conditions(battery_percent=101))


async def test_the_timer_rests_no_longer_than_until_the_next_moment(device, hands, monkeypatch):
    device.use(policy_of("standard", idle_s=3600))
    monkeypatch.setattr(device.network, "_share", 0.0)
    hands.wall = at(4, 59)
    assert device.network.events.appointment_s() == device.moment_in_s() == device.status()["moment_in_s"] == 60
    assert device.network.events.idle_s() == 3600
