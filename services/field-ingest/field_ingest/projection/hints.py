"""Hints: "ask again", said to connected devices for which something moved, at most once an interval each.

A hint has no body and no promise: a device that misses one asks by itself later. Owns who hears it, when and how often; it knows
neither what moved nor how an answer is made. What a device wrote itself it has, and it asks when it sends: its hint may wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog
from nats import errors

from zb_chassis.database import Connection
from zb_contracts import subjects

INTERVAL_S: Final = 1.0
OWN_S: Final = 5.0
"""So long the hint of a device waits that has itself just written: what came of it, and what it hears meanwhile, is one hint."""
WAITING_MAX: Final = 100_000
"""Devices that may wait for a hint at a time; beyond it the new ones hear nothing and ask by themselves."""
REMEMBERED_MAX: Final = 200_000

log: Final = structlog.get_logger(__name__)

Publish = Callable[[str, bytes], Awaitable[None]]
"""Publishes on a core NATS subject."""


async def devices_concerned(
    connection: Connection, technicians: Iterable[str], authors: Iterable[str]
) -> tuple[set[str], set[str]]:
    """The devices on which these technicians asked last, but for those of these authors; and those of these authors."""
    rows = await connection.fetch(
        """
        SELECT device, false AS wrote FROM sync_session WHERE technician = ANY($1)
        UNION ALL SELECT device, true FROM authors WHERE author = ANY($2) AND device IS NOT NULL
        """,
        sorted(technicians),
        sorted(authors),
    )
    wrote = {row["device"] for row in rows if row["wrote"]}
    return {row["device"] for row in rows} - wrote, wrote


class Hints:
    """Devices that are to hear a hint, each at most once in `interval_s`; the last one is never lost on the way out."""

    def __init__(self, publish: Publish, *, interval_s: float = INTERVAL_S) -> None:
        self._publish, self._interval_s = publish, interval_s
        self._waiting: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._wake = asyncio.Event()
        self.published = 0
        self.dropped = 0

    def note(self, devices: Iterable[str], *, within_s: float = 0.0) -> None:
        """These devices should ask again, at once or within a while."""
        due = asyncio.get_running_loop().time() + within_s
        for device in devices:
            if device not in self._waiting and len(self._waiting) >= WAITING_MAX:
                self.dropped += 1
                continue
            self._waiting[device] = min(due, self._waiting.get(device, due))
        if self._waiting:
            self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Says what is due until `stop` is set, and then what still waits, at once: a task of the process."""
        leaving = asyncio.create_task(self._leave(stop))
        while not stop.is_set():
            self._wake.clear()
            due_in_s = await self.say()
            with suppress(TimeoutError):
                async with asyncio.timeout(due_in_s):
                    await self._wake.wait()
        self._said.clear()
        self._waiting = dict.fromkeys(self._waiting, 0.0)
        await self.say()
        await leaving

    async def _leave(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def say(self) -> float | None:
        """Publishes every hint that is due; seconds until the next one is, None when nobody waits."""
        now = asyncio.get_running_loop().time()
        self._forget(now)
        next_s = None
        for device, due in list(self._waiting.items()):
            wait_s = max(due, self._said.get(device, now - self._interval_s) + self._interval_s) - now
            if wait_s > 0:
                next_s = wait_s if next_s is None else min(next_s, wait_s)
                continue
            del self._waiting[device]
            self._said[device] = now
            try:
                await self._publish(subjects.hint(device), b"")
            except errors.Error as fault:
                # The broker is away: the device will ask when it is back, a hint is nothing to keep.
                log.warning("hint not said", device=device, fault=str(fault))
                self.dropped += 1
            else:
                self.published += 1
        return next_s

    def _forget(self, now: float) -> None:
        if len(self._said) > REMEMBERED_MAX:
            self._said = {device: at for device, at in self._said.items() if now - at < self._interval_s}
