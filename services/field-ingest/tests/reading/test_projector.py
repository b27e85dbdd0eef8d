"""The projection: same events, same states; a checkpoint that never lies; one bad stream stops nobody."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from field_ingest.projection import marks, states
from field_ingest.projection.folding import Folds
from field_ingest.projection.hints import Hints, devices_concerned
from field_ingest.projection.partitions import PARTITIONS_DEFAULT, partition_of
from field_ingest.projection.ports import QUARANTINE_PAUSE_MS, LedgerGap
from field_ingest.projection.projecting import Following, Projection
from field_ingest.projection.projector import Step
from field_ingest.projection.store import PostgresReadStore
from zb_contracts import canonical
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.envelope import SignedEvent
from zb_contracts.events.fieldwork import CommentAdded, Done, PartUsed, Started
from zb_contracts.events.office import Assigned, Cancelled, InterventionCreated, Planned, Policy, Rescheduled
from zb_contracts.events.places import StockMoved

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
LIFT = "intervention:22222222-2222-4222-8222-222222222222"
START_14 = "2026-11-23T14:00:00.000Z"
START_16 = "2026-11-23T16:00:00.000Z"
DEADLINE_S = 20


def created(title: str = "leaky boiler") -> InterventionCreated:
    return InterventionCreated(reference="W-1", kind="repair", title=title, site="site-1", agency="main")


def planned() -> Planned:
    return Planned(planned_start=START_14, duration_min=60, policy=Policy(version=1))


async def state_of(company: Any, stream: str) -> dict[str, Any]:
    state: dict[str, Any] = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", stream))
    return state


async def total(company: Any) -> states.TotalHash:
    async with company.pool.acquire() as connection:
        return await states.total_hash(connection)


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 other processes' doing is polled
            await asyncio.sleep(0.02)


@pytest.fixture
async def connection(company: Any) -> AsyncIterator[Any]:
    async with company.pool.acquire() as connection:
        yield connection


async def test_a_move_that_the_technician_could_not_know_stands_beside_the_start(company: Any, office: Any, camille: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, planned())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    visit = "019ac333-0000-7000-8000-000000000001"
    start = company.write(camille, BOILER, Started(), visit=visit, event_id=visit)
    await company.record(office, BOILER, Rescheduled(planned_start=START_16))
    await company.admit(start)
    await company.project()
    state = await state_of(company, BOILER)
    assert (state["status"], state["fields"]["planned_start"]["value"]) == ("in_progress", START_16)
    assert state["vector"] == {"device-a-1": 1, "office-main": 4}


async def test_an_announcement_carries_the_whole_state_its_positions_and_a_growing_version(
    company: Any, office: Any, camille: Any
) -> None:
    await company.record(office, BOILER, created())
    await company.project()
    await company.record(camille, "stock:van-camille", StockMoved(part="p-1", quantity="3", cause="loaded"))
    await company.record(office, BOILER, planned())
    await company.project()
    rows = await company.pool.fetch("SELECT message_id, subject, headers, payload FROM chassis.outbox ORDER BY position")
    news = [InterventionAnnounced.model_validate_json(row["payload"]) for row in rows]
    assert [(one.version, one.positions, one.agency) for one in news] == [(1, {"0": 1}, "main"), (2, {"0": 3}, "main")]
    assert news[1].state == await state_of(company, BOILER)
    headers = rows[1]["headers"]
    assert headers["ce-id"] == headers["Nats-Msg-Id"] == rows[1]["message_id"]
    assert (headers["ce-subject"], rows[1]["subject"]) == (BOILER[13:], f"interventions.v1.{BOILER[13:]}")


def a_busy_day(company: Any) -> list[list[SignedEvent]]:
    """Chains of three authors who write without knowing of each other: any interleaving is admissible."""
    office, camille, dominique = (company.pens[name] for name in ("office-main", "device-a-1", "device-b-1"))
    desk = [
        company.write(office, stream, body, informed=False)
        for stream in (BOILER, LIFT)
        for body in (created(), planned(), Assigned(assignee="camille"), Rescheduled(planned_start=START_16))
    ] + [company.write(office, LIFT, Cancelled(reason="the customer called"), informed=False)]
    field = []
    for number, pen in enumerate((camille, dominique)):
        visit = f"019ac444-0000-7000-8000-{number:012x}"
        stock = f"stock:van-{pen.technician}"
        field.append(
            [
                company.write(pen, BOILER, Started(), visit=visit, event_id=visit, informed=False),
                company.write(pen, BOILER, PartUsed(part="p-1", quantity="2", stock=stock[6:]), visit=visit, informed=False),
                company.write(pen, stock, StockMoved(part="p-1", quantity="-2", cause="used"), informed=False),
                company.write(pen, LIFT, CommentAdded(text="saw it from outside"), informed=False),
                company.write(pen, BOILER, Done(), visit=visit, informed=False),
            ]
        )
    return [desk, *field]


def interleaved(chains: list[list[SignedEvent]], dice: random.Random) -> list[SignedEvent]:
    left = [list(chain) for chain in chains]
    order = []
    while any(left):
        order.append(dice.choice([chain for chain in left if chain]).pop(0))
    return order


@pytest.mark.parametrize("batch_rows", [1, 3, 500])
async def test_the_order_of_admission_and_the_size_of_batches_change_no_hash(
    company: Any, company_at: Any, databases: Any, migrations: Any, shuffled: random.Random, tmp_path: Path, batch_rows: int
) -> None:
    async with databases(1, *migrations) as (dsn,):
        second = await company_at(dsn, tmp_path)
        for one in (company, second):
            await one.hire("office-main", "office")
            await one.hire("device-a-1", device="device-a", technician="camille")
            await one.hire("device-b-1", device="device-b", technician="dominique")
        chains = a_busy_day(company)
        await company.admit(*interleaved(chains, shuffled))
        await second.admit(*interleaved(chains, shuffled))
        await company.project()
        await second.project(second.new_projector(batch_rows=batch_rows))
        assert await total(company) == await total(second)
        assert (await total(company)).streams == 4
        await second.pool.close()


async def test_without_kept_folds_the_states_are_the_same(company: Any, office: Any, camille: Any, connection: Any) -> None:
    for number in range(12):
        await company.record(camille, BOILER if number % 2 else LIFT, CommentAdded(text=f"remark {number}"))
        await company.project()
    kept = await total(company)
    await connection.execute("TRUNCATE partition_mark, states")
    await company.project(company.new_projector(batch_rows=1, folds=Folds(kept_max=0)))
    assert await total(company) == kept


async def test_a_step_that_is_rolled_back_is_repeated_with_the_same_announcement(
    company: Any, office: Any, connection: Any
) -> None:
    @asynccontextmanager
    async def borrowed() -> AsyncIterator[Any]:
        yield connection

    await company.record(office, BOILER, created())
    projector = company.new_projector(store=PostgresReadStore(borrowed))
    said = set()
    for _ in range(2):
        attempt = connection.transaction(isolation="read_committed")
        await attempt.start()
        assert (await projector.step()).announced == 1
        said.add(await connection.fetchval("SELECT message_id FROM chassis.outbox"))
        await attempt.rollback()
        assert await connection.fetchval("SELECT count(*) FROM states") == 0
    await company.record(office, BOILER, planned())
    await company.project(projector)
    assert await connection.fetchval("SELECT count(*) FROM chassis.outbox") == 1
    assert len(said) == 1
    assert said.pop().startswith(f"{BOILER[13:]}:1:")


async def test_a_projector_killed_before_its_commit_leaves_nothing_and_the_next_one_goes_on(
    company: Any, office: Any, connection: Any
) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, LIFT, created())
    blocking = connection.transaction()
    await blocking.start()
    await connection.execute("SELECT * FROM chassis.head FOR UPDATE")
    async with company.pool.acquire() as victim:

        @asynccontextmanager
        async def lent() -> AsyncIterator[Any]:
            yield victim

        pid = victim.get_server_pid()
        work = asyncio.create_task(company.new_projector(store=PostgresReadStore(lent)).step())

        async def waits_for_the_outbox() -> bool:
            return bool(await connection.fetchval("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", pid))

        await until(waits_for_the_outbox)
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
            await work
    await blocking.rollback()
    assert await connection.fetchval("SELECT count(*) FROM states") == 0
    assert await connection.fetchval("SELECT coalesce(sum(position), 0) FROM partition_mark") == 0
    await company.project()
    assert await connection.fetchval("SELECT count(*) FROM states") == 2
    assert await connection.fetchval("SELECT count(*) FROM chassis.outbox") == 2


async def test_a_partition_that_another_worker_has_is_left_to_it(company: Any, office: Any, connection: Any) -> None:
    await company.project()
    await company.record(office, BOILER, created())
    await company.record(office, LIFT, created())
    mine, other = (partition_of(stream, PARTITIONS_DEFAULT) for stream in (BOILER, LIFT))
    assert mine != other
    async with company.store.projection() as transaction:
        assert list((await transaction.take([other])).marks) == [other]
        assert (await company.projector.step()).states == 1
        assert (await company.projector.step()) == Step()
    assert (await company.projector.step()).states == 1
    assert await marks.read_marks(connection) == {0: 2}


async def test_a_stream_that_cannot_be_folded_is_listed_and_stops_no_other(company: Any, office: Any, connection: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, LIFT, created())
    good = await connection.fetchval("SELECT header FROM ledger WHERE position = 0")
    await connection.execute("UPDATE ledger SET header = 'rotten' WHERE position = 0")
    await company.project()
    assert await connection.fetchval("SELECT array_agg(stream) FROM states") == [LIFT]
    listed = await states.quarantined(connection)
    assert list(listed) == [BOILER]
    assert "DecodeError" in listed[BOILER]
    assert await marks.read_marks(connection) == {0: 2}
    await connection.execute("UPDATE ledger SET header = $1 WHERE position = 0", good)
    assert await company.projector.again() == Step()
    company.now_ms += QUARANTINE_PAUSE_MS
    assert (await company.projector.again()).states == 1
    assert await states.quarantined(connection) == {}
    assert (await state_of(company, BOILER))["status"] == "draft"


async def test_a_stream_that_cannot_be_announced_is_listed_and_stops_no_other(
    company: Any, office: Any, camille: Any, connection: Any
) -> None:
    nameless = "intervention:no-uuid"
    await company.record(camille, nameless, CommentAdded(text="any device can write on a stream of any name"))
    await company.record(office, BOILER, created())
    await company.project()
    assert (await state_of(company, BOILER))["status"] == "draft"
    listed = await states.quarantined(connection)
    assert list(listed) == [nameless]
    assert "intervention" in listed[nameless]
    await company.project(company.new_projector())
    company.now_ms += QUARANTINE_PAUSE_MS
    assert (await company.new_projector().again()).quarantined == 1
    assert await company.projector.again() == Step()
    company.now_ms += QUARANTINE_PAUSE_MS
    assert await company.projector.again() == Step()
    company.now_ms += QUARANTINE_PAUSE_MS
    assert (await company.projector.again()).quarantined == 1
    assert list(await states.quarantined(connection)) == [nameless]


async def test_a_state_of_older_rules_is_folded_again_at_the_start(company: Any, office: Any, connection: Any) -> None:
    for stream in (BOILER, LIFT):
        await company.record(office, stream, created())
    await company.project()
    now = await total(company)
    await connection.execute("UPDATE states SET rule_version = 0, state_hash = $1, state = 'old'", bytes(32))
    started = company.new_projector(batch_rows=1)
    steps = [await started.again() for _ in range(3)]
    assert [step.states for step in steps] == [1, 1, 0]
    assert await total(company) == now
    assert await connection.fetchval("SELECT array_agg(DISTINCT version) FROM states") == [2]


async def test_a_hole_in_the_ledger_stops_the_projection(company: Any, office: Any, connection: Any) -> None:
    for _ in range(3):
        await company.record(office, BOILER, planned())
    await connection.execute("DELETE FROM ledger WHERE position = 1")
    with pytest.raises(LedgerGap, match="no position 1"):
        await company.project()
    assert await marks.read_marks(connection) == {}


async def test_the_loop_wakes_at_the_ledgers_notice_and_outlives_a_lost_connection(company: Any, office: Any) -> None:
    said: list[str] = []

    async def say(subject: str, _: bytes) -> None:
        said.append(subject)

    hints, stop = Hints(say, interval_s=0.01), asyncio.Event()
    following = Following(company.pool, company.scopes, hints, poll_s=60)
    projection = Projection(company.pool, company.store, company.projector, following, worker="worker-1", poll_s=60)
    await company.hire("device-a-1", device="device-a", technician="camille")
    await company.pool.execute("INSERT INTO sync_session (device, technician, asked_ms) VALUES ('device-a', 'camille', 0)")
    tasks = [asyncio.create_task(one.run(stop)) for one in (projection, following, hints)]
    try:
        await company.record(office, BOILER, created())
        await until(lambda: rows_read(projection, 1))
        await company.record(office, BOILER, Assigned(assignee="camille"))
        await until(lambda: rows_read(projection, 2))
        await until(lambda: heard(said, "hint.v1.device-a"))
        await company.pool.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND datname = current_database()
            """
        )
        await company.record(office, BOILER, planned())
        await until(lambda: rows_read(projection, 3))
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks)


