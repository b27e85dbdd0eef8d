"""Events and bytes in any order: evidence is complete exactly when every demanded file is stored, and is told once a change."""

import asyncio
from typing import Any

from media import store
from media.config import MIGRATIONS
from media.evidence import state_announced, stored_changed
from zb_chassis.catalogue import schema_differences
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS

DISTANT_TAP = "01900000-0000-7000-8000-00000000a0a0"


async def test_bytes_before_the_event(house: Any, story: Any) -> None:
    await house.phone.upload(story.PHOTO)
    assert await house.told() == []
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    (told,) = await house.told()
    assert (told.version, told.complete, told.items[0].stored) == (1, True, True)


async def test_the_event_before_the_bytes(house: Any, story: Any) -> None:
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    await house.phone.upload(story.PHOTO)
    assert [(told.version, told.complete) for told in await house.told()] == [(1, False), (2, True)]


async def test_event_and_bytes_at_the_same_moment_always_meet(house: Any, story: Any) -> None:
    for number in range(1, 9):
        data = story.PHOTO + bytes([number])
        await house.phone.begin(data)
        intervention = f"01900000-0000-7000-8000-{number:012d}"
        await asyncio.gather(
            house.hear(story.announced(1, story.line(1, data), intervention=intervention)),
            house.phone.send(story.sha256(data), 0, data),
        )
        assert await house.pool.fetchval("SELECT complete FROM media.evidence WHERE intervention = $1", intervention)


async def blocked_or_done(house: Any, task: asyncio.Task[Any]) -> None:
    """Returns once the task is done, or a session waits for a lock."""
    async with asyncio.timeout(20):
        while not task.done() and not await house.pool.fetchval("SELECT bool_or(NOT granted) FROM pg_locks"):
            await house.pool.execute("SELECT pg_sleep(0.01)")


async def test_a_file_that_is_being_stored_is_not_missed_by_the_event(house: Any, story: Any) -> None:
    digest = story.sha256(story.PHOTO)
    async with house.pool.acquire() as connection:
        storing = connection.transaction()
        await storing.start()
        await store.lock_hashes(connection, [digest])
        await store.insert_file(connection, store.StoredFile(digest, len(story.PHOTO), "image/jpeg"), "dev-1", story.TEN)
        await stored_changed(connection, digest, story.TEN)
        hearing = asyncio.create_task(house.hear(story.announced(1, story.line(1, story.PHOTO))))
        await blocked_or_done(house, hearing)
        await storing.commit()
    await hearing
    assert [told.complete for told in await house.told()] == [True]


async def test_an_event_that_is_being_read_is_not_missed_by_the_file(house: Any, story: Any) -> None:
    await house.phone.begin(story.PHOTO)
    async with house.pool.acquire() as connection:
        reading = connection.transaction()
        await reading.start()
        await state_announced(connection, story.announced(1, story.line(1, story.PHOTO)), story.TEN)
        sending = asyncio.create_task(house.phone.send(story.sha256(story.PHOTO), 0, story.PHOTO))
        await blocked_or_done(house, sending)
        await reading.commit()
    assert (await sending).status_code == 204
    assert [told.complete for told in await house.told()] == [False, True]


async def test_an_announcement_twice_or_an_older_one_changes_nothing(house: Any, story: Any) -> None:
    newer = story.announced(2, story.line(1, story.PHOTO), story.line(2, b"tap"))
    for message in (newer, newer, story.announced(1, story.line(1, story.PHOTO))):
        await house.hear(message)
    (told,) = await house.told()
    assert len(told.items) == 2


async def test_a_newer_state_that_demands_the_same_is_not_told_again(house: Any, story: Any) -> None:
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    await house.hear(story.announced(2, story.line(1, story.PHOTO)))
    assert [told.version for told in await house.told()] == [1]
    assert await house.pool.fetchval("SELECT state_version FROM media.evidence") == 2


async def test_a_line_that_is_withdrawn_is_no_longer_demanded(house: Any, story: Any) -> None:
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    await house.hear(story.announced(2, story.line(1, story.PHOTO, void=True)))
    assert [(told.complete, len(told.items)) for told in await house.told()] == [(False, 1), (True, 0)]


async def test_one_file_can_be_the_evidence_of_two_interventions(house: Any, story: Any) -> None:
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    await house.hear(story.announced(1, story.line(2, story.PHOTO), intervention=DISTANT_TAP))
    await house.phone.upload(story.PHOTO)
    complete = {told.intervention for told in await house.told() if told.complete}
    assert complete == {story.LEAKY_BOILER, DISTANT_TAP}


async def test_people_see_the_evidence_of_their_agency_only(house: Any, story: Any) -> None:
    await house.hear(story.announced(3, story.line(1, story.PHOTO)))
    path = f"/v1/interventions/{story.LEAKY_BOILER}/evidence"
    view = (await house.read(path, "dispatcher@main")).json()
    assert (view["complete"], view["state_version"], view["items"][0]["sha256"]) == (False, 3, story.sha256(story.PHOTO))
    assert (await house.read(path, "dispatcher@lille")).json()["code"] == "access.wrong_agency"
    assert (await house.read(path, "technician@main")).json()["code"] == "access.forbidden"
    assert (await house.read(f"/v1/interventions/{DISTANT_TAP}/evidence")).status_code == 404
    assert (await house.http.get(path)).status_code == 401


async def test_a_file_is_read_whole_and_in_ranges_and_each_read_is_noted(house: Any, story: Any) -> None:
    await house.phone.upload(story.PHOTO)
    path = f"/v1/files/{story.sha256(story.PHOTO)}"
    assert (await house.read(path)).json()["code"] == "access.wrong_agency", "no intervention of the agency names it"
    await house.hear(story.announced(1, story.line(1, story.PHOTO)))
    whole = await house.read(path)
    assert (whole.content, whole.headers["content-type"]) == (story.PHOTO, "image/jpeg")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"].startswith("attachment")
    part = await house.read(path, Range="bytes=4-9")
    assert (part.status_code, part.content) == (206, story.PHOTO[4:10])
    assert (await house.read(path, "dispatcher@lille")).status_code == 403
    assert await house.pool.fetchval("SELECT count(*) FROM chassis.access_log WHERE reader = 'somebody'") == 2


async def test_a_name_that_is_no_hash_is_not_found(house: Any) -> None:
    for name in ("..%2f..%2fetc%2fpasswd", "ABCDEF", "0" * 63):
        assert (await house.read(f"/v1/files/{name}")).status_code == 404


async def test_the_schema_and_the_migrations_build_the_same(empty_database: str) -> None:
    pool: Pool = await open_pool(empty_database, application_name="media-schema")
    async with pool.acquire() as connection:
        assert await schema_differences(connection, MIGRATIONS, after=[CHASSIS_MIGRATIONS]) == []
    await pool.close()
