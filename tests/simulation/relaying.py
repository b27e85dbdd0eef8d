"""Two relays a service, of which one may publish: the real zb_chassis relay over an outbox in memory.

A relay may stand still in the middle of its batch for longer than its lease, or be killed between a publish and its mark.
"""

from typing import Any, Final

from tests.simulation.broker import Broker
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.world import SECOND_MS, Broken, Killed, Worker, World
from zb_chassis.relay import LeaseLost, NotNow, Relay, RelayLimits

RELAYS: Final = 2
STANDS_STILL_MS: Final = (1 * SECOND_MS, 300 * SECOND_MS)
LIMITS: Final = RelayLimits(lease_s=15.0)
RETRY_MS: Final = 3 * SECOND_MS
ONE: Final = "one relay publishes"


class _Publisher:
    """The broker, as a process sees it that may stop at any publish."""

    def __init__(self, world: World, broker: Broker, outbox: MemoryOutbox, holder: str) -> None:
        self._world, self._broker, self._outbox, self._holder = world, broker, outbox, holder

    async def publish(
        self, subject: str, payload: bytes = b"", timeout: float | None = None, *, headers: dict[str, Any] | None = None
    ) -> None:
        lease = self._outbox.lease
        if lease is None or lease.holder != self._holder:
            raise Broken(ONE, f"{self._holder} publishes although another has taken over")
        if self._world.faults.bites("relay paused"):
            await self._world.pause(self._world.dice.randint(*STANDS_STILL_MS))
        await self._broker.publish(subject, payload, timeout, headers=headers)
        if self._world.faults.bites("relay killed"):
            raise Killed


class Relays:
    """The relays of one outbox."""

    def __init__(self, world: World, broker: Broker, outbox: MemoryOutbox, service: str) -> None:
        self._world, self._outbox = world, outbox
        self._broker = broker
        self._lives = 0
        self._workers = [self._worker(f"relay {number} of {service}") for number in range(RELAYS)]

    def wake(self) -> None:
        """Something may lie in the outbox."""
        for worker in self._workers if self._outbox.unsent() else ():
            worker.wake(self._world.dice.randint(1, 100))

    def _worker(self, name: str) -> Worker:
        relay = self._born(name)

        def restarted() -> None:
            nonlocal relay
            relay = self._born(name)

        async def work() -> int | None:
            try:
                handled = await relay.turn()
            except (LeaseLost, NotNow) as trouble:
                self._world.note(name, type(trouble).__name__)
                if isinstance(trouble, LeaseLost):
                    restarted()
                return RETRY_MS
            if handled:
                self._world.note(name, "sent", handled)
            return RETRY_MS if self._outbox.unsent() else None

        return Worker(self._world, name, work, restarted)

    def _born(self, name: str) -> Relay:
        self._lives += 1
        pool: Any = self._outbox
        holder = f"{name}, life {self._lives}"
        publisher = _Publisher(self._world, self._broker, self._outbox, holder)
        return Relay(pool, publisher, limits=LIMITS, holder=holder, monotonic=lambda: self._world.now_ms / SECOND_MS)
