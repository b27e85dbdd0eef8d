"""Every event that may stand in the ledger. Importing this package registers them all."""

from zb_contracts.events import custody, devices, earlier, fieldwork, office, places, testimony
from zb_contracts.events.registry import (
    EVENT_TYPES,
    AuthorKind,
    Body,
    EventType,
    Opaque,
    plain,
    read_body,
    type_of,
    upcasted,
    written_body,
)
from zb_contracts.events.stored import Plain, stored_body

__all__ = [
    "EVENT_TYPES",
    "AuthorKind",
    "Body",
    "EventType",
    "Opaque",
    "Plain",
    "custody",
    "devices",
    "earlier",
    "fieldwork",
    "office",
    "places",
    "plain",
    "read_body",
    "stored_body",
    "testimony",
    "type_of",
    "upcasted",
    "written_body",
]
