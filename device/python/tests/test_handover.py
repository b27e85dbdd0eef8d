"""Evidence of a device that cannot open it any more: locked, without a session, revoked. It goes up encrypted."""

from pathlib import Path

from tests.fixtures.little_platform import PIN, Platform
from zb_contracts.events.fieldwork import PhotoTaken, Started
from zb_contracts.events.values import File
from zb_contracts.sync import Command
from zb_device.device import Device
from zb_device.media import MediaState, Prepared
from zb_device.recording import Draft

BOILER = "intervention:leaky-boiler"
PHOTO = bytes(range(256)) * 10_000
"""Three chunks."""


def photographed(prepared: Prepared) -> list[Draft]:
    file = File(**prepared.file.model_dump())
    return [Draft(BOILER, PhotoTaken(file=file, source="camera", taken_at="2026-11-22T10:05:00.000Z"))]


async def attached(device: Device) -> str:
    await device.record(Started(), stream=BOILER)
    (made,) = await device.attach(PHOTO, "image/jpeg", photographed)
    return made.id


async def test_a_locked_device_sends_its_photo_encrypted_and_the_store_has_it_whole(device, platform, tmp_path):
    await attached(device)
    device.lock()
    await device.sync()
    assert await device.upload() == 1
    assert list(platform.files.values()) == [PHOTO]
    assert device.parts.media.items()[0].state is MediaState.STORED
    assert list((tmp_path / "device" / "media").iterdir()) == []


async def test_a_photo_waits_until_the_ledger_has_the_event_that_names_it(device, platform):
    await attached(device)
    device.lock()
    assert await device.upload() == 0
    (item,) = device.parts.media.items()
    assert (item.state, item.code, item.tries) == (MediaState.QUEUED, "media.unnamed", 0)
    await device.sync()
    assert await device.upload() == 1


async def test_an_upload_begun_by_its_technician_goes_on_after_the_lock(device, platform):
    await attached(device)
    await device.sync()
    sent: list[str] = []
    original = device.parts.media.read_chunk

    def one_chunk(item, reader, number):
        if number:
            raise OSError("the device is locked in the middle")
        sent.append(item.sha256)
        return original(item, reader, number)

    device.parts.media.read_chunk = one_chunk
    try:
        await device.upload()
    except OSError:
        device.lock()
    assert sent
    assert await device.upload() == 1
    assert list(platform.files.values()) == [PHOTO]


async def test_a_revoked_device_hands_over_its_evidence_before_it_is_wiped(device: Device, platform: Platform, tmp_path: Path):
    await attached(device)
    platform.hold_from = 1
    platform.commands = (Command(kind="wipe", argument="stolen"),)
    await device.sync()
    assert not device.unlocked
    assert device.parts.media.items()[0].for_reader is None, "nobody can open it here again"
    platform.commands = (Command(kind="wipe", argument="stolen", order="order-7"),)
    await device.sync()
    assert list(platform.files.values()) == [PHOTO]
    assert device._folder.is_wiped
    attested = platform.rows[-1].event.signed.body
    assert b'"files_left":0' in attested


async def test_after_unlocking_again_the_photo_is_readable_as_before(device, platform):
    await attached(device)
    device.lock()
    await device.unlock(PIN)
    item = device.parts.media.items()[0]
    assert device.parts.media.read(item, device.opened().unlocked.reader) == PHOTO
