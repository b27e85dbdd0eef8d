"""A device that nobody has unlocked gets its day all the same: in boxes, for the technician alone, read when they unlock it."""

import msgspec
import pytest

from tests.fixtures.little_platform import PIN
from zb_contracts.events.fieldwork import Done, Started
from zb_contracts.problems import Problem
from zb_contracts.sync import Command, ScopeDelta
from zb_device import deliveries

BOILER = "intervention:leaky-boiler"
CELLAR = "intervention:dry-cellar"


async def test_a_locked_device_has_its_day_in_the_morning_without_a_network(device, platform):
    """It was locked for the night beside a Wi-Fi; the valley where the technician unlocks it has none."""
    platform.put_document(BOILER, [])
    await device.sync()
    device.lock()
    platform.put_document(CELLAR, [])
    await device.sync()
    platform.drop_document(BOILER)
    await device.sync()
    asked = len(platform.requests)
    await device.sync()
    assert (len(platform.requests) - asked, platform.requests[-1].scope_cursor) == (1, platform.change)
    kept = device.parts.deliveries._db.execute("select for_reader from deliveries").fetchall()
    assert len(kept) == 2
    assert all(b"dry-cellar" not in box for (box,) in kept)

    platform.connected = False
    await device.unlock(PIN)
    assert [line.stream for line in device.listed()] == [CELLAR]
    assert device.parts.deliveries._db.execute("select count(*) from deliveries").fetchone() == (0,)
    platform.connected = True
    report = await device.sync()
    assert (report.documents, report.full_resync) == (0, False)


async def test_what_was_delivered_to_a_locked_device_is_known_once_somebody_can_see_it(device, platform):
    device.lock()
    platform.put_document(BOILER, [])
    platform.documents[BOILER] = msgspec.structs.replace(platform.documents[BOILER], vector={"office-main": 7})
    await device.sync()
    await device.record(Started(), stream=BOILER)
    await device.unlock(PIN)
    await device.record(Done(), stream=BOILER)
    await device.sync()
    assert [row.event.header.seen for row in platform.rows] == [{}, {"dev-1-a": 1, "office-main": 7}]


async def test_a_delivery_that_does_not_go_on_from_what_is_there_is_fetched_again(device, platform):
    """A read model that was begun anew, or a copy of an older one."""
    platform.put_document(BOILER, [])
    await device.sync()
    device.lock()
    platform.put_document(CELLAR, [])
    await device.sync()
    for path in device._folder.path.glob("read-*.db*"):
        path.unlink()
    await device.unlock(PIN)
    assert device.listed() == []
    await device.sync()
    assert {line.stream for line in device.listed()} == {BOILER, CELLAR}


async def test_a_locked_device_gets_no_scope_for_who_may_not_read_nor_more_than_it_keeps(device, platform, monkeypatch):
    platform.put_document(BOILER, [])
    device.lock()
    monkeypatch.setattr(deliveries, "BYTES_MAX", 0)
    await device.sync()
    monkeypatch.undo()
    platform.commands = (Command(kind="suspend", argument="administrator"),)
    await device.sync()
    platform.commands = ()
    await device.sync()
    assert [request.wants_scope for request in platform.requests] == [False, True, False]


async def test_a_rollback_of_the_scope_is_refused_while_locked_too(device, platform):
    platform.put_document(BOILER, [])
    await device.sync()
    device.lock()
    back = ScopeDelta(epoch="epoch-1", full=False, cursor=0, documents=(), count=1, more=False)
    platform.twist = lambda answer: msgspec.structs.replace(answer, scope=back)
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert (caught.value.code, device.status()["problems"][-1]["code"]) == ("sync.rollback", "sync.rollback")


async def test_no_delivery_is_left_when_the_device_ends(device, platform):
    device.lock()
    platform.put_document(BOILER, [])
    await device.sync()
    platform.commands = (Command(kind="suspend", argument="stolen"),)
    await device.sync()
    for table in ("deliveries", "scope_places"):
        assert device._folder.connection.execute(f"select count(*) from {table}").fetchone() == (0,)
