"""That the ledger grew, as PostgreSQL tells it to whoever listens, after the commit.

Owns the channel and the listening connection's life. A notice can be lost with its connection: whoever waits for one also looks
by its own clock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from zb_chassis.database import Pool

CHANNEL: Final = "ledger_grew"


@dataclass(slots=True)
class Growth:
    """What the listening connection heard, and whether it is gone."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False


@asynccontextmanager
async def growth(pool: Pool, stop: asyncio.Event) -> AsyncIterator[Growth]:
    """`woken` is set whenever the ledger grew, when the connection is gone, and when it is time to stop."""
    heard = Growth()

    def wake(*_: Any) -> None:
        heard.woken.set()

    def lose(*_: Any) -> None:
        heard.lost = True
        heard.woken.set()

    async def leave() -> None:
        await stop.wait()
        heard.woken.set()

    async with pool.acquire() as connection:
        connection.add_termination_listener(lose)
        await connection.add_listener(CHANNEL, wake)
        leaving = asyncio.create_task(leave())
        try:
            yield heard
        finally:
            leaving.cancel()
            # A connection that was lost is the pool's again, and has no listener any more.
            with suppress(asyncpg.InterfaceError):
                connection.remove_termination_listener(lose)
                await connection.remove_listener(CHANNEL, wake)
