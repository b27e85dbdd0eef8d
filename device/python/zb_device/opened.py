"""What is at hand while a device is unlocked: the read model, the reader key, the technician's own events, and what they make.

Own events are opened stream by stream, when somebody looks at it: unlocking costs the same whatever the log holds. Opening and
closing is `device`'s matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zb_contracts.envelope import ParsedEvent, parse_event
from zb_contracts.keys import WrapKey
from zb_contracts.merge.state import state_bytes
from zb_device.faults import InterventionUnknown
from zb_device.folder import Parts
from zb_device.listed import Listed, Which, line_of
from zb_device.local_state import LocalState, local_state
from zb_device.log import EventState, Log
from zb_device.logbook import Newest
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

    def newest(self, kind: str) -> dict[str, list[Newest]]:
        """By stream of this kind, how far the events go that the ledger did not refuse; none is opened for it."""
        return self.log.newest(self.technician, kind)

    def remember(self, events: Sequence[ParsedEvent]) -> None:
        """Events that were just recorded; those of streams at which nobody has looked are in the log."""
        for event in events:
            if event.header.stream in self._opened:
                self._opened[event.header.stream].append(event)


@dataclass(slots=True)
class Opened:
    """From unlock to lock. `parts` are those of the moment: another incarnation may begin meanwhile."""

    unlocked: Unlocked
    reading: ReadModel
    own: OwnEvents
    parts: Callable[[], Parts]

    @property
    def reader(self) -> OpenReader:
        return OpenReader(self.unlocked.technician, self.unlocked.reader)

    def state(self, stream: str) -> LocalState:
        """What the technician sees of a stream. InterventionUnknown where nobody knows it."""
        parts, own, unanswered = self.parts(), [], set()
        for event in self.own.of(stream):
            state = parts.log.state_of(event.header.id)
            if state is not EventState.REFUSED:
                own.append(event)
            if event.header.author != parts.pinned.author and state is not EventState.ADMITTED:
                unanswered.add(event.header.id)
        found = local_state(stream, self.reading.document(stream), own, unanswered)
        if found is None:
            raise InterventionUnknown(f"{stream} is neither in the scope nor in the device's own log")
        return found

    def shown(self, stream: str) -> dict[str, Any]:
        """That state as plain JSON, with each personal value open whose key is here."""
        shown: dict[str, Any] = self.reading.keys.opened(self.state(stream).state)
        return shown

    def listed(self, kind: str, which: Which) -> list[Listed]:
        """Lines of the scope, and of what was recorded here beyond it, as the technician sees them.

        They come from the index; only what was recorded here and is in no document yet is opened.
        """
        ahead = self._ahead(kind)
        # As many more as may have changed so that they are none of these any longer.
        known = self.reading.listed(kind, replace(which, limit=which.limit + len(ahead)))
        found = [line for line in known if line.stream not in ahead]
        own = (line_of(stream, state_bytes(self.state(stream).state), pending=pending) for stream, pending in ahead.items())
        found += [line for line in own if which.holds(line)]
        return sorted(found, key=lambda line: line.order)[: which.limit]

    def _ahead(self, kind: str) -> dict[str, bool]:
        """Streams with an event that their document does not know, by the same rule as `state`; whether one is unconfirmed."""
        parts, newest = self.parts(), self.own.newest(kind)
        now, vectors = parts.log.incarnation, self.reading.vectors(newest)
        authors = {one.number: one.author for one in parts.closed} | {now: parts.pinned.author}

        def is_ahead(stream: str, one: Newest) -> bool:
            known = vectors.get(stream, {}).get(authors[one.incarnation], 0)
            return one.seq > known or (one.incarnation != now and not one.is_admitted)

        return {
            stream: not all(one.is_admitted for one in found)
            for stream, found in newest.items()
            if any(is_ahead(stream, one) for one in found)
        }
