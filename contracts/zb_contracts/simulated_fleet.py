"""One process' share of a simulated fleet: `zb fleet simulate` writes it, `python -m zb_device.simulator` reads it, as JSON.

The orders that follow, and their answers, are lines of JSON between the same two; the simulator describes them. What a device of
the fleet does is neither's matter.
"""

import msgspec


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Devices `first` to `first + devices - 1` of the fleet, the first `whole` of them with the whole SDK."""

    seed: int
    """Of who meets which mishap when: the same for all shares."""
    first: int
    devices: int
    visits: int
    """A device and day."""
    whole: int
    at_once: int
    """Connected at a time."""
    ingest_url: str
    nats_url: str
    media_url: str
    folder: str
    """Of the whole devices' stores."""
