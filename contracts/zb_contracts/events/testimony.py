"""What a device testifies about the ledger itself: it stands in the device's own chain, so that every copy of the log has it.

The checkpoint notes are evidence by themselves, because the ledger signed them. Whether they accuse it, `audit split-views` says.
"""

from typing import Annotated

from pydantic import StringConstraints

from zb_contracts.events.registry import DEVICE, Body, event
from zb_contracts.events.values import Id, Name

NOTE_CHARACTERS_MAX = 8_192
Note = Annotated[str, StringConstraints(min_length=1, max_length=NOTE_CHARACTERS_MAX)]


@event("device.split_view_seen.v1", "device", DEVICE)
class SplitViewSeen(Body):
    """The device was shown a head of the log that does not continue the one it had verified, or receipts that are not in it."""

    device: Id
    origin: Name
    seen: Note | None = None
    """The signed note that the device had verified before; none where it was the first."""
    shown: Note
    """The signed note that came with the answer which it refused."""
