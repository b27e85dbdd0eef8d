"""The desk on a real PostgreSQL: what is decided is recorded, signed, chained and sent together, or not at all."""

import asyncio
from typing import Any

import asyncpg
import pytest

from scheduling import store
from scheduling.board import read_announcement, take_announcement
from scheduling.commands import AssignTechnician, CancelIntervention, CreateIntervention, MoveIntervention, PlanIntervention
from scheduling.config import OWN_MIGRATIONS
from scheduling.ids import id_of
from scheduling.store import board_entry, load_reported
from scheduling.values import Details, Identity, Wish
from zb_chassis.catalogue import schema_differences
from zb_chassis.migrate import CHASSIS_MIGRATIONS
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, PLAN_STATE, VERSION_CONFLICT, Problem

BOILER = id_of("intervention", "main", "LEAKY-BOILER")
HOUR = 3_600_000


def create(office: Any, reference: str = "LEAKY-BOILER", agency: str = "main") -> CreateIntervention:
    identity = Identity(
        intervention=id_of("intervention", agency, reference),
        agency=agency,
        reference=reference,
        kind="repair",
        site="site-1",
    )
    return CreateIntervention(identity=identity, details=Details(title="Leaky boiler"), wish=Wish(), at_ms=office.now[0])


async def plan_boiler(office: Any) -> None:
    """Created, planned for 14:00, given to anna: version 3."""
    now = office.now[0]
    async with office.desk.sitting("main", "dispatcher-1") as sitting:
        await sitting.decide(BOILER, create(office))
        await sitting.decide(BOILER, PlanIntervention(version=1, at_ms=now, start_ms=now + 5 * HOUR, duration_min=60))
        await sitting.decide(BOILER, AssignTechnician(version=2, at_ms=now, technician="anna"))


async def test_commands_of_one_sitting_are_one_segment_signed_and_chained(office: Any) -> None:
    await plan_boiler(office)
    events = await office.signed()
    assert [event.header.type for event in events] == [
        "intervention.created.v1",
        "intervention.planned.v2",
        "intervention.assigned.v1",
    ]
    assert {event.header.actor for event in events} == {"dispatcher-1"}
    assert {event.header.stream for event in events} == {f"intervention:{BOILER}"}
    assert await office.pool.fetchval("SELECT count(*) FROM chassis.outbox") == 1
    assert await office.pool.fetchval("SELECT count(*) FROM chassis.event") == 3


async def test_the_board_shows_what_was_decided(office: Any) -> None:
    await plan_boiler(office)
    row = await board_entry(office.pool, BOILER)
    assert (row["status"], row["technician"], row["version"]) == ("assigned", "anna", 3)
    assert row["planned_start_ms"] == office.now[0] + 5 * HOUR


async def test_the_chain_goes_on_over_sittings_and_each_agency_has_its_own(office: Any) -> None:
    await plan_boiler(office)
    other = create(office, "NORTH-LIFT", "north")
    async with office.desk.sitting("north", None) as sitting:
        await sitting.decide(other.identity.intervention, other)
    async with office.desk.sitting("main", None) as sitting:
        await sitting.decide(BOILER, CancelIntervention(version=3, at_ms=office.now[0], reason="sold"))
    assert [event.header.seq for event in await office.signed("main")] == [1, 2, 3, 4]
    assert [event.header.seq for event in await office.signed("north")] == [1]


async def test_an_agency_without_an_office_key_is_named(office: Any) -> None:
    with pytest.raises(Problem) as caught:
        async with office.desk.sitting("nowhere", None):
            raise AssertionError("no sitting without a key")
    assert caught.value.kind is INPUT_NOT_FOUND


async def test_a_refusal_leaves_nothing_of_its_sitting(office: Any) -> None:
    async def create_and_move() -> None:
        async with office.desk.sitting("main", None) as sitting:
            await sitting.decide(BOILER, create(office))
            await sitting.decide(BOILER, MoveIntervention(version=1, at_ms=office.now[0], start_ms=office.now[0]))

    with pytest.raises(Problem) as caught:
        await create_and_move()
    assert caught.value.kind is PLAN_STATE
    await nothing_is_there(office)


async def nothing_is_there(office: Any) -> None:
    for table in ("chassis.event", "chassis.outbox", "scheduling.board", "scheduling.knowledge", "scheduling.author"):
        assert await office.pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table


class Crash(Exception):
    """The process dies here."""


