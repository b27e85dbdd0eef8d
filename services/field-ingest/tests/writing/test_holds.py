"""Held events and the supervisor's word: in the order of the author's numbers, by exact name, and never in anybody's way."""

import json
from typing import Any

import pytest

from field_ingest.admission.admitting import Done

SITE = "site:0192f000-0000-7000-8000-000000000001"


@pytest.fixture
async def held(house: Any, leaky: Any) -> list[Any]:
    """Four events that were received after the device was revoked; their rows."""
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $2 WHERE author = $1", leaky.author, house.now_ms)
    assert await house.deliver(leaky, leaky.writes(4)) == Done(held=4)
    return await house.rows(leaky)


def admission(office: Any, row: Any, seen: dict[str, int] | None = None, **other: Any) -> Any:
    """The office's word that a held event is admitted; `seen` is what it knew besides, `other` overrides what it names."""
    body = {
        "author": row["author"],
        "author_seq": row["seq"],
        "event": row["event_id"],
        "reason": "found again, untouched",
        "supervisor": "noor",
    } | other
    data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return office.write("event.admitted.v1", data, stream=row["stream"], seen=(seen or {}) | {row["author"]: row["seq"]})


async def waiting(house: Any) -> list[int]:
    rows = await house.pool.fetch("SELECT seq FROM holds WHERE admitted_by IS NULL ORDER BY seq")
    return [row["seq"] for row in rows]


async def codes(house: Any, pen: Any) -> list[str | None]:
    return [row["code"] for row in await house.rows(pen)]


async def test_held_events_are_admitted_in_the_order_of_their_numbers(house: Any, held: Any) -> None:
    words = [admission(house.office, row) for row in held[:2]]
    assert await house.deliver(house.office, words[:1]) == Done(admitted=1)
    assert await house.deliver(house.office, words[1:]) == Done(admitted=1)
    assert await waiting(house) == [3, 4]


async def test_one_message_admits_many_in_their_order(house: Any, held: Any) -> None:
    assert await house.deliver(house.office, [admission(house.office, row) for row in held]) == Done(admitted=4)
    assert await waiting(house) == []


async def test_an_admission_that_skips_an_undecided_one_admits_nothing_and_blocks_nothing(house: Any, held: Any) -> None:
    words = [admission(house.office, held[1]), admission(house.office, held[0]), admission(house.office, held[1])]
    assert await house.deliver(house.office, words) == Done(admitted=2, refused=1)
    assert await codes(house, house.office) == ["event.hold_turn", None, None]
    assert await waiting(house) == [3, 4]


@pytest.mark.parametrize("wrong", [{"author": "other-i1"}, {"author_seq": 2}, {"event": "019ac000-0000-7000-8000-ffffffffffff"}])
async def test_an_admission_that_names_no_held_event_exactly_admits_nothing_and_blocks_nothing(
    house: Any, held: Any, wrong: dict[str, Any]
) -> None:
    words = [admission(house.office, held[0], **wrong), admission(house.office, held[0])]
    assert await house.deliver(house.office, words) == Done(admitted=1, refused=1)
    assert await codes(house, house.office) == ["event.hold_unknown", None]
    assert await waiting(house) == [2, 3, 4]


async def test_an_admission_stands_on_the_stream_of_what_it_admits(house: Any, held: Any) -> None:
    elsewhere = admission(house.office, held[0] | {"stream": SITE})
    house.office.events.clear()
    misplaced = house.office.write("event.admitted.v1", elsewhere.body, stream=SITE)
    assert await house.deliver(house.office, [misplaced]) == Done(refused=1)
    assert await waiting(house) == [1, 2, 3, 4]


async def test_what_was_never_held_cannot_be_admitted(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(1))
    [row] = await house.rows(leaky)
    assert await house.deliver(house.office, [admission(house.office, row)]) == Done(refused=1)


async def test_an_event_is_admitted_once_and_a_second_word_changes_nothing(house: Any, held: Any) -> None:
    first, second = admission(house.office, held[0]), admission(house.office, held[0])
    assert await house.deliver(house.office, [first]) == Done(admitted=1)
    [before] = await house.pool.fetch("SELECT admitted_by FROM holds WHERE seq = 1")
    assert await house.deliver(house.office, [second]) == Done(admitted=1)
    assert await house.pool.fetch("SELECT admitted_by FROM holds WHERE seq = 1") == [before]


async def test_a_device_cannot_admit_what_it_wrote(house: Any, held: Any, leaky: Any) -> None:
    other = await house.hire("other")
    assert await house.deliver(other, [admission(other, held[0])]) == Done(refused=1)
    assert await codes(house, other) == ["event.type_not_allowed"]


async def test_a_body_of_an_admission_that_cannot_be_read_admits_nothing(house: Any, held: Any) -> None:
    assert await house.deliver(house.office, [admission(house.office, held[0], supervisor="*")]) == Done(admitted=1)
    assert await waiting(house) == [1, 2, 3, 4]


async def test_two_devices_are_decided_each_in_its_own_order(house: Any, held: Any) -> None:
    other = await house.hire("other")
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $2 WHERE author = $1", other.author, house.now_ms)
    await house.deliver(other, other.writes(2))
    rows = await house.rows(other)
    both = {other.author: 1, held[0]["author"]: 1}
    words = [admission(house.office, row, both) for row in (rows[0], held[0], held[2], rows[1])]
    assert await house.deliver(house.office, words) == Done(admitted=3, refused=1)
    assert await codes(house, house.office) == [None, None, "event.hold_turn", None]
