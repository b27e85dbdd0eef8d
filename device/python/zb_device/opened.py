"""What is at hand while a device is unlocked: the read model, the reader key, the technician's own events, and what they make.

Own events are opened stream by stream, when somebody looks at it: unlocking costs the same whatever the log holds. Opening and
closing is `device`'s matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zb_contracts.envelope import ParsedEvent, parse_event
from zb_contracts.keys import WrapKey
from zb_contracts.merge.state import InterventionState
from zb_device.faults import InterventionUnknown
from zb_device.local_state import LocalState, local_state
from zb_device.log import EventState, Log
from zb_device.outbox import OpenReader
from zb_device.reading import ReadModel
from zb_device.vault import Unlocked


@dataclass(slots=True)
class OwnEvents:
    """The kept events of one technician, of all incarnations of the store, by stream."""

    log: Log
    reader: WrapKey = field(repr=False)
    technician: str
    _opened: dict[str, list[ParsedEvent]] = field(default_factory=dict)

    def of(self, stream: str) -> list[ParsedEvent]:
        """In order. StoreDamaged where one does not open."""
        if stream not in self._opened:
            signed = self.log.opened(self.reader, self.technician, stream)
            self._opened[stream] = [parse_event(one) for one in signed]
        return self._opened[stream]

    def streams(self, kind: str) -> list[str]:
        """Streams of this kind with an event, by name."""
        return self.log.streams(self.technician, kind)

    def remember(self, events: Sequence[ParsedEvent]) -> None:
        """Events that were just recorded; those of streams at which nobody has looked are in the log."""
        for event in events:
            if event.header.stream in self._opened:
                self._opened[event.header.stream].append(event)


@dataclass(slots=True)
class Opened:
    """From unlock to lock."""

    unlocked: Unlocked
    reading: ReadModel
    own: OwnEvents

    @property
    def reader(self) -> OpenReader:
        return OpenReader(self.unlocked.technician, self.unlocked.reader)

    def state(self, stream: str, log: Log, author: str) -> LocalState:
        """What the technician sees of a stream. InterventionUnknown where nobody knows it. `author` is who writes now."""
        own, unanswered = [], set()
        for event in self.own.of(stream):
            state = log.state_of(event.header.id)
            if state is not EventState.REFUSED:
                own.append(event)
            if event.header.author != author and state is not EventState.ADMITTED:
                unanswered.add(event.header.id)
        found = local_state(stream, self.reading.document(stream), own, unanswered)
        if found is None:
            raise InterventionUnknown(f"{stream} is neither in the scope nor in the device's own log")
        return found

    def interventions(self, log: Log, author: str) -> list[InterventionState]:
        """Everything of the scope, and what was recorded here beyond it, by id. Reads every document."""
        streams = {*self.reading.ids("intervention"), *self.own.streams("intervention")}
        states = [self.state(stream, log, author).state for stream in sorted(streams)]
        return [state for state in states if isinstance(state, InterventionState)]
