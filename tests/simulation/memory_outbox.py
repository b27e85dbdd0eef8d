"""An outbox in memory, and the few statements by which the real relay reads, marks and leases it.

The relay is zb_chassis'; this stands where its pool does. Statements are known by the relay's own constants, so that one that is
changed is missed loudly. Inbox marks are here too: both are written in the transaction of whoever decides.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from tests.simulation.undo import Undo
from zb_chassis import relay
from zb_chassis.outbox import Message, MessageIdConflict


@dataclass(slots=True)
class Waiting:
    """A message as it lies in the outbox."""

    position: int
    message: Message
    sent: bool = False


@dataclass(slots=True)
class Lease:
    """Who may publish, until when (ms), and how often that changed."""

    holder: str
    fence: int
    expires_ms: int


class MemoryOutbox:
    """A service's outbox and inbox. `clock` is the database's."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.undo = Undo()
        self.messages: list[Waiting] = []
        self.lease: Lease | None = None
        self.inbox: dict[tuple[str, str], bool] = {}
        self._ids: dict[str, Message] = {}
        self._clock = clock

    def enqueue(self, undo: Undo, messages: Sequence[Message]) -> None:
        """As `outbox.enqueue_all`: in order; what is there already with the same content stays as it is."""
        for message in messages:
            known = self._ids.get(message.message_id)
            if known is None:
                undo.put(self._ids, message.message_id, message)
                undo.append(self.messages, Waiting(len(self.messages), message))
            elif (known.subject, known.payload) != (message.subject, message.payload):
                raise MessageIdConflict(message.message_id)

    def first_time(self, undo: Undo, source: str, message_id: str) -> bool:
        """As `inbox.first_time`."""
        if (source, message_id) in self.inbox:
            return False
        undo.put(self.inbox, (source, message_id), True)
        return True

    def unsent(self) -> int:
        return sum(not waiting.sent for waiting in self.messages)

    # --- What the relay asks of its pool ---

    async def fetchval(self, statement: str, *values: Any) -> Any:
        if statement is relay.TAKE_LEASE:
            return self._take_lease(*values)
        if statement is relay.LEASE_STILL_MINE:
            _, holder, fence = values
            return self.lease is not None and (self.lease.holder, self.lease.fence) == (holder, fence)
        raise LookupError(f"the relay asks something new: {statement}")

    async def fetch(self, statement: str, limit: int) -> list[dict[str, Any]]:
        if statement is not relay.WAITING:
            raise LookupError(f"the relay asks something new: {statement}")
        return [_row(waiting) for waiting in self.messages if not waiting.sent][:limit]

    async def execute(self, statement: str, *values: Any) -> None:
        if not statement.startswith("UPDATE chassis.outbox SET sent_at"):
            raise LookupError(f"the relay does something new: {statement}")
        for position in values[0]:
            self.messages[position].sent = True

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Self]:
        yield self

    @asynccontextmanager
    async def transaction(self, isolation: str) -> AsyncIterator[None]:
        yield

    def _take_lease(self, _: str, holder: str, lease_s: float) -> int | None:
        held, now_ms = self.lease, self._clock()
        if held is not None and held.holder != holder and held.expires_ms >= now_ms:
            return None
        fence = 1 if held is None else held.fence + (held.holder != holder)
        self.lease = Lease(holder, fence, now_ms + round(lease_s * 1000))
        return fence


def _row(waiting: Waiting) -> dict[str, Any]:
    message = waiting.message
    return {
        "position": waiting.position,
        "message_id": message.message_id,
        "subject": message.subject,
        "headers": msgspec.json.encode(dict(message.headers)),
        "payload": message.payload,
        "refusals": 0,
    }
