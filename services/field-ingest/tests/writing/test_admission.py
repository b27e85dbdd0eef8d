"""What the ledger's door does with messages, on a real Postgres. Each test ends with the one checker of the invariants."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from field_ingest.admission.admitting import TRIES_MAX, Done, GivenUp, Message, PutOff
from zb_contracts.envelope import SEEN_AUTHORS_MAX, SignedEvent
from zb_contracts.segment import encode_segment

pytestmark = pytest.mark.parametrize("house", [1, 5], indirect=True)


@pytest.fixture(autouse=True)
async def sound(house: Any) -> AsyncIterator[None]:
    """After every test, whatever happened in it, the ledger is sound."""
    yield
    await house.check_invariants()


async def test_a_segment_is_admitted_byte_for_byte(house: Any, leaky: Any) -> None:
    events = leaky.writes(3)
    assert await house.deliver(leaky, events) == Done(admitted=3)
    rows = await house.rows(leaky)
    assert [SignedEvent(row["header"], row["body"], row["signature"]) for row in rows] == events
    assert [row["kind"] for row in rows] == ["admitted"] * 3
    assert (await house.row(leaky))["mark"] == 3


async def test_a_segment_sent_again_changes_nothing(house: Any, leaky: Any) -> None:
    events = leaky.writes(3)
    await house.deliver(leaky, events)
    before = await house.row(leaky)
    assert await house.deliver(leaky, events) == Done(duplicates=3)
    assert await house.row(leaky) == before
    assert len(await house.rows(leaky)) == 3


async def test_the_good_prefix_of_a_tampered_segment_is_admitted_and_the_rest_asked_for(house: Any, leaky: Any) -> None:
    events = leaky.writes(4)
    tampered = [*events[:2], events[2]._replace(signature=bytes(64)), events[3]]
    answer = await house.deliver(leaky, tampered)
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "event.signature_invalid"
    row = await house.row(leaky)
    assert (row["mark"], row["gap_nonce"]) == (2, f"{1:032x}")
    assert await house.pool.fetchval("SELECT times FROM rejects WHERE subject = $1", leaky.subject) == 1
    assert await house.deliver(leaky, events, nonce=row["gap_nonce"]) == Done(admitted=2, duplicates=2)
    assert (await house.row(leaky))["gap_nonce"] is None


async def test_a_body_that_was_changed_on_the_way_is_rejected(house: Any, leaky: Any) -> None:
    events = leaky.writes(2)
    answer = await house.deliver(leaky, [events[0], events[1]._replace(body=b'{"text":"all is well"}')])
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "event.body_mismatch"
    assert (await house.row(leaky))["mark"] == 1


async def test_a_fork_and_what_descends_from_it_is_recorded_once_and_moves_no_mark(house: Any, leaky: Any) -> None:
    restored = leaky.copy()
    await house.deliver(leaky, leaky.writes(2))
    forked = restored.writes(5)
    assert await house.deliver(restored, forked[:4]) == Done(refused=4)
    assert await house.deliver(restored, forked) == Done(refused=1, duplicates=4)
    rows = await house.rows(leaky)
    assert [(row["kind"], row["code"], row["seq"]) for row in rows] == [
        ("admitted", None, 1),
        ("admitted", None, 2),
        ("refusal", "event.fork", 1),
        ("refusal", "event.fork", 2),
        ("refusal", "event.link_broken", 3),
        ("refusal", "event.link_broken", 4),
        ("refusal", "event.link_broken", 5),
    ]
    assert (await house.row(leaky))["mark"] == 2


async def test_a_fork_s_tail_is_recorded_too_when_its_segments_come_one_by_one(house: Any, leaky: Any) -> None:
    restored = leaky.copy()
    await house.deliver(leaky, leaky.writes(1))
    forked = restored.writes(6)
    assert await house.deliver(restored, forked[:2]) == Done(refused=2)
    assert isinstance(await house.deliver(restored, forked[4:]), PutOff)
    assert await house.deliver(restored, forked[2:4]) == Done(refused=2)
    assert await house.deliver(restored, forked[4:], tries=2) == Done(refused=2)
    assert (await house.row(leaky))["mark"] == 1


async def test_segments_that_overtook_each_other_in_one_batch_find_their_places(house: Any, leaky: Any) -> None:
    events = leaky.writes(6)
    messages = [leaky.message(events[at : at + 2]) for at in (4, 0, 2)]
    assert await house.admission.admit(messages) == [Done(admitted=2)] * 3


async def test_a_segment_ahead_is_put_off_and_then_asked_for_with_a_nonce(house: Any, leaky: Any) -> None:
    events = leaky.writes(4)
    assert isinstance(await house.deliver(leaky, events[2:]), PutOff)
    assert (await house.row(leaky))["gap_nonce"] is None
    assert isinstance(await house.deliver(leaky, events[2:], tries=TRIES_MAX), GivenUp)
    nonce = (await house.row(leaky))["gap_nonce"]
    assert nonce is not None
    assert await house.deliver(leaky, events, nonce=nonce) == Done(admitted=4)


async def test_a_vector_that_claims_more_than_the_ledger_has_is_refused_for_now(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(1))
    claiming = leaky.write(seen={"office-main": 1})
    answer = await house.deliver(leaky, [claiming])
    assert isinstance(answer, PutOff)
    assert answer.problem.retryable
    row = await house.row(leaky)
    assert (row["mark"], row["stopped_seq"], row["stopped_code"]) == (1, 2, "event.seen_ahead")
    planned = house.office.write("intervention.cancelled.v1", b'{"reason":"customer called"}')
    assert await house.deliver(house.office, [planned]) == Done(admitted=1)
    assert await house.deliver(leaky, [claiming], tries=2) == Done(admitted=1)
    assert (await house.row(leaky))["stopped_code"] is None


async def test_an_author_that_nobody_enrolled_is_waited_for_and_then_rejected(house: Any, leaky: Any) -> None:
    stranger = leaky.copy()
    stranger.author = "stranger-i1"
    events = stranger.writes(1)
    assert isinstance(await house.deliver(stranger, events), PutOff)
    answer = await house.deliver(stranger, events, tries=TRIES_MAX)
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "event.author_unknown"
    assert await house.pool.fetchval("SELECT count(*) FROM rejects") == 1


async def test_events_on_another_devices_subject_are_rejected(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    [answer] = await house.admission.admit([Message(other.subject, encode_segment(leaky.writes(1)))])
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "segment.wrong_subject"
    assert await house.rows(leaky) == []


async def test_an_office_cannot_write_on_a_devices_subject(house: Any, leaky: Any) -> None:
    data = encode_segment(house.office.writes(1))
    [answer] = await house.admission.admit([Message(leaky.subject, data)])
    assert isinstance(answer, GivenUp)
    assert answer.problem.code == "segment.wrong_subject"


async def test_garbage_beside_good_segments_stops_nobody(house: Any, leaky: Any) -> None:
    good = [leaky.message(leaky.writes(2)), leaky.message(leaky.writes(2))]
    garbage = [
        Message(leaky.subject, data) for data in (b"", b"\xc1", b"\x90", b"x" * 300_000, msgspec.msgpack.encode([[1, 2, 3]]))
    ]
    answers = await house.admission.admit([good[0], *garbage, good[1]])
    assert [type(answer) for answer in answers] == [Done, *[GivenUp] * 5, Done]
    assert await house.pool.fetchval("SELECT sum(times) FROM reject_counts") == 5


async def test_samples_of_rejects_are_limited_and_their_counts_are_not(house: Any, leaky: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("field_ingest.admission.rejects.SAMPLES_MAX", 3)
    for number in range(5):
        await house.admission.admit([Message(leaky.subject, b"garbage %d" % number)])
    assert await house.pool.fetchval("SELECT count(*) FROM rejects") == 3
    assert await house.pool.fetchval("SELECT times FROM reject_counts WHERE subject = $1", leaky.subject) == 5


async def test_a_signed_header_that_we_cannot_read_is_refused_in_its_place_and_the_next_goes_on(house: Any, leaky: Any) -> None:
    crowd = {f"author-{number}": 1 for number in range(SEEN_AUTHORS_MAX + 1)}
    events = [leaky.write(), _unchecked(leaky, crowd), leaky.write()]
    assert await house.deliver(leaky, events) == Done(admitted=2, refused=1)
    assert [row["code"] for row in await house.rows(leaky)] == [None, "event.seen_too_large", None]


async def test_events_received_after_a_revocation_are_held(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(1))
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $2 WHERE author = $1", leaky.author, house.now_ms)
    assert await house.deliver(leaky, leaky.writes(2)) == Done(held=2)
    assert [row["kind"] for row in await house.rows(leaky)] == ["admitted", "held", "held"]
    assert await house.pool.fetchval("SELECT count(*) FROM holds WHERE admitted_by IS NULL") == 2


async def test_many_writers_at_once_leave_dense_positions_and_one_tree(house: Any) -> None:
    pens = [await house.hire(f"van-{number}") for number in range(6)]

    async def send(pen: Any) -> None:
        for _ in range(8):
            await house.deliver(pen, pen.writes(8))

    await asyncio.gather(*(send(pen) for pen in pens))
    sizes = [row["size"] for row in await house.pool.fetch("SELECT size FROM shards")]
    assert sum(sizes) == 2 + 6 * 64
    assert await house.pool.fetchval("SELECT count(*) FROM tiles") == sum(size // 256 for size in sizes)


async def test_two_deliveries_of_one_segment_at_once_admit_it_once(house: Any, leaky: Any) -> None:
    events = leaky.writes(4)
    answers = await asyncio.gather(*(house.deliver(leaky, events) for _ in range(4)))
    assert sorted((answer.admitted, answer.duplicates) for answer in answers) == [(0, 4), (0, 4), (0, 4), (4, 0)]


def _unchecked(pen: Any, seen: dict[str, int]) -> SignedEvent:
    """An event as a faulty device would sign it: with a vector beyond the limit."""
    from zb_contracts import canonical
    from zb_contracts.envelope import PAYLOAD_TYPE
    from zb_contracts.keys import dsse_pae

    honest = pen.write()
    header = msgspec.json.decode(honest.header) | {"seen": seen}
    data = canonical.encode(header)
    pen.events[-1] = SignedEvent(data, honest.body, pen.key.sign(dsse_pae(PAYLOAD_TYPE, data)))
    return pen.events[-1]
