"""What a technician does on an intervention, off line or not. Only devices write these.

Visit facts carry the visit's id in the header: the id of the visit's first event (travel or start). Lines (parts, photos,
answers ...) are immutable; the id of the event is the id of the line, a change is a new version that names it.
"""

from typing import Annotated, Literal

from pydantic import Field

from zb_contracts.events.registry import DEVICE, Body, event
from zb_contracts.events.values import (
    Cents,
    Code,
    Currency,
    Decimal,
    File,
    Id,
    Name,
    PersonalText,
    Position,
    PriceLine,
    Sha256,
    Text,
    Uuid,
    WrappedKey,
)
from zb_contracts.sealed import SealedValue
from zb_contracts.times import TimeText


class _Placed(Body):
    """A step of a visit, with the place where the device was."""

    position: Position | SealedValue | None = None


@event("intervention.travel_started.v1", "intervention", DEVICE)
class TravelStarted(_Placed):
    """The technician set out. The first event of a visit, where it is recorded."""


@event("intervention.travel_ended.v1", "intervention", DEVICE)
class TravelEnded(_Placed):
    """The technician stopped travelling, at the site or elsewhere."""


@event("intervention.arrived.v1", "intervention", DEVICE)
class Arrived(_Placed):
    """The technician is at the site."""


@event("intervention.started.v1", "intervention", DEVICE)
class Started(_Placed):
    """The technician began to work. The first event of a visit, where no travel was recorded."""


@event("intervention.paused.v1", "intervention", DEVICE)
class Paused(Body):
    """The technician stopped for a while."""

    reason: Text | None = None


@event("intervention.resumed.v1", "intervention", DEVICE)
class Resumed(Body):
    """The technician went on."""


@event("intervention.left.v1", "intervention", DEVICE)
class Left(_Placed):
    """The technician left the site with the work neither done nor given up."""

    reason: Text | None = None


@event("intervention.released.v1", "intervention", DEVICE)
class Released(Body):
    """The technician gave the intervention back to the office."""

    reason: Text


@event("intervention.done.v1", "intervention", DEVICE)
class Done(_Placed):
    """The work is done; this visit is closed."""

    work_done: PersonalText | None = None


@event("intervention.not_done.v1", "intervention", DEVICE)
class NotDone(_Placed):
    """The work could not be done; this visit is closed."""

    reason_code: Code
    reason: PersonalText | None = None


@event("intervention.diagnosed.v1", "intervention", DEVICE)
class Diagnosed(Body):
    """What the technician found."""

    symptom: Code | None = None
    cause: Code | None = None
    diagnosis: PersonalText


@event("intervention.equipment_state_set.v1", "intervention", DEVICE)
class EquipmentStateSet(Body):
    """The state in which the technician found or left a piece of equipment."""

    equipment: Id
    equipment_state: Literal["in_service", "restricted", "out_of_service"]
    reason: Text | None = None


class FieldLine(Body):
    """A line; `replaces` names the line of which this is a new version."""

    replaces: Uuid | None = None


@event("intervention.checklist_answered.v1", "intervention", DEVICE)
class ChecklistAnswered(FieldLine):
    """One item of a checklist was answered."""

    checklist: Code
    item: Code
    answer: bool | Name
    remark: PersonalText | None = None


@event("intervention.measured.v1", "intervention", DEVICE)
class Measured(FieldLine):
    """A quantity was measured. `value` is exact decimal text in `unit` (UCUM code)."""

    quantity: Code
    value: Decimal
    unit: Name
    equipment: Id | None = None


@event("intervention.part_used.v2", "intervention", DEVICE)
class PartUsed(FieldLine):
    """A part was used. The stock movement is an event of its own on `stock:`, recorded in the same breath."""

    part: Code
    quantity: Decimal
    stock: Id | None = None
    serials: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    """The serial number of each piece, where pieces have one."""
    lot: Name | None = None


@event("intervention.photo_taken.v2", "intervention", DEVICE)
class PhotoTaken(FieldLine):
    """A photo was taken. The bytes travel by HTTP and are known by their hash."""

    file: File
    source: Literal["camera", "library", "unstated"]
    """Taken here and now, or chosen from what was there. `unstated`: by a program that did not ask yet."""
    taken_at: TimeText | None = None
    position: Position | SealedValue | None = None
    label: Name | None = None


@event("intervention.signature_taken.v1", "intervention", DEVICE)
class SignatureTaken(FieldLine):
    """The customer signed on the device: a simple electronic signature of exactly what was shown."""

    file: File
    signer: SealedValue
    signer_role: Literal["customer", "tenant", "caretaker", "other"]
    shown_sha256: Sha256
    keys: Annotated[tuple[WrappedKey, ...], Field(max_length=8)] = ()


@event("intervention.signature_refused.v1", "intervention", DEVICE)
class SignatureRefused(FieldLine):
    """The customer did not sign, or nobody was there."""

    reason: Text


@event("intervention.comment_added.v1", "intervention", DEVICE)
class CommentAdded(Body):
    """A remark."""

    text: PersonalText


@event("intervention.comment_edited.v1", "intervention", DEVICE)
class CommentEdited(Body):
    """A new version of a remark; the old one stays in the history."""

    replaces: Uuid
    text: PersonalText


@event("intervention.quote_made.v1", "intervention", DEVICE)
class QuoteMade(FieldLine):
    """A quote was shown to the customer."""

    lines: Annotated[tuple[PriceLine, ...], Field(min_length=1, max_length=100)]
    total_cents: Cents
    currency: Currency
    accepted: bool


@event("intervention.payment_taken.v1", "intervention", DEVICE)
class PaymentTaken(FieldLine):
    """Money was taken on site."""

    amount_cents: Cents
    currency: Currency
    method: Literal["cash", "card", "cheque", "transfer"]
    receipt: Name | None = None


@event("intervention.follow_up_requested.v1", "intervention", DEVICE)
class FollowUpRequested(FieldLine):
    """Another visit is needed."""

    reason: Text
    kind: Literal["return_visit", "parts", "specialist", "quote"]
    wanted_from: TimeText | None = None


@event("intervention.line_voided.v1", "intervention", DEVICE)
class LineVoided(Body):
    """A line is withdrawn; it stays in the history with the reason."""

    line: Uuid
    reason: Text
