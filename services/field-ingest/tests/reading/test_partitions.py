"""Several workers on one projection: nobody loses a change, nobody goes back, whoever is killed in between."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from field_ingest.projection import marks, states
from field_ingest.projection.partitions import PARTITIONS_DEFAULT, assigned, partition_of
from field_ingest.projection.projecting import Following, Projection
from field_ingest.projection.repartition import repartition
from field_ingest.projection.replay import replay
from field_ingest.projection.scope import Member, ScopeLimits, select, stock_of
from field_ingest.projection.scoping import Scopes
from field_ingest.projection.store import PostgresReadStore
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS, Migration, MigrationSet, upgrade
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.events.fieldwork import CommentAdded, Done, Started
from zb_contracts.events.office import Assigned, InterventionCreated
from zb_contracts.events.places import EquipmentRegistered, SiteChanged, SiteRegistered, StockMoved

TECHNICIANS = ("camille", "dominique", "eden")
STREAMS = [f"intervention:00000000-0000-4000-8000-{number:012x}" for number in range(9)]
EVENTS = 120
KILL_EVERY = 12
DEADLINE_S = 60


async def test_python_and_sql_agree_on_a_streams_partition(company: Any) -> None:
    names = [*STREAMS, "site:s-1", "stock:van-camille", "", "site:déjà\\vu"]
    for of in (1, 3, 8, 64):
        found = await company.pool.fetch("SELECT s, stream_partition(s, $2) FROM unnest($1::text[]) AS s", names, of)
        assert {name: partition for name, partition in found} == {name: partition_of(name, of) for name in names}


@pytest.mark.parametrize("crew", [["a"], ["a", "b"], ["a", "b", "c", "d", "e"], [f"w{number}" for number in range(11)]])
def test_every_partition_is_one_workers_and_shares_differ_by_one_at_most(crew: list[str]) -> None:
    crew = sorted(crew)
    shares = [assigned(crew, worker, PARTITIONS_DEFAULT) for worker in crew]
    assert sorted(itertools.chain(*shares)) == list(range(PARTITIONS_DEFAULT))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert assigned(crew, "stranger", PARTITIONS_DEFAULT) == []


async def test_a_worker_that_leaves_or_falls_silent_gives_its_share_up(company: Any) -> None:
    assert (await company.store.crew("b")).workers == ("b",)
    assert (await company.store.crew("a")).workers == ("a", "b")
    await company.store.leave("b")
    assert (await company.store.crew("a")).workers == ("a",)
    await company.store.crew("c")
    await company.pool.execute("UPDATE projection_worker SET seen_at = seen_at - interval '6 seconds' WHERE worker = 'c'")
    assert (await company.store.crew("a")).workers == ("a",)


class BeforePartitions(MigrationSet):
    """The schema as it was when one projector read everything."""

    def migrations(self) -> list[Migration]:
        return [migration for migration in super().migrations() if migration.number <= 100]


async def test_marks_of_a_database_without_partitions_go_on_where_they_stood(
    company_at: Any, databases: Any, migrations: Any, tmp_path: Path
) -> None:
    async with databases(1, CHASSIS_MIGRATIONS, BeforePartitions("field-ingest", "field_ingest")) as (database,):
        await _marks_go_on(company_at, database, migrations, tmp_path)


async def _marks_go_on(company_at: Any, database: str, migrations: Any, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO projection_mark VALUES ('states', 0, 7), ('states', 1, 9)")
    await connection.close()
    await upgrade(database, migrations)
    company = await company_at(database, tmp_path)
    try:
        await company.add_shard(1)
        async with company.store.projection() as transaction:
            taken = await transaction.take(None)
    finally:
        await company.pool.close()
    assert taken.marks == {partition: {0: 7, 1: 9} for partition in range(PARTITIONS_DEFAULT)}


@asynccontextmanager
async def workers(company: Any, dsn: str, count: int) -> AsyncIterator[Pool]:
    """Workers and followers at work on a pool of their own, whose sessions a test may kill."""
    pool = await open_pool(dsn, application_name="worker", size_max=4 * count)
    store, stop = PostgresReadStore(pool.acquire), asyncio.Event()
    epochs = itertools.count(1)
    tasks = []
    for number in range(count):
        scopes = Scopes(
            store, limits=ScopeLimits(documents_max=8), clock=company.clock, new_epoch=lambda: f"epoch-{next(epochs)}"
        )
        following = Following(pool, scopes, None, poll_s=0.05)
        projector = company.new_projector(store=store, batch_rows=5)
        projection = Projection(pool, store, projector, following, worker=f"worker-{number}", poll_s=0.05)
        tasks += [asyncio.create_task(following.run(stop)), asyncio.create_task(projection.run(stop))]
    try:
        yield pool
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks)
        await pool.close()


def body_of(dice: random.Random, pen: Any) -> tuple[str, Any, str | None]:
    """Something that the author may do: stream, body, visit."""
    stream = dice.choice(STREAMS)
    if pen.kind == "office":
        site = SiteChanged(notes=f"mind the dog, {dice.random()}")
        return dice.choice(
            [(stream, Assigned(assignee=dice.choice(TECHNICIANS)), None), (f"site:s-{dice.randrange(3)}", site, None)]
        )
    visit = f"019ac555-0000-7000-8000-{STREAMS.index(stream):06x}{TECHNICIANS.index(pen.technician):06x}"
    moved = StockMoved(part="p-1", quantity="-1", cause="used")
    return dice.choice(
        [
            (stream, Started(), visit),
            (stream, Done(), visit),
            (stream, CommentAdded(text="seen"), visit),
            (f"stock:van-{pen.technician}", moved, None),
        ]
    )


async def the_places(company: Any, office: Any) -> None:
    for number in range(3):
        site = {"reference": f"S-{number}", "name": "old town", "agency": "main", "address": {"town": "Lyon", "country": "FR"}}
        await company.record(office, f"site:s-{number}", SiteRegistered.model_validate(site))
        kit = EquipmentRegistered(reference=f"E-{number}", kind="boiler", label="boiler", site=f"s-{number}")
        await company.record(office, f"equipment:e-{number}", kit)


async def kill_one(company: Any, dice: random.Random) -> None:
    rows = await company.pool.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'worker' AND datname = current_database()"
    )
    if rows:
        await company.pool.execute("SELECT pg_terminate_backend($1)", dice.choice(rows)["pid"])


async def settled(company: Any) -> None:
    """Waits until every partition is at the end of the ledger and nothing of the scopes is due."""
    async with asyncio.timeout(DEADLINE_S), company.pool.acquire() as connection:
        while True:
            due = await connection.fetchval("SELECT count(*) FROM scope_due")
            if not due and await marks.read_marks(connection) == await states.ledger_sizes(connection):
                return
            await asyncio.sleep(0.02)


async def check_scopes(company: Any) -> None:
    """What every technician was given is what members and states ask for, neither older nor more."""
    hashes = dict(await company.pool.fetch("SELECT stream, state_hash FROM states"))
    sizes = dict(await company.pool.fetch("SELECT stream, octet_length(coalesce(document, state)) FROM states"))
    for technician in TECHNICIANS:
        rows = await company.pool.fetch(
            """
            SELECT technician, intervention, site, equipment, held, planned_ms, expires_ms FROM scope_member WHERE technician = $1
            """,
            technician,
        )
        wanted = select(technician, [Member(*row) for row in rows], sizes, ScopeLimits(documents_max=8), company.now_ms)
        given = await company.pool.fetch(
            "SELECT document, state_hash FROM scope_document WHERE technician = $1 AND state_hash IS NOT NULL", technician
        )
        assert dict(given) == {stream: hashes[stream] for stream in wanted.documents}
        counter = await company.pool.fetchrow("SELECT change, epoch FROM scope_technician WHERE technician = $1", technician)
        highest = await company.pool.fetchval("SELECT max(change) FROM scope_document WHERE technician = $1", technician)
        # What the budget leaves out takes a number of its own, without a document.
        assert (counter["change"] if counter else 0) >= (highest or 0)
        assert stock_of(technician) in hashes


async def check_announcements(company: Any) -> None:
    """Of one intervention versions grow by one and positions never go back, in the order in which they are sent."""
    rows = await company.pool.fetch("SELECT payload FROM chassis.outbox ORDER BY position")
    last: dict[str, InterventionAnnounced] = {}
    for row in rows:
        news = InterventionAnnounced.model_validate_json(row["payload"])
        before = last.get(news.intervention)
        assert news.version == (before.version + 1 if before else 1)
        assert before is None or all(news.positions[shard] >= position for shard, position in before.positions.items())
        last[news.intervention] = news
    stored = await company.pool.fetch("SELECT stream, state_hash FROM states WHERE kind = 'intervention'")
    assert {f"intervention:{name}": news.state_hash for name, news in last.items()} == {
        row["stream"]: row["state_hash"].hex() for row in stored
    }


@pytest.mark.parametrize(("shards", "count"), [(1, 3), (2, 2)])
async def test_workers_that_are_killed_now_and_then_lose_nothing_and_never_go_back(
    company: Any, database: str, shards: int, count: int
) -> None:
    dice = random.Random(shards)  # noqa: S311 a fixed order, no secret
    for shard in range(1, shards):
        await company.add_shard(shard)
    office = await company.hire("office-main", "office", shard=shards - 1)
    pens = [office] + [
        await company.hire(f"device-{name}-1", device=f"device-{name}", technician=name, shard=number % shards)
        for number, name in enumerate(TECHNICIANS)
    ]
    async with workers(company, database, count):
        for number, stream in enumerate(STREAMS):
            created = InterventionCreated(
                reference=f"W-{number}",
                kind="repair",
                title="boiler",
                site=f"s-{number % 3}",
                equipment=f"e-{number % 3}",
                agency="main",
            )
            await company.record(office, stream, created)
        await the_places(company, office)
        for pen in pens[1:]:
            await company.record(pen, f"stock:van-{pen.technician}", StockMoved(part="p-1", quantity="9", cause="loaded"))
        for number in range(EVENTS):
            pen = dice.choice(pens)
            stream, body, visit = body_of(dice, pen)
            await company.record(pen, stream, body, visit=visit)
            if number % KILL_EVERY == KILL_EVERY - 1:
                await kill_one(company, dice)
        await settled(company)
    await check_scopes(company)
    await check_announcements(company)
    done = await replay(database, lambda store: company.new_projector(store=store, announces=False))
    assert (done.same, done.quarantined) == (True, 0)
    assert await company.pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


@pytest.mark.parametrize("of", [1, 3, 64])
async def test_another_number_of_partitions_changes_no_state(
    company: Any, office: Any, camille: Any, database: str, of: int
) -> None:
    for number, stream in enumerate(STREAMS):
        await company.record(camille, stream, CommentAdded(text=f"remark {number}"))
        if number == 4:
            await company.projector.step([0, 1, 2])
    connection = await asyncpg.connect(database)
    try:
        assert await repartition(connection, lambda store: company.new_projector(store=store), of) == PARTITIONS_DEFAULT
        assert await marks.how_many(connection) == of
        assert await marks.read_marks(connection) == {0: 9}
    finally:
        await connection.close()
    await company.record(camille, STREAMS[0], CommentAdded(text="life goes on"))
    await company.project()
    assert (await replay(database, lambda store: company.new_projector(store=store, announces=False))).same
    await check_announcements(company)
