"""A replay gives the same hash, finds what was changed behind the ledger's back, and can put it right."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from field_ingest.audit import moments
from field_ingest.audit.explain import explain_stream, history
from field_ingest.audit.past import state_at
from field_ingest.projection import ledger_streams, marks, replay_run
from field_ingest.projection import replay as replaying
from field_ingest.projection.refolding import cut_at
from field_ingest.projection.replay import ADVISORY_LOCK, Progress, ReplayRefused, Wanted, replay
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.events.office import Assigned, Cancelled, InterventionCreated, Planned, Policy
from zb_contracts.events.places import SiteRegistered, StockMoved
from zb_contracts.problems import INPUT_NOT_FOUND, Problem

BOILER = "intervention:11111111-1111-4111-8111-111111111111"


async def a_day(company: Any, office: Any, camille: Any) -> None:
    """A plan, a visit that the office's cancel did not know, a site, some stock."""
    await company.record(
        office, BOILER, InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    )
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.record(
        office, BOILER, Planned(planned_start="2026-11-23T14:00:00.000Z", duration_min=60, policy=Policy(version=1))
    )
    await company.record(
        office,
        "site:site-1",
        SiteRegistered.model_validate(
            {"reference": "S-1", "name": "old town", "agency": "main", "address": {"town": "Lyon", "country": "FR"}}
        ),
    )
    visit = f"019ac111-0000-7000-8000-{camille.seq:012x}"
    started = company.write(camille, BOILER, Started(), visit=visit, event_id=visit)
    await company.record(office, BOILER, Cancelled(reason="the customer called"))
    await company.admit(started)
    for number in range(20):
        await company.record(camille, "stock:van-camille", StockMoved(part=f"p-{number % 3}", quantity="-1", cause="used"))
    await company.project()


async def test_a_replay_of_the_ledger_gives_the_live_hash(company: Any, office: Any, camille: Any, database: str) -> None:
    await a_day(company, office, camille)
    seen: list[Progress] = []
    done = await replay(
        database, lambda store: company.new_projector(store=store, announces=False, batch_rows=7), progress=seen.append
    )
    assert done.same
    assert (done.streams, done.events, done.behind, done.quarantined) == (3, 26, 0, 0)
    assert seen[-1].rows == seen[-1].total == 26
    assert await company.pool.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'replay'") == 0


