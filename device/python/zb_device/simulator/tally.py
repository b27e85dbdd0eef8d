"""What a fleet did, counted: events, receipts, bytes, refusals, mishaps, and how long receipts took.

One tally a process, as JSON for whoever runs several. Bytes are those of requests, answers, segments and uploads, without the
framing of NATS, HTTP and TLS.
"""

from collections import Counter

import msgspec

from zb_contracts.problems import Problem
from zb_device.faults import DeviceFault, Refused


class Tally(msgspec.Struct):
    """Counts of one process. Times in milliseconds."""

    recorded: int = 0
    published: int = 0
    """Events in segments, those that were sent again too."""
    admitted: int = 0
    held: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    """Permanent refusals by their code."""
    foreign: int = 0
    """Receipts that were about another event under the number: there must be none."""
    documents: int = 0
    catalogues: int = 0
    photos: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    photo_bytes: int = 0
    asked: int = 0
    contacts: int = 0
    connected: int = 0
    connected_max: int = 0
    mishaps: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    """What went wrong on the way, by name, and was tried again."""
    to_receipt_ms: list[int] = msgspec.field(default_factory=list)
    """From the first publish of a segment to the verified receipt of its last event, once a segment."""

    def enter(self) -> None:
        """One more device is connected."""
        self.contacts += 1
        self.connected += 1
        self.connected_max = max(self.connected_max, self.connected)

    def leave(self) -> None:
        self.connected -= 1

    def went_wrong(self, fault: DeviceFault | Problem) -> None:
        """Count a fault by its name: a server's refusal by the server's word."""
        self.faults[fault.problem if isinstance(fault, Refused) else fault.code] += 1
