"""Aggregates in the decide/evolve style, kept as events: load folds them, append adds what was decided.

A service's `domain.py` stays pure: its events are plain frozen dataclasses or msgspec structs and import nothing of ours.
`EventMapper` is eventsourcing's Mapper (transcoder, compressor, cipher, upcasters) for such events, with two differences:
a topic is a name chosen once and for ever, not a module path, and a loaded event is validated against its class.
It opens no transaction and knows no command.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    IntegrityError,
    Mapper,
    MapperDeserialisationError,
    StoredEvent,
    Tracking,
    Transcoder,
)

from zb_chassis.database import Connection
from zb_chassis.recorder import AggregateRecorder, ProcessRecorder

State = TypeVar("State")
Event = TypeVar("Event")

EVENT_BYTES_MAX = 1_048_576
TOPIC = re.compile(r"[a-z][a-z0-9_.]{0,127}")


class UnknownTopic(Exception):
    """An event's class or a stored topic is not among the registered ones: register it, also when it is retired."""


class EventTooLarge(Exception):
    """An event's stored form is larger than EVENT_BYTES_MAX: what is that large belongs in the object store."""


class VersionConflict(Exception):
    """The aggregate is not at the version that the decision was made on: load it again and decide again."""

    def __init__(self, aggregate_id: UUID, expected: int) -> None:
        super().__init__(f"{aggregate_id} is not at version {expected} any more")
        self.aggregate_id = aggregate_id
        self.expected = expected


@dataclass(frozen=True)
class Recorded(Generic[Event]):
    """A domain event with its place: aggregate and version (1, 2, 3 ...)."""

    originator_id: UUID
    originator_version: int
    event: Event


class JsonTranscoder(Transcoder):
    """Dataclasses, structs, dates, decimals and UUIDs as plain JSON; their types come back from the event's class."""

    def encode(self, obj: Any) -> bytes:
        return msgspec.json.encode(obj)

    def decode(self, data: bytes) -> Any:
        return msgspec.json.decode(data)


class EventMapper(Mapper[UUID]):
    """Recorded events to StoredEvent and back, by registered topic.

    An event class may carry `class_version` (2 and up) and static methods `upcast_v1_v2(state)` that change the decoded
    mapping in place, as in eventsourcing. Several classes may not share a topic, nor a class have two.
    """

    def __init__(self, topics: Mapping[str, type], *, compressor: Compressor | None = None, cipher: Cipher | None = None) -> None:
        super().__init__(JsonTranscoder(), compressor, cipher)
        for topic in topics:
            if not TOPIC.fullmatch(topic):
                raise UnknownTopic(f"{topic!r} cannot be a topic: use lower case words joined by dots")
        self._classes = dict(topics)
        self._topics = {event_class: topic for topic, event_class in topics.items()}
        if len(self._topics) != len(self._classes):
            raise UnknownTopic("an event class is registered under two topics")

    def knows(self, topic: str) -> bool:
        """True when the topic is registered."""
        return topic in self._classes

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Raises UnknownTopic and EventTooLarge."""
        recorded: Recorded[Any] = domain_event
        event_class = type(recorded.event)
        if event_class not in self._topics:
            raise UnknownTopic(f"{event_class.__qualname__} has no topic: register it with the mapper")
        state = msgspec.to_builtins(recorded.event)
        class_version = getattr(event_class, "class_version", 1)
        if class_version > 1:
            state["class_version"] = class_version
        stored = self.transcoder.encode(state)
        if len(stored) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"{event_class.__qualname__}: {len(stored)} bytes, the limit is {EVENT_BYTES_MAX}")
        if self.compressor:
            stored = self.compressor.compress(stored)
        if self.cipher:
            stored = self.cipher.encrypt(stored)
        return StoredEvent(recorded.originator_id, recorded.originator_version, self._topics[event_class], stored)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Raises UnknownTopic, and MapperDeserialisationError when the stored state does not fit the event's class."""
        event_class = self._classes.get(stored_event.topic)
        if event_class is None:
            raise UnknownTopic(f"the stored topic {stored_event.topic!r} is not registered: add its event class")
        try:
            event: Any = msgspec.convert(self._upcast(event_class, self._decoded(stored_event.state)), event_class)
        except Exception as error:  # the cipher's and compressor's errors are theirs to name
            raise MapperDeserialisationError(
                f"{stored_event.topic} {stored_event.originator_id} {stored_event.originator_version}: {error}"
            ) from error
        assert isinstance(stored_event.originator_id, UUID)
        return Recorded(stored_event.originator_id, stored_event.originator_version, event)

    def _decoded(self, stored: bytes) -> dict[str, Any]:
        if self.cipher:
            stored = self.cipher.decrypt(stored)
        if self.compressor:
            stored = self.compressor.decompress(stored)
        state: dict[str, Any] = self.transcoder.decode(stored)
        return state

    @staticmethod
    def _upcast(event_class: type, state: dict[str, Any]) -> dict[str, Any]:
        for version in range(state.pop("class_version", 1), getattr(event_class, "class_version", 1)):
            getattr(event_class, f"upcast_v{version}_v{version + 1}")(state)
        return state


