"""Answers that wait for what their devices have just sent: woken when the ledger has it, all by one statement a commit.

Without it a device would ask again and again for the receipts of what is on its way. Nothing depends on it: who is not woken
goes on after a while.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from field_ingest.ledger.growth import Growth, growth
from zb_chassis import lifecycle
from zb_chassis.database import Pool, waited_out

WAITING_MAX: Final = 1_000
"""Answers that may wait at a time, one an author; who asks beyond that is answered at once, and asks again."""
RETRY_S: Final = 0.5


@dataclass(slots=True)
class _Wait:
    head: int
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Arrivals:
    """Who waits for which events; `run` is a task of the process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, _Wait] = {}
        self._heard = Growth()

    async def wait(self, author: str, head: int, seconds: float) -> None:
        """Until the ledger has the author's events up to `head` or says why not, at most so long."""
        if author in self._waiting or len(self._waiting) >= WAITING_MAX:
            return
        mine = self._waiting[author] = _Wait(head)
        self._heard.woken.set()
        try:
            async with asyncio.timeout(seconds):
                await mine.over.wait()
        except TimeoutError:
            return
        finally:
            del self._waiting[author]

    async def run(self, stop: asyncio.Event) -> None:
        """Wakes whose events came, until `stop` is set."""
        while not stop.is_set():
            async with waited_out("the look for what arrives"):
                await self._listen(stop)
            await lifecycle.unless(stop, asyncio.sleep(RETRY_S))

    async def _listen(self, stop: asyncio.Event) -> None:
        async with growth(self._pool, stop) as self._heard:
            while not self._heard.lost and not stop.is_set():
                self._heard.woken.clear()
                if self._waiting:
                    await self._look()
                await self._heard.woken.wait()

    async def _look(self) -> None:
        rows = await self._pool.fetch(
            """
            SELECT a.author FROM unnest($1::text[], $2::bigint[]) AS w (author, head) JOIN authors a USING (author)
            WHERE a.mark >= w.head OR a.stopped_seq IS NOT NULL OR a.gap_nonce IS NOT NULL
            """,
            list(self._waiting),
            [one.head for one in self._waiting.values()],
        )
        for row in rows:
            # It may have gone, or another may wait in its place by now: that one is woken early, and answered what is there.
            if row["author"] in self._waiting:
                self._waiting[row["author"]].over.set()
