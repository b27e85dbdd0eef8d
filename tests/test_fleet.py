"""A device in its fleet, on the whole platform: invited with one line, seen with what it tells, wiped, and its word verified.

The device is the SDK's own, over the real broker and HTTP. What is refused to whom, field-ingest's own tests say.
"""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from zb.play.stage import Stage, in_thread
from zb_contracts import invitation as contract
from zb_contracts.events.fieldwork import CommentAdded
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.faults import DeviceFault, Refused, Wiped
from zb_device.policies import Conditions

PIN = "314159"
DEADLINE_S = 60.0
BOILER = "intervention:0192f000-0000-7000-8000-0000000000f1"


async def desk(platform: Stage, method: str, path: str, body: object = None) -> Any:
    """What field-ingest answers to the administrator."""
    url = platform.url("field-ingest", path)
    return await in_thread(platform.person("administrator").call, method, url, **({} if body is None else {"json": body}))


async def invited(platform: Stage, technician: str) -> Invitation:
    """As a device reads it from a QR code."""
    code = await desk(platform, "POST", "enrolment-codes", {"agency": "main", "technician": technician})
    services, root = platform.stack.services, (platform.stack.folder / "keys" / "root.pub").read_text().strip()
    written = contract.Invitation(
        code=code["code"],
        ingest=services["field-ingest"].url,
        nats=platform.stack.nats.url,
        media=services["media"].url,
        root=sha256(bytes.fromhex(root)).hexdigest(),
    )
    read = contract.Invitation.from_text(written.to_text())
    return Invitation(read.code, Places(read.ingest, read.nats, read.media), "CT-60", read.root)


async def eventually(reached: Callable[[], Any], step: Callable[[], Any]) -> None:
    """Step until it is reached; a step that the platform refuses or does not hear is taken again."""
    async with asyncio.timeout(DEADLINE_S):
        while not reached():
            try:
                await step()
            except Wiped:
                return
            except DeviceFault:
                continue


async def test_an_invitation_that_names_another_root_enrols_nobody(platform: Stage, tmp_path: Path) -> None:
    invitation = await invited(platform, "fleur")
    with pytest.raises(Refused, match="root"):
        await Device.enrol(tmp_path / "fooled", Invitation(invitation.code, invitation.places, None, "ab" * 32), PIN)


async def test_a_device_is_seen_wiped_and_its_word_is_verified(platform: Stage, tmp_path: Path) -> None:
    device = await Device.enrol(tmp_path / "device", await invited(platform, "fleur"), PIN)
    name = device.parts.pinned.device
    device.tell(Conditions(battery_percent=37))
    await device.record(CommentAdded(text="the boiler leaks"), stream=BOILER)
    await eventually(device.settled, device.sync)
    await device.sync()
    shown = await desk(platform, "GET", f"devices/{name}")
    told = {key: shown[key] for key in ("standing", "technician", "model", "battery_percent", "waiting_events", "mark")}
    assert told == {
        "standing": "active",
        "technician": "fleur",
        "model": "CT-60",
        "battery_percent": 30,
        "waiting_events": 0,
        "mark": 1,
    }
    assert shown["app"].startswith("zb-device ")
    # The platform tells a day of last spring, the device has today's.
    assert shown["clock_offset_ms"] > 86_400_000

    await device.record(CommentAdded(text="and nobody has heard of this one yet"), stream=BOILER)
    order = await desk(platform, "POST", f"devices/{name}/wipe", {"reason": "left the company"})
    await eventually(lambda: False, device.sync)
    await device.close()
    assert not list((tmp_path / "device").glob("*.db"))

    shown = await desk(platform, "GET", f"devices/{name}")
    assert (shown["standing"], shown["wipe"]["state"]) == ("wiped", "attested")
    verdict = shown["attestation"]
    assert (verdict["order"], verdict["signature_holds"], verdict["is_last_event"]) == (order["order"], True, True)
    assert (verdict["events_lost"], verdict["files_left"]) == ({}, 0)
    assert shown["mark"] == 3
    assert [one["act"] for one in shown["history"] if "act" in one] == ["wipe_ordered"]
