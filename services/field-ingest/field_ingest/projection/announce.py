"""A merged state as the announcement that other services and systems read. Pure: state in, message out.

It owns the translation and the message's id, which is the same when a transaction is repeated. It does not send: the
outbox does.
"""

from typing import Final

import msgspec

from zb_chassis.outbox import Message
from zb_contracts import subjects
from zb_contracts.announcements import INTERVENTION_STATE, InterventionAnnounced, ce_headers
from zb_contracts.merge.state import InterventionState
from zb_contracts.times import format_time_ms

SOURCE: Final = "/zone-blanche/field-ingest"
ANNOUNCEMENT_BYTES_MAX: Final = 960 << 10
"""Below INTERVENTIONS' message limit, with room for the headers."""


class AnnouncementTooLarge(ValueError):
    """The state does not fit into one message; the stream is put into quarantine and listed."""


def announce(
    state: InterventionState, state_json: bytes, state_hash: str, positions: dict[int, int], version: int, now_ms: int
) -> Message:
    """The announcement of `state`, whose canonical bytes are `state_json`. AnnouncementTooLarge beyond the limit.

    `version` grows by one with each announcement of the intervention; `positions` are shard -> next position.
    """
    intervention = state.stream.partition(":")[2]
    agency = state.fields.get("agency")
    data = InterventionAnnounced(
        intervention=intervention,
        agency=agency.value if agency else None,
        positions={str(shard): position for shard, position in positions.items()},
        version=version,
        state_hash=state_hash,
        state={},
    )
    # The state's bytes go in as they are: decoding and encoding them again would cost more than the fold.
    payload = msgspec.json.encode(data.model_dump(mode="json") | {"state": msgspec.Raw(state_json)})
    if len(payload) > ANNOUNCEMENT_BYTES_MAX:
        raise AnnouncementTooLarge(f"the announcement has {len(payload)} bytes, the limit is {ANNOUNCEMENT_BYTES_MAX}")
    event_id = f"{intervention}:{version}:{state_hash[:16]}"
    headers = ce_headers(INTERVENTION_STATE, source=SOURCE, event_id=event_id, time=format_time_ms(now_ms), subject=intervention)
    return Message(event_id, subjects.announcement(intervention), payload, headers)
