"""Histories for tests: event builders, and several authors who write off line and sync at random.

An `Author` has a chain and, per stream, what it knows; `learn` hands it another's knowledge, whole, so that every vector is
causally closed as admission demands. `random_history` makes such a history of one intervention from a `random.Random`.
"""

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from zb_contracts.envelope import GENESIS, Anchor, Header, ParsedEvent, SignedEvent, digest, parse_event, sign_event
from zb_contracts.events import AuthorKind, Body, Opaque, fieldwork, office, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.headers import narrowed
from zb_contracts.times import format_time_ms, parse_time_ms

DAY_MS = parse_time_ms("2026-11-22T00:00:00.000Z")
INTERVENTION = "intervention:0190d000-0000-7000-8000-000000000001"


def uuid7(number: int) -> str:
    """A UUIDv7 made of a number: tests need no randomness for ids."""
    return str(uuid.UUID(int=(0x0190D000 << 96) | (7 << 76) | (0b10 << 62) | number))


def dice(seed: int) -> random.Random:
    """Randomness that can be repeated."""
    return random.Random(seed)  # noqa: S311


def clock_ms(text: str) -> int:
    """`10:05` on the day of every story."""
    hours, minutes = text.split(":")
    return DAY_MS + (int(hours) * 60 + int(minutes)) * 60_000


@dataclass
class Author:
    """A device, an office or a service. `wrong_clock_ms` shifts its wall clock only; `anchored`: it has met the server."""

    name: str
    kind: AuthorKind
    actor: str | None = None
    number: int = 1
    anchored: bool = True
    wrong_clock_ms: int = 0
    key: SigningKey | None = None
    seq: int = 0
    prev: str = GENESIS
    now_ms: int = DAY_MS
    knowledge: dict[str, dict[str, int]] = field(default_factory=dict)
    written: list[MergeEvent] = field(default_factory=list)
    signed: list[SignedEvent] = field(default_factory=list)

    def at(self, time: str) -> "Author":
        """The true time at which the next events are written."""
        self.now_ms = clock_ms(time)
        return self

    def seen(self, stream: str = INTERVENTION) -> dict[str, int]:
        return dict(self.knowledge.get(stream, {}))

    def write(
        self, body: Body | Opaque, *, visit: str | None = None, stream: str = INTERVENTION, opens: bool = False
    ) -> MergeEvent:
        """The next event of this author's chain. `opens`: the event opens a visit, so its id is the visit's id."""
        self.seq += 1
        event_id = uuid7(self.number * 1_000_000 + self.seq)
        data = b"{}" if isinstance(body, Opaque) else body.canonical_bytes()
        header = Header(
            id=event_id,
            author=self.name,
            seq=self.seq,
            prev=self.prev,
            type=body.type if isinstance(body, Opaque) else type_of(body).name,
            stream=stream,
            visit=event_id if opens else visit,
            actor=self.actor,
            token=None,
            at=format_time_ms(self.now_ms + self.wrong_clock_ms),
            boot=None,
            elapsed_ms=self.now_ms - DAY_MS if self.anchored else None,
            anchor=Anchor("anchor-1", format_time_ms(DAY_MS)) if self.anchored else None,
            seen=self.seen(stream),
            body_sha256=digest(data),
            body_type="application/json",
        )
        if self.key is not None:
            signed = sign_event(self.key, header, data)
            self.signed.append(signed)
            self.prev = digest(signed.header)
        self.knowledge.setdefault(stream, {})[self.name] = self.seq
        event = MergeEvent(narrowed(header), body, self.kind)
        self.written.append(event)
        return event

    def parsed(self) -> list[ParsedEvent]:
        """What was signed, read back from its bytes. Only of an author with a key."""
        return [parse_event(signed) for signed in self.signed]

    def learn(self, *others: "Author", stream: str = INTERVENTION) -> "Author":
        """Know all that the others know of a stream, themselves included."""
        mine = self.knowledge.setdefault(stream, {})
        for other in others:
            for author, seq in other.knowledge.get(stream, {}).items():
                mine[author] = max(mine.get(author, 0), seq)
        return self


def device(name: str, technician: str, number: int) -> Author:
    return Author(name=name, kind=AuthorKind.DEVICE, actor=technician, number=number)


