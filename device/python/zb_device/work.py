"""`Work`: everything that a technician records on one intervention, a method for each event type of the field.

Each method returns once its events are signed and on disk; what does not fit is RecordInvalid, a step that the visit does not
allow VisitRefused, and then nothing was recorded. What belongs together (a part and its stock movement) commits together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zb_contracts.events import Body
from zb_contracts.events import fieldwork as field
from zb_contracts.events.office import RequestAccepted, RequestDeclined, RequestMade, SetAsideAcknowledged
from zb_contracts.events.values import Position, PriceLine
from zb_contracts.merge.state import InterventionState
from zb_contracts.sealed import SealedValue
from zb_device import actions
from zb_device.attachments import Picture, bytes_of
from zb_device.bodies import built
from zb_device.media import Prepared
from zb_device.recording import Draft, Recorded

if TYPE_CHECKING:
    from zb_device.device import Device

Place = Position | SealedValue | None
Said = str | SealedValue
"""Free text; sealed by the caller where it names a person."""


@dataclass(frozen=True, slots=True)
class Work:
    """One intervention in the technician's hands. `Device.work_on` gives it."""

    device: "Device"
    intervention: str

    @property
    def stream(self) -> str:
        return f"intervention:{self.intervention}"

    def state(self) -> InterventionState:
        """The merged local state. Locked, or InterventionUnknown."""
        return self.device.intervention(self.intervention)

    # --- Steps of a visit ---

    async def travel(self, *, position: Place = None) -> Recorded:
        """The technician sets out."""
        return await self._record(field.TravelStarted, position=position)

    async def stop_travel(self, *, position: Place = None) -> Recorded:
        """The journey is over, here or elsewhere."""
        return await self._record(field.TravelEnded, position=position)

    async def arrive(self, *, position: Place = None) -> Recorded:
        """The technician is at the site."""
        return await self._record(field.Arrived, position=position)

    async def start(self, *, position: Place = None) -> Recorded:
        """The work begins."""
        return await self._record(field.Started, position=position)

    async def pause(self, *, reason: str | None = None) -> Recorded:
        """The work rests for a while."""
        return await self._record(field.Paused, reason=reason)

    async def resume(self) -> Recorded:
        """The work goes on."""
        return await self._record(field.Resumed)

    async def leave(self, *, reason: str | None = None, position: Place = None) -> Recorded:
        """The technician goes, the work neither done nor given up."""
        return await self._record(field.Left, reason=reason, position=position)

    async def release(self, reason: str) -> Recorded:
        """The intervention goes back to the office."""
        return await self._record(field.Released, reason=reason)

    async def done(self, *, work_done: Said | None = None, position: Place = None) -> Recorded:
        """The work is done; the visit is closed."""
        return await self._record(field.Done, work_done=work_done, position=position)

    async def not_done(self, reason_code: str, *, reason: Said | None = None, position: Place = None) -> Recorded:
        """The work could not be done; the visit is closed."""
        return await self._record(field.NotDone, reason_code=reason_code, reason=reason, position=position)

    # --- What was found ---

    async def diagnose(self, diagnosis: Said, *, symptom: str | None = None, cause: str | None = None) -> Recorded:
        """What the technician found."""
        return await self._record(field.Diagnosed, diagnosis=diagnosis, symptom=symptom, cause=cause)

    async def set_equipment_state(
        self,
        equipment: str,
        equipment_state: Literal["in_service", "restricted", "out_of_service"],
        *,
        reason: str | None = None,
    ) -> Recorded:
        """The state in which a piece of equipment was found or left."""
        return await self._record(field.EquipmentStateSet, equipment=equipment, equipment_state=equipment_state, reason=reason)

    async def answer(
        self, checklist: str, item: str, answer: bool | str, *, remark: Said | None = None, replaces: str | None = None
    ) -> Recorded:
        """One item of a checklist. `replaces` names the answer that this one corrects."""
        return await self._record(
            field.ChecklistAnswered, checklist=checklist, item=item, answer=answer, remark=remark, replaces=replaces
        )

    async def measure(
        self, quantity: str, value: str, unit: str, *, equipment: str | None = None, replaces: str | None = None
    ) -> Recorded:
        """`value` is exact decimal text in `unit` (a UCUM code)."""
        return await self._record(
            field.Measured, quantity=quantity, value=value, unit=unit, equipment=equipment, replaces=replaces
        )

    async def comment(self, text: Said) -> Recorded:
        """A remark."""
        return await self._record(field.CommentAdded, text=text)

    async def edit_comment(self, replaces: str, text: Said) -> Recorded:
        """A new version; the old one stays in the history."""
        return await self._record(field.CommentEdited, replaces=replaces, text=text)

    # --- Parts ---

    async def use_part(
        self,
        part: str,
        quantity: str = "1",
        *,
        stock: str | None = None,
        serials: Sequence[str] = (),
        lot: str | None = None,
        replaces: str | None = None,
    ) -> list[Recorded]:
        """The line, then the movement out of the stock: the van where none is named. `replaces` gives back what that line took.

        Correcting a line needs the merged state, hence an unlocked device.
        """
        stock = stock or self.device.van
        body = built(
            field.PartUsed,
            part=part,
            quantity=quantity,
            stock=stock,
            serials=tuple(serials),
            lot=lot,
            replaces=replaces,
        )
        replaced = actions.line_of(self.state(), replaces) if replaces else None
        now_ms = self.device.clock.wall_ms()
        drafts = actions.part_used(self.intervention, body, stock=stock, now_ms=now_ms, replaced=replaced)
        return await self.device.record_all(drafts)

    async def void(self, line: str, reason: str) -> list[Recorded]:
        """Withdraw a line; a part goes back into its stock. LineUnknown, or Locked."""
        found = actions.line_of(self.state(), line)
        return await self.device.record_all(actions.line_voided(self.intervention, found, reason, stock=self.device.van))

    # --- Photos and signatures ---

    async def attach(
        self,
        photo: Picture,
        *,
        mime: str | None = None,
        source: Literal["camera", "library"] = "camera",
        label: str | None = None,
        taken_at: str | None = None,
        position: Place = None,
        replaces: str | None = None,
    ) -> Recorded:
        """A photo: its bytes encrypted and durable first, then the event that names them by their hash."""
        data, mime = await bytes_of(photo, mime)

        def drafts(prepared: Prepared) -> list[Draft]:
            body = built(
                field.PhotoTaken,
                file=prepared.file,
                source=source,
                taken_at=taken_at,
                position=position,
                label=label,
                replaces=replaces,
            )
            return [Draft(self.stream, body)]

        (event,) = await self.device.attach(data, mime, drafts)
        return event

    async def sign(
        self,
        strokes: Picture,
        *,
        signer: str,
        shown: str,
        role: Literal["customer", "tenant", "caretaker", "other"] = "customer",
        mime: str | None = None,
        replaces: str | None = None,
    ) -> Recorded:
        """The customer's strokes as a picture, and exactly what was `shown` to them. The signer's name is sealed."""
        data, mime = await bytes_of(strokes, mime)
        values: dict[str, object] = {
            "signer_role": role,
            "shown_sha256": hashlib.sha256(shown.encode()).hexdigest(),
            "replaces": replaces,
        }

        def drafts(prepared: Prepared) -> list[Draft]:
            named, now_ms = {**values, "file": prepared.file}, self.device.clock.wall_ms()
            return [actions.sealed_draft(self.stream, field.SignatureTaken, named, {"signer": signer}, "signer", now_ms)]

        (made,) = await self.device.attach(data, mime, drafts)
        return made

    async def refuse_signature(self, reason: str, *, replaces: str | None = None) -> Recorded:
        """The customer did not sign, or nobody was there."""
        return await self._record(field.SignatureRefused, reason=reason, replaces=replaces)

    # --- Money ---

    async def quote(
        self,
        lines: Sequence[PriceLine],
        *,
        total_cents: int,
        accepted: bool,
        currency: str = "EUR",
        replaces: str | None = None,
    ) -> Recorded:
        """A quote was shown to the customer."""
        return await self._record(
            field.QuoteMade,
            lines=tuple(lines),
            total_cents=total_cents,
            currency=currency,
            accepted=accepted,
            replaces=replaces,
        )

    async def take_payment(
        self,
        amount_cents: int,
        method: Literal["cash", "card", "cheque", "transfer"],
        *,
        currency: str = "EUR",
        receipt: str | None = None,
        replaces: str | None = None,
    ) -> Recorded:
        """Money was taken on site."""
        return await self._record(
            field.PaymentTaken,
            amount_cents=amount_cents,
            currency=currency,
            method=method,
            receipt=receipt,
            replaces=replaces,
        )

    # --- Between the field and the office ---

    async def request_follow_up(
        self,
        kind: Literal["return_visit", "parts", "specialist", "quote"],
        reason: str,
        *,
        wanted_from: str | None = None,
        replaces: str | None = None,
    ) -> Recorded:
        """Another visit is needed."""
        return await self._record(field.FollowUpRequested, kind=kind, reason=reason, wanted_from=wanted_from, replaces=replaces)

    async def ask(self, about: str, value: str, *, reason: str | None = None) -> Recorded:
        """Ask the office for a value of one of its fields (`planned_start` ...), e.g. an appointment agreed on site."""
        return await self._record(RequestMade, field=about, value=value, reason=reason)

    async def accept(self, request: str) -> Recorded:
        """Agree to what the office asked for."""
        return await self._record(RequestAccepted, request=request)

    async def decline(self, request: str, reason: str) -> Recorded:
        """Do not agree to what the office asked for."""
        return await self._record(RequestDeclined, request=request, reason=reason)

    async def acknowledge(self, event: str, about: str) -> Recorded:
        """The technician has read that the value of `event` for a field was set aside, or that a conflict was raised."""
        return await self._record(SetAsideAcknowledged, event=event, field=about)

    async def _record(self, model: type[Body], /, **values: Any) -> Recorded:
        return await self.device.record(built(model, **values), stream=self.stream)
