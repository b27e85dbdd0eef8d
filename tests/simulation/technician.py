"""What technicians do with their devices: steps of visits, parts, photos, remarks, requests; in an order that chance likes.

Most of it is sensible, because it follows the visit that the device keeps; some is refused before it is signed, as it should be.
Ids are given with the drafts, so that nothing asks the system for randomness.
"""

from collections.abc import Callable
from typing import Final

from tests.simulation.bridge import PARTS
from tests.simulation.handset import Handset
from zb_contracts.events import Body, fieldwork, office, places
from zb_contracts.times import format_time_ms
from zb_device.faults import VisitRefused
from zb_device.media import described
from zb_device.recording import Draft
from zb_device.visits import VisitStatus

MIME: Final = "image/jpeg"


class Technician:
    """One person with one handset. `interventions` are those of which somebody told them."""

    def __init__(self, handset: Handset) -> None:
        self.handset = handset
        self.world = handset.world
        self.photos = 0

    def act(self) -> None:
        """One gesture. Killed when the device dies in it."""
        interventions = self._interventions()
        if not interventions or self.world.dice.random() < 0.1:
            self._record(self._elsewhere())
            return
        begun = [one for one in interventions if self._is_begun(one)]
        stream = self.world.dice.choice(begun if begun and self.world.dice.random() < 0.6 else interventions)
        visit = self.handset.parts.log.visit(stream, self.handset.technician)
        moves = _MOVES[visit.status if visit else VisitStatus.CLOSED]
        self._record(self.world.dice.choice((*moves, *_ALWAYS))(self, stream))

    def _record(self, drafts: list[Draft]) -> None:
        try:
            self.handset.record(drafts)
        except VisitRefused as refusal:
            self.world.note(self.handset.device, "refused:", refusal)

    def _interventions(self) -> list[str]:
        """What the technician can see, or when it is locked remembers."""
        seen = [] if self.handset.is_locked else self.handset.reading.ids("intervention")
        return sorted({*seen, *self.handset.opened.own.newest("intervention")})

    def _is_begun(self, stream: str) -> bool:
        visit = self.handset.parts.log.visit(stream, self.handset.technician)
        return visit is not None and visit.open

    def _elsewhere(self) -> list[Draft]:
        dice = self.world.dice
        if dice.random() < 0.5:
            return [self.draft(f"site:site-{dice.randrange(2)}", places.SiteChanged(notes=f"mind dog {dice.randrange(9)}"))]
        van = f"stock:van-{self.handset.technician}"
        return [self.draft(van, places.StockMoved(part=dice.choice(PARTS), quantity="5", cause="loaded"))]

    def draft(self, stream: str, body: Body) -> Draft:
        return Draft(stream, body, self.world.uuid7(self.world.now_ms + self.handset.clocks.wall_error_ms))

    def photo(self, stream: str) -> list[Draft]:
        """The bytes first, durable; then the event and the queue's row together. Nothing is left to record then."""
        self.photos += 1
        data = f"photo {self.photos} of {self.handset.author}".encode()
        media = self.handset.parts.media
        file = described(data, MIME)
        prepared = media.known(file) or media.prepare(data, file, self.handset.reader_box())
        body = fieldwork.PhotoTaken(file=prepared.file, source="camera")
        self.handset.record([self.draft(stream, body)], prepared)
        return []

    def part(self, stream: str) -> list[Draft]:
        dice = self.world.dice
        part, quantity = dice.choice(PARTS), str(dice.randint(1, 3))
        line = self.draft(stream, fieldwork.PartUsed(part=part, quantity=quantity))
        taken = places.StockMoved(part=part, quantity=f"-{quantity}", cause="used", line=line.id)
        return [line, self.draft(f"stock:van-{self.handset.technician}", taken)]

    def void(self, stream: str) -> list[Draft]:
        lines = [event.header.id for event in self.handset.opened.own.of(stream) if ".part_used." in event.header.type]
        if not lines:
            return self.part(stream)
        return [self.draft(stream, fieldwork.LineVoided(line=self.world.dice.choice(lines), reason="counted twice"))]

    def ask(self, stream: str) -> list[Draft]:
        start = format_time_ms(self.world.now_ms + 86_400_000)
        field, value = self.world.dice.choice((("planned_start", start), ("title", "cold flat")))
        return [self.draft(stream, office.RequestMade(field=field, value=value))]


Gesture = Callable[[Technician, str], list[Draft]]


def _event(make: Callable[[], Body]) -> Gesture:
    return lambda who, stream: [who.draft(stream, make())]


_COMMENT = _event(lambda: fieldwork.CommentAdded(text="the boiler leaks"))
_START = _event(fieldwork.Started)
_DONE = _event(fieldwork.Done)
_LEFT = _event(fieldwork.Left)
_ALWAYS: Final[tuple[Gesture, ...]] = (_COMMENT, Technician.photo, Technician.ask, _START)
_MOVES: Final[dict[VisitStatus, tuple[Gesture, ...]]] = {
    VisitStatus.CLOSED: (_START, _START, _event(fieldwork.TravelStarted)),
    VisitStatus.TRAVELLING: (_START, _event(fieldwork.Arrived), _event(fieldwork.TravelEnded)),
    VisitStatus.ARRIVED: (_START, _START, _LEFT),
    VisitStatus.WORKING: (
        *(_DONE, _DONE, _LEFT),
        *(Technician.part, Technician.part, Technician.void, Technician.photo),
        _event(fieldwork.Paused),
        _event(lambda: fieldwork.Diagnosed(diagnosis="the seal")),
        _event(lambda: fieldwork.NotDone(reason_code="absent")),
        _event(lambda: fieldwork.PaymentTaken(amount_cents=5000, currency="EUR", method="card")),
    ),
    VisitStatus.PAUSED: (_event(fieldwork.Resumed), _event(fieldwork.Resumed), _DONE),
}
