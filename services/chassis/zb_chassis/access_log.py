"""The access log: every read of personal data by a person, with its purpose, as a chain of records in the service's database.

A record is committed before the data leave. Each holds a hash over itself and the one before, so that a change or a hole shows
(`verify`); it is kept by a policy of its own (`prune`). What counts as personal data, the service says by calling `record`.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Query

from zb_chassis.clock import Clock
from zb_chassis.database import LOST, Connection, Pool, transaction
from zb_chassis.identity import Principal, Role, allow
from zb_contracts import canonical
from zb_contracts.times import format_time_ms

PAGE: Final = 1_000
DAY_MS: Final = 86_400_000
PRUNE_INTERVAL_S: Final = 3_600.0

_COLUMNS: Final = "number, at_ms, reader, roles, purpose, action, object, hash"

log: Final = structlog.get_logger(__name__)
Auditor = Annotated[Principal, allow(Role.AUDITOR, of_all_agencies=True)]
"""A record names no agency."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: records read, and the first that does not fit the chain (None: it is whole)."""

    records: int
    broken_at: int | None

    @property
    def sound(self) -> bool:
        return self.broken_at is None


async def record(pool: Pool, reader: Principal, action: str, object_: str, *, at_ms: int) -> None:
    """Add a record, before the data leave. A machine (role `service`) that is nobody's hand is not recorded."""
    await record_all(pool, reader, action, [object_], at_ms=at_ms)


async def record_all(pool: Pool, reader: Principal, action: str, objects: Sequence[str], *, at_ms: int) -> None:
    """As `record`, a record an object, all or none."""
    if reader.roles == {Role.SERVICE} or not objects:
        return
    async with transaction(pool) as connection:
        head = await connection.fetchrow("SELECT number, hash FROM chassis.access_head FOR NO KEY UPDATE")
        assert head is not None  # the migration writes it
        rows, digest = [], head["hash"]
        for number, object_ in enumerate(objects, start=head["number"] + 1):
            row = {
                "number": number,
                "at_ms": at_ms,
                "reader": reader.subject,
                "roles": sorted(reader.roles),
                "purpose": reader.purpose,
                "action": action,
                "object": object_,
            }
            digest = _hash(row, digest)
            rows.append((*row.values(), digest))
        await connection.executemany(
            f"INSERT INTO chassis.access_log ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",  # noqa: S608
            rows,
        )
        await connection.execute("UPDATE chassis.access_head SET number = $1, hash = $2", head["number"] + len(objects), digest)


async def verify(connection: Connection) -> Verdict:
    """Go through the chain from what was pruned to the head, in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await connection.fetchrow("SELECT * FROM chassis.access_head")
        assert head is not None
        number, digest, count = head["pruned"], head["pruned_hash"], 0
        async for row in _rows(connection):
            count += 1
            number, digest = number + 1, _hash({**row, "number": number + 1}, digest)
            if (row["number"], row["hash"]) != (number, digest):
                return Verdict(count, number)
        return Verdict(count, None if (number, digest) == (head["number"], head["hash"]) else number + 1)


async def prune(pool: Pool, *, before_ms: int) -> int:
    """Forget records older than this, but never one after one that is kept; how many. The chain goes on from the last."""
    async with transaction(pool) as connection:
        await connection.execute("SELECT 1 FROM chassis.access_head FOR NO KEY UPDATE")
        last = await connection.fetchrow(
            f"""
            SELECT {_COLUMNS} FROM chassis.access_log WHERE number < coalesce(
                (SELECT min(number) FROM chassis.access_log WHERE at_ms >= $1), 9223372036854775807)
            ORDER BY number DESC LIMIT 1
            """,  # noqa: S608 -- a constant of this module
            before_ms,
        )
        if last is None:
            return 0
        await connection.execute("UPDATE chassis.access_head SET pruned = $1, pruned_hash = $2", last["number"], last["hash"])
        gone = await connection.execute("DELETE FROM chassis.access_log WHERE number <= $1", last["number"])
        return int(gone.rpartition(" ")[2])


async def forget_old(pool: Pool, clock: Clock, *, days: int, stop: asyncio.Event) -> None:
    """Keeps the policy: prunes every PRUNE_INTERVAL_S until `stop` is set. A lost database is tried again."""
    while not stop.is_set():
        try:
            if count := await prune(pool, before_ms=clock() - days * DAY_MS):
                log.info("old access records pruned", records=count, older_than_days=days)
        except LOST as fault:
            log.warning("the access log waits for the database", fault=str(fault))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PRUNE_INTERVAL_S)


def router(pool: Pool, clock: Clock) -> APIRouter:
    """What auditors read of it. Reading the access log is itself a record."""
    routes = APIRouter(prefix="/v1/access-log", tags=["access log"])

    @routes.get("")
    async def records(
        caller: Auditor,
        reader: Annotated[str | None, Query(max_length=200)] = None,
        about: Annotated[str | None, Query(max_length=200, description="e.g. `intervention:<id>`")] = None,
        after: Annotated[int, Query(ge=0, le=2**53 - 1, description="`number` of the last record read")] = 0,
    ) -> dict[str, Any]:
        """Who read what, when and for what, the oldest first, a page at a time."""
        rows = await pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM chassis.access_log
            WHERE number > $1 AND ($2::text IS NULL OR reader = $2) AND ($3::text IS NULL OR object = $3)
            ORDER BY number LIMIT $4
            """,  # noqa: S608 -- a constant of this module
            after,
            reader,
            about,
            PAGE,
        )
        await record(pool, caller, "read the access log", f"reader={reader or '*'} about={about or '*'}", at_ms=clock())
        return {"records": [_shown(row) for row in rows], "next": rows[-1]["number"] if len(rows) == PAGE else None}

    @routes.get("/verification")
    async def verification(_: Auditor) -> dict[str, Any]:
        """Whether the chain of records is whole."""
        async with pool.acquire() as connection:
            verdict = await verify(connection)
        return {"sound": verdict.sound, "records": verdict.records, "broken_at": verdict.broken_at}

    return routes


async def _rows(connection: Connection) -> AsyncIterator[dict[str, Any]]:
    after = 0
    query = f"SELECT {_COLUMNS} FROM chassis.access_log WHERE number > $1 ORDER BY number LIMIT $2"  # noqa: S608
    while rows := await connection.fetch(query, after, PAGE):
        for row in rows:
            yield dict(row)
        after = rows[-1]["number"]


def _hash(row: dict[str, Any], before: bytes) -> bytes:
    named = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(canonical.encode({**named, "before": before.hex()})).digest()


def _shown(row: Any) -> dict[str, Any]:
    return {**{name: value for name, value in row.items() if name != "hash"}, "at": format_time_ms(row["at_ms"])}
