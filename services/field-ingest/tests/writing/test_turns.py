"""Batches side by side: read at the same time, decided in their order, and none waits for ever on one that failed."""

import asyncio
from typing import Any

from field_ingest.admission.admitting import Done, PutOff
from field_ingest.admission.turns import Turns


async def test_a_batch_knows_what_those_before_it_may_bring_and_is_decided_after_them() -> None:
    turns, order = Turns(), []
    first, second, third = turns.next(), turns.next(), turns.next()

    async def work(turn: Any, name: str, reach: dict[str, int]) -> None:
        before = await turn.to_place()
        turn.place(reach, before)
        await turn.to_decide()
        order.append((name, dict(before)))
        turn.end()

    later = [asyncio.create_task(work(third, "third", {})), asyncio.create_task(work(second, "second", {"ben": 16}))]
    await work(first, "first", {"ana": 8})
    await asyncio.gather(*later)
    assert [name for name, _ in order] == ["first", "second", "third"]
    assert order[0][1] == {}


async def test_what_is_in_hand_reaches_over_more_than_one_batch() -> None:
    turns = Turns()
    first, second, third = turns.next(), turns.next(), turns.next()
    first.place({"ana": 8}, await first.to_place())
    second.place({"ben": 16}, await second.to_place())
    assert await third.to_place() == {"ana": 8, "ben": 16}


async def test_a_batch_that_failed_holds_nobody_up_and_brings_nothing() -> None:
    turns = Turns()
    first, second = turns.next(), turns.next()
    first.end()
    assert await second.to_place() == {}
    await second.to_decide()


async def test_an_authors_segments_in_two_batches_at_once_are_admitted_in_one_go(house: Any, leaky: Any) -> None:
    turns = Turns()
    segments = [[leaky.message(leaky.writes(3))] for _ in range(4)]
    given = await asyncio.gather(*(house.admission.admit(segment, turns) for segment in segments))
    assert given == [[Done(admitted=3)]] * 4
    await house.check_invariants()


async def test_what_waits_for_a_batch_that_failed_is_put_off(house: Any, leaky: Any) -> None:
    turns = Turns()
    lost, kept = leaky.writes(3), leaky.writes(3)
    broken = lost[1]._replace(signature=bytes(64))
    given = await asyncio.gather(
        house.admission.admit([leaky.message([lost[0], broken, lost[2]])], turns),
        house.admission.admit([leaky.message(kept)], turns),
    )
    assert isinstance(given[1][0], PutOff)
    assert await house.deliver(leaky, lost) == Done(admitted=2, duplicates=1)
    assert await house.deliver(leaky, kept, tries=2) == Done(admitted=3)
    await house.check_invariants()
