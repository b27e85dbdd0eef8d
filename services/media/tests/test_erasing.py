"""A file is erased: its bytes go, its row stays, and nobody is asked to send it again."""

from typing import Any

import pytest

from zb_contracts.announcements import CONTRACTS, PICTURES_ERASED, PicturesErased
from zb_contracts.problems import MEDIA_ERASED, Problem


@pytest.fixture
def photo(story: Any) -> bytes:
    return bytes(story.PHOTO)


async def erase(house: Any, digest: str, who: str = "fleet-administrator@main") -> Any:
    return await house.http.post(f"/v1/files/{digest}/erasure", headers={"Authorization": f"Bearer {who}"})


async def test_an_erased_file_is_gone_and_the_evidence_goes_on_saying_that_it_was_there(
    house: Any, story: Any, photo: bytes
) -> None:
    digest = story.sha256(photo)
    await house.phone.upload(photo)
    await house.hear(story.announced(1, story.line(1, photo)))
    assert (await erase(house, digest)).json() == {"sha256": digest, "erased_at": "2026-03-16T10:00:00.000Z"}
    assert not house.files.path(digest).exists()
    gone = await house.read(f"/v1/files/{digest}")
    assert (gone.status_code, gone.json()["code"]) == (410, "media.erased")
    # No device is asked again, and nothing is found missing.
    assert (await house.phone.begin(photo)).headers["upload-offset"] == str(len(photo))
    assert await house.uploads.check() == []
    await house.hear(story.announced(2, story.line(1, photo), story.line(2, b"another")))
    assert [item.stored for item in (await house.told())[-1].items] == [True, False]


async def test_refusals_are_named(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    assert (await erase(house, digest)).json()["code"] == "input.not_found"
    assert (await erase(house, "../passwd")).status_code == 404
    await house.phone.upload(photo)
    await house.hear(story.announced(1, story.line(1, photo)))
    assert (await erase(house, digest, "auditor@main")).status_code == 403
    assert (await erase(house, digest, "fleet-administrator@north")).json()["code"] == "access.wrong_agency"
    assert house.files.path(digest).exists()
    await erase(house, digest)
    assert (await erase(house, digest)).status_code == 410
    with pytest.raises(Problem) as caught:
        await house.erasing.erase(digest)
    assert caught.value.kind is MEDIA_ERASED


async def test_a_file_that_a_crash_or_a_backup_left_there_goes_at_the_next_round(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.upload(photo)
    await house.erasing.erase(digest)
    house.files.path(digest).write_bytes(photo)
    await house.erasing.again()
    assert not house.files.path(digest).exists()


async def told(house: Any, *hashes: str, agency: str = "main") -> None:
    data = PicturesErased(subject="signer-1", agency=agency, files=hashes)
    await house.erasing.announced(PICTURES_ERASED, data.model_dump_json().encode())


async def test_what_custody_tells_of_is_erased_once_and_other_reference_data_is_not_ours(
    house: Any, story: Any, photo: bytes
) -> None:
    digest = story.sha256(photo)
    await house.phone.upload(photo)
    await house.erasing.announced(CONTRACTS, b"no JSON")
    await house.hear(story.announced(1, story.line(1, photo)))
    await told(house, digest, agency="north")
    assert house.files.path(digest).exists()
    await told(house, digest)
    await told(house, digest)
    assert not house.files.path(digest).exists()
    assert [entry.sha256 for entry in house.erasing._journal.read()] == [digest]


async def test_a_picture_that_comes_after_its_erasure_is_never_taken(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.begin(photo)
    await house.phone.send(digest, 0, photo[:10])
    await told(house, digest)
    # The device is answered as if all were there: it forgets its copy.
    assert (await house.phone.begin(photo)).headers["upload-offset"] == str(len(photo))
    assert list(house.files.folder.rglob(f"*{digest}*")) == []
    await house.hear(story.announced(1, story.line(1, photo)))
    assert [item.stored for item in (await house.told())[-1].items] == [True]
    assert (await house.read(f"/v1/files/{digest}")).json()["code"] == "media.erased"


async def test_a_restored_database_and_store_erase_again_before_anybody_asks(house: Any, story: Any, photo: bytes) -> None:
    digest = story.sha256(photo)
    await house.phone.upload(photo)
    await told(house, digest)
    # As a backup from before the erasure has it: the row, the file, no tombstone.
    await house.pool.execute("DELETE FROM media.tombstone")
    await house.pool.execute("UPDATE media.file SET erased_at_ms = NULL")
    house.files.path(digest).write_bytes(photo)
    await house.erasing.again()
    assert not house.files.path(digest).exists()
    assert (await house.read(f"/v1/files/{digest}", "auditor@*")).json()["code"] == "media.erased"
    # Neither is it adopted from the disk where the row is lost as well.
    await house.pool.execute("DELETE FROM media.file")
    house.files.path(digest).write_bytes(photo)
    assert await house.uploads.adopt() == []
