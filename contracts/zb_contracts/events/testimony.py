"""What a device testifies: about the ledger, and about its own end. It stands in the device's own chain, so that every copy of
the log has it.

The checkpoint notes are evidence by themselves, because the ledger signed them; whether they accuse it, `audit split-views` says.
An attested wipe is the device's word, as good as the program that gave it: it decides nothing here.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

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


Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class LogLeft(Body):
    """One author's log on the device that is wiped: what is gone with it. All zero but `head`: the ledger has every event."""

    author: Id
    head: Count
    """The author's last number. Of the author who signs this: the number before this event's own."""
    unsent: Count
    """Events that the broker never took."""
    unreceipted: Count
    """Events that the broker took, and of which the ledger has not said a word yet."""


@event("device.wiped.v1", "device", DEVICE)
class DeviceWiped(Body):
    """The device was told to destroy what it holds: read models and people's keys are gone, log and own keys follow this event.

    The last event that its author signs. It is recorded before the device's own keys go, because nobody could sign it after.
    """

    device: Id
    order: Id
    """The order that this answers."""
    at_once: bool
    """The order was not to wait for what had no receipt."""
    logs: Annotated[tuple[LogLeft, ...], Field(min_length=1, max_length=100)]
    """One for each incarnation of the store, the signing one last."""
    read_models: Count
    """How many technicians' read models and keys were destroyed."""
    files_left: Count
    """Photos and signatures whose bytes were not stored, and are gone with their keys."""
    bytes_left: Count
