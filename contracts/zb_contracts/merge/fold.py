"""The way in: `state = fold(stream, admitted events)`, pure, total, independent of arrival order and of duplicates.

Rules have versions and old ones stay replayable: `RULES` maps a version to its folds and to the event types that it reads.
Held events are simply not given. What cannot be read, or was written by the wrong kind of author, changes no field.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from zb_contracts.events import EVENT_TYPES, AuthorKind, EventType, Opaque, type_of, upcasted
from zb_contracts.merge import rules, snapshots
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.interventions import InterventionFold
from zb_contracts.merge.places import DeviceFold, EquipmentFold, ShiftFold, SiteFold, StockFold
from zb_contracts.merge.records import Record
from zb_contracts.merge.state import RULE_VERSION, State
from zb_contracts.merge.types_v1 import TYPES_V1
from zb_contracts.merge.types_v2 import TYPES_V2

ADMISSION: Final = "event.admitted.v1"
ADMISSION_NAME: Final = "event.admitted"


class KindFold(Protocol):
    """The fold of one kind of stream."""

    def add(self, event: MergeEvent) -> None:
        """Take an event that is readable, new and of this stream."""

    def kept(self) -> Iterable[MergeEvent]:
        """The events that a later state can depend on: added to a new fold, in any order, they make one like this."""

    def held(self) -> int:
        """How many events it has in memory."""

    def state(self) -> State:
        """The merged state of all that was added."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One version of the rules. A type outside `types` is unknown to it, whatever this package can read by now.

    `narrower`: types that this version reads on fewer kinds of stream than they may stand on today.
    """

    folds: Mapping[str, Callable[[Record], KindFold]]
    types: frozenset[str]
    narrower: Mapping[str, frozenset[str]] = field(default_factory=dict)
    as_they_are: dict[str, set[tuple[str, AuthorKind]]] = field(default_factory=dict, compare=False)
    """Kind of stream -> which types of which authors were found to be read as they were written: asked once, not each time."""

    def stream_kinds(self, kind: EventType) -> frozenset[str]:
        return self.narrower.get(kind.name, kind.stream_kinds)


_FOLDS: Final[dict[str, Callable[[Record], KindFold]]] = {
    "intervention": InterventionFold,
    "site": SiteFold,
    "equipment": EquipmentFold,
    "stock": StockFold,
    "shift": ShiftFold,
    "device": DeviceFold,
}

RULES: Final[dict[int, Rules]] = {
    1: Rules(folds=_FOLDS, types=TYPES_V1, narrower={ADMISSION: frozenset({"intervention"})}),
    2: Rules(folds=_FOLDS, types=TYPES_V2),
}


class StreamFold:
    """The same fold, one event at a time: after any `add`, `state` is that of all events added so far."""

    def __init__(self, stream: str, rule_version: int = RULE_VERSION) -> None:
        """ValueError for a kind of stream or a rule version that does not exist."""
        chosen = RULES.get(rule_version)
        make = chosen.folds.get(stream.partition(":")[0]) if chosen else None
        if chosen is None or make is None:
            raise ValueError(f"no rules of version {rule_version} for {stream}")
        self._rules = chosen
        self._as_they_are = chosen.as_they_are.setdefault(stream.partition(":")[0], set())
        self._record = Record(stream, rule_version)
        self._fold = make(self._record)

    @classmethod
    def restore(cls, stream: str, data: bytes, rule_version: int = RULE_VERSION) -> "StreamFold":
        """The fold that `snapshot` put away. SnapshotRefused unless it was this stream's, by these rules and this program."""
        found = snapshots.decode(data, stream, rule_version)
        folding = cls(stream, rule_version)
        for kept in found.events:
            folding._fold.add(snapshots.event_of(kept))
        folding._record.reopen(
            found.book,
            map(snapshots.event_of, found.admissions),
            {reason: map(snapshots.event_of, events) for reason, events in found.unread.items()},
        )
        return folding

    def snapshot(self) -> bytes:
        """Bytes for `restore`, as few as later states can depend on. Valid for exactly the events added so far."""
        record = self._record
        admissions, unread = record.kept()
        return snapshots.encode(record.stream, record.rule_version, record.book(), self._fold.kept(), admissions, unread)

    def add(self, event: MergeEvent) -> None:
        """Take an admitted event; a second time changes nothing. ValueError for an event of another stream."""
        if event.header.stream != self._record.stream:
            raise ValueError(f"an event of {event.header.stream} in the fold of {self._record.stream}")
        if not self._record.take(event):
            return
        read, reason = self._read(event)
        if reason is not None:
            self._record.unread(event, reason)
        elif read.name == ADMISSION_NAME:
            self._record.admit(read)
        else:
            self._record.readable += 1
            self._fold.add(read)

    def held(self) -> int:
        """How many events are in memory for it: of a long stream that is a sum, far fewer than were added."""
        return self._fold.held()

    def state(self) -> State:
        """The merged state."""
        return self._fold.state()

    def _read(self, event: MergeEvent) -> tuple[MergeEvent, str | None]:
        """The event as these rules read it, upcast as far as they know, or the reason why they do not."""
        if (event.type, event.kind) in self._as_they_are:
            return event, None
        if event.header.type not in self._rules.types:
            return event, rules.UNKNOWN_TYPE
        body = event.body if isinstance(event.body, Opaque) else upcasted(event.body, self._rules.types)
        if isinstance(body, Opaque):
            return event, rules.UNREADABLE_BODY
        written, read = EVENT_TYPES[event.header.type], type_of(body)
        if read.name not in self._rules.types:
            raise ValueError(f"rules {self._record.rule_version} do not know {read.name}: give events as they were written")
        if event.kind not in written.writers or event.kind not in read.writers:
            return event, rules.NOT_THIS_AUTHOR
        if event.header.stream_kind not in self._rules.stream_kinds(read):
            return event, rules.NOT_THIS_STREAM
        if read.name != event.type:
            return MergeEvent(event.header, body, event.kind), None
        self._as_they_are.add((event.type, event.kind))
        return event, None


def fold(stream: str, events: Iterable[MergeEvent], rule_version: int = RULE_VERSION) -> State:
    """The state of `stream` from the set of its admitted events."""
    merging = StreamFold(stream, rule_version)
    for event in events:
        merging.add(event)
    return merging.state()
