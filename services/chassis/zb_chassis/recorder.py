"""The recorders of the eventsourcing library, asynchronous over asyncpg: events, their one dense order, and tracking.

Semantics and exceptions are eventsourcing's (its own recorder test cases pass). Every method takes the caller's connection
and writes inside the caller's transaction, so that events, outbox rows and inbox marks commit together or not at all.
The order is dense and appears in order: positions come from one locked row, kept locked until the transaction ends, so
append late in a transaction. It never commits and does not know what an event means.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from uuid import UUID

import asyncpg
from eventsourcing.persistence import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    Notification,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
    WaitInterruptedError,
)

from zb_chassis.database import LOST, Connection, Pool

EVENTS_PER_INSERT_MAX = 10_000
NOTIFICATIONS_PER_PAGE_MAX = 10_000
WAIT_POLL_S = 0.05

INSERT_SNAPSHOTS = """
INSERT INTO chassis.snapshot (originator_id, originator_version, topic, state)
SELECT originator_id, originator_version, topic, state
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[])
    AS given (originator_id, originator_version, topic, state)
"""
# One statement, for every other writer waits from here to the end of the transaction. The row of positions is locked and
# then read as it was last committed, whatever the statement's snapshot saw; the rest depends on no snapshot.
INSERT_EVENTS = """
WITH taken AS (
    UPDATE chassis.head SET event_position = event_position + cardinality($1::uuid[])
    RETURNING event_position - cardinality($1::uuid[]) AS before
)
INSERT INTO chassis.event (position, originator_id, originator_version, topic, state)
SELECT taken.before + given.place, given.originator_id, given.originator_version, given.topic, given.state
FROM taken, unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[])
    WITH ORDINALITY AS given (originator_id, originator_version, topic, state, place)
ORDER BY given.place RETURNING position
"""
SELECT_SNAPSHOTS = """
SELECT originator_id, originator_version, topic, state FROM chassis.snapshot
WHERE originator_id = $1 AND ($2::bigint IS NULL OR originator_version > $2)
    AND ($3::bigint IS NULL OR originator_version <= $3)
"""
SELECT_EVENTS = """
SELECT originator_id, originator_version, topic, state FROM chassis.event
WHERE originator_id = $1 AND ($2::bigint IS NULL OR originator_version > $2)
    AND ($3::bigint IS NULL OR originator_version <= $3)
"""
IN_ORDER = " ORDER BY originator_version ASC LIMIT $4"
LAST_FIRST = " ORDER BY originator_version DESC LIMIT $4"
SELECT_NOTIFICATIONS = """
SELECT position, originator_id, originator_version, topic, state FROM chassis.event
WHERE position > $1 AND ($2::bigint IS NULL OR position <= $2) AND (cardinality($3::text[]) = 0 OR topic = ANY ($3))
ORDER BY position LIMIT $4
"""
INSERT_TRACKING = """
INSERT INTO chassis.tracking AS stored (application_name, notification_id) VALUES ($1, $2)
ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id
    WHERE stored.notification_id < excluded.notification_id
