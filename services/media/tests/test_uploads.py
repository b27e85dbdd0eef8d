"""Uploads over HTTP against the real application, database and disk: whatever goes wrong, wrong bytes never count."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture
def photo() -> bytes:
    return bytes(range(256)) * 117 + b"leaky-boiler"


def parts_of(house: Any) -> list[Path]:
    return list(house.files.folder.rglob("*.part"))


def code(answer: httpx.Response) -> str:
    return str(answer.json()["code"])


async def test_a_photo_arrives_in_parts_and_is_stored_under_its_hash(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    begun = await house.phone.begin(photo)
    assert (begun.status_code, begun.headers["location"]) == (201, f"/v1/uploads/{digest}")
    first = await house.phone.send(digest, 0, photo[:10_000])
    assert (first.status_code, first.headers["upload-offset"]) == (204, "10000")
    assert not house.files.path(digest).exists()
    checksum = base64.b64encode(hashlib.sha256(photo[10_000:]).digest()).decode()
    last = await house.phone.send(digest, 10_000, photo[10_000:], **{"Upload-Checksum": f"sha256 {checksum}"})
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(photo)))
    assert house.files.path(digest).read_bytes() == photo
    assert parts_of(house) == []


async def test_the_server_says_what_it_speaks(house: Any) -> None:
    answer = await house.http.options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-extension"] == "creation,checksum,expiration"
    assert answer.headers["tus-max-size"] == "1000000"


async def test_a_hash_that_is_stored_answers_as_complete_to_any_device(house: Any, story: Any, photo: bytes) -> None:
    await house.phone.upload(photo)
    for phone in (house.phone, house.another_phone("dev-2")):
        again = await phone.begin(photo)
        assert (again.status_code, again.headers["upload-offset"]) == (201, str(len(photo)))
        assert (await phone.look(story.sha256(photo))).headers["upload-offset"] == str(len(photo))
    assert await house.pool.fetchval("SELECT count(*) FROM media.file") == 1


async def test_the_same_hash_with_another_length_is_a_conflict(house: Any, photo: bytes) -> None:
    await house.phone.upload(photo)
    answer = await house.phone.begin(photo, length=len(photo) + 1)
    assert (answer.status_code, code(answer)) == (409, "input.exists_different")


async def test_wrong_bytes_are_refused_and_dropped(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    answer = await house.phone.send(digest, 0, photo[:-1] + b"!")
    assert (answer.status_code, code(answer)) == (460, "media.hash")
    assert parts_of(house) == []
    assert (await house.phone.look(digest)).status_code == 404
    assert await house.pool.fetchval("SELECT count(*) FROM media.file") == 0
    assert (await house.phone.upload(photo)).status_code == 204


async def test_a_truncated_upload_never_counts(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    await house.phone.send(digest, 0, photo[:-1])
    assert (await house.phone.look(digest)).headers["upload-offset"] == str(len(photo) - 1)
    assert (await house.read(f"/v1/files/{digest}")).status_code == 404


async def test_more_bytes_than_declared_are_refused(house: Any, story: Any, photo: bytes) -> None:
    await house.phone.begin(photo)
    answer = await house.phone.send(story.sha256(photo), 0, photo + b"more")
    assert (answer.status_code, code(answer)) == (413, "input.too_large")


@pytest.mark.parametrize("offset", [1, 9_999, 10_001])
async def test_a_part_at_another_offset_changes_nothing(house: Any, story: Any, photo: bytes, offset: int) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    await house.phone.send(digest, 0, photo[:10_000])
    answer = await house.phone.send(digest, offset, photo[offset:])
    assert (answer.status_code, code(answer), answer.json()["retryable"]) == (409, "media.offset", True)
    assert (await house.phone.look(digest)).headers["upload-offset"] == "10000"


async def test_a_part_damaged_on_the_way_is_refused_by_its_checksum(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    checksum = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    answer = await house.phone.send(digest, 0, photo, **{"Upload-Checksum": f"sha256 {checksum}"})
    assert (answer.status_code, code(answer)) == (460, "media.checksum")
    assert (await house.phone.look(digest)).headers["upload-offset"] == "0"


async def test_two_requests_with_the_same_part_store_it_once(house: Any, story: Any, photo: bytes) -> None:
    await house.phone.begin(photo)
    digest = story.sha256(photo)
    answers = await asyncio.gather(*(house.phone.send(digest, 0, photo) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
    assert house.files.path(digest).read_bytes() == photo


async def test_an_upload_goes_on_from_what_was_confirmed_when_the_disk_has_more(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    await house.phone.send(digest, 0, photo[:10_000])
    # A process killed between the disk and the database leaves bytes that nobody confirmed.
    with parts_of(house)[0].open("ab") as file:
        file.write(b"never confirmed")
    assert (await house.phone.look(digest)).headers["upload-offset"] == "10000"
    assert (await house.phone.send(digest, 10_000, photo[10_000:])).status_code == 204
    assert house.files.path(digest).read_bytes() == photo


async def test_an_upload_begins_again_when_the_disk_lost_its_bytes(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    await house.phone.send(digest, 0, photo[:10_000])
    parts_of(house)[0].unlink()
    assert (await house.phone.look(digest)).headers["upload-offset"] == "0"
    assert (await house.phone.send(digest, 0, photo)).status_code == 204


async def test_a_file_that_was_named_but_never_committed_is_no_evidence_and_no_obstacle(
    house: Any, story: Any, photo: bytes
) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    # As after a kill between the final name and the commit.
    house.files.write_part(digest, "dev-1", 0, photo)
    house.files.keep(digest, "dev-1")
    assert (await house.phone.look(digest)).headers["upload-offset"] == "0"
    assert (await house.read(f"/v1/files/{digest}")).status_code == 404
    assert (await house.phone.send(digest, 0, photo)).status_code == 204
    assert (await house.phone.look(digest)).headers["upload-offset"] == str(len(photo))


def test_a_part_that_a_crash_left_linked_to_the_kept_file_never_changes_it(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    house.files.write_part(digest, "dev-1", 0, photo)
    house.files.keep(digest, "dev-1")

    house.files.write_part(digest, "dev-1", 100, b"other bytes")

    assert house.files.path(digest).read_bytes() == photo
    assert house.files.part_bytes(digest, "dev-1") == 100 + len(b"other bytes")


async def test_unfinished_uploads_have_a_quota_for_each_device(house: Any, photo: bytes) -> None:
    for number in range(3):
        assert (await house.phone.begin(photo + bytes([number]))).status_code == 201
    refused = await house.phone.begin(photo)
    assert (refused.status_code, code(refused)) == (429, "media.quota")
    assert (await house.phone.begin(photo + b"\0")).status_code == 201, "going on with one is no new one"
    assert (await house.another_phone("dev-2").begin(photo)).status_code == 201


async def test_unfinished_uploads_expire_and_their_bytes_go(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    begun = await house.phone.begin(photo)
    assert begun.headers["upload-expires"] == "Mon, 16 Mar 2026 11:00:00 GMT"
    await house.phone.send(digest, 0, photo[:10_000])
    house.now[0] += 3_600_001
    assert (await house.phone.look(digest)).status_code == 404
    assert await house.uploads.sweep() == 1
    assert await house.uploads.sweep() == 0
    assert parts_of(house) == []
    assert (await house.phone.begin(photo)).headers["upload-offset"] == "0"


async def test_a_corrected_length_begins_the_upload_again(house: Any, story: Any, photo: bytes) -> None:
    await house.phone.begin(photo, length=len(photo) + 5)
    await house.phone.send(story.sha256(photo), 0, photo[:100])
    corrected = await house.phone.begin(photo)
    assert (corrected.headers["upload-length"], corrected.headers["upload-offset"]) == (str(len(photo)), "0")


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        ({"Upload-Length": "1000001"}, 413, "media.length"),
        ({"Upload-Length": "0"}, 422, "input.invalid"),
        ({"Upload-Length": "-1"}, 422, "input.invalid"),
        ({"Upload-Metadata": "sha256 !!"}, 422, "input.invalid"),
        ({"Upload-Metadata": "mime aW1hZ2UvanBlZw=="}, 422, "input.invalid"),
        ({"Upload-Metadata": "x" * 3000}, 422, "input.invalid"),
        ({"Upload-Defer-Length": "1"}, 422, "input.invalid"),
        ({"Tus-Resumable": "0.2.2"}, 412, "media.version"),
    ],
)
async def test_a_declaration_that_is_wrong_is_named(
    house: Any, photo: bytes, change: dict[str, str], status: int, expected: str
) -> None:
    right = {
        "Upload-Length": str(len(photo)),
        "Upload-Metadata": "sha256 " + base64.b64encode(b"a" * 64).decode() + ",mime aW1hZ2UvanBlZw==",
    }
    headers = house.phone.headers("POST", "/v1/uploads", b"", right | change)
    answer = await house.http.post("/v1/uploads", headers=headers)
    assert (answer.status_code, code(answer)) == (status, expected)


async def test_a_device_cannot_declare_another(house: Any, photo: bytes) -> None:
    answer = await house.phone.begin(photo, device="dev-2")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Upload-Metadata.device")


async def test_a_part_has_a_limit_of_its_own(house: Any, story: Any) -> None:
    large = b"x" * 100_000
    await house.phone.begin(large)
    answer = await house.phone.send(story.sha256(large), 0, large)
    assert (answer.status_code, code(answer)) == (413, "input.too_large")


async def test_an_upload_of_one_device_cannot_be_touched_by_another(house: Any, story: Any, photo: bytes) -> None:
    await house.phone.begin(photo)
    other = house.another_phone("dev-2")
    assert (await other.look(story.sha256(photo))).status_code == 404
    assert (await other.send(story.sha256(photo), 0, photo)).status_code == 404


async def test_a_stored_file_that_is_damaged_stops_counting_and_can_be_sent_again(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.upload(photo)
    await house.hear(story.announced(1, story.line(1, photo)))
    assert await house.uploads.check() == []
    house.files.path(digest).write_bytes(b"damaged")
    assert await house.uploads.check() == [digest]
    assert [told.complete for told in await house.told()] == [True, False]
    assert (await house.phone.upload(photo)).status_code == 204
    assert [told.complete for told in await house.told()] == [True, False, True]
    assert house.files.path(digest).read_bytes() == photo


async def test_what_one_device_stores_has_a_limit_that_time_lifts(house: Any, photo: bytes) -> None:
    for number in range(6):
        assert (await house.phone.upload(photo + bytes([number]))).status_code == 204
    refused = await house.phone.begin(photo)
    assert (refused.status_code, code(refused), refused.json()["retryable"]) == (429, "media.stored", True)
    assert (await house.another_phone("dev-2").begin(photo)).status_code == 201
    house.now[0] += 30 * 86_400_000 + 1
    assert (await house.phone.begin(photo)).status_code == 201


async def test_what_is_declared_counts_before_it_arrives(house: Any, photo: bytes) -> None:
    assert (await house.phone.begin(photo, length=190_000)).status_code == 201
    assert code(await house.phone.begin(photo + b"2")) == "media.stored"
    assert (await house.phone.begin(photo)).status_code == 201  # a correction of the first, which it replaces
    assert (await house.phone.begin(photo + b"2")).status_code == 201


async def test_whole_files_that_a_restored_database_does_not_know_are_adopted(house: Any, story: Any, photo: bytes) -> None:
    kept, damaged = story.sha256(photo), story.sha256(b"another photo")
    for data in (photo, b"another photo"):
        await house.phone.upload(data)
    await house.pool.execute("DELETE FROM media.file")
    house.files.path(damaged).write_bytes(b"another phota")
    assert await house.uploads.adopt() == [kept]
    assert (await house.phone.look(kept)).headers["upload-offset"] == str(len(photo))
    assert await house.pool.fetchval("SELECT count(*) FROM media.file") == 1
    assert await house.uploads.adopt() == []
