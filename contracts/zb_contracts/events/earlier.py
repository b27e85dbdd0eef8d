"""Earlier released versions of event types, as they were, and how each is read as the version that followed it.

Nothing here is ever changed: events of these versions stand in ledgers and come from devices that were not updated. The newest
version of a type stands where its noun does (fieldwork, office, places).
"""

from typing import Annotated, Any

from pydantic import Field

from zb_contracts.events.fieldwork import FieldLine
from zb_contracts.events.office import Policy
from zb_contracts.events.registry import DEVICE, OFFICE, Body, event, upcast
from zb_contracts.events.values import Code, Decimal, File, Id, Minutes, Name, Position
from zb_contracts.sealed import SealedValue
from zb_contracts.times import TimeText


@event("intervention.part_used.v1", "intervention", DEVICE)
class PartUsedV1(FieldLine):
    """A part was used; of several pieces at most one serial number could be said."""

    part: Code
    quantity: Decimal
    stock: Id | None = None
    serial: Name | None = None


@upcast("intervention.part_used.v1", "intervention.part_used.v2")
def _part_used_v2(value: dict[str, Any]) -> dict[str, Any]:
    rest = {name: said for name, said in value.items() if name != "serial"}
    return {**rest, "serials": [value["serial"]] if "serial" in value else []}


@event("intervention.photo_taken.v1", "intervention", DEVICE)
class PhotoTakenV1(FieldLine):
    """A photo was taken, or chosen: version 1 did not say which."""

    file: File
    taken_at: TimeText | None = None
    position: Position | SealedValue | None = None
    label: Name | None = None


@upcast("intervention.photo_taken.v1", "intervention.photo_taken.v2")
def _photo_taken_v2(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "source": "unstated"}


@event("intervention.planned.v1", "intervention", OFFICE)
class PlannedV1(Body):
    """The office gave the intervention a place in the day; what the customer was promised was not said."""

    planned_start: TimeText
    window_start: TimeText | None = None
    window_end: TimeText | None = None
    duration_min: Minutes
    tour_position: Annotated[int, Field(ge=0, le=1000)] | None = None
    policy: Policy


@upcast("intervention.planned.v1", "intervention.planned.v2")
def _planned_v2(value: dict[str, Any]) -> dict[str, Any]:
    # Not "none": a plan of an earlier program takes the place of an earlier promise without a word on it.
    return {**value, "promise": "unstated"}
