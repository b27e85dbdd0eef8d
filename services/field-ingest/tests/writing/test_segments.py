"""What docs/PROTOCOL.md says of segments, row by row, on a real Postgres; with what is tested beside the rest elsewhere.

Tampered bytes, forks, gaps and garbage: test_admission.py. Backlogs: test_waiting.py. Held events: test_holds.py. What no rule
reads: test_opaque.py.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from field_ingest.admission.admitting import TRIES_MAX, Done, GivenUp, Message, PutOff
from zb_contracts.envelope import GENESIS
from zb_contracts.segment import SEGMENT_EVENTS_MAX

SITE = "site:0192f000-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
async def sound(house: Any) -> AsyncIterator[None]:
    """After every test the ledger is sound."""
    yield
    await house.check_invariants()


async def codes(house: Any, pen: Any) -> list[str | None]:
    return [row["code"] for row in await house.rows(pen)]


async def plan(house: Any, count: int = 1) -> None:
    """The office writes about the boiler."""
    for _ in range(count):
        written = house.office.write("intervention.cancelled.v1", b'{"reason":"customer called"}')
        assert await house.deliver(house.office, [written]) == Done(admitted=1)


async def test_a_segment_of_more_events_than_the_limit_is_no_segment(house: Any, leaky: Any) -> None:
    data = msgspec.msgpack.encode([tuple(event) for event in leaky.writes(SEGMENT_EVENTS_MAX + 1)])
    [answer] = await house.admission.admit([Message(leaky.subject, data)])
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "segment.too_long"
    assert await house.rows(leaky) == []


async def test_a_link_broken_in_the_middle_leaves_the_prefix_and_goes_beside_the_chain(house: Any, leaky: Any) -> None:
    honest = leaky.copy()
    events = [*leaky.writes(2), leaky.write(prev=hashlib.sha256(b"another past").hexdigest()), leaky.write()]
    answer = await house.deliver(leaky, events)
    assert (type(answer), answer.admitted) == (Done, 2)
    assert [row["chained"] for row in await house.rows(leaky)][:3] == [True, True, False]
    assert set((await codes(house, leaky))[2:]) == {"event.link_broken"}
    assert (await house.row(leaky))["mark"] == 2
    honest.events = events[:2]
    assert await house.deliver(honest, honest.writes(2)) == Done(admitted=2)


async def test_the_first_event_of_a_segment_names_the_stored_head(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(2))
    assert await house.deliver(leaky, [leaky.write(prev=GENESIS)]) == Done(refused=1)
    assert await codes(house, leaky) == [None, None, "event.link_broken"]


async def test_a_segment_that_overlaps_the_mark_adds_what_is_new(house: Any, leaky: Any) -> None:
    events = leaky.writes(5)
    await house.deliver(leaky, events[:3])
    assert await house.deliver(leaky, events[1:]) == Done(admitted=2, duplicates=2)


async def test_an_event_of_the_future_stops_the_chain_behind_its_prefix_and_goes_on_when_it_has_come(
    house: Any, leaky: Any
) -> None:
    events = [leaky.write(), leaky.write(seen={"office-main": 1}), leaky.write(seen={"office-main": 1})]
    assert isinstance(await house.deliver(leaky, events), PutOff)
    row = await house.row(leaky)
    assert (row["mark"], row["stopped_seq"], row["stopped_code"]) == (1, 2, "event.seen_ahead")
    assert isinstance(await house.deliver(leaky, events, tries=TRIES_MAX), GivenUp)
    row = await house.row(leaky)
    assert (row["gap_nonce"] is not None, row["gap_to"]) == (True, 3)
    await plan(house)
    assert await house.deliver(leaky, events[1:], nonce=row["gap_nonce"]) == Done(admitted=2)
    row = await house.row(leaky)
    assert (row["stopped_code"], row["gap_nonce"]) == (None, None)


async def test_a_vector_that_shrinks_between_two_messages_is_refused_and_the_next_goes_on(house: Any, leaky: Any) -> None:
    await plan(house, 2)
    await house.deliver(leaky, [leaky.write(seen={"office-main": 2})])
    events = [leaky.write(seen={"office-main": 1}), leaky.write(seen={"office-main": 2})]
    assert await house.deliver(leaky, events) == Done(admitted=1, refused=1)
    assert await codes(house, leaky) == [None, "event.seen_shrinks", None]


async def test_a_vector_that_leaves_out_what_a_seen_event_had_seen_is_refused(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    await plan(house)
    await house.deliver(other, [other.write(seen={"office-main": 1})])
    events = [leaky.write(seen={other.author: 1}), leaky.write(seen={other.author: 1, "office-main": 1})]
    assert await house.deliver(leaky, events) == Done(admitted=1, refused=1)
    assert await codes(house, leaky) == ["event.seen_open", None]


async def test_a_vector_that_names_who_wrote_on_another_stream_only_is_refused(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    await house.deliver(other, [other.write(stream=SITE)])
    assert await house.deliver(leaky, [leaky.write(seen={other.author: 1})]) == Done(refused=1)
    assert await codes(house, leaky) == ["event.header_malformed"]


async def test_an_id_that_another_author_has_used_is_refused_and_the_next_event_goes_on(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    taken = other.write()
    await house.deliver(other, [taken])
    stolen = msgspec.json.decode(taken.header)["id"]
    assert await house.deliver(leaky, [leaky.write(id=stolen), leaky.write()]) == Done(admitted=1, refused=1)
    assert await codes(house, leaky) == ["event.id_taken", None]


async def test_one_id_in_two_segments_of_one_batch_is_the_first_ones(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    mine = other.write()
    same = leaky.write(id=msgspec.json.decode(mine.header)["id"])
    answers = await house.admission.admit([other.message([mine]), leaky.message([same])])
    assert sorted((answer.admitted, answer.refused) for answer in answers) == [(0, 1), (1, 0)]


async def test_rows_beside_the_chain_are_limited_and_what_is_beyond_goes_to_the_rejects(
    house: Any, leaky: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("field_ingest.admission.domain.STRAY_REFUSALS_MAX", 2)
    start = leaky.copy()
    await house.deliver(leaky, leaky.writes(1))
    answers = [await house.deliver(fork, fork.writes(1)) for fork in (start.copy() for _ in range(3))]
    assert answers[:2] == [Done(refused=1)] * 2
    assert isinstance(answers[2], GivenUp)
    assert await codes(house, leaky) == [None, "event.fork", "event.fork"]
    assert await house.pool.fetchval("SELECT times FROM rejects WHERE code = 'event.fork'") == 1
    assert await house.deliver(leaky, leaky.writes(1)) == Done(admitted=1)


async def test_who_is_enrolled_while_a_message_waits_is_admitted(house: Any, leaky: Any, new_pen: Any) -> None:
    late = new_pen("late-i1", "late", leaky.key)
    late.key = type(leaky.key).from_seed(hashlib.sha256(b"late").digest())
    events = late.writes(2)
    assert isinstance(await house.deliver(late, events), PutOff)
    await house.hire("late")
    assert await house.deliver(late, events, tries=2) == Done(admitted=2)


async def test_what_was_held_is_a_suffix_of_the_chain_and_refusals_stay_refusals(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(2))
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $2 WHERE author = $1", leaky.author, house.now_ms)
    events = [leaky.write(), leaky.write("intervention.cancelled.v1", b'{"reason":"too far"}'), leaky.write()]
    assert await house.deliver(leaky, events) == Done(held=2, refused=1)
    assert [row["kind"] for row in await house.rows(leaky)] == ["admitted", "admitted", "held", "refusal", "held"]
    assert (await house.row(leaky))["mark"] == 5
