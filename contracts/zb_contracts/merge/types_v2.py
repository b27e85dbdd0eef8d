"""The event types that version 2 of the rules reads: those of version 1, the second versions and the types released since.

A literal list like that of version 1, for the same reason.
"""

from typing import Final

from zb_contracts.merge.types_v1 import TYPES_V1

TYPES_V2: Final = TYPES_V1 | frozenset(
    {
        "device.administered.v1",
        "device.ledger_healed.v1",
        "device.split_view_seen.v1",
        "device.wiped.v1",
        "intervention.part_used.v2",
        "intervention.photo_taken.v2",
        "intervention.planned.v2",
        "subject.erased.v1",
    }
)