@dataclass(frozen=True)
class Loaded(Generic[State]):
    """An aggregate's state and the version it is at; version 0 means that it has no event yet."""

    state: State
    version: int


@dataclass(frozen=True)
class Snapshots:
    """Keep a state after every `every` events. `mapper` names the classes of the states, as one names events' classes.

    A snapshot is a short cut and never the truth: one whose topic is not registered is passed over, so give the states
    new topics whenever `evolve` changes.
    """

    mapper: EventMapper
    every: int


class Repository(Generic[State, Event]):
    """The aggregates of one kind: `initial` is the state before any event, `evolve` the pure step that never refuses."""

    def __init__(
        self,
        mapper: EventMapper,
        *,
        initial: State,
        evolve: Callable[[State, Event], State],
        snapshots: Snapshots | None = None,
    ) -> None:
        self._mapper = mapper
        self._initial = initial
        self._evolve = evolve
        self._recorder = ProcessRecorder()
        self._snapshots = snapshots
        self._snapshot_recorder = AggregateRecorder()

    async def load(self, connection: Connection, aggregate_id: UUID, *, version: int | None = None) -> Loaded[State]:
        """The aggregate as it is, or as it was at `version`."""
        start = await self._snapshot(connection, aggregate_id, version)
        state, reached = start.state, start.version
        for stored in await self._recorder.select_events(connection, aggregate_id, gt=reached, lte=version):
            recorded: Recorded[Event] = self._mapper.to_domain_event(stored)
            state, reached = self._evolve(state, recorded.event), recorded.originator_version
        return Loaded(state, reached)

    async def append(
        self,
        connection: Connection,
        aggregate_id: UUID,
        expected_version: int,
        events: Sequence[Event],
        *,
        tracking: Tracking | None = None,
    ) -> list[int]:
        """Add what was decided on `expected_version`, in the caller's transaction; returns the events' positions.

        Raises VersionConflict when the aggregate is at another version: roll the transaction back, load and decide
        again. With `tracking`, eventsourcing's IntegrityError says that the upstream notification was processed before.
        """
        # A version never falls, so looking first and the unique key afterwards together leave neither gap nor fork.
        if events and await self._version(connection, aggregate_id) != expected_version:
            raise VersionConflict(aggregate_id, expected_version)
        stored = [
            self._mapper.to_stored_event(Recorded(aggregate_id, expected_version + place, event))
            for place, event in enumerate(events, start=1)
        ]
        try:
            positions = await self._recorder.insert_events(connection, stored, tracking=tracking)
        except IntegrityError as error:
            if isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise VersionConflict(aggregate_id, expected_version) from error
            raise
        if (
            self._snapshots
            and (expected_version + len(events)) // self._snapshots.every > expected_version // self._snapshots.every
        ):
            await self._keep_snapshot(connection, aggregate_id, self._snapshots)
        return positions

    async def _snapshot(self, connection: Connection, aggregate_id: UUID, version: int | None) -> Loaded[State]:
        if self._snapshots is not None:
            kept = await self._snapshot_recorder.select_events(connection, aggregate_id, lte=version, desc=True, limit=1)
            if kept and self._snapshots.mapper.knows(kept[0].topic):
                recorded: Recorded[State] = self._snapshots.mapper.to_domain_event(kept[0])
                return Loaded(recorded.event, recorded.originator_version)
        return Loaded(self._initial, 0)

    async def _keep_snapshot(self, connection: Connection, aggregate_id: UUID, snapshots: Snapshots) -> None:
        reached = await self.load(connection, aggregate_id)
        recorded = Recorded(aggregate_id, reached.version, reached.state)
        await self._snapshot_recorder.insert_events(connection, [snapshots.mapper.to_stored_event(recorded)])

    async def _version(self, connection: Connection, aggregate_id: UUID) -> int:
        last = await self._recorder.select_events(connection, aggregate_id, desc=True, limit=1)
        return last[0].originator_version if last else 0
