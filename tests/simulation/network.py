"""The way between a device and the platform: slow, lossy, out of order, sometimes with a liar on it.

It implements zb_device's Transport. A request may be lost before it arrived, or its answer after; may arrive twice, or long after
the device gave up. An answer may be changed, be an old one, or come from a responder that holds the ledger's key and lies.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.broker import Broker
from tests.simulation.world import SECOND_MS, World
from zb_contracts import subjects
from zb_device.faults import Refused, Unreachable

LATENCY_MS: Final = (20, 400)
TIMEOUT_MS: Final = 5 * SECOND_MS
LATE_MS: Final = (1 * SECOND_MS, 300 * SECOND_MS)

Responder = Callable[[str, bytes], Coroutine[Any, Any, bytes | None]]
Liar = Callable[[bytes, bytes], bytes]
"""(request, honest answer) -> what a liar with the ledger's key says instead."""


@dataclass(slots=True)
class Line:
    """One device's transport. `technician` is read at each request: that of the session. `up`: there is a network."""

    world: World
    broker: Broker
    responder: Responder
    liar: Liar
    device: str
    technician: Callable[[], str | None]
    up: bool = True
    stored_ms: int = -1
    """When the broker last stored a message of this device that it did not have."""
    _earlier: bytes = field(default=b"", init=False)

    async def publish(self, data: bytes, message_id: str) -> None:
        """As zb_device.transport.Transport."""
        faults = self.world.faults
        await self._there()
        if faults.bites("broker full"):
            raise Refused("the broker did not take the segment", problem="broker.full", may_retry=True)
        if faults.bites("request delayed"):
            self.world.after(self.world.dice.randint(*LATE_MS), lambda: self._store(data, message_id))
            await self._gone()
        self._store(data, message_id)
        if faults.bites("request doubled"):
            self.world.after(self.world.dice.randint(*LATE_MS), lambda: self._store(data, message_id))
        await self._back()

    async def ask(self, request: bytes) -> bytes:
        """As zb_device.transport.Transport."""
        faults = self.world.faults
        await self._there()
        answer = await self.responder(subjects.sync(self.device, self.technician() or subjects.DRAIN), request)
        await self._back()
        if answer is None:
            raise Unreachable("no answer")
        earlier, self._earlier = self._earlier, answer
        if faults.bites("answer forged"):
            return earlier if earlier and self.world.dice.random() < 0.5 else _changed(answer, self.world.dice.random())
        if faults.bites("answer by a liar"):
            return self.liar(request, answer)
        return answer

    async def close(self) -> None:
        """As zb_device.transport.Transport."""

    def _store(self, data: bytes, message_id: str) -> None:
        if self.world.faults.bites("broker damages a message"):
            data = _changed(data, self.world.dice.random())
        if self.broker.store(subjects.field(self.device), data, message_id, {"Nats-Msg-Id": message_id}):
            self.stored_ms = self.world.now_ms

    async def _there(self) -> None:
        await self.world.pause(self.world.dice.randint(*LATENCY_MS))
        if not self.up:
            raise Unreachable("no network")
        if self.world.faults.bites("request lost"):
            await self._gone()

    async def _back(self) -> None:
        await self.world.pause(self.world.dice.randint(*LATENCY_MS))
        if not self.up or self.world.faults.bites("answer lost"):
            await self._gone()

    async def _gone(self) -> None:
        await self.world.pause(TIMEOUT_MS)
        raise Unreachable("no answer in time")


def _changed(answer: bytes, where: float) -> bytes:
    """One bit of it another."""
    at = int(len(answer) * where)
    return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