async def test_whoever_reads_one_stream_goes_on_with_the_connection(
    company: Any, office: Any, camille: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_day(company, office, camille)
    monkeypatch.setattr(ledger_streams, "PAGE_ROWS", 1)  # the next page is always under way
    async with company.pool.acquire() as connection:
        async with connection.transaction():
            rows = await ledger_streams.rows_of(connection, cut_at(moments.NOW, {0: 26}), BOILER)
        assert len(rows) == 5
        assert await connection.fetchval("SELECT count(*) FROM ledger") == 26


async def test_a_replay_ends_where_the_live_projection_stands(company: Any, office: Any, camille: Any, database: str) -> None:
    await a_day(company, office, camille)
    await company.record(camille, BOILER, CommentAdded(text="not projected yet"))
    done = await replay(database, lambda store: company.new_projector(store=store, announces=False))
    assert (done.same, done.events, done.behind) == (True, 26, 1)


async def test_a_state_that_was_changed_by_hand_is_found_and_swapped(
    company: Any, office: Any, camille: Any, database: str
) -> None:
    await a_day(company, office, camille)
    before = await company.pool.fetchrow("SELECT version, state_hash FROM states WHERE stream = $1", BOILER)
    sent = await company.pool.fetchval("SELECT count(*) FROM chassis.outbox")
    await company.pool.execute("UPDATE states SET state_hash = $1 WHERE stream = $2", bytes(32), BOILER)
    done = await replay(database, lambda store: company.new_projector(store=store, announces=False), Wanted(swap=True))
    assert not done.same
    assert done.swapped
    after = await company.pool.fetchrow("SELECT version, state_hash FROM states WHERE stream = $1", BOILER)
    assert (after["version"], after["state_hash"]) == (before["version"] + 1, before["state_hash"])
    assert await company.pool.fetchval("SELECT count(*) FROM chassis.outbox") == sent + 1
    assert (await replay(database, lambda store: company.new_projector(store=store, announces=False))).same
    await company.record(camille, BOILER, CommentAdded(text="life goes on"))
    await company.project()
    assert await company.pool.fetchval("SELECT version FROM states WHERE stream = $1", BOILER) == before["version"] + 2


async def test_a_second_replay_is_refused_while_one_works(company: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "LOCK_WAIT_S", 0.5)
    other = await asyncpg.connect(database)
    await other.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    with pytest.raises(ReplayRefused, match="another replay"):
        await replay(database, lambda store: company.new_projector(store=store, announces=False))
    await other.close()


async def test_an_explanation_names_the_rule_and_the_history_has_every_clock(company: Any, office: Any, camille: Any) -> None:
    await a_day(company, office, camille)
    async with company.pool.acquire() as connection:
        sentences = {item.field: item.sentence for item in await explain_stream(connection, BOILER, language="en")}
        assert sentences["status"]
        assert [item.field for item in await explain_stream(connection, BOILER, "planned_start")] == ["planned_start"]
        entries = await history(connection, BOILER)
        rest = await history(connection, BOILER, after=(0, entries[1]["position"]))
        with pytest.raises(Problem) as refused:
            await explain_stream(connection, "intervention:unknown")
    assert refused.value.kind is INPUT_NOT_FOUND
    assert [entry["type"].split(".")[1] for entry in entries] == ["created", "assigned", "planned", "cancelled", "started"]
    assert entries[-1]["anchor"]["server_time"] == entries[-1]["received_at"] == "2026-11-23T10:00:00.000Z"
    assert entries[-1]["seen"] == {"office-main": 3}
    assert [entry["position"] for entry in rest] == [entry["position"] for entry in entries[2:]]


def in_shadow(company: Any) -> Any:
    return lambda store: company.new_projector(store=store, announces=False)


async def test_a_replay_that_broke_off_is_gone_on_with_by_the_same_command_and_not_by_another(
    company: Any, office: Any, camille: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_day(company, office, camille)
    monkeypatch.setattr(replay_run, "ROWS_A_SPAN", 6)

    def break_off(progress: Progress) -> None:
        if progress.rows < progress.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await replay(database, in_shadow(company), progress=break_off)
    done = await replay(database, in_shadow(company))
    assert done.same
    assert 0 < done.resumed < done.events == 26
    with pytest.raises(KeyboardInterrupt):
        await replay(database, in_shadow(company), progress=break_off)
    other = await replay(database, in_shadow(company), Wanted(signatures=True))
    assert (other.same, other.resumed) == (True, 0)


async def test_workers_in_processes_come_to_the_same_hash(
    company: Any, office: Any, camille: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_day(company, office, camille)
    monkeypatch.setattr(replay_run, "ROWS_A_SPAN", 6)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    done = await replay(database, in_shadow(company), Wanted(workers=2, signatures=True))
    assert (done.same, done.events, done.quarantined) == (True, 26, 0)


async def test_a_body_that_nobody_signed_is_named(company: Any, office: Any, camille: Any, database: str) -> None:
    await a_day(company, office, camille)
    await company.pool.execute('UPDATE ledger SET body = \'{"text":"forged"}\' WHERE position = 3')
    done = await replay(database, in_shadow(company), Wanted(signatures=True))
    assert (done.same, done.quarantined) == (False, 1)
    assert "shard 0, position 3 is not the one that was signed" in done.faults["site:site-1"]


async def test_what_was_known_then_and_what_is_known_of_then_by_now_are_two_pasts(
    company: Any, office: Any, camille: Any, database: str
) -> None:
    """Camille starts at ten, off line; the office hears of it an hour later."""
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, BOILER, created)
    await company.record(office, BOILER, Assigned(assignee="camille"))
    visit = "019ac111-0000-7000-8000-000000000001"
    started = company.write(camille, BOILER, Started(), visit=visit, event_id=visit)
    company.now_ms += 3_600_000
    await company.admit(started)
    ten = moments.known_at("2026-11-23T10:30:00Z")
    assert await self_told(database, ten) == "assigned"
    assert await self_told(database, moments.known_at("0:1")) == "assigned"
    assert await self_told(database, moments.occurred_until("2026-11-23T10:30:00Z")) == "in_progress"
    assert await self_told(database, moments.occurred_until("2026-11-23T10:30:00Z", ten)) == "assigned"
    then = await replay(database, in_shadow(company), Wanted(ten))
    now = await replay(database, in_shadow(company), Wanted(moments.occurred_until("2026-11-23T10:30:00Z")))
    assert (then.same, then.live_hash, then.events, now.events) == (None, None, 2, 3)
    assert then.state_hash != now.state_hash
    assert ("as it was known then" in then.moment, "as it is known now" in now.moment) == (True, True)


async def self_told(database: str, moment: moments.Moment) -> str:
    connection = await asyncpg.connect(database)
    try:
        return str((await state_at(connection, BOILER, moment)).state.status)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        (moments.known_at("0:99"), "shard 0 has no position 99"),
        (moments.known_at("0:1,1:1"), "a position for each shard is needed"),
        (moments.Moment(rules=9), "no rules of version 9"),
    ],
)
async def test_a_moment_that_the_ledger_does_not_have_is_refused_by_name(
    company: Any, office: Any, camille: Any, database: str, moment: moments.Moment, why: str
) -> None:
    await a_day(company, office, camille)
    with pytest.raises(moments.MomentUnreadable, match=why):
        await replay(database, in_shadow(company), Wanted(moment))
    with pytest.raises(ReplayRefused, match="only the present"):
        await replay(database, in_shadow(company), Wanted(moment, swap=True))


