"""The recorder keeps eventsourcing's promises: its own test cases, unchanged, run against ours over a blocking bridge."""

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import eventsourcing.cryptography
import pytest
from eventsourcing.persistence import IntegrityError, ProgrammingError, StoredEvent, Tracking

from zb_chassis.database import Connection, Pool, open_pool, transaction
from zb_chassis.recorder import AggregateRecorder, ProcessRecorder

# Their test module imports a cipher from PyCryptodome, which we do not install, for tests of mappers that we do not run.
# eventsourcing's other module of the same cipher, over `cryptography`, serves.
sys.modules.setdefault("eventsourcing.cipher", eventsourcing.cryptography)
from eventsourcing.tests import persistence as theirs  # noqa: E402 -- after the line above

T = TypeVar("T")
ANSWER_S = 60
BOILER = UUID("00000000-0000-4000-8000-00000000b011")


class Bridge:
    """A recorder as eventsourcing's synchronous test cases call it; each call is one transaction on a loop of our own."""

    def __init__(self, dsn: str, recorder: AggregateRecorder) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.recorder = recorder
        self.pool: Pool = self.run(open_pool(dsn, application_name="bridge"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_S)

    def __getattr__(self, method: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with transaction(self.pool) as connection:
                return await getattr(self.recorder, method)(connection, *args, **kwargs)

        return lambda *args, **kwargs: self.run(call(*args, **kwargs))

    def wait(self, name: str, number: int | None, timeout: float = 1.0, interrupt: Any = None) -> None:
        async def wait() -> None:
            ours = asyncio.Event()
            if interrupt is not None and interrupt.is_set():
                ours.set()
            assert isinstance(self.recorder, ProcessRecorder)
            await self.recorder.wait(self.pool, name, number, timeout, ours)

        self.run(wait())

    def close(self) -> None:
        self.run(self.pool.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(ANSWER_S)
        self.loop.close()


class Conformance:
    """What a test case of theirs needs from us: a recorder on an empty database."""

    recorder_class: type[AggregateRecorder] = ProcessRecorder

    @pytest.fixture(autouse=True)
    def _bridge(self, database: str) -> Iterator[None]:
        self.bridge = Bridge(database, self.recorder_class())
        yield
        self.bridge.close()

    def create_recorder(self) -> Any:
        return self.bridge


class TestAggregateRecorder(Conformance, theirs.AggregateRecorderTestCase):
    recorder_class = AggregateRecorder


class TestApplicationRecorder(Conformance, theirs.ApplicationRecorderTestCase[Any]):
    pass


class TestTrackingRecorder(Conformance, theirs.TrackingRecorderTestCase):
    pass


class TestProcessRecorder(Conformance, theirs.ProcessRecorderTestCase):
    pass


class TestNonInterleaving(Conformance, theirs.NonInterleavingNotificationIDsBaseCase):
    pass


@pytest.fixture
async def pool(database: str) -> Any:
    opened = await open_pool(database, application_name="test_recorder")
    yield opened
    await opened.close()


def stored(originator: UUID, first: int, count: int = 1) -> Sequence[StoredEvent]:
    return [StoredEvent(originator, first + place, "boiler.leaked", b"{}") for place in range(count)]


async def positions(connection: Connection) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT position FROM chassis.event ORDER BY position")]


async def test_events_of_a_transaction_that_rolls_back_leave_no_gap(pool: Pool) -> None:
    recorder = ProcessRecorder()
    async with transaction(pool) as connection:
        assert await recorder.insert_events(connection, stored(BOILER, 1, 2)) == [1, 2]
    async with pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        assert await recorder.insert_events(connection, stored(uuid4(), 1, 5)) == [3, 4, 5, 6, 7]
        await attempt.rollback()
    async with transaction(pool) as connection:
        assert await recorder.insert_events(connection, stored(BOILER, 3)) == [3]
        assert await positions(connection) == [1, 2, 3]


async def test_a_conflict_inside_a_savepoint_leaves_the_callers_transaction_usable_and_the_order_dense(pool: Pool) -> None:
    recorder = ProcessRecorder()

    async def again(connection: Connection) -> None:
        async with connection.transaction():
            await recorder.insert_events(connection, stored(BOILER, 1), tracking=Tracking("upstream", 7))

    async with transaction(pool) as connection:
        await recorder.insert_events(connection, stored(BOILER, 1))
        with pytest.raises(IntegrityError):
            await again(connection)
        assert await recorder.max_tracking_id(connection, "upstream") is None
        assert await recorder.insert_events(connection, stored(BOILER, 2)) == [2]
    async with transaction(pool) as connection:
        assert await positions(connection) == [1, 2]


async def test_without_a_transaction_of_the_caller_events_and_tracking_are_still_one_step(pool: Pool) -> None:
    recorder = ProcessRecorder()
    async with pool.acquire() as connection:
        await recorder.insert_events(connection, stored(BOILER, 1))
        with pytest.raises(IntegrityError):
            await recorder.insert_events(connection, stored(BOILER, 1), tracking=Tracking("upstream", 7))
        assert await recorder.max_tracking_id(connection, "upstream") is None


async def test_a_reader_that_pages_by_position_misses_nothing_under_many_writers(pool: Pool) -> None:
    recorder, writers, rounds = ProcessRecorder(), 4, 50
    done = asyncio.Event()

    async def write() -> None:
        originator = uuid4()
        for number in range(rounds):
            async with transaction(pool) as connection:
                await recorder.insert_events(connection, stored(originator, number * 3 + 1, 3))

    async def read() -> list[int]:
        seen: list[int] = []
        while True:
            last_round = done.is_set()
            async with pool.acquire() as connection:
                page = await recorder.select_notifications(connection, seen[-1] if seen else 0, 7, inclusive_of_start=False)
            seen += [notification.id for notification in page]
            if last_round and not page:
                return seen

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write() for _ in range(writers)))
    done.set()
    assert await reader == list(range(1, writers * rounds * 3 + 1))


async def test_a_session_killed_before_its_commit_persists_nothing_and_blocks_nobody(pool: Pool, database: str) -> None:
    recorder = ProcessRecorder()
    doomed = await asyncpg.connect(database)
    await doomed.transaction().start()
    await recorder.insert_events(doomed, stored(BOILER, 1))
    victim = doomed.get_server_pid()
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", victim)
    async with transaction(pool) as connection:
        assert await recorder.insert_events(connection, stored(BOILER, 1)) == [1]
    doomed.terminate()


async def test_a_database_without_the_chassis_tables_is_a_programming_error(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    with pytest.raises(ProgrammingError):
        await ProcessRecorder().max_notification_id(connection)
    await connection.close()
