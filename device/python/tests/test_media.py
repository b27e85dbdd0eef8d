"""Photos: the bytes are durable before the event that names them, and go only when the server shows that it has them."""

import asyncio
import hashlib
import os
import threading

import pytest

from zb_contracts.events.fieldwork import Done, PhotoTaken, Started
from zb_device.commands import run
from zb_device.faults import FileInvalid, RecordInvalid, Refused, StoreDamaged, Unreachable, VisitRefused
from zb_device.media import CHUNK_BYTES, MediaState, MediaStore, Prepared, described
from zb_device.recording import Draft
from zb_device.standing import Standing
from zb_device.uploads import TRIES_MAX

BOILER = "intervention:leaky-boiler"
PHOTO = os.urandom(2 * CHUNK_BYTES + 12_345)
SHA256 = hashlib.sha256(PHOTO).hexdigest()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "boiler.jpg"
    path.write_bytes(PHOTO)
    return path


async def take(device, picture) -> dict:
    return await run(device, "attach", {"intervention": "leaky-boiler", "photo": str(picture), "label": "before"})


def photographed(prepared: Prepared) -> list[Draft]:
    return [Draft(BOILER, PhotoTaken(file=prepared.file, source="camera"))]


def chunks(device) -> list[str]:
    return sorted(path.name for path in (device._folder.path / "media").iterdir())


async def test_a_photo_is_encrypted_queued_and_named_by_its_event(device, picture):
    await device.record(Started(), stream=BOILER)
    made = await take(device, picture)

    item = device.parts.media.item(SHA256)
    assert (made["sha256"], made["type"]) == (SHA256, "intervention.photo_taken.v2")
    assert chunks(device) == [f"{SHA256}.{number}" for number in range(3)]
    assert device.parts.media.read(item, device.opened().unlocked.reader) == PHOTO
    assert all(PHOTO[:64] not in path.read_bytes() for path in (device._folder.path / "media").iterdir())
    assert device.intervention("leaky-boiler").lines[0].value["file"]["sha256"] == SHA256


async def test_bytes_without_an_event_are_tidied_away_and_an_event_never_lacks_bytes(device, picture, platform):
    prepared = device.parts.media.prepare(PHOTO, described(PHOTO, "image/jpeg"), device.reader_box())
    assert len(chunks(device)) == 3
    assert device.parts.media.item(prepared.file.sha256) is None
    assert device.parts.media.tidy() == 3
    assert chunks(device) == []


async def test_what_an_attachment_wrote_goes_with_it_when_its_event_is_refused(device):
    with pytest.raises(VisitRefused):
        await device.attach(PHOTO, "image/jpeg", lambda _: [Draft(BOILER, Done())])
    assert chunks(device) == []


async def test_a_file_whose_attaching_was_called_off_is_not_written_by_two_at_once(device, monkeypatch):
    begun, may_write, write = threading.Event(), threading.Event(), MediaStore.prepare

    def slow(*values):
        begun.set()
        assert may_write.wait(10)
        return write(*values)

    monkeypatch.setattr(MediaStore, "prepare", slow)
    first = asyncio.create_task(device.attach(PHOTO, "image/jpeg", photographed))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    second = asyncio.create_task(device.attach(PHOTO, "image/jpeg", photographed))
    may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert device.parts.media.read(device.parts.media.item(SHA256), device.opened().unlocked.reader) == PHOTO


async def test_a_photo_that_failed_is_attached_anew(device, picture, platform):
    await take(device, picture)
    (device._folder.path / "media" / f"{SHA256}.1").unlink()
    await device.upload()
    assert device.parts.media.item(SHA256).state is MediaState.FAILED
    await take(device, picture)
    assert await device.upload() == 1
    assert platform.files[SHA256] == PHOTO


