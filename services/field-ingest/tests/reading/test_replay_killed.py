"""A replay whose worker is killed with SIGKILL in the middle of its part is gone on with, to the same hash; and what nobody goes
on with does not stay for ever.
"""

import asyncio
import multiprocessing
import os
import signal
from datetime import timedelta
from typing import Any

import pytest

from field_ingest import housekeeping
from field_ingest.housekeeping import OUTBOX_KEPT_S, REPLAY_KEPT_MS, forget
from field_ingest.projection import replay_run
from field_ingest.projection.replay import Progress, Wanted, replay
from zb_chassis import outbox
from zb_contracts.events.fieldwork import CommentAdded

DEADLINE_S = 30.0
STREAMS = [f"intervention:00000000-0000-4000-8000-{number:012x}" for number in range(5)]


class Broken(Exception):
    """The command ended here."""


def in_shadow(company: Any) -> Any:
    return lambda store: company.new_projector(store=store, announces=False)


async def left_half_done(company: Any, camille: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which one part is done."""
    for stream in STREAMS:
        await company.record(camille, stream, CommentAdded(text="the boiler leaks"))
        await company.record(camille, stream, CommentAdded(text="still"))
    await company.project()
    monkeypatch.setattr(replay_run, "ROWS_A_SPAN", 2)

    def break_off(_: Progress) -> None:
        raise Broken

    with pytest.raises(Broken):
        await replay(database, in_shadow(company), progress=break_off)


async def test_a_worker_that_is_killed_in_mid_replay_loses_nothing(
    company: Any, camille: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left_half_done(company, camille, database, monkeypatch)
    live = await company.pool.fetchval("SELECT current_schema()")
    # It has its part and cannot write it: the kill meets it in the middle.
    async with company.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE replay.states IN SHARE MODE")
        worker = multiprocessing.get_context("spawn").Process(target=replay_run.work, args=(database, live, os.getpid()))
        worker.start()
        await until_at_the_lock(company, 1)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        # Its session does not know yet: the part is still held when the same command goes on.
        going_on = asyncio.create_task(replay(database, in_shadow(company)))
        await until_at_the_lock(company, 2)
    done = await going_on
    assert done.same
    assert (done.resumed, done.events, done.streams) == (2, 10, 5)


async def until_at_the_lock(company: Any, sessions: int) -> None:
    """Return when so many sessions of replays wait for the table."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'replay' AND wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    async with asyncio.timeout(DEADLINE_S):
        while await company.pool.fetchval(sql) < sessions:
            pass


async def test_a_replay_that_nobody_goes_on_with_is_dropped_after_a_week(
    company: Any, camille: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left_half_done(company, camille, database, monkeypatch)
    async with company.pool.acquire() as connection:
        plan = await replay_run.connect(database, "public")
        began_ms = (await replay_run.planned(plan)).began_ms  # type: ignore[union-attr]
        await plan.close()
        there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'replay'"
        await forget(company.pool, lambda: began_ms + REPLAY_KEPT_MS)
        assert await connection.fetchval(there) == 1
        await forget(company.pool, lambda: began_ms + REPLAY_KEPT_MS + 1)
        assert await connection.fetchval(there) == 0
    assert (await replay(database, in_shadow(company), Wanted())).same


async def test_announcements_are_forgotten_when_no_stream_has_them_any_more(
    company: Any, camille: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in STREAMS:
        await company.record(camille, stream, CommentAdded(text="the boiler leaks"))
    await company.project()
    monkeypatch.setattr(outbox, "PRUNE_BATCH_MAX", 2)
    first = "(SELECT position FROM chassis.outbox ORDER BY position LIMIT $2)"
    sent = f"UPDATE chassis.outbox SET sent_at = now() - $1::interval WHERE position IN {first}"
    count = "SELECT count(*) FROM chassis.outbox"
    assert await company.pool.fetchval(count) == 5
    assert await forget(company.pool, company.clock) == 0
    await company.pool.execute(sent, timedelta(seconds=OUTBOX_KEPT_S - 60), 5)
    assert await forget(company.pool, company.clock) == 0
    await company.pool.execute(sent, timedelta(seconds=OUTBOX_KEPT_S + 60), 4)
    assert await forget(company.pool, company.clock) == 4
    assert await company.pool.fetchval(count) == 1
    assert housekeeping.EVERY_S < OUTBOX_KEPT_S
