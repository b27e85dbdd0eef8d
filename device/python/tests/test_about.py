"""What the device tells of itself beside a sync: where it has changed, again until an answer came, never twice under a number."""

import pytest

from zb_contracts.events.fieldwork import Started
from zb_device.faults import Unreachable
from zb_device.policies import Conditions

BOILER = "intervention:0192f000-0000-7000-8000-0000000000b1"


def told(platform):
    return [request.about for request in platform.requests if request.about is not None]


async def test_it_tells_what_it_is_once_and_then_only_what_changed(device, platform):
    device.tell(Conditions(battery_percent=57))
    await device.sync()
    await device.sync()
    [first] = told(platform)
    assert (first.number, first.battery_percent, first.waiting_events, first.oldest_waiting_ms) == (1, 50, 0, None)
    assert first.app.startswith("zb-device ")
    assert first.os
    device.tell(Conditions(battery_percent=51))
    await device.sync()
    assert len(told(platform)) == 1
    device.tell(Conditions(battery_percent=49))
    await device.sync()
    assert [one.battery_percent for one in told(platform)] == [50, 40]


async def test_what_got_no_answer_is_told_again_under_another_number(device, platform):
    platform.lose_answers = 1
    with pytest.raises(Unreachable):
        await device.sync()
    await device.sync()
    assert [one.number for one in told(platform)] == [1, 2]


async def test_events_without_a_receipt_are_told_with_their_age_and_told_settled_afterwards(device, platform, hands):
    await device.sync()
    platform.connected = False
    await device.record(Started(), stream=BOILER)
    recorded_ms = hands.clock().wall_ms()
    hands.pass_ms(3 * 3_600_000)
    platform.connected = True
    await device.sync()
    await device.sync()
    waiting = [(one.waiting_events, one.oldest_waiting_ms) for one in told(platform)[1:]]
    assert waiting == [(1, recorded_ms), (0, None)]


async def test_the_host_says_better_what_the_device_is(device, platform):
    device.describe(model="CT-60\n rugged " + "x" * 80, app="Tournée 4.2")
    await device.sync()
    [one] = told(platform)
    assert (one.model, one.app) == ("CT-60 rugged " + "x" * 51, "Tournée 4.2")
    assert one.os
    device.describe(app="Tournée 4.3")
    await device.sync()
    newest = told(platform)[-1]
    assert (newest.model, newest.app) == (one.model, "Tournée 4.3")
