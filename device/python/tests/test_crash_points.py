"""Killed at every write point, not only by chance: what was confirmed is there, nothing is half, and the device goes on.

The suite tries a sample of the points; `make crash-points` tries all of them (ZB_CRASH_POINTS=all).
"""

import asyncio
import copy
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
from zb_contracts import canonical
from zb_contracts.catalogues import packed
from zb_contracts.envelope import GENESIS, check_signature, parse_event
from zb_contracts.events.fieldwork import TravelStarted
from zb_contracts.sync import Command
from zb_device.bound_secret import BoundSecret
from zb_device.clock import machine_clock
from zb_device.database import open_database
from zb_device.device import Device
from zb_device.faults import AlreadyEnrolled, DeviceFault, Wiped, WrongPin
from zb_device.folder import DATABASE_FILE, WIPED_FILE
from zb_device.media import MediaState

CHILD = Path(__file__).with_name("crash_child.py")
NEW_PIN = "314159"
BOILER = "intervention:leaky-boiler"
PHOTO = bytes(range(256)) * 4_200
STROKES = b"a signature"
KILLED = 137
SITE = "site:house-on-the-hill"
SAMPLED = 3
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
    """The folder of a device with one event, that nobody has open; each life gets a copy."""
    device = await Device.enrol(tmp_path / "enrolled", platform.invitation(), PIN, transport=Wire(platform))
    await device.record(TravelStarted(), stream=BOILER)
    await device.close()
    return tmp_path / "enrolled"


def chosen(count: int) -> list[int]:
    """The points to try: all of them, or some that lie evenly, the first and the last among them."""
    if os.environ.get("ZB_CRASH_POINTS") == "all":
        return list(range(1, count + 1))
    return sorted({1 + round(number * (count - 1) / (SAMPLED - 1)) for number in range(SAMPLED)})


class Memory:
    """What the platform knew before a life: each begins with the same."""

    def __init__(self, platform: Platform) -> None:
        self._kept = [
            (one, {name: copy.copy(value) for name, value in vars(one).items() if isinstance(value, bytes | int | list | dict)})
            for one in (platform, platform.custody)
        ]

    def restore(self) -> None:
        for one, values in self._kept:
            for name, value in values.items():
                setattr(one, name, copy.copy(value))


def from_the_code(platform: Platform, _enrolled: Path, place: Path) -> Path:
    """Nothing yet, but a code that is good."""
    platform.event_key = b""
    platform.authors.clear()
    return place


def at_work(platform: Platform, enrolled: Path, _place: Path) -> Path:
    """A document, a catalogue and a key wait for the device."""
    platform.custody.url, platform.custody.documents = platform.url, (SITE,)
    platform.custody.keys["contact-1"] = (bytes(32), SITE, "contact")
    platform.put_document(SITE, [])
    platform.put_catalogue(packed("reasons", "main", 1, canonical.encode({"reasons": []})))
    return enrolled


def of_version_1(_platform: Platform, enrolled: Path, _place: Path) -> Path:
    """As the first program left it."""
    connection = open_database(enrolled / DATABASE_FILE, BoundSecret.read(enrolled).derive(DATABASE_FILE), "device")
    connection.executescript(Path(__file__).with_name("device-1.sql").read_text())
    connection.close()
    return enrolled


def told_to_end(platform: Platform, enrolled: Path, _place: Path) -> Path:
    platform.commands = (ORDER,)
    return enrolled


def as_it_is(_platform: Platform, enrolled: Path, _place: Path) -> Path:
    return enrolled


async def reopened(folder: Path, platform: Platform) -> Device:
    device = Device.open(folder, clock=machine_clock(), transport=Wire(platform))
    try:
        await device.unlock(PIN, "tech-anna")
    except WrongPin:
        await device.unlock(NEW_PIN, "tech-anna")
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
            assert device.parts.media.read(item, device.opened().unlocked.reader) in (PHOTO, STROKES)
        left = list((folder / "media").iterdir())
        assert len(left) == sum(item.chunks for item in photos), "no chunk without its event, no event without its chunks"
        for _ in range(SYNCS_MAX):
            await device.sync()
            await device.upload()
            if device.settled() and not device.parts.media.waiting() and not device.parts.deposits.kids():
                break
        assert {row.event.header.id for row in platform.rows if row.chained} >= set(ids)
        for row in platform.rows:
            check_signature(platform.authors[row.event.header.author], row.event)
        assert set(platform.files) == {item.sha256 for item in device.parts.media.items()}
        assert set(platform.files.values()) <= {PHOTO, STROKES}
        assert device.parts.deposits.kids() == set(), "custody has every key that was made here"
    finally:
        await device.close()


async def check_enrols(folder: Path, platform: Platform, told: list[dict[str, Any]]) -> None:
    """The same code goes on where it was, or the device is whole."""
    with suppress(AlreadyEnrolled):
        device = await Device.enrol(folder, platform.invitation(), PIN, clock=machine_clock(), transport=Wire(platform))
        await device.close()
    await check_goes_on(folder, platform, told)


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


STORIES = {
    "enrolled": (from_the_code, check_enrols),
    "worked": (at_work, check_goes_on),
    "renewed": (as_it_is, check_goes_on),
    "migrated": (of_version_1, check_goes_on),
    "wiped": (told_to_end, check_is_wiped),
}
"""By scenario of the child: what it begins with, and what holds however it ended."""


@pytest.mark.parametrize("scenario", STORIES)
async def test_killed_at_any_write_point_nothing_confirmed_is_lost_and_nothing_is_half(
    scenario: str, nursery: Nursery, enrolled: Path, platform: Platform, tmp_path: Path
) -> None:
    begin, check = STORIES[scenario]
    source = begin(platform, enrolled, tmp_path / "nothing")
    memory = Memory(platform)
    whole = await nursery.life(scenario, 0, copied(source, tmp_path / "whole"), platform.url)
    assert whole[-1] == {"ended": 0}, whole
    names = whole[-2]["points"]
    assert len(names) > SAMPLED
    for point in chosen(len(names)):
        memory.restore()
        folder = copied(source, tmp_path / f"life-{point}")
        told = await nursery.life(scenario, point, folder, platform.url)
        assert told[-1] == {"ended": KILLED}, told
        try:
            await check(folder, platform, told)
        except (AssertionError, DeviceFault) as fault:
            raise AssertionError(f"killed at point {point} of {len(names)}, before {names[point - 1]!r}") from fault
        shutil.rmtree(folder)


def copied(source: Path, to: Path) -> Path:
    """A folder of its own for each life; none where it begins with nothing."""
    return Path(shutil.copytree(source, to)) if source.exists() else to
