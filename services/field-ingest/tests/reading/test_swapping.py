"""A rebuilt projection takes the live one's place while it works: nobody waits, misses a document or goes back."""

import asyncio
import json
from typing import Any

import pytest

from field_ingest.projection import marks, states
from field_ingest.projection.projecting import Following, Projection
from field_ingest.projection.replay import Wanted, replay
from zb_contracts import canonical
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import Assigned, EventAdmitted, InterventionCreated
from zb_contracts.events.places import SiteRegistered

STREAMS = [f"intervention:00000000-0000-4000-8000-{number:012x}" for number in range(12)]
DEADLINE_S = 60


async def a_plan(company: Any, office: Any) -> None:
    site = {"reference": "S-1", "name": "old town", "agency": "main", "address": {"town": "Lyon", "country": "FR"}}
    await company.record(office, "site:s-1", SiteRegistered.model_validate(site))
    for number, stream in enumerate(STREAMS):
        created = InterventionCreated(reference=f"W-{number}", kind="repair", title="boiler", site="s-1", agency="main")
        await company.record(office, stream, created)
        await company.record(office, stream, Assigned(assignee="camille"))
    await company.project()


async def order_of(company: Any) -> dict[str, Any]:
    """Where the technician's order stands, and under which number each document was last given."""
    counter = await company.pool.fetchrow("SELECT epoch, change FROM scope_technician WHERE technician = 'camille'")
    given = await company.pool.fetch("SELECT document, change FROM scope_document WHERE technician = 'camille'")
    return {"epoch": counter["epoch"], "change": counter["change"], "given": dict(given)}


def in_shadow(company: Any) -> Any:
    return lambda store: company.new_projector(store=store, announces=False, batch_rows=7)


async def test_a_swap_that_finds_nothing_changes_nothing_for_anybody(company: Any, office: Any, database: str) -> None:
    await a_plan(company, office)
    before = await order_of(company)
    rows = await company.pool.fetch("SELECT stream, version, changed_ms, xmin FROM states ORDER BY stream")
    said = await company.pool.fetchval("SELECT count(*) FROM chassis.outbox")
    done = await replay(database, in_shadow(company), Wanted(swap=True), clock=company.clock)
    assert done.swapped is not None
    assert (done.swapped.states, done.swapped.members, done.swapped.announced) == (0, 0, 0)
    assert await company.scopes.step() is None
    assert await order_of(company) == before
    assert await company.pool.fetch("SELECT stream, version, changed_ms, xmin FROM states ORDER BY stream") == rows
    assert await company.pool.fetchval("SELECT count(*) FROM chassis.outbox") == said


async def test_what_a_swap_changes_moves_alone_in_the_scopes_and_is_announced_once(
    company: Any, office: Any, database: str
) -> None:
    await a_plan(company, office)
    before = await order_of(company)
    true_bytes = await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", STREAMS[1])
    await company.pool.execute("UPDATE states SET state_hash = $1, state = '{}' WHERE stream = $2", bytes(32), STREAMS[0])
    await company.pool.execute("UPDATE states SET state = 'bytes that rotted' WHERE stream = $1", STREAMS[1])
    await company.pool.execute("DELETE FROM states WHERE stream = $1", STREAMS[2])
    await company.pool.execute("DELETE FROM scope_member WHERE intervention = $1", STREAMS[3])
    await company.pool.execute(
        "INSERT INTO states SELECT 'site:never-was', kind, rule_version, state, document, state_hash,"
        " vector, positions, version, changed_ms FROM states WHERE stream = 'site:s-1'"
    )
    done = await replay(database, in_shadow(company), Wanted(swap=True), clock=company.clock)
    assert done.swapped is not None
    assert (done.swapped.states, done.swapped.members, done.swapped.announced) == (4, 1, 3)
    while await company.scopes.step() is not None:
        pass
    after = await order_of(company)
    moved = {name for name, change in after["given"].items() if change != before["given"][name]}
    # The hash that was never given out, and nothing else: the bytes of the others are those that devices hold.
    assert (after["epoch"], moved) == (before["epoch"], set())
    assert await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", STREAMS[1]) == true_bytes
    assert (await replay(database, in_shadow(company))).same