RETURNING notification_id
"""


class AggregateRecorder:
    """Snapshots of aggregates by id and version; no order among aggregates (eventsourcing's AggregateRecorder)."""

    async def insert_events(self, connection: Connection, stored_events: Sequence[StoredEvent]) -> Sequence[int] | None:
        """Insert all or none; raises IntegrityError when a version of an originator is there already."""
        async with _one_step(connection):
            await connection.execute(INSERT_SNAPSHOTS, *_columns(stored_events))
        return None

    async def select_events(
        self,
        connection: Connection,
        originator_id: UUID,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """The originator's rows with `gt < version <= lte`, by version, `limit` of them at most."""
        query = self._select + (LAST_FIRST if desc else IN_ORDER)
        async with _translated():
            rows = await connection.fetch(query, originator_id, gt, lte, limit)
        return [StoredEvent(row[0], row[1], row[2], row[3]) for row in rows]

    _select = SELECT_SNAPSHOTS


class ProcessRecorder(AggregateRecorder):
    """A service's events in one dense order, with tracking of what it has processed (eventsourcing's ProcessRecorder)."""

    _select = SELECT_EVENTS

    async def insert_events(
        self, connection: Connection, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None
    ) -> list[int]:
        """Insert all events and the tracking, or none; returns the events' positions in the order given.

        Raises IntegrityError when a version is there already or the tracking is not beyond the last one. The caller's
        transaction is aborted then: give the call a savepoint (`connection.transaction()`) to go on after it.
        """
        if len(stored_events) > EVENTS_PER_INSERT_MAX:
            raise DataError(f"{len(stored_events)} events in one insert: the limit is {EVENTS_PER_INSERT_MAX}")
        async with _one_step(connection):
            if tracking is not None:
                await self._insert_tracking(connection, tracking)
            if not stored_events:
                return []
            return sorted(row[0] for row in await connection.fetch(INSERT_EVENTS, *_columns(stored_events)))

    async def select_notifications(
        self,
        connection: Connection,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> list[Notification]:
        """Events by position from `start` (or after it) to `stop`, of `topics` if any are given, `limit` at most."""
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        page = min(limit, NOTIFICATIONS_PER_PAGE_MAX)
        async with _translated():
            rows = await connection.fetch(SELECT_NOTIFICATIONS, after, stop, list(topics), page)
        return [
            Notification(originator_id=row[1], originator_version=row[2], topic=row[3], state=row[4], id=row[0]) for row in rows
        ]

    async def max_notification_id(self, connection: Connection) -> int | None:
        """The last position, None while there is no event."""
        async with _translated():
            last: int | None = await connection.fetchval("SELECT max(position) FROM chassis.event")
        return last

    async def insert_tracking(self, connection: Connection, tracking: Tracking) -> None:
        """Move the mark of an upstream forward; raises IntegrityError when it is there or beyond already."""
        async with _one_step(connection):
            await self._insert_tracking(connection, tracking)

    async def max_tracking_id(self, connection: Connection, application_name: str) -> int | None:
        """The last notification of that upstream that was processed, None if none was."""
        query = "SELECT notification_id FROM chassis.tracking WHERE application_name = $1"
        async with _translated():
            last: int | None = await connection.fetchval(query, application_name)
        return last

    async def has_tracking_id(self, connection: Connection, application_name: str, notification_id: int | None) -> bool:
        """True when that notification of the upstream, or a later one, was processed; also for None."""
        if notification_id is None:
            return True
        last = await self.max_tracking_id(connection, application_name)
        return last is not None and last >= notification_id

    async def wait(
        self,
        pool: Pool,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: asyncio.Event | None = None,
    ) -> None:
        """Return once that notification was processed; raises TimeoutError, or WaitInterruptedError on `interrupt`."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            async with pool.acquire() as connection:
                if await self.has_tracking_id(connection, application_name, notification_id):
                    return
            if interrupt is not None and interrupt.is_set():
                raise WaitInterruptedError
            if asyncio.get_running_loop().time() >= deadline:
                raise TimeoutError(f"notification {notification_id} of {application_name!r} was not processed in time")
            await asyncio.sleep(WAIT_POLL_S)

    async def _insert_tracking(self, connection: Connection, tracking: Tracking) -> None:
        moved = await connection.fetchval(INSERT_TRACKING, tracking.application_name, tracking.notification_id)
        if moved is None:
            raise IntegrityError(f"{tracking} is not beyond what was processed")


def _columns(events: Sequence[StoredEvent]) -> tuple[list[UUID | str], list[int], list[str], list[bytes]]:
    return (
        [event.originator_id for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )


@asynccontextmanager
async def _one_step(connection: Connection) -> AsyncIterator[None]:
    """All of the block or nothing: the caller's transaction, or one of our own where there is none."""
    async with _translated(), nullcontext() if connection.is_in_transaction() else connection.transaction():
        yield


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """asyncpg's errors as eventsourcing's."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise IntegrityError(error) from error
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
        raise DataError(error) from error
    except asyncpg.FeatureNotSupportedError as error:
        raise NotSupportedError(error) from error
    except asyncpg.SyntaxOrAccessError as error:
        raise ProgrammingError(error) from error
    except asyncpg.InternalServerError as error:
        raise InternalError(error) from error
    except (*LOST, asyncpg.InsufficientResourcesError, asyncpg.TransactionRollbackError) as error:
        raise OperationalError(error) from error
    except asyncpg.InterfaceError as error:
        raise InterfaceError(error) from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(error) from error
