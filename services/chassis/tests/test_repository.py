"""A worked example: one leaky boiler's intervention, decided by a pure domain and kept by the repository."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pytest
from eventsourcing.compressor import ZlibCompressor
from eventsourcing.persistence import IntegrityError, MapperDeserialisationError, StoredEvent, Tracking

from zb_chassis import repository
from zb_chassis.database import Connection, Pool, open_pool, transaction
from zb_chassis.recorder import AggregateRecorder, ProcessRecorder
from zb_chassis.repository import EventMapper, EventTooLarge, Recorded, Repository, Snapshots, UnknownTopic, VersionConflict

LEAKY_BOILER = UUID("00000000-0000-4000-8000-00000000b011")
WITHIN_S = 10
AT_TWO = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)

# What a service's domain.py holds: events, states, decide and evolve. It imports nothing of the chassis.


@dataclass(frozen=True)
class Planned:
    site: str
    start: datetime


@dataclass(frozen=True)
class Closed:
    price: Decimal
    parts: tuple[str, ...] = ()


Event = Planned | Closed


@dataclass(frozen=True)
class Unknown:
    pass


@dataclass(frozen=True)
class Open:
    site: str
    start: datetime


@dataclass(frozen=True)
class Done:
    site: str
    price: Decimal
    parts: tuple[str, ...]


State = Unknown | Open | Done


class NothingToClose(Exception):
    pass


def close(state: State, price: Decimal, parts: tuple[str, ...]) -> list[Event]:
    match state:
        case Open():
            return [Closed(price, parts)]
        case Done():
            return []
        case Unknown():
            raise NothingToClose


def evolve(state: State, event: Event) -> State:
    match state, event:
        case _, Planned(site, start):
            return Open(site, start)
        case ((Open(site) | Done(site)), Closed(price, parts)):
            return Done(site, price, parts)
        case _:
            return state


TOPICS: dict[str, type] = {"intervention.planned": Planned, "intervention.closed": Closed}


def interventions(mapper: EventMapper | None = None) -> Repository[State, Event]:
    return Repository(mapper or EventMapper(TOPICS), initial=Unknown(), evolve=evolve)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_repository")
    yield opened
    await opened.close()


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with transaction(pool) as opened:
        yield opened


async def test_an_intervention_is_planned_and_closed_and_comes_back_with_its_types(pool: Pool) -> None:
    kept = interventions()
    async with transaction(pool) as connection:
        loaded = await kept.load(connection, LEAKY_BOILER)
        assert (loaded.state, loaded.version) == (Unknown(), 0)
        assert await kept.append(connection, LEAKY_BOILER, 0, [Planned("Rue de la Fuite 4", AT_TWO)]) == [1]
    async with transaction(pool) as connection:
        loaded = await kept.load(connection, LEAKY_BOILER)
        decided = close(loaded.state, Decimal("99.90"), ("valve",))
        assert await kept.append(connection, LEAKY_BOILER, loaded.version, decided) == [2]
    async with transaction(pool) as connection:
        done = await kept.load(connection, LEAKY_BOILER)
        assert (done.state, done.version) == (Done("Rue de la Fuite 4", Decimal("99.90"), ("valve",)), 2)
        assert (await kept.load(connection, LEAKY_BOILER, version=1)).state == Open("Rue de la Fuite 4", AT_TWO)
        assert await kept.append(connection, LEAKY_BOILER, 2, close(done.state, Decimal(1), ())) == []


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_decision_on_another_version_is_a_named_conflict_and_writes_nothing(
    connection: Connection, expected: int
) -> None:
    kept = interventions()
    await kept.append(connection, LEAKY_BOILER, 0, [Planned("Rue de la Fuite 4", AT_TWO)])
    with pytest.raises(VersionConflict, match=f"is not at version {expected}"):
        await kept.append(connection, LEAKY_BOILER, expected, [Closed(Decimal(5))])
    assert (await kept.load(connection, LEAKY_BOILER)).version == 1


async def test_of_two_dispatchers_who_decide_at_once_one_is_told(pool: Pool) -> None:
    kept = interventions()

    async def plan(site: str) -> None:
        async with transaction(pool) as connection:
            await kept.append(connection, LEAKY_BOILER, 0, [Planned(site, AT_TWO)])

    async with transaction(pool) as connection:
        await kept.append(connection, LEAKY_BOILER, 0, [Planned("first", AT_TWO)])
        late = asyncio.create_task(plan("late"))
        # It has seen no event of the boiler and now waits for our positions: only the unique key can tell it.
        async with asyncio.timeout(WITHIN_S):
            while not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                assert not late.done()
    with pytest.raises(VersionConflict):
        await late
    async with pool.acquire() as connection:
        assert (await kept.load(connection, LEAKY_BOILER)).state == Open("first", AT_TWO)


async def test_an_upstream_notification_is_processed_once(connection: Connection) -> None:
    kept = interventions()
    plan = [Planned("Rue de la Fuite 4", AT_TWO)]
    await kept.append(connection, LEAKY_BOILER, 0, plan, tracking=Tracking("upstream", 7))
    with pytest.raises(IntegrityError, match="is not beyond what was processed"):
        await kept.append(connection, LEAKY_BOILER, 1, plan, tracking=Tracking("upstream", 7))
    assert (await kept.load(connection, LEAKY_BOILER)).version == 1


async def test_an_event_of_an_old_version_is_read_through_its_upcaster(connection: Connection) -> None:
    @dataclass(frozen=True)
    class ClosedInCents:
        price_cents: int
        parts: tuple[str, ...]

        class_version: ClassVar[int] = 2

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["price_cents"] = int(Decimal(state.pop("price")) * 100)

    old, new = EventMapper(TOPICS), EventMapper(TOPICS | {"intervention.closed": ClosedInCents})
    stored = [old.to_stored_event(Recorded(LEAKY_BOILER, 1, Closed(Decimal("9.95"), ("valve",))))]
    stored.append(new.to_stored_event(Recorded(LEAKY_BOILER, 2, ClosedInCents(995, ("valve",)))))
    await ProcessRecorder().insert_events(connection, stored)
    read = await ProcessRecorder().select_events(connection, LEAKY_BOILER)
    assert [new.to_domain_event(event).event for event in read] == [ClosedInCents(995, ("valve",))] * 2


async def test_a_snapshot_is_a_short_cut_to_the_same_state_and_an_outdated_one_is_passed_over(connection: Connection) -> None:
    def kept(states: dict[str, type]) -> Repository[State, Event]:
        snapshots = Snapshots(EventMapper(states), every=2)
        return Repository(EventMapper(TOPICS), initial=Unknown(), evolve=evolve, snapshots=snapshots)

    ours, renamed, plain = kept({"open.v1": Open, "done.v1": Done}), kept({"open.v2": Open, "done.v2": Done}), interventions()
    story: list[Event] = [
        Planned("a", AT_TWO),
        Closed(Decimal(1)),
        Planned("b", AT_TWO),
        Closed(Decimal(2)),
        Planned("c", AT_TWO),
    ]
    for version, event in enumerate(story):
        await ours.append(connection, LEAKY_BOILER, version, [event])
        for other in (ours, renamed, plain):
            assert await other.load(connection, LEAKY_BOILER) == await plain.load(connection, LEAKY_BOILER)
    taken = await AggregateRecorder().select_events(connection, LEAKY_BOILER)
    assert [(snapshot.originator_version, snapshot.topic) for snapshot in taken] == [(2, "done.v1"), (4, "done.v1")]
    for version in range(6):
        past = await ours.load(connection, LEAKY_BOILER, version=version)
        assert past == await plain.load(connection, LEAKY_BOILER, version=version)
    await connection.execute("DELETE FROM chassis.event WHERE originator_version <= 4")
    assert (await ours.load(connection, LEAKY_BOILER)).version == 5, "the short cut is really taken"


async def test_a_compressed_store_reads_what_it_wrote(connection: Connection) -> None:
    kept = interventions(EventMapper(TOPICS, compressor=ZlibCompressor()))
    await kept.append(connection, LEAKY_BOILER, 0, [Planned("Rue de la Fuite 4", AT_TWO)])
    assert (await kept.load(connection, LEAKY_BOILER)).state == Open("Rue de la Fuite 4", AT_TWO)


def test_what_is_stored_is_validated_when_it_is_read() -> None:
    stored = StoredEvent(LEAKY_BOILER, 1, "intervention.planned", b'{"site": 4, "start": "yesterday"}')
    with pytest.raises(MapperDeserialisationError, match=f"intervention.planned {LEAKY_BOILER} 1: Expected `str`"):
        EventMapper(TOPICS).to_domain_event(stored)


def test_a_topic_that_nobody_registered_is_named_and_no_module_is_imported_for_it() -> None:
    with pytest.raises(UnknownTopic, match="'antigravity:fly' is not registered"):
        EventMapper(TOPICS).to_domain_event(StoredEvent(LEAKY_BOILER, 1, "antigravity:fly", b"{}"))
    with pytest.raises(UnknownTopic, match="Unknown has no topic"):
        EventMapper(TOPICS).to_stored_event(Recorded(LEAKY_BOILER, 1, Unknown()))
    with pytest.raises(UnknownTopic, match="under two topics"):
        EventMapper({"a": Planned, "b": Planned})


def test_an_event_as_large_as_a_photo_is_refused() -> None:
    with pytest.raises(EventTooLarge):
        EventMapper(TOPICS).to_stored_event(Recorded(LEAKY_BOILER, 1, Planned("x" * repository.EVENT_BYTES_MAX, AT_TWO)))
