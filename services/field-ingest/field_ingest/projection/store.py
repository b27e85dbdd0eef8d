"""The projection's store in Postgres: `ports` over the statements of `marks`, `states`,
`rest_store` and `scope_store`.

One transaction a step, on a connection of its own; nothing is committed but at the end of its block. It decides nothing.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from field_ingest.projection import marks, rest_store, scope_store, states
from field_ingest.projection.partitions import PARTITIONS_DEFAULT
from field_ingest.projection.ports import Batch, Claim, Crew, Due, LedgerRow, Lift, Marks, Place, Rest, Taken
from field_ingest.projection.scope import Document, Member, Moved, Order
from zb_chassis import outbox
from zb_chassis.database import Connection

IN_SCOPES: Final = ("intervention:", "site:", "equipment:", "stock:")
"""Kinds of streams that a scope may hold."""

Acquire = Callable[[], AbstractAsyncContextManager[Connection]]
"""Lends a connection: a pool's `acquire`."""


class PostgresReadStore:
    """`ports.ReadStore` on connections that `acquire` lends."""

    def __init__(self, acquire: Acquire) -> None:
        self._acquire = acquire

    @asynccontextmanager
    async def projection(self) -> AsyncIterator["PostgresProjectionTransaction"]:
        async with self._acquire() as connection, connection.transaction(isolation="read_committed"):
            yield PostgresProjectionTransaction(connection)

    @asynccontextmanager
    async def scopes(self) -> AsyncIterator["PostgresScopeTransaction"]:
        async with self._acquire() as connection, connection.transaction(isolation="read_committed"):
            yield PostgresScopeTransaction(connection)

    async def crew(self, worker: str) -> Crew:
        async with self._acquire() as connection:
            return Crew(tuple(await marks.workers(connection, worker)), await marks.how_many(connection) or PARTITIONS_DEFAULT)

    async def leave(self, worker: str) -> None:
        async with self._acquire() as connection:
            await marks.leave(connection, worker)


class PostgresProjectionTransaction:
    """`ports.ProjectionTransaction` in a transaction that is open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, partitions: Sequence[int] | None) -> Taken:
        return await marks.take(self._connection, partitions)

    async def ledger_rows(self, shard: int, begin: int, end: int, partitions: Sequence[int], of: int) -> list[LedgerRow]:
        return await states.ledger_rows(self._connection, shard, begin, end, partitions, of)

    async def places(self, claims: Sequence[Claim]) -> dict[Claim, Place]:
        return await states.places(self._connection, claims)

    async def stream_rows(
        self, streams: Sequence[str], before: Mapping[int, Marks], of: int, after: Mapping[str, Marks]
    ) -> list[LedgerRow]:
        return await states.stream_rows(self._connection, streams, before, of, after)

    async def rests(self, streams: Sequence[str]) -> list[Rest]:
        return await rest_store.rests(self._connection, streams)

    async def forget_rests(self, streams: Sequence[str]) -> None:
        await rest_store.forget(self._connection, streams)

    async def lift(self, lifts: Sequence[Lift]) -> None:
        await states.lift(self._connection, lifts)

    async def lifted_streams(self, event_ids: Sequence[str]) -> set[str]:
        return await states.lifted_streams(self._connection, event_ids)

    async def stored(self, streams: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        return await states.versions(self._connection, streams)

    async def write(self, batch: Batch, now_ms: int) -> None:
        connection = self._connection
        if batch.faults:
            await states.quarantine(connection, batch.faults, now_ms)
        await states.release(connection, [stream for stream in batch.whole if stream not in batch.faults])
        if batch.states:
            await states.write_states(connection, batch.states)
        if batch.rests:
            await rest_store.write(connection, batch.rests)
        changed = [row.stream for row in batch.states if row.stream.startswith(IN_SCOPES)]
        technicians = await scope_store.replace_members(connection, batch.members) if batch.members else set()
        await scope_store.note_due(connection, streams=changed, technicians=sorted(technicians))
        for first in range(0, len(batch.messages), outbox.MESSAGES_PER_CALL_MAX):
            await outbox.enqueue_all(connection, batch.messages[first : first + outbox.MESSAGES_PER_CALL_MAX])

    async def move(self, after: Mapping[int, Marks]) -> None:
        await marks.move(self._connection, after)

    async def of_older_rules(self, partitions: Sequence[int], of: int, rule_version: int, limit: int) -> list[str]:
        return await states.of_older_rules(self._connection, partitions, of, rule_version, limit)

    async def to_retry(self, partitions: Sequence[int], of: int, now_ms: int, limit: int) -> list[str]:
        return await states.to_retry(self._connection, partitions, of, now_ms, limit)


class PostgresScopeTransaction:
    """`ports.ScopeTransaction` in a transaction that is open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def due(self, limit: int) -> Due:
        return await scope_store.take_due(self._connection, limit)

    async def concerned(self, streams: Sequence[str]) -> set[str]:
        return await scope_store.concerned(self._connection, streams)

    async def lock(self, technicians: Sequence[str], epochs: Sequence[str]) -> dict[str, Order]:
        return await scope_store.lock(self._connection, technicians, epochs)

    async def members(self, technicians: Sequence[str]) -> dict[str, list[Member]]:
        return await scope_store.members_of(self._connection, technicians)

    async def documents(self, streams: Sequence[str]) -> dict[str, Document]:
        return await scope_store.documents_of(self._connection, streams)

    async def alive(self, technicians: Sequence[str]) -> dict[str, dict[str, bytes]]:
        return await scope_store.alive(self._connection, technicians)

    async def write(self, moved: Sequence[Moved]) -> None:
        await scope_store.write_moved(self._connection, moved)

    async def note_cut(self) -> None:
        await scope_store.note_cut(self._connection)

    async def expire(self, now_ms: int) -> None:
        await scope_store.expire(self._connection, now_ms)
