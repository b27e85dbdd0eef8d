"""The world of one run: virtual time, one source of chance, tasks that wait, and a trace of all that happened.

Nothing here reads a clock or the system's randomness: a seed gives the same trace on every machine. Real coroutines run on it;
they wait only through `pause`, and what holds no pause is one instant. It knows no device, broker or ledger.
"""

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from tests.simulation.faults import Faults
from zb_contracts.times import parse_time_ms

MORNING_MS: Final = parse_time_ms("2026-11-23T07:00:00.000Z")
TRACE_KEPT: Final = 60
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
RESTART_MS: Final = (1_000, 20_000)
WORKER_PATIENCE_MS: Final = 50

T = TypeVar("T")


class Killed(BaseException):
    """The process that does this ends here. No `except Exception` of the code that runs in it may stop that."""


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class _Pause(Awaitable[None]):
    def __init__(self, delay_ms: int) -> None:
        self.delay_ms = delay_ms

    def __await__(self) -> Generator[int, None, None]:
        yield self.delay_ms


class Task:
    """A coroutine of a process of the world. `kill` ends it where it waits."""

    def __init__(self, world: "World", coroutine: Coroutine[Any, Any, None]) -> None:
        self._world, self._coroutine = world, coroutine
        self.ended = False

    def step(self) -> None:
        if self.ended:
            return
        try:
            delay_ms = self._coroutine.send(None)
        except (StopIteration, Killed):
            self.ended = True
        except BaseException:
            self.ended = True
            raise
        else:
            self._world.after(delay_ms, self.step)

    def kill(self) -> None:
        if not self.ended:
            self.ended = True
            self._coroutine.close()


class World:
    """Time goes from event to event. Two things of one moment happen in the order in which they were planned."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)  # noqa: S311 chance that must be repeatable
        self.faults = Faults(self.dice)
        self.now_ms = MORNING_MS
        self.steps = 0
        self.invention = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._digest = hashlib.sha256()
        self.recent: deque[str] = deque(maxlen=TRACE_KEPT)

    def clock(self) -> int:
        """True time, ms since 1970: the servers' clock."""
        return self.now_ms

    def note(self, *words: object) -> None:
        """One line of the trace. What stands in it must not depend on the machine."""
        line = f"{self.now_ms - MORNING_MS} " + " ".join(map(str, words))
        self._digest.update(line.encode() + b"\n")
        self.recent.append(line)

    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    def uuid7(self, now_ms: int) -> str:
        """A UUIDv7 of this moment that this world has never made before."""
        self.invention += 1
        low = f"{self.invention:012x}"
        time = f"{max(now_ms, 0) & ((1 << 48) - 1):012x}"
        return f"{time[:8]}-{time[8:]}-7000-8000-{low}"

    def after(self, delay_ms: int, what: Callable[[], None]) -> None:
        """Plan something."""
        self._planned += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._planned, what))

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        """Run a task until it first waits; it goes on by itself from there."""
        task = Task(self, coroutine)
        task.step()
        return task

    def pause(self, delay_ms: int) -> Awaitable[None]:
        """For tasks: let time pass."""
        return _Pause(delay_ms)

    def run(self, until_ms: int) -> None:
        """All that is planned up to this moment."""
        while self._queue and self._queue[0][0] <= until_ms:
            self.now_ms, _, what = heapq.heappop(self._queue)
            self.steps += 1
            what()
        self.now_ms = max(self.now_ms, until_ms)


class Worker:
    """A process that does one thing at a time when it is woken, and starts again when it was killed.

    `work` says in how many ms it wants to go on (None: when it is woken); `restarted` makes its memory anew.
    """

    def __init__(
        self,
        world: World,
        name: str,
        work: Callable[[], Coroutine[Any, Any, int | None]],
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self._world, self._name, self._work, self._restarted = world, name, work, restarted
        self._due_ms: int | None = None
        self._task: Task | None = None

    def wake(self, delay_ms: int = 1) -> None:
        """Work in `delay_ms` at the latest."""
        due_ms = self._world.now_ms + delay_ms
        if self._due_ms is None or due_ms < self._due_ms:
            self._due_ms = due_ms
            self._world.after(delay_ms, self._turn)

    def _turn(self) -> None:
        if self._due_ms is None or self._world.now_ms < self._due_ms:
            return
        if self._task is not None and not self._task.ended:
            self._due_ms = None
            self.wake(WORKER_PATIENCE_MS)
            return
        self._due_ms = None
        self._task = self._world.start(self._do())

    async def _do(self) -> None:
        try:
            delay_ms = await self._work()
        except Killed:
            self._world.note("killed", self._name)
            self._restarted()
            delay_ms = self._world.dice.randint(*RESTART_MS)
        if delay_ms is not None:
            self.wake(delay_ms)


def instantly(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits. RuntimeError for one that does: it would not be one instant."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("this coroutine waits: start it as a task")
