"""The scopes follow the states: every technician whom a committed change may concern gets the documents that moved.

A step takes notes of what is due, each visible only once its change was committed, so that whoever takes it sees that change
and every earlier one, whichever partitions they lie in. What belongs to a scope is `scope`'s matter; rows are the store's.
"""

from collections.abc import Callable
from typing import Final

from field_ingest.projection.ports import ReadStore, ScopeTransaction
from field_ingest.projection.scope import Moved, ScopeLimits, day_of, moved, select, stock_of
from zb_chassis.clock import Clock

DUE_MAX: Final = 2_000
"""Notes that one step takes; a technician whom many of them concern is looked at once."""
TECHNICIANS_MAX: Final = 200
"""Technicians whose rows one query of a step loads."""

EpochSource = Callable[[], str]
"""Makes the id of a new change order; a device that holds another one starts again from nothing."""


class Scopes:
    """Brings scopes up to the states. Any number may work at once: a technician's row is locked before it is read."""

    def __init__(self, store: ReadStore, *, limits: ScopeLimits, clock: Clock, new_epoch: EpochSource) -> None:
        self._store, self._limits, self._clock, self._new_epoch = store, limits, clock, new_epoch
        self._day = day_of(clock(), limits.zone)

    async def step(self) -> frozenset[str] | None:
        """Takes the next notes; the technicians whose order moved, or None when nothing was due."""
        async with self._store.scopes() as transaction:
            due = await transaction.due(DUE_MAX)
            if not due:
                return None
            names = sorted(due.technicians | await transaction.concerned(sorted(due.streams)))
            found: set[str] = set()
            for first in range(0, len(names), TECHNICIANS_MAX):
                found |= await self._follow(transaction, names[first : first + TECHNICIANS_MAX])
            return frozenset(found)

    async def sweep(self) -> None:
        """Takes out of the scopes what was closed long enough ago, and on a new day looks again at those that the budget
        cut: the nearest day is another one. The next steps follow."""
        now_ms = self._clock()
        async with self._store.scopes() as transaction:
            await transaction.expire(now_ms)
            if day_of(now_ms, self._limits.zone) != self._day:
                await transaction.note_cut()
        self._day = day_of(now_ms, self._limits.zone)

    async def _follow(self, transaction: ScopeTransaction, names: list[str]) -> set[str]:
        orders = await transaction.lock(names, [self._new_epoch() for _ in names])
        members = await transaction.members(names)
        now_ms = self._clock()
        streams = {stream for found in members.values() for member in found for stream in member.documents}
        documents = await transaction.documents(sorted(streams | {stock_of(name) for name in names}))
        alive = await transaction.alive(names)
        sizes = {stream: document.size for stream, document in documents.items()}
        written: list[Moved] = []
        for name in names:
            selection = select(name, members.get(name, ()), sizes, self._limits, now_ms)
            written.append(moved(name, orders[name], alive.get(name, {}), selection, documents))
        await transaction.write(written)
        return {one.technician for one in written if one.moves}
