"""What is at hand while a device is unlocked: the read model, the reader key, and the technician's own events by stream.

Plain data; opening and closing is `device`'s matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zb_contracts.envelope import ParsedEvent
from zb_device.outbox import OpenReader
from zb_device.reading import ReadModel
from zb_device.vault import Unlocked


@dataclass(slots=True)
class Opened:
    """From unlock to lock."""

    unlocked: Unlocked
    reading: ReadModel
    own: dict[str, list[ParsedEvent]] = field(default_factory=dict)

    def remember(self, events: Sequence[ParsedEvent]) -> None:
        for event in events:
            self.own.setdefault(event.header.stream, []).append(event)

    @property
    def reader(self) -> OpenReader:
        return OpenReader(self.unlocked.technician, self.unlocked.reader)