@pytest.mark.parametrize("step", ["save_knowledge", "save_author", "save_board"])
async def test_a_crash_at_any_step_leaves_neither_event_nor_outbox_row(
    office: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def crash(*_: Any) -> None:
        raise Crash(step)

    with monkeypatch.context() as patched:
        patched.setattr(store, step, crash)
        with pytest.raises(Crash):
            await plan_boiler(office)
    await nothing_is_there(office)
    await plan_boiler(office)
    assert [event.header.seq for event in await office.signed()] == [1, 2, 3]


async def test_a_session_cut_before_the_commit_leaves_nothing(office: Any) -> None:
    """kill -9 of the server's session while everything is written and nothing committed."""

    async def create_and_be_cut() -> None:
        async with office.desk.sitting("main", None) as sitting:
            await sitting.decide(BOILER, create(office))
            await sitting.finish()
            pid = await sitting.connection.fetchval("SELECT pg_backend_pid()")
            await office.pool.execute("SELECT pg_terminate_backend($1)", pid)

    with pytest.raises(Exception, match=r"connection|terminat"):
        await create_and_be_cut()
    await nothing_is_there(office)


async def test_two_dispatchers_at_once_are_one_decision_and_one_conflict(office: Any) -> None:
    await plan_boiler(office)

    async def cancel(reason: str) -> None:
        async with office.desk.sitting("main", reason) as sitting:
            await sitting.decide(BOILER, CancelIntervention(version=3, at_ms=office.now[0], reason=reason))

    results = await asyncio.gather(cancel("sold"), cancel("burnt"), return_exceptions=True)
    (refused,) = [result for result in results if result is not None]
    assert isinstance(refused, Problem)
    assert refused.kind is VERSION_CONFLICT
    assert len(await office.signed()) == 4


async def test_seen_is_what_was_announced_and_never_shrinks(office: Any, announcement: Any) -> None:
    await plan_boiler(office)
    assert [event.header.seen for event in await office.signed()] == [{}, {}, {}]
    await take_announcement(office.pool, "m-5", announcement(BOILER, 5, {"office-main": 3, "dev-1": 4, "dev-2": 9}))
    async with office.desk.sitting("main", None) as sitting:
        await sitting.decide(BOILER, MoveIntervention(version=3, at_ms=office.now[0], start_ms=office.now[0] + 7 * HOUR))
    # A rebuilt projector may announce less for a while, under a newer version.
    await take_announcement(office.pool, "m-6", announcement(BOILER, 6, {"office-main": 3, "dev-1": 2}))
    async with office.desk.sitting("main", None) as sitting:
        await sitting.decide(BOILER, CancelIntervention(version=4, at_ms=office.now[0], reason="sold"))
    moved, cancelled = (await office.signed())[3:]
    assert moved.header.seen == {"dev-1": 4, "dev-2": 9}
    assert cancelled.header.seen == {"dev-1": 4, "dev-2": 9}


async def test_the_board_never_goes_back_and_a_repeat_changes_nothing(office: Any, announcement: Any) -> None:
    await plan_boiler(office)
    assert await take_announcement(office.pool, "m-5", announcement(BOILER, 5, {"dev-1": 4}))
    before = [dict(row) for row in await office.pool.fetch("SELECT * FROM scheduling.announced")]
    assert not await take_announcement(office.pool, "m-5", announcement(BOILER, 5, {"dev-1": 4}))
    assert not await take_announcement(office.pool, "m-5-again", announcement(BOILER, 5, {"dev-1": 4}))
    assert not await take_announcement(office.pool, "m-4", announcement(BOILER, 4, {"dev-1": 1}, status="assigned"))
    assert [dict(row) for row in await office.pool.fetch("SELECT * FROM scheduling.announced")] == before
    reported = await load_reported(office.pool, BOILER)
    assert (reported.status, dict(reported.vector)) == ("in_progress", {"dev-1": 4})


async def test_a_crash_while_an_announcement_is_applied_lets_it_come_again(
    office: Any, announcement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any) -> bool:
        raise Crash("save_announced")

    with monkeypatch.context() as patched:
        patched.setattr(store, "save_announced", crash)
        with pytest.raises(Crash):
            await take_announcement(office.pool, "m-5", announcement(BOILER, 5, {"dev-1": 4}))
    assert await take_announcement(office.pool, "m-5", announcement(BOILER, 5, {"dev-1": 4}))


def test_bytes_that_are_no_announcement_are_named(announcement: Any) -> None:
    for data in (b"", b"{}", b"\xff", announcement(BOILER, 1, {}).replace(b'"visits"', b'"wisits"')):
        with pytest.raises(Problem) as caught:
            read_announcement(data)
        assert caught.value.kind is INPUT_INVALID


async def test_the_migrations_build_what_the_schema_says(database: str) -> None:
    connection = await asyncpg.connect(database)
    assert await schema_differences(connection, OWN_MIGRATIONS, after=[CHASSIS_MIGRATIONS]) == []
    await connection.close()