def agency(name: str = "office-lyon", number: int = 900) -> Author:
    return Author(name=name, kind=AuthorKind.OFFICE, actor="dispatcher-1", number=number)


def service(name: str = "billing-bridge", number: int = 950) -> Author:
    return Author(name=name, kind=AuthorKind.SERVICE, number=number)


def created(**fields: object) -> office.InterventionCreated:
    values: dict[str, object] = {
        "reference": "INT-1",
        "kind": "repair",
        "title": "leaky-boiler",
        "site": "site-1",
        "agency": "lyon",
    }
    return office.InterventionCreated.model_validate(values | fields)


def planned(start: str = "14:00", *may_set: str) -> office.Planned:
    return office.Planned(
        planned_start=format_time_ms(clock_ms(start)),
        duration_min=60,
        policy=office.Policy(version=1, field_may_set=may_set),
    )


def moved(start: str) -> office.Rescheduled:
    return office.Rescheduled(planned_start=format_time_ms(clock_ms(start)))


def photo(label: str) -> fieldwork.PhotoTaken:
    return fieldwork.PhotoTaken(
        file=fieldwork.File(sha256=digest(label.encode()), length_bytes=1000, mime="image/jpeg"),
        source="camera",
        label=label,
    )


def part(code: str = "VALVE-15", quantity: str = "1", replaces: str | None = None) -> fieldwork.PartUsed:
    return fieldwork.PartUsed(part=code, quantity=quantity, replaces=replaces)


def payment(cents: int = 5000) -> fieldwork.PaymentTaken:
    return fieldwork.PaymentTaken(amount_cents=cents, currency="EUR", method="card")


@dataclass
class _Play:
    """One random history as it is being written."""

    dice: random.Random
    authors: Sequence[Author]
    events: list[MergeEvent] = field(default_factory=list)
    visits: dict[str, str] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def record(self, event: MergeEvent) -> None:
        self.events.append(event)
        self.ids[event.name].append(event.id)

    def pick(self, *names: str) -> str:
        """The id of some event of these (unversioned) types, or one that does not exist."""
        ids = [event_id for name in names for event_id in self.ids[f"intervention.{name}"]]
        return self.dice.choice(ids) if ids else uuid7(1)


def random_history(dice: random.Random, steps: int) -> list[MergeEvent]:
    """`steps` events or a few more of three devices (two of one technician) and two offices, causally closed."""
    authors = [
        device("device-a", "tech-a", 1),
        device("device-a2", "tech-a", 2),
        device("device-b", "tech-b", 3),
        agency("office-1", 901),
        agency("office-2", 902),
        service(number=951),
    ]
    for author in authors:
        author.anchored = dice.random() < 0.7
        author.wrong_clock_ms = dice.choice((0, 0, 3_600_000, -3_600_000, 31_536_000_000))
    play = _Play(dice, authors)
    while len(play.events) < steps:
        author = dice.choice(authors)
        author.now_ms = max(each.now_ms for each in authors) + dice.randint(0, 600_000)
        if dice.random() < 0.4:
            author.learn(dice.choice(authors))
        play.record(_MOVES[author.kind](play, author))
    return play.events


def _device_move(play: _Play, author: Author) -> MergeEvent:
    dice, visit = play.dice, play.visits.get(author.name)
    if visit is None or dice.random() < 0.1:
        body = dice.choice((fieldwork.Started(), fieldwork.TravelStarted()))
        opening = author.write(body, opens=True)
        play.visits[author.name] = opening.id
        return opening
    if dice.random() < 0.05:
        visit = dice.choice(list(play.visits.values()))
    return author.write(dice.choice(_FIELD_BODIES)(play), visit=visit)