async def test_an_upload_that_breaks_off_goes_on_where_it_stopped(device, picture, platform):
    await take(device, picture)
    platform.fail_patches = 1
    with pytest.raises(Unreachable):
        await device.upload()
    half = len(platform.uploads[SHA256][1])
    assert 0 < half < CHUNK_BYTES
    assert device.parts.media.item(SHA256).state is MediaState.UPLOADING

    assert await device.upload() == 1

    assert platform.files[SHA256] == PHOTO
    assert device.parts.media.item(SHA256).state is MediaState.STORED
    assert chunks(device) == []


async def test_bytes_stay_while_the_server_does_not_show_that_it_has_them(device, picture, platform):
    await take(device, picture)
    platform.corrupt_uploads = True
    await device.upload()
    item = device.parts.media.item(SHA256)
    assert (item.state, item.code, item.tries) == (MediaState.QUEUED, "media.hash", 1)
    assert len(chunks(device)) == 3

    platform.corrupt_uploads = False
    assert await device.upload() == 1
    assert chunks(device) == []


async def test_tries_are_bounded_and_the_failure_stays_visible(device, picture, platform):
    await take(device, picture)
    platform.corrupt_uploads = True
    for _ in range(2 * TRIES_MAX):
        await device.upload()
    item = device.parts.media.item(SHA256)
    assert (item.state, item.code) == (MediaState.FAILED, "media.hash")
    assert len(chunks(device)) == 3
    assert device.parts.media.waiting() == []


async def test_a_person_has_a_refused_photo_sent_once_more(device, picture, platform, refused_uploads):
    await take(device, picture)
    refused_uploads.append((415, "media.kind"))
    await device.upload()
    assert [(file.state, file.code) for file in device.outbox().files] == [(Standing.REFUSED, "media.kind")]
    assert await device.upload() == 0

    assert await run(device, "try_again", {"sha256": SHA256}) == {"queued": True}
    assert [(file.state, file.code, file.tries) for file in device.outbox().files] == [(Standing.QUEUED, None, 0)]
    assert await device.upload() == 1
    assert await run(device, "try_again", {"sha256": SHA256}) == {"queued": False}


@pytest.mark.parametrize("code", ["access.device_proof_invalid", "access.unauthenticated"])
async def test_a_clock_or_session_that_the_server_does_not_take_is_no_fault_of_the_photo(
    device, picture, platform, refused_uploads, code
):
    await take(device, picture)
    refused_uploads += [(401, code)] * (TRIES_MAX + 1)
    for _ in range(TRIES_MAX + 1):
        with pytest.raises(Refused, match=code):
            await device.upload()
    item = device.parts.media.item(SHA256)
    assert (item.state, item.tries, item.code) == (MediaState.QUEUED, 0, code)

    assert await device.upload() == 1
    assert platform.files[SHA256] == PHOTO


async def test_the_same_photo_twice_is_one_upload_and_two_lines(device, picture, platform):
    await take(device, picture)
    await take(device, picture)
    assert await device.upload() == 1
    assert len(device.intervention("leaky-boiler").lines) == 2


async def test_a_missing_chunk_is_a_named_failure_not_an_endless_loop(device, picture, platform):
    await take(device, picture)
    (device._folder.path / "media" / f"{SHA256}.1").unlink()
    await device.upload()
    item = device.parts.media.item(SHA256)
    assert (item.state, item.code) == (MediaState.FAILED, StoreDamaged.code)


async def test_a_file_that_cannot_be_attached_is_refused_and_nothing_is_recorded(device, tmp_path):
    (tmp_path / "empty.jpg").touch()
    for name in ("missing.jpg", "empty.jpg"):
        with pytest.raises(FileInvalid):
            await run(device, "attach", {"intervention": "leaky-boiler", "photo": str(tmp_path / name)})
    with pytest.raises(RecordInvalid):
        await run(device, "use_part", {"intervention": "leaky-boiler", "part": "seal 12"})
    assert device.parts.log.head().seq == 0
