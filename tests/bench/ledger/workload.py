"""What the people of one agency write in a day and a half: seeded, causally closed, every body valid.

The office creates, plans and assigns; technicians travel, start, take photos, measure, use parts and end, 8 to 30 events an
intervention; some visit the intervention of another. Half of the devices send as they record, in segments of 8, the others
what they gathered off line, in segments of 64. It signs, and writes no file.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from zb_contracts import canonical, subjects
from zb_contracts.envelope import BODY_TYPE, GENESIS, PAYLOAD_TYPE, Anchor, Header, SignedEvent, digest
from zb_contracts.events import Body, fieldwork, office, places, type_of
from zb_contracts.events.values import File
from zb_contracts.keys import SigningKey, dsse_pae
from zb_contracts.segment import SEGMENT_EVENTS_MAX, encode_segment
from zb_contracts.times import format_time_ms, parse_time_ms

DEVICES: Final = 200
INTERVENTIONS_A_DEVICE: Final = 12
LIVE_EVENTS: Final = 8
"""Events of a segment that a device sends as it records."""
BACKLOG_EVENTS: Final = SEGMENT_EVENTS_MAX
SECOND_VISIT: Final = 0.08
MOVED_MEANWHILE: Final = 0.1
DAY_MS: Final = parse_time_ms("2026-11-23T06:00:00.000Z")
STEP_MS: Final = 45_000
PARTS: Final = ("VALVE-15", "SEAL-22", "PUMP-3", "FUSE-10A", "BELT-7")
CHECKS: Final = ("gas-tight", "pressure", "flue", "earth", "label")


@dataclass(frozen=True, slots=True)
class Segment:
    """One message as it is published: subject, message id, bytes, and how many events it holds."""

    subject: str
    message_id: str
    data: bytes
    events: int


@dataclass
class Pen:
    """An author with its chain. `sent` is the number up to which its events were given out as segments."""

    author: str
    subject: str
    key: SigningKey
    number: int
    actor: str | None
    segment_events: int
    now_ms: int = DAY_MS
    seq: int = 0
    prev: str = GENESIS
    sent: int = 0
    waiting: list[SignedEvent] = field(default_factory=list)

    def write(self, body: Body, stream: str, seen: dict[str, int], visit: str | None = None, *, opens: bool = False) -> str:
        """The next event; its id. `opens`: it is the first of a visit, whose id is its own."""
        self.seq += 1
        self.now_ms += STEP_MS
        event_id = f"{self.now_ms >> 16:08x}-{self.now_ms & 0xFFFF:04x}-7000-8{self.number >> 12:03x}-{self._tail():012x}"
        data = body.canonical_bytes()
        header = canonical.encode(
            Header(
                id=event_id,
                author=self.author,
                seq=self.seq,
                prev=self.prev,
                type=type_of(body).name,
                stream=stream,
                visit=event_id if opens else visit,
                actor=self.actor,
                token=f"session-{self.number}" if self.actor else None,
                at=format_time_ms(self.now_ms),
                boot="boot-1" if self.actor else None,
                elapsed_ms=self.now_ms - DAY_MS,
                anchor=Anchor(f"anchor-{self.number}", format_time_ms(DAY_MS)),
                seen=seen,
                body_sha256=digest(data),
                body_type=BODY_TYPE,
            )
        )
        self.prev = digest(header)
        self.waiting.append(SignedEvent(header, data, self.key.sign(dsse_pae(PAYLOAD_TYPE, header))))
        return event_id

    def segments(self, *, all_of_it: bool = False) -> Iterator[Segment]:
        """What fills whole segments, or at the end all that waits."""
        while len(self.waiting) >= self.segment_events or (all_of_it and self.waiting):
            events, self.waiting = self.waiting[: self.segment_events], self.waiting[self.segment_events :]
            first, self.sent = self.sent + 1, self.sent + len(events)
            name = f"{self.author}:{first}-{self.sent}:{digest(events[-1].header)[:32]}"
            yield Segment(self.subject, name, encode_segment(events), len(events))

    def _tail(self) -> int:
        return (self.number & 0xFFF) << 36 | self.seq


@dataclass
class Intervention:
    """One place of work, with the first and last number of its assignee there (0 before the visit)."""

    stream: str
    planned: int
    """The office's number that the assignee knows."""
    first: int = 0
    last: int = 0


