"""What a technician records beside interventions: a site, a piece of equipment, a stock, their own working day.

As `work`: each method returns once its event is signed and on disk, RecordInvalid else.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zb_contracts.events import Body, places
from zb_contracts.events.values import Position
from zb_device.actions import sealed_draft
from zb_device.bodies import built
from zb_device.recording import Recorded

if TYPE_CHECKING:
    from zb_device.device import Device

Cause = Literal["used", "voided", "loaded", "returned", "counted", "lost"]


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream that the device may write on; what stands on it is said by the classes below."""

    device: "Device"
    stream: str

    async def _record(self, model: type[Body], /, **values: Any) -> Recorded:
        return await self.device.record(built(model, **values), stream=self.stream)


class Site(Stream):
    """A place of work."""

    async def change(
        self,
        *,
        contact: str | None = None,
        access_code: str | None = None,
        notes: str | None = None,
        location: Position | None = None,
    ) -> Recorded:
        """Who to call, how to get in, what to mind. Contact and access code are sealed under a key that is made here."""
        personal = {name: text for name, text in (("contact", contact), ("access_code", access_code)) if text is not None}
        if not personal:
            return await self._record(places.SiteChanged, notes=notes, location=location)
        values, now_ms = {"notes": notes, "location": location}, self.device.clock.wall_ms()
        draft = sealed_draft(self.stream, places.SiteChanged, values, personal, "contact", now_ms)
        (made,) = await self.device.record_all([draft])
        return made


class Equipment(Stream):
    """A piece of equipment."""

    async def identify(
        self,
        *,
        manufacturer: str | None = None,
        model: str | None = None,
        serial: str | None = None,
        year_built: int | None = None,
        place: str | None = None,
    ) -> Recorded:
        """What its plate says, and where on the site it stands."""
        return await self._record(
            places.EquipmentIdentified,
            manufacturer=manufacturer,
            model=model,
            serial=serial,
            year_built=year_built,
            place=place,
        )


class Stock(Stream):
    """A van's or depot's stock: movements only, their sum is what is there."""

    async def move(
        self, part: str, quantity: str, cause: Cause, *, line: str | None = None, counterpart: str | None = None
    ) -> Recorded:
        """A quantity came in (positive) or went out (negative)."""
        return await self._record(
            places.StockMoved, part=part, quantity=quantity, cause=cause, line=line, counterpart=counterpart
        )


class Shift(Stream):
    """A technician's working day."""

    async def start(self, *, vehicle: str | None = None) -> Recorded:
        """The day begins."""
        return await self._record(places.ShiftStarted, vehicle=vehicle)

    async def end(self) -> Recorded:
        """The day ends."""
        return await self._record(places.ShiftEnded)

    async def note(self, text: str) -> Recorded:
        """A remark on the day."""
        return await self._record(places.ShiftNoted, text=text)
