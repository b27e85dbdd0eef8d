"""One device's backlog delays nobody: who may wait in a worker, and what becomes of the rest."""

from typing import Any

import pytest

from field_ingest.admission import waiting
from field_ingest.admission.admitting import TRIES_MAX, Done, GivenUp, Message, PutOff
from field_ingest.admission.verification import Offer, Verifier
from field_ingest.admission.waiting import LEFT_AFTER_MS, PLACES_MAX, WaitingRoom
from zb_chassis.streams import ACKS_PENDING_MAX
from zb_contracts.keys import WrapKey
from zb_contracts.segment import encode_sealed_segment, message_id, seal_event

BATCH = 64
SEGMENTS_AHEAD = 3_000


def test_a_sender_has_so_many_places_and_another_has_its_own() -> None:
    room = WaitingRoom(places_max=2)
    assert [room.enter("field.v1.leaky", sequence, 0) for sequence in (1, 2, 3)] == [True, True, False]
    assert room.enter("field.v1.other", 4, 0)
    assert room.enter("field.v1.leaky", 2, 0)  # delivered again, it keeps its place


def test_a_place_is_free_again_when_its_message_leaves() -> None:
    room = WaitingRoom(places_max=1)
    room.enter("field.v1.leaky", 1, 0)
    room.leave("field.v1.leaky", 1)
    room.leave("field.v1.leaky", 1)
    assert room.enter("field.v1.leaky", 2, 0)


def test_a_place_whose_message_went_to_another_worker_is_free_again_in_time() -> None:
    room = WaitingRoom(places_max=1)
    room.enter("field.v1.leaky", 1, 0)
    assert not room.enter("field.v1.leaky", 2, LEFT_AFTER_MS)
    assert room.enter("field.v1.leaky", 2, LEFT_AFTER_MS + 1)


def test_the_senders_of_a_room_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SENDERS_MAX", 2)
    room = WaitingRoom()
    assert [room.enter(f"field.v1.van-{number}", number, 0) for number in range(3)] == [True, True, False]
    assert room.enter("field.v1.van-2", 2, LEFT_AFTER_MS + 1)


def test_one_sender_fills_but_a_small_part_of_what_a_consumer_keeps_unsettled() -> None:
    assert PLACES_MAX * 8 <= ACKS_PENDING_MAX


async def test_thousands_of_segments_ahead_of_one_author_keep_nobody_else_waiting(house: Any, leaky: Any) -> None:
    other = await house.hire("other")
    events = leaky.writes(2)
    # The same event ahead, message after message: nothing of it is verified before it can be placed.
    flood = [_at(leaky.message(events[1:]), place) for place in range(1, SEGMENTS_AHEAD + 1)]
    put_off = 0
    for first in range(0, len(flood), BATCH):
        honest = other.message(other.writes(1))
        *answers, admitted = await house.admission.admit([*flood[first : first + BATCH], honest])
        assert admitted == Done(admitted=1)
        put_off += sum(isinstance(answer, PutOff) for answer in answers)
        assert all(isinstance(answer, PutOff | GivenUp) for answer in answers)
    assert put_off == PLACES_MAX
    row = await house.row(leaky)
    assert (row["mark"], row["gap_to"]) == (0, 2)
    assert await house.deliver(leaky, events, nonce=row["gap_nonce"]) == Done(admitted=2)
    await house.check_invariants()


async def test_nothing_is_verified_that_cannot_be_placed(house: Any, leaky: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[Offer] = []
    real = Verifier.segments

    async def watched(verifier: Verifier, work: Any) -> Any:
        verified.extend(offer for _, offer in work)
        return await real(verifier, work)

    monkeypatch.setattr(Verifier, "segments", watched)
    events = leaky.writes(6)
    messages = [leaky.message(part) for part in (events[4:], events[:2])]
    answers = await house.admission.admit(messages)
    assert isinstance(answers[0], PutOff)
    assert answers[1] == Done(admitted=2)
    assert [(offer.first, offer.last) for offer in verified] == [(1, 2)]


async def test_what_was_given_up_behind_a_late_segment_is_still_asked_for_when_that_has_come(house: Any, leaky: Any) -> None:
    events = leaky.writes(6)
    assert isinstance(await house.deliver(leaky, events[2:4], tries=TRIES_MAX), GivenUp)
    assert isinstance(await house.deliver(leaky, events[4:], tries=TRIES_MAX), GivenUp)
    nonce = (await house.row(leaky))["gap_nonce"]
    assert await house.deliver(leaky, events[:2]) == Done(admitted=2)
    assert ((await house.row(leaky))["gap_nonce"], nonce is not None) == (nonce, True)
    assert await house.deliver(leaky, events[2:], nonce=nonce) == Done(admitted=4)
    assert (await house.row(leaky))["gap_nonce"] is None


async def test_a_resend_that_is_given_up_itself_gets_another_nonce(house: Any, leaky: Any) -> None:
    events = leaky.writes(4)
    await house.deliver(leaky, events[2:], tries=TRIES_MAX)
    nonce = (await house.row(leaky))["gap_nonce"]
    assert isinstance(await house.deliver(leaky, events[2:], tries=TRIES_MAX, nonce=nonce), GivenUp)
    assert (await house.row(leaky))["gap_nonce"] not in (None, nonce)


async def test_strangers_messages_are_limited_as_well(house: Any, leaky: Any) -> None:
    stranger = leaky.copy()
    stranger.author = "stranger-i1"
    events = stranger.writes(1)
    messages = [_at(stranger.message(events), place) for place in range(1, PLACES_MAX + 10)]
    answers = await house.admission.admit(messages)
    assert [type(answer) for answer in answers] == [PutOff] * PLACES_MAX + [GivenUp] * 9


async def test_a_box_that_opens_for_nobody_here_ends_the_segment_and_the_rest_is_asked_for(house: Any, leaky: Any) -> None:
    events = leaky.writes(3)
    escrow = WrapKey(bytes(range(32))).public
    boxes = [seal_event(escrow, event) for event in events]
    spoilt = [*boxes[:2], seal_event(WrapKey.generate().public, events[2])]
    [answer] = await house.admission.admit([Message(leaky.subject, encode_sealed_segment(spoilt))])
    assert isinstance(answer, GivenUp)
    row = await house.row(leaky)
    assert (row["mark"], row["gap_to"]) == (2, 3)
    resend = Message(leaky.subject, encode_sealed_segment(boxes), 1, message_id(events, row["gap_nonce"]))
    assert await house.admission.admit([resend]) == [Done(admitted=1, duplicates=2)]


def _at(message: Message, place: int) -> Message:
    return Message(message.subject, message.data, message.tries, message.message_id, place)
