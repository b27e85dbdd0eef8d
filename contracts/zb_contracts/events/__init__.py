"""Every event that may stand in the ledger. Importing this package registers them all."""

from zb_contracts.events import devices, fieldwork, office, places
from zb_contracts.events.registry import EVENT_TYPES, AuthorKind, Body, EventType, Opaque, read_body, type_of

__all__ = [
    "EVENT_TYPES",
    "AuthorKind",
    "Body",
    "EventType",
    "Opaque",
    "devices",
    "fieldwork",
    "office",
    "places",
    "read_body",
    "type_of",
]
