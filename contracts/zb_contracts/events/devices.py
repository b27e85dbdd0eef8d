"""Authors: which keys may sign, since when, and until when. Written by field-ingest, the ledger's own service author.

An incarnation is a device with one event key for life. A restored backup, an emptied store or a key change is a new one that
names its predecessor.
"""

from typing import Annotated, Literal

from pydantic import Field

from zb_contracts.events.registry import SERVICE, Body, event
from zb_contracts.events.values import Base64, Id, Name, Text


@event("device.enrolled.v1", "device", SERVICE)
class DeviceEnrolled(Body):
    """A device, as an incarnation with keys of its own, may sign from here on. Keys are base64url of their 32 bytes."""

    device: Id
    author: Id
    agency: Id
    technician: Id | None = None
    login_key: Name
    """NKey public key (U...)."""
    event_key: Base64
    wrap_key: Base64
    certification: Base64
    """The login key's signature over event and wrap key."""
    replaces: Id | None = None
    shard: Annotated[int, Field(ge=0)]
    model: Name | None = None


@event("device.revoked.v1", "device", SERVICE)
class DeviceRevoked(Body):
    """Events first received after this are held until a supervisor admits them."""

    device: Id
    author: Id
    cause: Literal["lost", "stolen", "retired", "replaced", "suspended"]
    reason: Text | None = None


@event("device.administered.v1", "device", SERVICE)
class DeviceAdministered(Body):
    """Somebody acted on a device. What it changes for what the device signs, `device.revoked.v1` says beside it."""

    device: Id
    act: Literal["suspended", "resumed", "lost", "stolen", "retired", "replaced", "wipe_ordered", "wipe_withdrawn"]
    by: Id
    """Who: a person's pseudonymous id."""
    reason: Text | None = None
    order: Id | None = None
    """Of a wipe: the order's id."""
    at_once: bool = False
    """Of a wipe: it was not to wait for what the device could not send."""


@event("device.author_registered.v1", "device", SERVICE)
class AuthorRegistered(Body):
    """A server-side author (an agency's office or a service) may sign from here on."""

    author: Id
    kind: Literal["office", "service"]
    agency: Id | None = None
    event_key: Base64
    shard: Annotated[int, Field(ge=0)]


@event("device.ledger_healed.v1", "device", SERVICE)
class LedgerHealed(Body):
    """The ledger lost rows of one shard and goes on from those it kept. Roots are hex; the note is the head that is abandoned."""

    shard: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    kept_root: Name
    abandoned: Annotated[int, Field(ge=0)] | None = None
    abandoned_root: Name | None = None
    abandoned_note: Text | None = None
    reason: Text
