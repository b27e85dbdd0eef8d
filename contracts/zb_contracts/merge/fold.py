"""The way in: `state = fold(stream, admitted events)`, pure, total, independent of arrival order and of duplicates.

Rules have versions and old ones stay replayable: `RULES` maps a version to its folds and to the event types that it reads.
Held events are simply not given. What cannot be read, or was written by the wrong kind of author, changes no field.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from zb_contracts.events import EVENT_TYPES, Opaque, type_of
from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.interventions import InterventionFold
from zb_contracts.merge.places import DeviceFold, EquipmentFold, ShiftFold, SiteFold, StockFold
from zb_contracts.merge.records import Record
from zb_contracts.merge.state import RULE_VERSION, State
from zb_contracts.merge.types_v1 import TYPES_V1


class KindFold(Protocol):
    """The fold of one kind of stream."""

    def add(self, event: MergeEvent) -> None: ...

    def state(self) -> State: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """One version of the rules. A type outside `types` is unknown to it, whatever this package can read by now."""

    folds: Mapping[str, Callable[[Record], KindFold]]
    types: frozenset[str]


RULES: Final[dict[int, Rules]] = {
    1: Rules(
        folds={
            "intervention": InterventionFold,
            "site": SiteFold,
            "equipment": EquipmentFold,
            "stock": StockFold,
            "shift": ShiftFold,
            "device": DeviceFold,
        },
        types=TYPES_V1,
    )
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
        self._record = Record(stream)
        self._fold = make(self._record)

    def add(self, event: MergeEvent) -> None:
        """Take an admitted event; a second time changes nothing. ValueError for an event of another stream."""
        if event.header.stream != self._record.stream:
            raise ValueError(f"an event of {event.header.stream} in the fold of {self._record.stream}")
        if not self._record.take(event):
            return
        reason = self._unreadable(event)
        if reason is None:
            self._fold.add(event)
        else:
            self._record.unread(event, reason)

    def state(self) -> State:
        """The merged state."""
        return self._fold.state()

    def _unreadable(self, event: MergeEvent) -> str | None:
        if event.header.type not in self._rules.types:
            return rules.UNKNOWN_TYPE
        if isinstance(event.body, Opaque):
            return rules.UNREADABLE_BODY
        written, read = EVENT_TYPES[event.header.type], type_of(event.body)
        if event.kind not in written.writers or event.kind not in read.writers:
            return rules.NOT_THIS_AUTHOR
        if event.header.stream_kind != read.stream_kind:
            return rules.NOT_THIS_STREAM
        return None


def fold(stream: str, events: Iterable[MergeEvent], rule_version: int = RULE_VERSION) -> State:
    """The state of `stream` from the set of its admitted events."""
    merging = StreamFold(stream, rule_version)
    for event in events:
        merging.add(event)
    return merging.state()
