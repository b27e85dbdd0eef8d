"""Killed at every write point, not only by chance: what was confirmed is there, nothing is half, and the device goes on.

The suite tries a sample of the points; `make crash-points` tries all of them (ZB_CRASH_POINTS=all).
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.little_platform import PIN, Platform, Wire
from zb_contracts.envelope import GENESIS, check_signature, parse_event
from zb_contracts.sync import Command
from zb_device.clock import machine_clock
from zb_device.device import Device
from zb_device.faults import DeviceFault, Wiped, WrongPin
from zb_device.folder import WIPED_FILE
from zb_device.media import MediaState

CHILD = Path(__file__).with_name("crash_child.py")
NEW_PIN = "314159"
PHOTO = bytes(range(256)) * 9_000
KILLED = 137
SAMPLED = 5
LINE_TIMEOUT_S = 60
SYNCS_MAX = 6
ORDER = Command(kind="wipe", argument="retired", order="order-1")


@dataclass
class Nursery:
    """Where the dying devices come from; one process that forks them."""

    process: asyncio.subprocess.Process

    async def life(self, scenario: str, last: int, folder: Path, url: str) -> list[dict[str, Any]]:
        """What the device told until it ended; the last line is how."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{scenario} {last} {folder} {url}\n".encode())
        told: list[dict[str, Any]] = []
        while not told or "ended" not in told[-1]:
            line = await asyncio.wait_for(self.process.stdout.readline(), LINE_TIMEOUT_S)
            told.append(json.loads(line))
        return told


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    yield Nursery(process)
    process.terminate()
    await process.wait()


@pytest.fixture
async def enrolled(platform: Platform, tmp_path: Path) -> Path:
    """An enrolled device's folder that nobody has open; each life gets a copy."""
    device = await Device.enrol(tmp_path / "enrolled", platform.invitation(), PIN, transport=Wire(platform))
    await device.close()
    return tmp_path / "enrolled"


def chosen(count: int) -> list[int]:
    """The points to try: all of them, or some that lie evenly, the first and the last among them."""
    if os.environ.get("ZB_CRASH_POINTS") == "all":
        return list(range(1, count + 1))
    return sorted({1 + round(number * (count - 1) / (SAMPLED - 1)) for number in range(SAMPLED)})


def forget(platform: Platform) -> None:
    """The platform as it was after the enrolment."""
    for kept in (platform.rows, platform.published, platform.requests, platform.files, platform.uploads, platform.incarnations):
        kept.clear()
    for author in list(platform.authors)[1:]:
        del platform.authors[author]


async def reopened(folder: Path, platform: Platform) -> Device:
    device = Device.open(folder, clock=machine_clock(), transport=Wire(platform))
    try:
        await device.unlock(PIN)
    except WrongPin:
        await device.unlock(NEW_PIN)
    return device


def chain_of(device: Device) -> list[str]:
    """The ids of the log, whose signatures and links hold from the first event of each incarnation on."""
    unlocked = device.opened().unlocked
    events = [parse_event(signed) for signed in device.parts.log.opened(unlocked.reader, unlocked.technician)]
    previous: dict[str, tuple[int, str]] = {}
    for event in events:
        seq, before = previous.get(event.header.author, (0, GENESIS))
        assert (event.header.seq, event.header.prev) == (seq + 1, before)
        previous[event.header.author] = (event.header.seq, event.header_hash.hex())
    return [event.header.id for event in events]


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def check_goes_on(folder: Path, platform: Platform, told: list[dict[str, Any]]) -> None:
    """Everything confirmed is in an intact log; it syncs and uploads to the end; the ledger and the store have it."""
    device = await reopened(folder, platform)
    try:
        device.check()
        ids = chain_of(device)
        confirmed = {line["id"] for line in told if "id" in line}
        assert confirmed <= set(ids)
        texts = (
            [line.value["text"] for line in device.intervention("leaky-boiler").lines if line.kind == "comment"] if ids else []
        )
        assert texts in ([], ["pair", "pair"]), "two events of one act are there together or not at all"
        photos = [item for item in device.parts.media.items() if item.state is not MediaState.STORED]
        for item in photos:
            assert device.parts.media.read(item, device.opened().unlocked.reader) == PHOTO
        left = list((folder / "media").iterdir())
        assert len(left) == sum(item.chunks for item in photos), "no chunk without its event, no event without its chunks"
        for _ in range(SYNCS_MAX):
            await device.sync()
            await device.upload()
            if device.settled() and not device.parts.media.waiting():
                break
        assert {row.event.header.id for row in platform.rows if row.chained} >= set(ids)
        for row in platform.rows:
            check_signature(platform.authors[row.event.header.author], row.event)
        assert list(platform.files.values()) == ([PHOTO] if device.parts.media.items() else [])
    finally:
        await device.close()


async def check_is_wiped(folder: Path, platform: Platform, told: list[dict[str, Any]]) -> None:
    """At its next contact, at the latest, it attests once and nothing of it is left; what was confirmed went up before."""
    with suppress(Wiped):
        device = Device.open(folder, clock=machine_clock(), transport=Wire(platform))
        try:
            for _ in range(SYNCS_MAX):
                await device.sync()
        finally:
            await device.close()
    assert files_of(folder) == {WIPED_FILE, "device.lock"}
    with pytest.raises(Wiped):
        Device.open(folder)
    types = [row.event.header.type for row in platform.rows]
    assert types.count("device.wiped.v1") == 1
    assert types[-1] == "device.wiped.v1"
    sent = {row.event.header.id for row in platform.rows}
    assert {line["id"] for line in told if "id" in line} <= sent
    assert not any(line.get("photo") for line in told) or list(platform.files.values()) == [PHOTO]


CHECKS = {"worked": check_goes_on, "wiped": check_is_wiped}


@pytest.mark.parametrize("scenario", CHECKS)
async def test_killed_at_any_write_point_nothing_confirmed_is_lost_and_nothing_is_half(
    scenario: str, nursery: Nursery, enrolled: Path, platform: Platform, tmp_path: Path
) -> None:
    platform.commands = (ORDER,) if scenario == "wiped" else ()
    whole = await nursery.life(scenario, 0, Path(shutil.copytree(enrolled, tmp_path / "whole")), platform.url)
    assert whole[-1] == {"ended": 0}, whole
    names = whole[-2]["points"]
    assert len(names) > SAMPLED
    for point in chosen(len(names)):
        forget(platform)
        folder = Path(shutil.copytree(enrolled, tmp_path / f"life-{point}"))
        told = await nursery.life(scenario, point, folder, platform.url)
        assert told[-1] == {"ended": KILLED}, told
        try:
            await CHECKS[scenario](folder, platform, told)
        except (AssertionError, DeviceFault) as fault:
            raise AssertionError(f"killed at point {point} of {len(names)}, before {names[point - 1]!r}") from fault
        shutil.rmtree(folder)
