"""Devices that come back wrong, on the whole platform: an old copy of a store, a revocation in the middle, a suspension.

The devices are the SDK's own, over the real broker and HTTP; the warden is the platform's.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from zb.office import Person
from zb.play.stage import Stage, in_thread
from zb_contracts.events.fieldwork import CommentAdded
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.faults import DeviceFault, Refused
from zb_device.log import EventState
from zb_device.reporting import open_entries, status

PIN = "314159"
DEADLINE_S = 60.0
BOILER = "intervention:0192f000-0000-7000-8000-0000000000b0"


@pytest.fixture
async def device(platform: Stage, tmp_path: Path) -> AsyncIterator[Device]:
    """A device of a technician of its own, with three comments in the ledger."""
    made = await enrolled(platform, tmp_path / "device", "dora")
    await comments(made, "first", "second")
    await settled(made)
    yield made
    await made.close()


def administrator(platform: Stage) -> Person:
    return platform.person("administrator")


async def enrolled(platform: Stage, folder: Path, technician: str) -> Device:
    url = platform.url("field-ingest", "enrolment-codes")
    code = await in_thread(administrator(platform).post, url, {"agency": "main", "technician": technician})
    services, stack = platform.stack.services, platform.stack
    places = Places(services["field-ingest"].url, stack.nats.url, services["media"].url)
    return await Device.enrol(folder, Invitation(code["code"], places), PIN)


async def comments(device: Device, *texts: str) -> None:
    for text in texts:
        await device.record(CommentAdded(text=text), stream=BOILER)


async def eventually(what: str, reached: Callable[[], bool], step: Callable[[], Any]) -> None:
    """Step until it is reached; a step that the platform refuses or does not hear is taken again."""
    said = ""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not reached():
                try:
                    await step()
                except DeviceFault as fault:
                    said = str(fault)
    except TimeoutError:
        pytest.fail(f"in vain: {what}; the device said last: {said}")


async def settled(device: Device) -> None:
    await eventually("everything has the ledger's word", device.settled, device.sync)


async def test_a_restored_backup_goes_on_by_itself_and_nothing_is_lost(platform: Stage, device: Device, tmp_path: Path) -> None:
    first = device.parts.pinned.author
    await device.close()
    shutil.copytree(tmp_path / "device", tmp_path / "backup")
    again = Device.open(tmp_path / "device")
    await again.unlock(PIN)
    await comments(again, "third, which the backup does not have")
    await settled(again)
    await again.close()

    restored = Device.open(tmp_path / "backup")
    await restored.unlock(PIN)
    await comments(restored, "a fork", "and what descends from it", "and once more")
    await eventually("it goes on", lambda: restored.parts.pinned.author != first, restored.sync)
    await comments(restored, "under the new key")
    await settled(restored)

    states = [(entry["seq"], entry["state"], entry["code"]) for entry in open_entries(restored, open_only=False, limit=10)]
    assert states == [
        (1, "admitted", None),
        (2, "admitted", None),
        (3, "refused", "event.fork"),
        (4, "refused", "event.link_broken"),
        (5, "refused", "event.link_broken"),
        (1, "admitted", None),
    ]
    assert status(restored)["registered"]
    url = platform.url("field-ingest", f"devices/{restored.parts.pinned.device}")
    shown = await in_thread(administrator(platform).get, url)
    mine = {row["author"]: row for row in shown["incarnations"]}
    assert (mine[first]["revoked_cause"], mine[first]["mark"]) == ("replaced", 3)
    assert (mine[restored.parts.pinned.author]["mark"], mine[restored.parts.pinned.author]["revoked_at"]) == (1, None)
    verdict, report = await in_thread(platform.run, "field-ingest", "audit", "verify", "--json")
    assert (verdict, report["sound"]) == (0, True)
    await restored.close()


async def test_a_device_that_is_revoked_while_connected_is_cut_and_drains(platform: Stage, device: Device) -> None:
    await comments(device, "before it was lost")
    await settled(device)
    name, transport = device.parts.pinned.device, device.network.transport
    url = platform.url("field-ingest", f"devices/{name}/revocation")
    client = transport._client
    await in_thread(administrator(platform).post, url, {"cause": "lost", "reason": "left in a cab"})
    await eventually("it is cut", lambda: client.is_closed or not client.is_connected, lambda: asyncio.sleep(0.05))

    await comments(device, "signed after that", "and this")
    await settled(device)
    assert device.parts.log.counts()[EventState.HELD] == 2
    assert device.parts.sessions.current().technician is None
    assert not device.unlocked


async def test_a_suspended_device_records_on_and_everything_arrives_when_it_is_lifted(platform: Stage, device: Device) -> None:
    name = device.parts.pinned.device
    person, url = administrator(platform), platform.url("field-ingest", f"devices/{name}")
    await in_thread(person.post, f"{url}/suspension", {"reason": "behaves strangely", "hours": 2})
    with pytest.raises(Refused, match="suspended until"):
        await device.parts.sessions.renew("dora", device._client)
    await eventually("it is told and locked", lambda: not device.unlocked, device.sync)
    await comments(device, "while it was suspended")
    await in_thread(person.post, f"{url}/resumption", {})
    await settled(device)  # a drain: what was signed is sent while nobody may read
    await device.unlock(PIN)
    await device.sync()
    assert device.parts.log.counts()[EventState.ADMITTED] == 3
    assert device.parts.sessions.current().technician == "dora"
