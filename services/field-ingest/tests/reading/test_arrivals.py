"""Answers that wait: for the commit of what their devices have sent, for the ledger's word that it stopped, or for their time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from field_ingest.sync import arrivals as module
from field_ingest.sync.arrivals import Arrivals
from zb_contracts.events.fieldwork import CommentAdded

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
LONG_S = 60.0
DEADLINE_S = 20.0


@asynccontextmanager
async def looking(company: Any) -> AsyncIterator[Arrivals]:
    arrivals, stop = Arrivals(company.pool), asyncio.Event()
    running = asyncio.create_task(arrivals.run(stop))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield arrivals
    finally:
        stop.set()
        await running


async def came(arrivals: Arrivals, author: str, head: int, seconds: float = LONG_S) -> int | None:
    with arrivals.expected(author, head) as arrival:
        assert arrival is not None
        return await arrival.wait(seconds)


async def test_a_wait_ends_with_the_commit_of_the_last_event_it_is_for(company: Any, camille: Any) -> None:
    async with looking(company) as arrivals:
        waiting = asyncio.create_task(came(arrivals, camille.name, 2))
        await asyncio.sleep(0)
        await company.record(camille, BOILER, CommentAdded(text="one"))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done, "the second is still on its way"
        await company.record(camille, BOILER, CommentAdded(text="two"))
        assert await waiting == 2


async def test_a_wait_ends_when_the_ledger_stopped_and_when_its_time_is_over(company: Any, camille: Any) -> None:
    async with looking(company) as arrivals:
        assert await came(arrivals, camille.name, 9, 0.01) is None
        waiting = asyncio.create_task(came(arrivals, camille.name, 9))
        await asyncio.sleep(0)
        await company.pool.execute("UPDATE authors SET stopped_seq = 1, stopped_code = 'x' WHERE author = $1", camille.name)
        await company.pool.execute("UPDATE shards SET size = size")
        assert await waiting == 0


async def test_a_second_wait_of_an_author_and_one_too_many_are_none(
    company: Any, camille: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = Arrivals(company.pool)
    with arrivals.expected(camille.name, 9) as first, arrivals.expected(camille.name, 9) as second:
        assert (first is None, second is None) == (False, True)
        monkeypatch.setattr(module, "WAITING_MAX", 1)
        with arrivals.expected("another", 9) as one_too_many:
            assert one_too_many is None
    with arrivals.expected("another", 9) as later:
        assert later is not None


async def test_it_looks_again_after_a_lost_connection(company: Any, camille: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    async with looking(company) as arrivals:
        assert await came(arrivals, camille.name, 1, 0.01) is None
        await company.pool.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND datname = current_database()
            """
        )
        heard = None
        while heard is None:
            waiting = asyncio.create_task(came(arrivals, camille.name, 1, 0.2))
            await asyncio.sleep(0)
            await company.record(camille, BOILER, CommentAdded(text="again"))
            heard = await waiting
