"""Replay: all states again from the ledger, in a shadow of the read side, with the projector's own code.

Proves that the states are what the ledger says (same hash), and can put the shadow in their place. It announces nothing but
what a swap changes. The ledger is only read; how an auditor calls it is `audit_commands`' matter.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from field_ingest import states
from field_ingest.projector import Projector, announcement_of
from field_ingest.states import TotalHash
from zb_chassis import outbox
from zb_chassis.database import Connection
from zb_contracts import canonical
from zb_contracts.merge.state import InterventionState, read_state

SHADOW: Final = "replay"
ADVISORY_LOCK: Final = 0x7A62_7265_706C  # "zbrepl"
TABLES: Final = (
    "projection_mark",
    "states",
    "quarantine",
    "lifted",
    "scope_member",
    "scope_technician",
    "scope_document",
)
"""What a replay builds. `sync_session` is no part of it: the ledger does not say who asked."""

SWAP_PAGE: Final = 500


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
    """What came out. `events` are ledger rows read, `behind` those that the live projection has not read either."""

    streams: int
    events: int
    behind: int
    quarantined: int
    state_hash: str
    live_hash: str
    seconds: float
    swapped: bool = False

    @property
    def same(self) -> bool:
        return self.state_hash == self.live_hash

    def as_json(self) -> dict[str, Any]:
        """For the last line of the command."""
        names = ("streams", "events", "behind", "quarantined", "state_hash", "live_hash", "same", "seconds", "swapped")
        return {name: getattr(self, name) for name in names}


async def replay(
    dsn: str,
    make_projector: Callable[[], Projector],
    *,
    swap: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Replayed:
    """Rebuilds up to where the live projection stands and compares; with `swap` the shadow takes the live one's place.

    `make_projector` makes one that announces nothing. ReplayRefused while another replay works.
    """
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "replay", "timezone": "UTC", "jit": "off"})
    try:
        async with _shadow(connection) as live:
            return await _replayed(connection, live, make_projector(), swap, progress)
    finally:
        await connection.close()


async def live_hash(connection: Connection) -> TotalHash:
    """The hash over all states as they are now."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await states.total_hash(connection)


@asynccontextmanager
async def _shadow(connection: Connection) -> AsyncIterator[str]:
    """An empty shadow first on the search path; the name of the live schema. Gone at the end."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):
        raise ReplayRefused("another replay is at work on this database: wait for it or end it")
    live: str = await connection.fetchval("SELECT current_schema()")
    await connection.execute(f"DROP SCHEMA IF EXISTS {SHADOW} CASCADE; CREATE SCHEMA {SHADOW}")
    try:
        for table in TABLES:
            await connection.execute(f"CREATE TABLE {SHADOW}.{table} (LIKE {live}.{table} INCLUDING ALL)")
        await connection.execute(f"SET search_path = {SHADOW}, {live}")
        yield live
    finally:
        if not connection.is_closed():
            await connection.execute(f"SET search_path = {live}; DROP SCHEMA IF EXISTS {SHADOW} CASCADE")


async def _replayed(
    connection: Connection, live: str, projector: Projector, swap: bool, progress: Callable[[Progress], None]
) -> Replayed:
    began = time.monotonic()
    async with connection.transaction(isolation="repeatable_read", readonly=True), _on(connection, live):
        target = await states.read_marks(connection)
        before = await states.total_hash(connection)
    rows = await _catch_up(connection, projector, target, progress, began)
    after = await _hash_of_shadow(connection)
    if swap:
        async with connection.transaction():
            await connection.fetch(f"SELECT shard FROM {live}.projection_mark FOR UPDATE")  # noqa: S608 our own names
            async with _on(connection, live):
                target = await states.read_marks(connection)
            rows += await _catch_up(connection, projector, target, progress, began)
            await _swap(connection, live)
    return Replayed(
        streams=after.streams,
        events=rows,
        behind=await connection.fetchval("SELECT coalesce(sum(size), 0)::bigint FROM shards") - sum(target.values()),
        quarantined=len(await states.quarantined(connection)),
        state_hash=after.state_hash,
        live_hash=before.state_hash,
        seconds=round(time.monotonic() - began, 3),
        swapped=swap,
    )


@asynccontextmanager
async def _on(connection: Connection, live: str) -> AsyncIterator[None]:
    """Reads the live tables for a moment, inside a transaction."""
    await connection.execute(f"SET LOCAL search_path = {live}")
    yield
    await connection.execute(f"SET LOCAL search_path = {SHADOW}, {live}")


async def _hash_of_shadow(connection: Connection) -> TotalHash:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await states.total_hash(connection)


async def _catch_up(
    connection: Connection,
    projector: Projector,
    target: Mapping[int, int],
    progress: Callable[[Progress], None],
    began: float,
) -> int:
    done, total = 0, sum(target.values())
    while step := (await projector.step(connection, target)).rows:
        done += step
        progress(Progress(done, total, done / max(time.monotonic() - began, 1e-3)))
    return done


async def _swap(connection: Connection, live: str) -> None:
    """Puts the shadow's rows in the place of the live ones and announces what that changes; one transaction."""
    changed = await connection.fetch(
        f"""
        UPDATE states s SET version = l.version + (l.state_hash <> s.state_hash)::integer
        FROM {live}.states l WHERE l.stream = s.stream RETURNING s.stream, l.state_hash <> s.state_hash AS differs
        """  # noqa: S608 our own names
    )
    known = {row["stream"] for row in changed}
    new = [row["stream"] for row in await connection.fetch("SELECT stream FROM states") if row["stream"] not in known]
    announced = sorted([row["stream"] for row in changed if row["differs"]] + new)
    for table in TABLES:
        if table == "projection_mark":
            continue  # the same positions: the live rows stay locked until the end
        await connection.execute(f"DELETE FROM {live}.{table}")  # noqa: S608
        await connection.execute(f"INSERT INTO {live}.{table} TABLE {SHADOW}.{table}")
    for first in range(0, len(announced), SWAP_PAGE):
        await outbox.enqueue_all(connection, await _announcements(connection, announced[first : first + SWAP_PAGE]))


async def _announcements(connection: Connection, streams: list[str]) -> list[outbox.Message]:
    messages = []
    for stream in streams:
        row = await states.read_state(connection, stream)
        state = read_state(stream, row.state) if row else None
        if row is not None and isinstance(state, InterventionState):
            positions = {int(shard): position for shard, position in canonical.decode(row.positions).items()}
            messages.append(announcement_of(state, row, positions))
    return messages
