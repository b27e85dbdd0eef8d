"""Two shards are never read so that a state shows an answer without what it answers: not in a backlog, not in any batch."""

import random
from typing import Any

import pytest

from field_ingest.projection.causal_cut import closed
from field_ingest.projection.ports import Claim, Place
from field_ingest.projection.replay import replay
from zb_contracts import canonical
from zb_contracts.events.fieldwork import CommentAdded

LIFT = "intervention:22222222-2222-4222-8222-222222222222"


@pytest.fixture
async def pair(company: Any) -> list[Any]:
    """A device of each of two shards."""
    await company.add_shard(1)
    return [
        await company.hire(f"device-{name}-1", device=f"device-{name}", technician=name, shard=shard)
        for shard, name in enumerate(("ana", "ben"))
    ]


async def holes(company: Any) -> list[str]:
    """Stored states whose vector names an event that they do not contain."""
    found = []
    for row in await company.pool.fetch("SELECT stream, vector, positions FROM states"):
        positions = {int(shard): position for shard, position in canonical.decode(row["positions"]).items()}
        for author, seq in canonical.decode(row["vector"]).items():
            covered = await company.pool.fetch(
                "SELECT shard, position FROM ledger WHERE stream = $1 AND author = $2 AND seq <= $3 AND kind = 'admitted'",
                row["stream"],
                author,
                seq,
            )
            found += [f"{author} in {row['stream']}" for one in covered if one["position"] >= positions[one["shard"]]]
    return found


@pytest.mark.parametrize("batch_rows", [1, 3, 500])
async def test_an_answer_in_a_short_log_waits_for_what_it_answers_in_a_long_one(
    company: Any, pair: list[Any], batch_rows: int
) -> None:
    ana, ben = pair
    for number in range(12):
        await company.record(ana, "shift:ana", CommentAdded(text=f"remark {number}"), informed=False)
    asked = await company.record(ana, LIFT, CommentAdded(text="is the lift safe?"))
    answered = await company.record(ben, LIFT, CommentAdded(text="it is"))  # it had seen the question
    projector = company.new_projector(batch_rows=batch_rows)
    while (await projector.step()).passed:
        assert await holes(company) == []
    state = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", LIFT))
    assert state["vector"] == {ana.name: 13, ben.name: 1}
    assert asked != answered
    assert state["events"] == 2


@pytest.mark.parametrize("seed", range(4))
async def test_however_two_logs_are_written_and_read_every_state_is_closed_and_the_end_is_the_same(
    company: Any, pair: list[Any], database: str, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 a story, no secret
    streams = [f"intervention:{number:08d}-0000-4000-8000-000000000000" for number in range(3)]
    for number in range(60):
        pen = pair[0] if chance.random() < 0.8 else pair[1]
        await company.record(pen, chance.choice(streams), CommentAdded(text=f"remark {number}"), informed=chance.random() < 0.7)
    projector = company.new_projector(batch_rows=chance.randint(1, 6))
    while (await projector.step()).passed:
        assert await holes(company) == []
    sizes = {row["shard"]: row["size"] for row in await company.pool.fetch("SELECT shard, size FROM shards")}
    assert sum(sizes.values()) == 60
    done = await replay(database, lambda store: company.new_projector(store=store, announces=False, batch_rows=2))
    assert (done.same, done.events) == (True, 60)


# --- the cut alone ---


def claim(author: str) -> Claim:
    return Claim(LIFT, author, 1)


def test_a_chain_of_answers_through_three_logs_is_cut_at_its_root() -> None:
    made = [(Place(1, 4), claim("a")), (Place(2, 7), claim("b")), (Place(0, 2), claim("c"))]
    places = {claim("a"): Place(0, 9), claim("b"): Place(1, 4), claim("c"): Place(2, 3)}
    assert closed({0: 5, 1: 10, 2: 10}, made, places) == {0: 5, 1: 4, 2: 7}


def test_a_cut_that_is_closed_stays() -> None:
    made = [(Place(1, 4), claim("a")), (Place(0, 1), claim("b"))]
    places = {claim("a"): Place(0, 4)}  # b was read before
    assert closed({0: 5, 1: 10}, made, places) == {0: 5, 1: 10}


def test_what_lies_in_a_log_that_is_not_read_now_is_waited_for() -> None:
    assert closed({1: 10}, [(Place(1, 4), claim("a"))], {claim("a"): Place(0, 0)}) == {1: 4}
