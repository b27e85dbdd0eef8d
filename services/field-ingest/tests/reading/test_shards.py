"""More than one shard: each a log of its own, one state of a stream whose authors write to both."""

from typing import Any

import pytest

from field_ingest.projection import states
from field_ingest.projection.replay import replay
from zb_contracts import canonical
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.events.office import EventAdmitted, InterventionCreated

BOILER = "intervention:11111111-1111-4111-8111-111111111111"


def created() -> InterventionCreated:
    return InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")


@pytest.mark.parametrize("batch_rows", [1, 500])
async def test_a_stream_is_folded_from_all_shards_and_says_its_place_in_each(
    company: Any, camille: Any, database: str, batch_rows: int
) -> None:
    await company.add_shard(1)
    office = await company.hire("office-main", "office", shard=1)
    for number in range(4):
        await company.record(camille, BOILER, CommentAdded(text=f"remark {number}"))
    await company.record(office, BOILER, created())
    await company.project(company.new_projector(batch_rows=batch_rows))
    row = await company.pool.fetchrow("SELECT state, positions FROM states WHERE stream = $1", BOILER)
    assert canonical.decode(row["positions"]) == {"0": 4, "1": 1}
    assert canonical.decode(row["state"])["vector"] == {"device-a-1": 4, "office-main": 1}
    done = await replay(database, lambda store: company.new_projector(store=store, announces=False, batch_rows=2))
    assert (done.same, done.events) == (True, 5)


@pytest.mark.parametrize("batch_rows", [1, 2, 500])
async def test_an_admission_that_is_read_before_the_held_event_lets_it_in_all_the_same(
    company: Any, camille: Any, batch_rows: int
) -> None:
    await company.add_shard(1)
    office = await company.hire("office-main", "office", shard=1)
    for number in range(5):
        await company.record(camille, "shift:camille", CommentAdded(text=f"remark {number}"))
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'lost' WHERE author = $1", camille.name)
    held = await company.record(camille, BOILER, Started())
    lifts = EventAdmitted(event=held, author=camille.name, author_seq=6, supervisor="alix", reason="lost later")
    await company.record(office, BOILER, lifts)
    await company.project(company.new_projector(batch_rows=batch_rows))
    state = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", BOILER))
    assert state["vector"] == {"device-a-1": 6, "office-main": 1}
    assert state["status"] == "in_progress"


@pytest.mark.parametrize(("author", "seq"), [("device-a-1", 2), ("office-main", 1)])
async def test_an_admission_that_names_another_author_or_number_lets_nothing_in(
    company: Any, camille: Any, office: Any, author: str, seq: int
) -> None:
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'lost' WHERE author = $1", camille.name)
    held = await company.record(camille, BOILER, Started())
    await company.record(office, BOILER, EventAdmitted(event=held, author=author, author_seq=seq, supervisor="alix", reason="no"))
    await company.project()
    kinds = await company.pool.fetch("SELECT author, kind FROM ledger")
    assert {row["author"]: row["kind"] for row in kinds} == {camille.name: "held", office.name: "refusal"}
    assert await company.pool.fetchval("SELECT count(*) FROM states") == 0
    async with company.pool.acquire() as connection:
        assert await states.quarantined(connection) == {}
