"""What people and programs send to scheduling: request bodies with their limits, and how they become commands.

Shapes only: strict about types, no unknown keys, times as RFC 3339 in UTC with milliseconds. Rules are domain.py's.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from scheduling import commands as c
from scheduling.store import TechnicianRecord
from scheduling.values import Change, Details, Wish
from zb_contracts.announcements import ChecklistItem, Contract, PartListed, Price, Reason
from zb_contracts.events.office import Part, Priority, Skills
from zb_contracts.events.values import Cents, Code, Currency, Id, Minutes, Name, Text, Uuid
from zb_contracts.times import TimeText, parse_time_ms

TECHNICIANS_MAX: Final = 500
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
Version = Annotated[int, Field(ge=1)]
TourPosition = Annotated[int, Field(ge=0, le=1000)]
LocalTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Parts = Annotated[tuple[Part, ...], Field(max_length=200)]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a decoded body, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str))
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


class Form(BaseModel):
    """Base of every body. A text with a NUL or half a surrogate pair is refused: no database and no event could hold it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any) -> Any:
        wrong = next((text for text in _texts(data) if _UNSTORABLE.search(text)), None)
        if wrong is not None:
            raise ValueError(f"a text has a character that cannot be stored: {wrong[:50]!a}")
        return data


class WishForm(Form):
    """What the customer or contract asks for before there is a plan."""

    window_start: TimeText | None = None
    window_end: TimeText | None = None
    duration_min: Minutes | None = None

    def wish(self) -> Wish:
        return Wish(
            window_start_ms=ms_of(self.window_start),
            window_end_ms=ms_of(self.window_end),
            duration_min=self.duration_min,
        )


class DetailsForm(Form):
    """The office's own fields."""

    contract: Code | None = None
    sla: Code | None = None
    priority: Priority | None = None
    required_skills: Skills | None = None
    bill_of_materials: Parts | None = None
    instructions: Text | None = None
    price_list: Code | None = None
    checklist: Code | None = None

    def values(self) -> dict[str, Any]:
        """By the names of Details and Change; None where nothing is said."""
        parts = self.bill_of_materials
        return {name: getattr(self, name) for name in DetailsForm.model_fields} | {
            "bill_of_materials": None if parts is None else tuple((each.part, each.quantity) for each in parts)
        }


class CreateForm(DetailsForm):
    """Open an intervention at a site (and on equipment) that is known by its reference."""

    agency: Id
    reference: Name
    kind: Literal["repair", "maintenance", "inspection", "installation", "visit"]
    title: Name
    site_reference: Name
    equipment_reference: Name | None = None
    follows: Uuid | None = None
    wish: WishForm = WishForm()

    def details(self) -> Details:
        said = {name: value for name, value in self.values().items() if value is not None}
        return Details(title=self.title, **said)


class EditForm(Form):
    """Every edit names the version that its sender saw."""

    version: Version


class PlanForm(EditForm):
    """A place in the day."""

    planned_start: TimeText
    duration_min: Minutes
    window_start: TimeText | None = None
    window_end: TimeText | None = None
    tour_position: TourPosition | None = None
    promise: Literal["none", "window", "start"] = "none"
    """What the customer was promised: nothing, to be served within the window, or at the start."""


class AssignForm(EditForm):
    """The technician; null takes the intervention from everybody."""

    technician: Id | None
    tour_position: TourPosition | None = None


class MoveForm(EditForm):
    """Another place in the day."""

    planned_start: TimeText
    window_start: TimeText | None = None
    window_end: TimeText | None = None
    duration_min: Minutes | None = None
    reason: Text | None = None

    def command(self, now_ms: int) -> c.Command:
        return c.MoveIntervention(
            version=self.version,
            at_ms=now_ms,
            start_ms=parse_time_ms(self.planned_start),
            window_start_ms=ms_of(self.window_start),
            window_end_ms=ms_of(self.window_end),
            duration_min=self.duration_min,
            reason=self.reason,
        )


class ReasonForm(EditForm):
    """A cancel or a reopening, with its reason."""

    reason: Text