_FIELD_BODIES: tuple[Callable[[_Play], Body], ...] = (
    lambda play: fieldwork.Arrived(),
    lambda play: fieldwork.Started(),
    lambda play: fieldwork.Paused(),
    lambda play: fieldwork.Resumed(),
    lambda play: fieldwork.Left(),
    lambda play: fieldwork.Released(reason="no key"),
    lambda play: fieldwork.Done(),
    lambda play: fieldwork.NotDone(reason_code="absent"),
    lambda play: fieldwork.Diagnosed(diagnosis=play.dice.choice(("seal", "valve"))),
    lambda play: fieldwork.EquipmentStateSet(equipment="lift-1", equipment_state="in_service"),
    lambda play: photo(str(play.dice.randint(1, 99))),
    lambda play: part(quantity=str(play.dice.randint(1, 9)), replaces=play.dice.choice((None, play.pick("part_used")))),
    lambda play: payment(play.dice.randint(1, 9999)),
    lambda play: fieldwork.TravelEnded(),
    lambda play: fieldwork.Measured(quantity="pressure", value=f"1.{play.dice.randint(1, 9)}", unit="bar"),
    lambda play: fieldwork.ChecklistAnswered(
        checklist="boiler", item="leak", answer=play.dice.random() < 0.5, replaces=play.pick("checklist_answered")
    ),
    lambda play: fieldwork.CommentAdded(text="ring twice"),
    lambda play: fieldwork.CommentEdited(text="ring once", replaces=play.pick("comment_added", "comment_edited", "measured")),
    lambda play: fieldwork.SignatureRefused(reason="nobody there"),
    lambda play: fieldwork.FollowUpRequested(reason="a part", kind="parts"),
    lambda play: fieldwork.LineVoided(
        line=play.pick("part_used", "photo_taken", "payment_taken", "comment_added"), reason="mistake"
    ),
    lambda play: office.RequestMade(
        field=play.dice.choice(("planned_start", "priority", "title", "assignee")),
        value=play.dice.choice(("2026-11-23T08:00:00.000Z", "high")),
    ),
    lambda play: office.RequestAccepted(request=play.pick("request_made", "corrected")),
    lambda play: office.RequestDeclined(request=play.pick("request_made"), reason="not now"),
    lambda play: office.SetAsideAcknowledged(event=play.pick("cancelled", "rescheduled"), field="cancelled"),
)

_OFFICE_BODIES: tuple[Callable[[_Play], Body], ...] = (
    lambda play: created(priority=play.dice.choice(("low", "high"))),
    lambda play: office.DetailsChanged(title=play.dice.choice(("boiler", "lift"))),
    lambda play: planned(f"{play.dice.randint(7, 18)}:00", *play.dice.choice(((), ("planned_start",)))),
    lambda play: moved(f"{play.dice.randint(7, 18)}:00"),
    lambda play: office.Assigned(assignee=play.dice.choice(("tech-a", "tech-b", "none"))),
    lambda play: office.Cancelled(reason="the customer called"),
    lambda play: office.Reopened(reason="again"),
    lambda play: office.RequestMade(field="diagnosis", value="please say more"),
    lambda play: office.RequestDeclined(request=play.pick("request_made"), reason="no"),
    lambda play: office.Corrected(
        visit=play.pick("started", "travel_started"), field="diagnosis", value="seal", reason="typed wrong"
    ),
    lambda play: office.VisitAbandoned(visit=play.pick("started", "travel_started"), reason="device lost"),
    lambda play: office.SetAsideAcknowledged(event=play.pick("cancelled", "started"), field="cancelled_too_late"),
)


def _office_move(play: _Play, author: Author) -> MergeEvent:
    return author.write(play.dice.choice(_OFFICE_BODIES)(play))


def _service_move(play: _Play, author: Author) -> MergeEvent:
    if play.dice.random() < 0.3:
        held = office.EventAdmitted(
            event=play.pick("started"), author="device-a", author_seq=1, supervisor="alix", reason="it was lost later"
        )
        return author.write(held)
    return author.write(office.BillingExported(profile="erp", batch=1, kind="invoice", lines_sha256="0" * 64))


_MOVES: dict[AuthorKind, Callable[[_Play, Author], MergeEvent]] = {
    AuthorKind.DEVICE: _device_move,
    AuthorKind.OFFICE: _office_move,
    AuthorKind.SERVICE: _service_move,
}


def everything(*authors: Author) -> list[MergeEvent]:
    """All that these authors wrote."""
    return [event for author in authors for event in author.written]


def is_closed(events: Iterable[MergeEvent]) -> bool:
    """Whether every vector covers what the events it covers had seen, and never shrinks within an author."""
    kept = list(events)
    return all(
        event.header.seen.get(author, 0) >= seq
        for event in kept
        for other in kept
        if other is not event and event.header.seen.get(other.header.author, 0) >= other.header.seq
        for author, seq in other.header.seen.items()
    )