@pytest.mark.parametrize("text", ["", "yesterday", "0:1,0:2", "2026-11-23", "1:", "occurred:now", "rules:x"])
def test_no_moment(text: str) -> None:
    with pytest.raises(moments.MomentUnreadable):
        moments.read_moment(text)


@pytest.mark.parametrize("partitions", [1, 4])
async def test_two_shards_another_order_and_other_partitions_make_the_same_hash(
    company_at: Any, databases: Any, migrations: Any, tmp_path: Path, partitions: int
) -> None:
    """The same signed events. In the second ledger each author writes to a log of its own, the technician before the office."""
    async with databases(2, *migrations) as dsns:
        first, second = [await company_at(dsn, tmp_path / str(shards), shards) for shards, dsn in enumerate(dsns, 1)]
        try:
            for one in (first, second):
                await one.hire("office-main", "office")
                await one.hire("device-a-1", device="device-a", technician="camille")
            planned, worked = both_sides(first)
            await first.admit(*planned, *worked)
            await second.admit(*worked, *planned)
            async with second.pool.acquire() as connection:
                await marks.found(connection, partitions)
            for one in (first, second):
                await one.project()
            found = await replay(dsns[0], in_shadow(first))
            other = await replay(dsns[1], in_shadow(second), Wanted(workers=2))
            assert (found.same, other.same) == (True, True)
            assert (found.state_hash, found.events) == (other.state_hash, other.events)
            assert await second.pool.fetchval("SELECT count(*) FROM shards WHERE size > 0") == 2
        finally:
            for one in (first, second):
                await one.pool.close()


def both_sides(company: Any) -> tuple[list[Any], list[Any]]:
    """What the office and the technician wrote without knowing of each other."""
    office, camille = company.pens["office-main"], company.pens["device-a-1"]
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    planned = [company.write(office, BOILER, body) for body in (created, Assigned(assignee="camille"))]
    visit = f"019ac111-0000-7000-8000-{1:012x}"
    worked = [company.write(camille, BOILER, Started(), visit=visit, event_id=visit)]
    worked += [company.write(camille, BOILER, CommentAdded(text=f"remark {number}"), visit=visit) for number in range(5)]
    worked += [
        company.write(camille, "stock:van-camille", StockMoved(part=f"p-{number}", quantity="-1", cause="used"))
        for number in (1, 2)
    ]
    return planned, worked