async def rows_read(projection: Projection, wanted: int) -> bool:
    return projection.rows >= wanted


async def heard(said: list[str], subject: str) -> bool:
    return subject in said


async def test_hints_are_said_at_most_once_an_interval_and_the_last_one_is_not_lost() -> None:
    said: list[str] = []

    async def say(subject: str, _: bytes) -> None:
        said.append(subject)

    hints = Hints(say, interval_s=30)
    hints.note(["device-a", "device-a", "device-b"])
    assert await hints.say() is None
    hints.note(["device-a"])
    assert (await hints.say() or 0) > 25
    hints.note(["device-b"], within_s=60)
    assert 25 < (await hints.say() or 0) <= 30
    assert said == ["hint.v1.device-a", "hint.v1.device-b"]
    quick = Hints(say, interval_s=0.05)
    stop = asyncio.Event()
    running = asyncio.create_task(quick.run(stop))
    for _ in range(3):
        quick.note(["device-c"])
        await asyncio.sleep(0)
    await until(lambda: heard(said, "hint.v1.device-c"))
    quick.note(["device-c"])
    await until(lambda: twice(said, "hint.v1.device-c"))
    quick.note(["device-d", "device-e"], within_s=60)
    quick.note(["device-e"])
    await until(lambda: heard(said, "hint.v1.device-e"))
    assert "hint.v1.device-d" not in said
    stop.set()
    await running
    assert said[-1] == "hint.v1.device-d"


async def test_a_device_that_wrote_itself_may_wait_and_others_are_told_at_once(company: Any, connection: Any) -> None:
    for device, technician in (("device-a", "camille"), ("device-b", "dominique")):
        await company.hire(f"{device}-1", device=device, technician=technician)
        await company.pool.execute(
            "INSERT INTO sync_session (device, technician, asked_ms) VALUES ($1, $2, 0)", device, technician
        )
    found = await devices_concerned(connection, ["camille", "dominique"], ["device-a-1", "office-main"])
    assert found == ({"device-b"}, {"device-a"})


async def twice(said: list[str], subject: str) -> bool:
    return said.count(subject) >= 2
