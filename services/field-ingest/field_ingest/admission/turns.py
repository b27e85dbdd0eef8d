"""Batches of one reading side by side: while one is written the next is read and verified, and they are decided in their order.

A batch waits for those before it twice: before it says which messages can be placed, for what they may bring of an author, and
before its decision, for their commit. It decides nothing, and a batch that fails lets the next one go on.
"""

import asyncio
from collections.abc import Mapping


class Turn:
    """One batch's place in the order. Whoever took it ends it, whatever happened."""

    def __init__(self, before: "Turn | None") -> None:
        self._before = before
        self._reach: dict[str, int] = {}
        self._is_placed = asyncio.Event()
        self._is_over = asyncio.Event()

    async def to_place(self) -> Mapping[str, int]:
        """Returns when the batch before is placed: author -> the number up to which it may yet bring its events."""
        if self._before is None:
            return {}
        await self._before._is_placed.wait()
        return {} if self._before._is_over.is_set() else self._before._reach

    def place(self, reach: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Says how far this batch takes its authors, beside what came `before`."""
        self._reach = {**before, **reach}
        self._is_placed.set()

    async def to_decide(self) -> None:
        """Returns when the batch before is over."""
        before, self._before = self._before, None
        if before is not None:
            await before._is_over.wait()

    def end(self) -> None:
        """The batch is committed, or has failed."""
        self._before = None
        self._is_placed.set()
        self._is_over.set()


class Turns:
    """The order of one reading's batches."""

    def __init__(self) -> None:
        self._last: Turn | None = None

    def next(self) -> Turn:
        """The place behind all that were taken."""
        self._last = Turn(self._last)
        return self._last
