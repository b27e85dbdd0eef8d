"""Replay: all states again from the ledger, in a shadow of the read side, with the projector's own code.

Proves that the states are what the ledger says (same hash). `swapping` can put what differs into the live ones; it announces
nothing itself. The ledger is only read; how an auditor calls it is `audit_commands`' matter.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from field_ingest import marks, states, swapping
from field_ingest.projector import Projector
from field_ingest.read_ports import Marks, ReadStore
from field_ingest.read_store import PostgresReadStore
from field_ingest.states import TotalHash
from zb_chassis.clock import Clock, system_clock
from zb_chassis.database import Connection

SHADOW: Final = "replay"
ADVISORY_LOCK: Final = 0x7A62_7265_706C  # "zbrepl"
TABLES: Final = (
    "projection_partition",
    "partition_mark",
    "states",
    "quarantine",
    "lifted",
    "fold_rest",
    "scope_member",
    "scope_due",
)
"""What a replay builds. The orders of the scopes are no part of it: they say what was given out, which no ledger knows."""


class ReplayRefused(Exception):
    """The replay cannot begin; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is."""

    rows: int
    total: int
    rows_per_s: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out. `events` are ledger rows read, `behind` those that the live projection has not read either.

    `swapped` is None where nothing was to be swapped. `longest_pause_ms`: how long a partition stood still for the swap.
    """

    streams: int
    events: int
    behind: int
    quarantined: int
    state_hash: str
    live_hash: str
    seconds: float
    swapped: swapping.Swapped | None = None

    @property
    def same(self) -> bool:
        return self.state_hash == self.live_hash

    def as_json(self) -> dict[str, Any]:
        """For the last line of the command."""
        names = ("streams", "events", "behind", "quarantined", "state_hash", "live_hash", "same", "seconds")
        found = {name: getattr(self, name) for name in names} | {"swapped": self.swapped is not None}
        return found | (self.swapped.as_json() if self.swapped else {})


async def replay(
    dsn: str,
    make_projector: Callable[[ReadStore], Projector],
    *,
    swap: bool = False,
    clock: Clock = system_clock,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Replayed:
    """Rebuilds up to where the live projection stands and compares; with `swap` what differs takes the live one's place.

    `make_projector` makes one that announces nothing. The live projection goes on meanwhile: the comparison is with its
    states where they stood when the replay began. ReplayRefused while another replay works.
    """
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "replay", "timezone": "UTC", "jit": "off"})
    try:
        async with _shadow(connection) as live:
            projector = make_projector(PostgresReadStore(lambda: _lent(connection)))
            return await _replayed(connection, live, projector, clock if swap else None, progress)
    finally:
        await connection.close()


async def live_hash(connection: Connection, snapshot: str | None = None) -> TotalHash:
    """The hash over all states as they are now, or as an exported snapshot of another session shows them."""
    quoted = await connection.fetchval("SELECT quote_literal($1)", snapshot)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if snapshot is not None:
            await connection.execute(f"SET TRANSACTION SNAPSHOT {quoted}")
        return await states.total_hash(connection)


@asynccontextmanager
async def _lent(connection: Connection) -> AsyncIterator[Connection]:
    yield connection


@asynccontextmanager
async def _shadow(connection: Connection) -> AsyncIterator[str]:
    """An empty shadow first on the search path; the name of the live schema. Gone at the end."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):
        raise ReplayRefused("another replay is at work on this database: wait for it or end it")
    live: str = await connection.fetchval("SELECT current_schema()")
    await connection.execute(f"DROP SCHEMA IF EXISTS {SHADOW} CASCADE; CREATE SCHEMA {SHADOW}")
    try:
        for table in TABLES:
            await connection.execute(f"CREATE UNLOGGED TABLE {SHADOW}.{table} (LIKE {live}.{table} INCLUDING ALL)")
        await connection.execute(f"INSERT INTO {SHADOW}.projection_partition TABLE {live}.projection_partition")
        await connection.execute(f"SET search_path = {SHADOW}, {live}")
        yield live
    finally:
        if not connection.is_closed():
            await connection.execute(f"SET search_path = {live}; DROP SCHEMA IF EXISTS {SHADOW} CASCADE")


async def _replayed(
    connection: Connection, live: str, projector: Projector, swap_clock: Clock | None, progress: Callable[[Progress], None]
) -> Replayed:
    began = time.monotonic()
    async with connection.transaction(isolation="repeatable_read", readonly=True), _on(connection, live):
        target = await marks.read_all(connection)
        before = await states.total_hash(connection)
    rows = await _catch_up(connection, projector, target, progress, began)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        after = await states.total_hash(connection)
    swapped = await swapping.swap(connection, live, SHADOW, projector, swap_clock) if swap_clock else None
    return Replayed(
        streams=after.streams,
        events=rows,
        behind=await connection.fetchval("SELECT coalesce(sum(size), 0)::bigint FROM shards") - _total(target),
        quarantined=len(await states.quarantined(connection)),
        state_hash=after.state_hash,
        live_hash=before.state_hash,
        seconds=round(time.monotonic() - began, 3),
        swapped=swapped,
    )


@asynccontextmanager
async def _on(connection: Connection, live: str) -> AsyncIterator[None]:
    """Reads the live tables for a moment, inside a transaction."""
    await connection.execute(f"SET LOCAL search_path = {live}")
    yield
    await connection.execute(f"SET LOCAL search_path = {SHADOW}, {live}")


async def _catch_up(
    connection: Connection,
    projector: Projector,
    target: Mapping[int, Marks],
    progress: Callable[[Progress], None],
    began: float,
) -> int:
    done, total = 0, _total(target)
    while step := (await projector.step(until=target)).passed:
        done += step
        progress(Progress(done, total, done / max(time.monotonic() - began, 1e-3)))
    return done


def _total(target: Mapping[int, Marks]) -> int:
    """How many rows there are below the marks: a shard is read up to the partition that is furthest."""
    furthest: dict[int, int] = {}
    for one in target.values():
        for shard, position in one.items():
            furthest[shard] = max(position, furthest.get(shard, 0))
    return sum(furthest.values())
