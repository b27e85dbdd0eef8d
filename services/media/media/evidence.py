"""The evidence of interventions: what merged states demand, met with what is stored, announced when it changes.

The event and the bytes arrive in any order, so both sides call in here, each in its own transaction, under the hash's lock.
An announcement's version grows by one with each change. It receives no message and writes no file.
"""

from typing import Final

import msgspec

from media import store
from media.domain import Evidence, assess, demands
from zb_chassis import outbox
from zb_chassis.database import Connection
from zb_contracts import subjects
from zb_contracts.announcements import EVIDENCE_STATE, EvidenceAnnounced, InterventionAnnounced, ce_headers
from zb_contracts.merge.state import InterventionState
from zb_contracts.times import format_time_ms

SOURCE: Final = "/zone-blanche/media"
ITEMS_MAX: Final = 2_000
"""Demands of one intervention: what one announcement can hold."""


class TooManyDemands(ValueError):
    """The state names more files than one announcement can hold."""


async def state_announced(connection: Connection, announced: InterventionAnnounced, now_ms: int) -> None:
    """Take an intervention's merged state. One that is not newer than the last one read changes nothing.

    Raises pydantic's ValidationError, msgspec's ValidationError or TooManyDemands for a state that cannot be read.
    """
    wanted = demands(msgspec.convert(announced.state, InterventionState))
    if len(wanted) > ITEMS_MAX:
        raise TooManyDemands(f"{announced.intervention} names {len(wanted)} files, the limit is {ITEMS_MAX}")
    await store.lock_hashes(connection, (demand.sha256 for demand in wanted))
    row = await store.lock_evidence(connection, announced.intervention)
    if announced.version <= row.state_version:
        return
    await store.replace_demands(connection, announced.intervention, wanted)
    await store.save_read_state(connection, announced.intervention, announced.agency, announced.version)
    await _reassess(connection, row, now_ms)


async def stored_changed(connection: Connection, sha256: str, now_ms: int) -> None:
    """After a file was stored, or found damaged: assess every intervention that demands it.

    The caller holds the hash's lock since before it wrote the file's row.
    """
    for intervention in await store.interventions_demanding(connection, sha256):
        await _reassess(connection, await store.lock_evidence(connection, intervention), now_ms)


async def _reassess(connection: Connection, row: store.EvidenceRow, now_ms: int) -> None:
    wanted = await store.load_demands(connection, row.intervention)
    evidence = assess(wanted, await store.stored_lengths(connection, (demand.sha256 for demand in wanted)))
    if store.same_items(row, evidence):
        return
    await store.save_evidence(connection, row.intervention, row.version + 1, evidence)
    await outbox.enqueue_all(connection, [announcement(row.intervention, row.version + 1, evidence, now_ms)])


def announcement(intervention: str, version: int, evidence: Evidence, now_ms: int) -> outbox.Message:
    """What the world is told of an intervention's evidence."""
    data = EvidenceAnnounced(intervention=intervention, version=version, items=evidence.items, complete=evidence.complete)
    event_id = f"evidence:{intervention}:{version}"
    headers = ce_headers(EVIDENCE_STATE, source=SOURCE, event_id=event_id, time=format_time_ms(now_ms), subject=intervention)
    payload = data.model_dump_json().encode()
    return outbox.Message(event_id, subjects.evidence(intervention), payload, headers)
