"""Catalogues from the office's reference data: what was published becomes bytes under a hash, and scopes follow.

Price lists and contracts are no business of devices and pass by. What a catalogue says is scheduling's matter, who gets a
reference to it `scope`'s, who sends its bytes `sync`'s.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from field_ingest.projection import scope_store
from zb_chassis.consuming import Subscription
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.messaging import Hears
from zb_contracts import canonical
from zb_contracts.announcements import CHECKLIST, PARTS, REASONS, ChecklistPublished, PartsPublished, ReasonsPublished
from zb_contracts.catalogues import Packed, packed, reference_bytes
from zb_contracts.problems import SYNC_CATALOGUE_INVALID, Problem
from zb_contracts.subjects import REFERENCE

READER: Final = "field-ingest"
MESSAGES_AT_ONCE: Final = 4
_CATALOGUES: Final[Mapping[str, tuple[str, type[ChecklistPublished | PartsPublished | ReasonsPublished]]]] = {
    CHECKLIST: ("checklist", ChecklistPublished),
    PARTS: ("parts", PartsPublished),
    REASONS: ("reasons", ReasonsPublished),
}
"""By type of event: the kind under which scopes refer to it, and what it says."""


def hears(pool: Pool) -> Hears:
    """The one subscription: reference data, as it is published."""

    async def on_reference(message: Msg) -> None:
        found = catalogue_of((message.headers or {}).get("ce-type", ""), message.data)
        if found is not None:
            async with transaction(pool) as connection:
                await take(connection, found)

    return [(Subscription(REFERENCE, READER, batch_max=MESSAGES_AT_ONCE), on_reference)]


def catalogue_of(event_type: str, data: bytes) -> Packed | None:
    """The catalogue in an announcement of this type; None where its type is none. SYNC_CATALOGUE_INVALID where it cannot be
    read or is too large: trying again does not help."""
    if event_type not in _CATALOGUES:
        return None
    kind, model = _CATALOGUES[event_type]
    try:
        published = model.model_validate_json(data)
    except ValidationError as fault:
        raise Problem(SYNC_CATALOGUE_INVALID, name=event_type, reason=str(fault.errors()[0]["msg"])[:200]) from fault
    return packed(kind, published.name, published.version, canonical.encode(published.model_dump(mode="json")))


async def take(connection: Connection, found: Packed) -> bool:
    """Stores it in the place of an older version, and makes the scopes due that name it; whether it was news."""
    reference = reference_bytes(found.reference)
    is_news = await scope_store.put_catalogue(connection, found, reference, hashlib.sha256(reference).digest())
    if is_news:
        await scope_store.note_due(connection, streams=[found.reference.document])
    return is_news
