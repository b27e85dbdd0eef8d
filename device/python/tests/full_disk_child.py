"""A device on a disk that fills up (`folder filler`): says what was confirmed, which faults were named, and that it goes on."""

import asyncio
import json
import sys
from pathlib import Path

from zb_contracts.events.fieldwork import CommentAdded, PhotoTaken
from zb_device.device import Device
from zb_device.faults import DiskFull
from zb_device.recording import Draft

BOILER = "intervention:leaky-boiler"
EVENTS_MAX = 5_000


async def filled(device: Device) -> int:
    """How many events were confirmed before the disk was full."""
    for number in range(EVENTS_MAX):
        try:
            await device.record(CommentAdded(text=f"remark {number} " + "x" * 2_000), stream=BOILER)
        except DiskFull:
            return number
    raise AssertionError("the disk never was full")


async def lived(folder: Path, filler: Path) -> dict[str, object]:
    device = Device.open(folder)
    await device.unlock("271828")
    before = device.parts.log.head().seq
    confirmed = await filled(device)
    refused = ""
    try:
        await device.attach(
            bytes(3_000_000), "image/jpeg", lambda made: [Draft(BOILER, PhotoTaken(file=made.file, source="camera"))]
        )
    except DiskFull as fault:
        refused = fault.code
    head = device.parts.log.head().seq
    await asyncio.to_thread(filler.unlink)
    after = await device.record(CommentAdded(text="there is room again"), stream=BOILER)
    device.check()
    await device.close()
    return {"before": before, "confirmed": confirmed, "refused": refused, "head": head, "after": after.seq}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(lived(Path(sys.argv[1]), Path(sys.argv[2])))))  # noqa: T201