class Agency:
    """One agency's office and devices. The same seed and number give the same bytes."""

    def __init__(
        self,
        seed: int,
        number: int,
        *,
        live_share: float = 0.5,
        devices: int = DEVICES,
        interventions: int = INTERVENTIONS_A_DEVICE,
    ) -> None:
        self.name = f"agency-{number:03d}"
        self._number = number
        self._interventions = interventions
        self._dice = random.Random(f"{seed}/{number}")  # noqa: S311 -- a story, no secret
        self.office = self._pen(seed, 0, f"office-{self.name}", None, BACKLOG_EVENTS)
        self.devices = [self._device(seed, at, live=at <= live_share * devices) for at in range(1, devices + 1)]
        self._work: dict[str, list[Intervention]] = {}
        self._known: dict[str, int] = {}
        self._next_known: dict[str, int] = {}

    def planned(self) -> Iterator[Segment]:
        """The office's segments: they are admitted before anybody of the field sends."""
        for device in self.devices:
            self._work[device.author] = [self._plan(device, at) for at in range(self._interventions)]
            yield from self.office.segments()
        yield from self.office.segments(all_of_it=True)

    def worked(self) -> Iterator[Segment]:
        """The devices' segments in the order in which they are sent, after `planned`."""
        for turn in range(self._interventions):
            # A technician knows of the others what the ledger gave out, so what was sent a while ago.
            self._known, self._next_known = self._next_known, {device.author: device.sent for device in self.devices}
            for device in self._dice.sample(self.devices, len(self.devices)):
                self._visit(device, self._work[device.author][turn])
                if turn > 1 and self._dice.random() < SECOND_VISIT:
                    other = self._dice.choice(self.devices)
                    self._visit(device, self._work[other.author][turn - 2], also=other)
                yield from device.segments()
        for device in self.devices:
            yield from device.segments(all_of_it=True)

    def _pen(self, seed: int, at: int, author: str, technician: str | None, segment_events: int) -> Pen:
        key = SigningKey.from_seed(hashlib.sha256(f"{seed}/{author}".encode()).digest())
        subject = subjects.field(author.removesuffix("-i1")) if technician else subjects.office(author)
        return Pen(author, subject, key, self._number * (DEVICES + 1) + at, technician, segment_events)

    def _device(self, seed: int, at: int, *, live: bool) -> Pen:
        name = f"a{self._number:03d}-{at:03d}"
        return self._pen(seed, at, f"d-{name}-i1", f"t-{name}", LIVE_EVENTS if live else BACKLOG_EVENTS)

    def _plan(self, device: Pen, at: int) -> Intervention:
        """Site, creation, plan and assignment; sometimes a new time that the technician does not learn."""
        pen, dice = self.office, self._dice
        number = device.number * self._interventions + at
        stream = f"intervention:{_uuid(number)}"
        site = f"site-{number // 2}"
        if number % 2 == 0:
            address = places.Address(street=f"{number % 90} rue des Lilas", postcode="69003", town="Lyon", country="FR")
            registered = places.SiteRegistered(reference=f"S-{number}", name="Immeuble", agency=self.name, address=address)
            pen.write(registered, f"site:{site}", {})
        start = format_time_ms(DAY_MS + at * 3_600_000)
        created = office.InterventionCreated(
            reference=f"INT-{number}",
            kind=dice.choice(("repair", "maintenance", "inspection")),
            title="Chaudière qui fuit",
            site=site,
            agency=self.name,
            priority=dice.choice(("low", "normal", "high")),
        )
        pen.write(created, stream, {})
        policy = office.Policy(version=1, field_may_set=("planned_start",))
        pen.write(office.Planned(planned_start=start, duration_min=60, policy=policy), stream, {})
        pen.write(office.Assigned(assignee=str(device.actor), tour_position=at), stream, {})
        known = pen.seq
        if dice.random() < MOVED_MEANWHILE:
            pen.write(office.Rescheduled(planned_start=format_time_ms(DAY_MS + at * 3_600_000 + 900_000)), stream, {})
        return Intervention(stream, known)

    def _visit(self, pen: Pen, work: Intervention, also: Pen | None = None) -> None:
        """One visit, 8 to 30 events. `also`: whose work the technician knows, as far as it was given out."""
        seen = {self.office.author: work.planned}
        if also is not None and also is not pen and (known := self._given_out(work, also)):
            seen[also.author] = known
        first = pen.seq + 1
        visit = pen.write(fieldwork.TravelStarted(), work.stream, seen, opens=True)
        for body in _steps(self._dice, visit):
            line = pen.write(body, work.stream, seen, visit)
            if isinstance(body, fieldwork.PartUsed):
                moved = places.StockMoved(part=body.part, quantity=f"-{body.quantity}", cause="used", line=line)
                pen.write(moved, f"stock:van-{pen.actor}", {})
        if work.first == 0:
            work.first, work.last = first, pen.seq

    def _given_out(self, work: Intervention, pen: Pen) -> int:
        """The last number of this device on the stream that others may know; 0 for none."""
        known = min(work.last, self._known.get(pen.author, 0))
        return known if known >= work.first else 0


def _steps(dice: random.Random, visit: str) -> Iterable[Body]:
    """What follows the departure: the visit's facts in order, with its lines between them."""
    yield fieldwork.Arrived()
    yield fieldwork.Started()
    yield fieldwork.Diagnosed(diagnosis="Le joint du circulateur est usé.", symptom="leak", cause="wear")
    for at in range(dice.randint(1, 5)):
        file = File(sha256=digest(f"{visit}/{at}".encode()), length_bytes=dice.randint(200_000, 4_000_000), mime="image/jpeg")
        yield fieldwork.PhotoTaken(file=file, source="camera", label="Avant" if at == 0 else "Après")
    for check in CHECKS[: dice.randint(0, len(CHECKS))]:
        yield fieldwork.ChecklistAnswered(checklist="boiler", item=check, answer=dice.random() < 0.9)
    for _ in range(dice.randint(0, 4)):
        yield fieldwork.Measured(quantity="pressure", value=f"1.{dice.randint(1, 99)}", unit="bar")
    for part in dice.sample(PARTS, dice.randint(0, 3)):
        yield fieldwork.PartUsed(part=part, quantity=str(dice.randint(1, 4)))
    if dice.random() < 0.2:
        yield fieldwork.Paused(reason="Pièce à chercher")
        yield fieldwork.Resumed()
    if dice.random() < 0.3:
        yield fieldwork.CommentAdded(text="Le client demande un devis pour le remplacement.")
    yield fieldwork.SignatureRefused(reason="Personne sur place")
    yield fieldwork.Done(work_done="Joint remplacé, pression contrôlée.")


def _uuid(number: int) -> str:
    return f"01930000-0000-7000-8000-{number:012x}"
