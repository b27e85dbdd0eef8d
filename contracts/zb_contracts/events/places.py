"""Sites, equipment, stock and shifts: the streams beside the interventions.

Shared fields (contact, access code, notes, identity of equipment) may be written by both sides. Stock is movements only:
its quantity is their sum, so two vans off line never overwrite each other.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from zb_contracts.events.registry import ANYONE, DEVICE, OFFICE, AuthorKind, Body, event
from zb_contracts.events.values import Code, Decimal, Id, Name, Position, Text, Uuid, WrappedKey
from zb_contracts.sealed import SealedValue

DEVICE_OR_OFFICE = frozenset({AuthorKind.DEVICE, AuthorKind.OFFICE})


class Address(Body):
    """A postal address of a place of work, not of a person."""

    street: Name | None = None
    postcode: Name | None = None
    town: Name
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


@event("site.registered.v1", "site", OFFICE)
class SiteRegistered(Body):
    """The office knows a site. `reference` is its number at the customer or ERP."""

    reference: Name
    name: Name
    agency: Id
    address: Address
    location: Position | None = None
    contact: SealedValue | None = None
    access_code: SealedValue | None = None
    notes: Text | None = None
    keys: Annotated[tuple[WrappedKey, ...], Field(max_length=8)] = ()


@event("site.changed.v1", "site", DEVICE_OR_OFFICE)
class SiteChanged(Body):
    """Somebody knows better who to call, how to get in, or what to mind."""

    contact: SealedValue | None = None
    access_code: SealedValue | None = None
    notes: Text | None = None
    location: Position | None = None
    keys: Annotated[tuple[WrappedKey, ...], Field(max_length=8)] = ()


class _Identity(Body):
    """What identifies a piece of equipment; shared, because the field reads the plate and the office the file."""

    manufacturer: Name | None = None
    model: Name | None = None
    serial: Name | None = None
    year_built: Annotated[int, Field(ge=1800, le=2200)] | None = None
    place: Name | None = None
    """Where on the site it stands."""


@event("equipment.registered.v1", "equipment", OFFICE)
class EquipmentRegistered(_Identity):
    """The office knows a piece of equipment at a site."""

    reference: Name
    kind: Code
    label: Name
    site: Id
    location: Position | None = None


@event("equipment.identified.v1", "equipment", DEVICE_OR_OFFICE)
class EquipmentIdentified(_Identity):
    """Somebody read the plate, or corrected the file."""


@event("stock.moved.v1", "stock", DEVICE_OR_OFFICE)
class StockMoved(Body):
    """A quantity of a part came in (positive) or went out (negative) of this van or depot."""

    part: Code
    quantity: Decimal
    cause: Literal["used", "voided", "loaded", "returned", "counted", "lost"]
    line: Uuid | None = None
    """The line of an intervention that this movement belongs to."""
    counterpart: Id | None = None


@event("shift.started.v1", "shift", DEVICE)
class ShiftStarted(Body):
    """A technician's working day began."""

    vehicle: Id | None = None


@event("shift.ended.v1", "shift", DEVICE)
class ShiftEnded(Body):
    """A technician's working day ended."""


@event("shift.noted.v1", "shift", ANYONE)
class ShiftNoted(Body):
    """A remark on a working day."""

    text: Text