async def test_the_projection_and_its_readers_go_on_while_a_rebuilt_one_takes_its_place(
    company: Any, office: Any, camille: Any, database: str
) -> None:
    await a_plan(company, office)
    await company.pool.execute("UPDATE states SET state_hash = $1 WHERE kind = 'intervention'", bytes(32))
    stop, reading = asyncio.Event(), asyncio.Event()
    following = Following(company.pool, company.scopes, None, poll_s=0.02)
    live = Projection(company.pool, company.store, company.projector, following, worker="live", poll_s=0.02)
    tasks = [asyncio.create_task(one.run(stop)) for one in (following, live)]
    watched = asyncio.create_task(watch(company, reading))
    swaps = []
    try:
        for number in range(40):
            await company.record(camille, STREAMS[number % len(STREAMS)], CommentAdded(text=f"remark {number}"))
            if number in (5, 20):
                swaps.append(asyncio.create_task(one_more(company, database, list(swaps))))
        async with asyncio.timeout(DEADLINE_S):
            swapped = await asyncio.gather(*swaps)
            await settled(company)
    finally:
        reading.set()
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            looks = await watched
            await asyncio.gather(*tasks)
    assert all(one.swapped is not None for one in swapped)
    assert looks > 10
    assert (await replay(database, in_shadow(company))).same
    versions: dict[str, int] = {}
    for row in await company.pool.fetch("SELECT payload FROM chassis.outbox ORDER BY position"):
        news = InterventionAnnounced.model_validate_json(row["payload"])
        assert news.version == versions.get(news.intervention, 0) + 1
        versions[news.intervention] = news.version


async def one_more(company: Any, database: str, before: list[Any]) -> Any:
    """A replay with a swap, after those that were begun before: two at once are refused."""
    await asyncio.gather(*before)
    return await replay(database, in_shadow(company), Wanted(swap=True), clock=company.clock)


async def watch(company: Any, stop: asyncio.Event) -> int:
    """Reads as sync and HTTP do, again and again: every document there, versions, vectors and the order only growing."""
    versions: dict[str, int] = {}
    vectors: dict[str, dict[str, int]] = {}
    change = looks = 0
    while not stop.is_set():
        async with company.pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch("SELECT stream, version, vector FROM states")
            counter = await connection.fetchval("SELECT change FROM scope_technician WHERE technician = 'camille'")
        assert {row["stream"] for row in rows} >= {*STREAMS, "site:s-1"}
        for row in rows:
            vector = canonical.decode(row["vector"])
            assert row["version"] >= versions.get(row["stream"], 0)
            assert all(vector.get(author, 0) >= seq for author, seq in vectors.get(row["stream"], {}).items())
            versions[row["stream"]], vectors[row["stream"]] = row["version"], vector
        assert counter >= change
        change = counter
        looks += 1
        await asyncio.sleep(0)
    return looks


async def settled(company: Any) -> None:
    async with company.pool.acquire() as connection:
        while True:
            due = await connection.fetchval("SELECT count(*) FROM scope_due")
            if not due and await marks.read_marks(connection) == await states.ledger_sizes(connection):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("named", ["another stream", "another author", "another number", "itself"])
async def test_what_a_wrong_admission_names_first_can_still_be_let_in(
    company: Any, camille: Any, office: Any, named: str
) -> None:
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'lost' WHERE author = $1", camille.name)
    held = await company.record(camille, STREAMS[0], CommentAdded(text="written before the loss"))
    wrong = {
        "another stream": (STREAMS[1], camille.name, 1),
        "another author": (STREAMS[0], office.name, 1),
        "another number": (STREAMS[0], camille.name, 2),
        "itself": (STREAMS[0], camille.name, 1),
    }[named]
    for stream, author, seq in (wrong, (STREAMS[0], camille.name, 1)):
        lifts = EventAdmitted(event=held, author=author, author_seq=seq, supervisor="alix", reason="found again")
        await company.record(office, stream, lifts)
        await company.project()
    state = json.loads(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", STREAMS[0]))
    assert [line["kind"] for line in state["lines"]] == ["comment"]
