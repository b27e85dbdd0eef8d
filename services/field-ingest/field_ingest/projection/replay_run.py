"""One run of a replay in its shadow schema: its plan, the spans that it is cut into, and the workers that take them.

A worker takes a span of streams, folds them and writes their states in one transaction that also ticks the span off: any
number of processes share a run, and what one that was killed left is taken up by the next. What a run is compared with, and
the swap, are `replay`'s matter.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import msgspec

from field_ingest.projection import ledger_streams, marks, scope_store, states
from field_ingest.projection.folding import REASON_MAX
from field_ingest.projection.ports import Lift, StateRow
from field_ingest.projection.projector import state_row
from field_ingest.projection.refolding import Author, Cut, Row, check_signatures, lifts_of, refold
from field_ingest.projection.scope import Member, ScopeLimits, members
from zb_chassis.collector import collect_rarely
from zb_chassis.database import Connection
from zb_contracts.merge.state import InterventionState

SHADOW: Final = "replay"
ROWS_A_SPAN: Final = 20_000
"""What a kill loses of a worker's work at the most: about a second."""
_COLUMNS: Final = tuple(StateRow.__dataclass_fields__)


class Terms(msgspec.Struct, frozen=True):
    """What the same command is: a run of other terms is not gone on with. `program` changes with the types that it reads."""

    moment: str
    rules: int
    program: str
    signatures: bool
    swap: bool


class Plan(msgspec.Struct, frozen=True):
    """A run as it began. `live` is the schema of the live projection, `live_hash` its hash at these marks, where it has one.
    `version`: what a state that the live projection lacks begins with."""

    terms: Terms
    cut: Cut
    live: str
    live_hash: str | None
    version: int
    limits: ScopeLimits
    began_ms: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """How much of a run is done: ledger rows, and of how many."""

    rows: int
    total: int


@dataclass(slots=True)
class _Written:
    """What a span comes to."""

    states: list[StateRow] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    members: dict[str, Mapping[str, Member]] = field(default_factory=dict)
    lifts: list[Lift] = field(default_factory=list)


async def connect(dsn: str, live: str | None = None) -> Connection:
    """A connection of a replay; with the name of the live schema it sees the shadow's tables before the live ones."""
    settings = {"application_name": "replay", "timezone": "UTC", "jit": "off"}
    connection: Connection = await asyncpg.connect(dsn, server_settings=settings)
    if live is not None:
        await look_at_shadow(connection, live)
    return connection


async def look_at_shadow(connection: Connection, live: str) -> None:
    """Every table of the shadow hides the live one of its name."""
    await connection.execute(f"SET search_path = {SHADOW}, {live}")


async def found(connection: Connection, plan: Plan) -> None:
    """Writes plan and spans into the empty shadow, and the marks that its states will stand at."""
    spans = await ledger_streams.cut_into_spans(connection, plan.cut, ROWS_A_SPAN)
    await connection.execute(
        f"""
        CREATE UNLOGGED TABLE {SHADOW}.plan (plan bytea NOT NULL);
        CREATE UNLOGGED TABLE {SHADOW}.span (
            first text PRIMARY KEY, past text, rows bigint NOT NULL, done boolean NOT NULL DEFAULT false
        )
        """
    )
    await connection.copy_records_to_table("span", schema_name=SHADOW, records=spans, columns=("first", "past", "rows"))
    if plan.terms.swap:
        await marks.move(connection, plan.cut.marks)
    await connection.execute("INSERT INTO plan (plan) VALUES ($1)", msgspec.json.encode(plan))


async def planned(connection: Connection) -> Plan | None:
    """The plan of the run that the shadow holds; None where it holds none, or half of one, or another program's."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SHADOW}.plan") is None:
        return None
    data = await connection.fetchval(f"SELECT plan FROM {SHADOW}.plan")  # noqa: S608 a constant
    try:
        return msgspec.json.decode(data, type=Plan) if data is not None else None
    except msgspec.ValidationError:
        return None


async def ticked(connection: Connection) -> Ticked:
    """How much is done, as committed."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(rows) FILTER (WHERE done), 0)::bigint AS done, coalesce(sum(rows), 0)::bigint AS total FROM span"
    )
    assert row is not None
    return Ticked(row["done"], row["total"])


def work(dsn: str, live: str, parent: int) -> None:
    """A worker process: takes spans until none is left, or its parent is gone."""
    collect_rarely()
    asyncio.run(_work(dsn, live, parent))


async def _work(dsn: str, live: str, parent: int) -> None:
    connection = await connect(dsn, live)
    try:
        await take_spans(connection, lambda _: None, goes_on=lambda: os.getppid() == parent)
    finally:
        await connection.close()


async def take_spans(connection: Connection, told: Callable[[int], None], goes_on: Callable[[], bool] = lambda: True) -> None:
    """Works through the spans that nobody else has; `told` the rows of each."""
    plan = await planned(connection)
    if plan is None:
        raise RuntimeError("the shadow holds no run, or one of another program")
    authors = await ledger_streams.authors(connection)
    while goes_on():
        async with connection.transaction(isolation="read_committed"):
            span = await connection.fetchrow(
                "SELECT first, past, rows FROM span WHERE NOT done ORDER BY first LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            if span is None:
                return
            await _write(connection, plan, await _refolded(connection, plan, authors, span["first"], span["past"]))
            await connection.execute("UPDATE span SET done = true WHERE first = $1", span["first"])
        told(span["rows"])


async def _refolded(connection: Connection, plan: Plan, authors: Mapping[str, Author], first: str, past: str | None) -> _Written:
    written = _Written()
    signatures = plan.terms.signatures
    async for stream, rows in ledger_streams.streams_from(connection, plan.cut, first, past, signatures=signatures):
        try:
            if signatures:
                check_signatures(rows, authors)
            _take(written, plan, authors, stream, rows)
        except Exception as fault:  # as in the projector: listed with its reason, and the next stream goes on
            written.faults[stream] = f"{type(fault).__name__}: {fault}"[:REASON_MAX]
    return written


def _take(written: _Written, plan: Plan, authors: Mapping[str, Author], stream: str, rows: list[Row]) -> None:
    folded = refold(stream, rows, plan.cut, authors)
    if folded is None:
        return
    row = state_row(stream, folded, plan.cut.marks_of(stream), version=plan.version, now_ms=plan.began_ms)
    if plan.terms.swap:
        if isinstance(folded.state, InterventionState):
            written.members[stream] = members(folded.state, folded.received_ms, plan.began_ms, plan.limits)
        written.lifts += lifts_of(rows)
    written.states.append(row)


async def _write(connection: Connection, plan: Plan, written: _Written) -> None:
    records = [tuple(getattr(row, name) for name in _COLUMNS) for row in written.states]
    await connection.copy_records_to_table("states", schema_name=SHADOW, records=records, columns=_COLUMNS)
    if written.faults:
        await states.quarantine(connection, written.faults, plan.began_ms)
    if written.members:
        await scope_store.replace_members(connection, written.members)
    if written.lifts:
        await states.lift(connection, written.lifts)
