"""How a service hears a stream: the real bounded handling over the broker's model, one transaction a message.

Announcements may come out of order and twice; a service may be killed at any step of its transaction.
"""

from collections.abc import Callable
from typing import Any, Final

from tests.simulation.broker import Broker, Delivered
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.undo import Undo
from tests.simulation.world import Broken, Killed, Worker, World
from zb_chassis.consuming import DeadLetters, Outcome, handle_bounded

BATCH_MAX: Final = 8
FETCH_MS: Final = (5, 200)
DEATHS_MAX: Final = 5
"""So often chance ends the process with the same message in hand. What does it every time is poison, and is buried as such."""

FORWARD: Final = "announcements never go back"

Take = Callable[[Undo, Delivered], None]
"""Applies one message in the transaction that is open; what it raises takes everything back."""


class Hearing:
    """One durable reading of a stream by a service."""

    def __init__(
        self,
        world: World,
        broker: Broker,
        stream: str,
        outbox: MemoryOutbox,
        service: str,
        take: Take,
        position: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """`position` is how far the service has come with what a subject is about: it must never go back."""
        self._world, self._outbox, self._take = world, outbox, take
        self._is_spared = False
        self.consumer = broker.consumer(stream, fault="announcement out of order")
        letters = DeadLetters(broker, service)  # type: ignore[arg-type]

        async def handle(message: Any) -> None:
            with outbox.undo.transaction():
                self._gate()
                take(outbox.undo, message)
                self._gate()
            self._gate()

        async def work() -> int | None:
            batch = self.consumer.fetch(world.dice.randint(1, BATCH_MAX))
            self._is_spared = any(message.metadata.num_delivered > DEATHS_MAX for message in batch)
            for message in batch:
                given: Any = message
                before = position(message.subject)
                outcome = await handle_bounded(given, handle, letters)
                if position(message.subject) < before:
                    raise Broken(FORWARD, f"{service} was at {before} of {message.subject}, now {position(message.subject)}")
                if outcome is Outcome.BURIED:
                    world.note(service, "buried", message.subject)
                await world.pause(world.dice.randint(1, 10))
            return self.consumer.due_in_ms()

        worker = Worker(world, f"{service} on {stream}", work)
        broker.streams[stream].heard.append(lambda: worker.wake(world.dice.randint(*FETCH_MS)))

    def _gate(self) -> None:
        if not self._is_spared and self._world.faults.bites("service killed at a write"):
            raise Killed
