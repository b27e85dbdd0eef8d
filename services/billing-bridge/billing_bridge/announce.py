"""From a frozen batch to the announcement that other systems read. Pure.

The id is made of profile and number, so the same batch is the same message. It holds names, hashes and totals, never a line.
"""

from collections.abc import Sequence
from typing import Final

from billing_bridge.store import BatchRow, FileRow
from zb_chassis.outbox import Message
from zb_contracts import subjects
from zb_contracts.announcements import BATCH_FROZEN, BatchAnnounced, BatchFile, ce_headers
from zb_contracts.times import format_time_ms

SOURCE: Final = "/zone-blanche/billing-bridge"


def frozen(row: BatchRow, files: Sequence[FileRow], interventions: Sequence[str]) -> Message:
    """The announcement of a batch. `total_cents` includes tax."""
    frozen_at = format_time_ms(row.frozen_at_ms)
    data = BatchAnnounced(
        profile=row.profile,
        batch=row.batch,
        interventions=tuple(interventions),
        total_cents=row.net_cents + row.vat_cents,
        currency=row.currency,
        files=tuple(BatchFile(name=one.name, sha256=one.sha256, length_bytes=len(one.content)) for one in files),
        frozen_at=frozen_at,
    )
    event_id = f"billing:{row.profile}:{row.batch}"
    headers = ce_headers(BATCH_FROZEN, source=SOURCE, event_id=event_id, time=frozen_at, subject=row.profile)
    return Message(event_id, subjects.billing(row.profile), data.model_dump_json().encode(), headers)
