"""A retry timer: does its round on its own, on a hint, and soon after something was queued. A device has two: events, photos.

It has its own clock of tries (exponential, with jitter) and depends on no write: what failed once with nothing written since is
tried again. It decides nothing about content and survives every fault of a round by noting it and waiting.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

POLL_FIRST_S: Final = 0.2
"""First look for receipts of what was just sent; doubles while they are missing."""
POLL_S_MAX: Final = 15.0
RETRY_FIRST_S: Final = 1.0
RETRY_S_MAX: Final = 60.0
IDLE_S: Final = 300.0
HINTS_APART_S: Final = 0.1


@dataclass(slots=True)
class Background:
    """One task. `attempt` does a whole round and says whether something is still on its way."""

    attempt: Callable[[], Awaitable[bool]]
    noted: Callable[[], None] = lambda: None
    """Called after each round, whatever became of it."""
    retry_s_max: float = RETRY_S_MAX
    idle_s: Callable[[], float] = lambda: IDLE_S
    """How long to rest when nothing is on its way."""
    appointment_s: Callable[[], float] = lambda: math.inf
    """Until a moment at which a round is due whatever else; no jitter moves it."""
    failures: int = 0
    last_fault: str | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Something changed: do not wait for the timer."""
        self._wake.set()

    def recorded(self) -> None:
        """Something was recorded. While the network is failing, the retry timer keeps its own time."""
        if not self.failures:
            self._wake.set()

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            # A library that waits for an answer may swallow the cancel when the answer comes at that moment.
            self._wake.set()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        polls = 0
        while self._task is not None:
            self._wake.clear()
            try:
                on_its_way = await self.attempt()
                self.failures, self.last_fault = 0, None
                polls = polls + 1 if on_its_way else 0
                delay_s = min(POLL_S_MAX, POLL_FIRST_S * 2 ** min(polls - 1, 10)) if on_its_way else self.idle_s()
            except Exception as fault:  # whatever it is, unsent work waits: it is noted, shown, and tried again
                polls = 0
                self.failures += 1
                self.last_fault = str(fault) or type(fault).__name__
                delay_s = min(self.retry_s_max, RETRY_FIRST_S * 2 ** min(self.failures - 1, 10))
            self.noted()
            jittered_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
            await self._pause(min(jittered_s, self.appointment_s()))

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            return
        # A flood of hints costs one round at a time.
        await asyncio.sleep(HINTS_APART_S)
