"""Answers that wait for what their devices have just sent: woken when the ledger has it, all by one statement a commit.

Without it a device would ask again and again for the receipts of what is on its way. Nothing depends on it: who is not woken
goes on after a while.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from field_ingest.ledger.growth import growth
from zb_chassis import lifecycle
from zb_chassis.database import Pool, waited_out

WAITING_MAX: Final = 1_000
"""Answers that may wait at a time, one an author; who asks beyond that is answered at once, and asks again."""
RETRY_S: Final = 0.5


class Arrival:
    """One author's events up to `head`, on their way."""

    def __init__(self, head: int) -> None:
        self.head = head
        self._size: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def came(self, size: int) -> None:
        """The ledger has them, or says why not; its shard has so many rows by then."""
        if not self._size.done():
            self._size.set_result(size)

    async def wait(self, seconds: float) -> int | None:
        """The shard's rows once they came; None when that takes longer."""
        done, _ = await asyncio.wait({self._size}, timeout=seconds)
        return self._size.result() if done else None


class Arrivals:
    """Who waits for which events; `run` is a task of the process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, Arrival] = {}

    @contextmanager
    def expected(self, author: str, head: int) -> Iterator[Arrival | None]:
        """What is committed from here on is heard of; None where nobody more may wait.

        To be begun before a look at the ledger: else what comes just after the look is missed.
        """
        if author in self._waiting or len(self._waiting) >= WAITING_MAX:
            yield None
            return
        self._waiting[author] = mine = Arrival(head)
        try:
            yield mine
        finally:
            del self._waiting[author]

    async def run(self, stop: asyncio.Event) -> None:
        """Wakes whose events came, until `stop` is set."""
        while not stop.is_set():
            async with waited_out("the look for what arrives"):
                await self._listen(stop)
            await lifecycle.unless(stop, asyncio.sleep(RETRY_S))

    async def _listen(self, stop: asyncio.Event) -> None:
        async with growth(self._pool, stop) as heard:
            while not heard.lost and not stop.is_set():
                heard.woken.clear()
                if self._waiting:
                    await self._look()
                await heard.woken.wait()

    async def _look(self) -> None:
        rows = await self._pool.fetch(
            """
            SELECT author, s.size FROM unnest($1::text[], $2::bigint[]) AS w (author, head) JOIN authors a USING (author)
            JOIN shards s USING (shard) WHERE a.mark >= w.head OR a.stopped_seq IS NOT NULL OR a.gap_nonce IS NOT NULL
            """,
            list(self._waiting),
            [one.head for one in self._waiting.values()],
        )
        for row in rows:
            # It may have gone, or another may wait in its place by now: that one is woken early, and answered what is there.
            if row["author"] in self._waiting:
                self._waiting[row["author"]].came(row["size"])