class ChangeForm(EditForm, DetailsForm):
    """Details to set; what is not named stays. A wish replaces the old one whole."""

    title: Name | None = None
    wish: WishForm | None = None

    def command(self, now_ms: int) -> c.Command:
        change = Change(title=self.title, **self.values())
        wish = None if self.wish is None else self.wish.wish()
        return c.ChangeDetails(version=self.version, at_ms=now_ms, change=change, wish=wish)


class AbandonForm(ReasonForm):
    """End a visit that a lost device left open."""

    visit: Uuid


class RequestForm(EditForm):
    """An answer to a request of the field: accepted, or declined with a reason."""

    request: Uuid
    answer: Literal["accept", "decline"]
    reason: Text = "declined by the office"

    def command(self, now_ms: int) -> c.Command:
        if self.answer == "accept":
            return c.AcceptRequest(version=self.version, at_ms=now_ms, request=self.request)
        return c.DeclineRequest(version=self.version, at_ms=now_ms, request=self.request, reason=self.reason)


class AskForm(EditForm):
    """A value that the office asks the field for, e.g. of the diagnosis."""

    field: Code
    value: Text
    reason: Text | None = None

    def command(self, now_ms: int) -> c.Command:
        return c.AskField(version=self.version, at_ms=now_ms, field=self.field, value=self.value, reason=self.reason)


class CorrectForm(ReasonForm):
    """A correction to lie beside a fact of an ended visit."""

    visit: Uuid
    field: Code
    value: Text

    def command(self, now_ms: int) -> c.Command:
        return c.CorrectVisit(
            version=self.version, at_ms=now_ms, visit=self.visit, field=self.field, value=self.value, reason=self.reason
        )


class AcknowledgeForm(EditForm):
    """A person has read that this value was set aside or this conflict raised."""

    event: Uuid
    field: Code


class TechnicianForm(Form):
    """A technician: where the day starts and ends (10^-7 degrees), its hours in their own time zone, what they can do."""

    id: Id
    name: Name
    latitude_e7: Annotated[int, Field(ge=-900_000_000, le=900_000_000)]
    longitude_e7: Annotated[int, Field(ge=-1_800_000_000, le=1_800_000_000)]
    starts: LocalTime = "08:00"
    ends: LocalTime = "17:00"
    timezone: Name = "UTC"
    skills: Skills = ()
    active: bool = True

    def record(self) -> TechnicianRecord:
        return TechnicianRecord(**self.model_dump())


class TechniciansForm(Form):
    """Technicians of one agency to write; others stay as they are."""

    agency: Id
    technicians: Annotated[tuple[TechnicianForm, ...], Field(min_length=1, max_length=TECHNICIANS_MAX)]


class DayForm(Form):
    """A day to plan, on these technicians or on all active ones."""

    agency: Id
    day: date
    technicians: Annotated[tuple[Id, ...], Field(min_length=1, max_length=TECHNICIANS_MAX)] | None = None


class PriceListForm(Form):
    """A price list, whole, without its version."""

    currency: Currency
    valid_from: TimeText
    prices: Annotated[tuple[Price, ...], Field(max_length=10_000)]
    call_out_cents: Cents = 0


class ContractsForm(Form):
    """All contracts of an agency, whole, without their version."""

    contracts: Annotated[tuple[Contract, ...], Field(max_length=10_000)]


class ChecklistForm(Form):
    """A checklist, whole, without its version."""

    title: Name
    items: Annotated[tuple[ChecklistItem, ...], Field(min_length=1, max_length=200)]


class PartsForm(Form):
    """All parts of an agency, whole, without their version."""

    parts: Annotated[tuple[PartListed, ...], Field(max_length=10_000)]


class ReasonsForm(Form):
    """All reasons of an agency, whole, without their version."""

    reasons: Annotated[tuple[Reason, ...], Field(min_length=1, max_length=200)]


def ms_of(text: str | None) -> int | None:
    """The moment of an optional time."""
    return None if text is None else parse_time_ms(text)
