"""JetStream as a model: streams that remember message ids for a while, consumers that deliver at least once, and its faults.

What it promises is what the real tests saw the real server do: an acknowledged message is stored, unless the power failed; a
known message id is stored once within the window; what is not settled comes again. It reads no message.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nats import errors

from field_ingest.admission.routing import ROUTED
from field_ingest.admission.stored_subjects import as_published
from field_ingest.ledger.shards import shard_of
from tests.simulation.world import SECOND_MS, World
from zb_contracts.subjects import STREAMS, StreamSpec

LOST_AT_ONCE_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream has it."""

    number: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    message_id: str


@dataclass(slots=True)
class Stream:
    """What one stream holds, oldest first."""

    spec: StreamSpec
    messages: dict[int, Stored] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    """Message id -> when it was seen last, ms."""
    last: int = 0
    heard: list[Callable[[], None]] = field(default_factory=list)
    """Called when something was stored."""


@dataclass(frozen=True, slots=True)
class Place:
    """A message's number in its stream, where nats-py has it."""

    stream: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What nats-py tells of a delivered message."""

    stream: str
    sequence: Place
    num_delivered: int


class Delivered:
    """A message in a consumer's hands: the part of nats-py's Msg that services use."""

    def __init__(self, consumer: "Consumer", stored: Stored, tries: int) -> None:
        self._consumer, self._number = consumer, stored.number
        self.subject, self.data, self.headers = stored.subject, stored.data, dict(stored.headers)
        self.metadata = Metadata(consumer.stream.spec.name, Place(stored.number), tries)
        self.acked = self.ended = False

    async def ack(self) -> None:
        self.acked = True
        self._consumer.settle(self._number)

    async def term(self) -> None:
        self.ended = True
        self._consumer.settle(self._number)

    async def nak(self, delay: float = 0) -> None:
        self._consumer.again(self._number, round(delay * SECOND_MS))

    async def in_progress(self) -> None:
        self._consumer.again(self._number, self._consumer.ack_wait_ms)


class Consumer:
    """A durable pull consumer with explicit acks. `shard` limits it to what is routed there."""

    def __init__(self, world: World, stream: Stream, *, ack_wait_s: float, shard: int | None = None, fault: str) -> None:
        self._world, self.stream, self._shard, self._fault = world, stream, shard, fault
        self.ack_wait_ms = round(ack_wait_s * SECOND_MS)
        self._next = 1
        self._pending: dict[int, tuple[int, int]] = {}
        """Number -> deliveries so far, and when it is due again, ms."""

    def fetch(self, batch: int) -> list[Delivered]:
        """Up to `batch` messages that are due."""
        self._look()
        now_ms, faults = self._world.now_ms, self._world.faults
        due = sorted(number for number, (_, at_ms) in self._pending.items() if at_ms <= now_ms)
        if len(due) > 1 and faults.bites(self._fault):
            self._world.dice.shuffle(due)
        taken = []
        for number in due[:batch]:
            stored = self.stream.messages.get(number)
            if stored is None:
                del self._pending[number]
                continue
            tries = self._pending[number][0] + 1
            self._pending[number] = (tries, now_ms + self.ack_wait_ms)
            taken.append(Delivered(self, stored, tries))
        return taken

    def settle(self, number: int) -> None:
        if self._world.faults.bites("broker delivers twice"):
            self.again(number, 0)
        else:
            self._pending.pop(number, None)

    def again(self, number: int, delay_ms: int) -> None:
        if number in self._pending:
            self._pending[number] = (self._pending[number][0], self._world.now_ms + delay_ms)

    def due_in_ms(self) -> int | None:
        """When the next message is due; None where nothing waits, neither new nor unsettled."""
        self._look()
        return max(0, min(at_ms for _, at_ms in self._pending.values()) - self._world.now_ms) if self._pending else None

    def _look(self) -> None:
        while self._next <= self.stream.last:
            stored = self.stream.messages.get(self._next)
            if stored is not None and self._shard in (None, _route(stored.subject)):
                self._pending[self._next] = (0, self._world.now_ms)
            self._next += 1


class Broker:
    """All streams. Also the part of nats-py's JetStream context that relays and dead letters use."""

    def __init__(self, world: World, shards: int) -> None:
        self._world, self._shards = world, shards
        self.streams = {spec.name: Stream(spec) for spec in STREAMS}

    def store(self, subject: str, data: bytes, message_id: str, headers: Mapping[str, str]) -> bool:
        """Take a message; False for one whose id is known already. Raises what nats-py raises."""
        stream = self._stream_of(subject)
        now_ms = self._world.now_ms
        if message_id:
            seen_ms = stream.ids.get(message_id)
            if seen_ms is not None and now_ms - seen_ms < stream.spec.duplicate_window_s * SECOND_MS:
                return False
            stream.ids[message_id] = now_ms
        stream.last += 1
        stored = Stored(stream.last, self._routed(stream.spec, subject), data, dict(headers), message_id)
        stream.messages[stream.last] = stored
        for heard in stream.heard:
            heard()
        return True

    async def publish(
        self, subject: str, payload: bytes = b"", timeout: float | None = None, *, headers: dict[str, Any] | None = None
    ) -> None:
        """For services: as `JetStreamContext.publish`."""
        faults, given = self._world.faults, headers or {}
        await self._world.pause(1)
        if faults.bites("request lost"):
            raise errors.TimeoutError
        self.store(subject, payload, given.get("Nats-Msg-Id", ""), given)
        if faults.bites("answer lost"):
            raise errors.TimeoutError

    def lose_end(self, name: str) -> None:
        """The power failed before the disk had the newest messages, although they were acknowledged."""
        stream = self.streams[name]
        for number in sorted(stream.messages)[-self._world.dice.randint(1, LOST_AT_ONCE_MAX) :]:
            lost = stream.messages.pop(number)
            stream.ids.pop(lost.message_id, None)
            self._world.note("broker loses", name, number, lost.message_id)

    def consumer(self, name: str, *, ack_wait_s: float = 30.0, shard: int | None = None, fault: str) -> Consumer:
        return Consumer(self._world, self.streams[name], ack_wait_s=ack_wait_s, shard=shard, fault=fault)

    def published(self, name: str) -> Iterable[Stored]:
        """What a stream holds, oldest first."""
        return self.streams[name].messages.values()

    def _stream_of(self, subject: str) -> Stream:
        for stream in self.streams.values():
            if any(subject.startswith(pattern.removesuffix("*")) for pattern in stream.spec.subjects):
                return stream
        raise errors.NoRespondersError

    def _routed(self, spec: StreamSpec, subject: str) -> str:
        if spec not in ROUTED:
            return subject
        first, second, name = subject.split(".")
        return f"{first}.{second}.{shard_of(name, self._shards)}.{name}"


def _route(stored: str) -> int | None:
    return int(stored.split(".")[2]) if as_published(stored) != stored else None
