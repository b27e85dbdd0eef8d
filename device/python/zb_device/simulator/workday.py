"""What happens to a device day by day: visits and their facts, dead zones, crashes, wrong clocks. Seeded, pure.

The same seed, device and day give the same story. Times of day only order it: a fleet lives a day as fast as the platform
answers, and every clock shows when things really happen.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from zb_contracts.events import Body, fieldwork, places
from zb_contracts.events.values import File

DEAD_ZONE_STARTS: Final = 0.06
"""Share of mornings on which a device leaves for where no network is."""
DEAD_ZONE_DAYS_MAX: Final = 3
VISIT_WITHOUT_NETWORK: Final = 0.3
CRASHES: Final = 0.03
"""Share of contacts in the middle of which the device's process dies."""
CLOCK_WRONG: Final = 0.04
CLOCK_ERROR_MS_MAX: Final = 3 * 86_400_000
CHARGED_PERCENT: Final = (60, 100)
CHARGE_A_VISIT_PERCENT: Final = (5, 20)
PHOTO_BYTES: Final = 40_000
JPEG: Final = (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", b"\xff\xd9")
MIME: Final = "image/jpeg"
CHECKS: Final = ("gas-tight", "pressure", "flue", "earth", "label")
PARTS: Final = ("VALVE-15", "SEAL-22", "PUMP-3", "FUSE-10A", "BELT-7")


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of the day. `has_network` False: what it records waits for a later contact."""

    has_network: bool
    crashes: bool
    seed: str
    battery_percent: int
    """What is left when it ends."""


@dataclass(frozen=True, slots=True)
class Workday:
    """A device's day. In a dead zone it meets the platform neither in the morning nor in the evening."""

    arrives: float
    """Where it stands in the morning wave, 0 to 1."""
    in_dead_zone: bool
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True)
class Photo:
    """Bytes to be; `bytes` makes the same ones each time."""

    seed: str
    length_bytes: int

    def bytes(self) -> bytes:
        head, tail = JPEG
        return head + random.Random(self.seed).randbytes(self.length_bytes - len(head) - len(tail)) + tail  # noqa: S311

    def file(self) -> File:
        return File(sha256=hashlib.sha256(self.bytes()).hexdigest(), length_bytes=self.length_bytes, mime=MIME)


def workday(seed: int, device: int, day: int, visits: int) -> Workday:
    """The day, from 1 on, of one device of the fleet, with so many visits."""
    dice = random.Random(f"{seed}/{device}/{day}")  # noqa: S311 -- a story, no secret
    charges = _charges(f"{seed}/{device}/{day}/charge", visits)
    lived = tuple(
        Visit(dice.random() >= VISIT_WITHOUT_NETWORK, dice.random() < CRASHES, f"{seed}/{device}/{day}/{at}", charge)
        for at, charge in enumerate(charges)
    )
    return Workday(arrives=dice.random(), in_dead_zone=_in_dead_zone(seed, device, day), visits=lived)


def _charges(seed: str, visits: int) -> list[int]:
    """The battery after each visit of a day: charged over night, never quite empty."""
    dice = random.Random(seed)  # noqa: S311 -- a story, no secret
    left, charges = dice.randint(*CHARGED_PERCENT), []
    for _ in range(visits):
        left = max(1, left - dice.randint(*CHARGE_A_VISIT_PERCENT))
        charges.append(left)
    return charges


def wall_error_ms(seed: int, device: int) -> int:
    """By how much the device's wall clock is wrong, for good; mostly not at all."""
    dice = random.Random(f"{seed}/{device}/clock")  # noqa: S311 -- a story, no secret
    return dice.randint(-CLOCK_ERROR_MS_MAX, CLOCK_ERROR_MS_MAX) if dice.random() < CLOCK_WRONG else 0


def _in_dead_zone(seed: int, device: int, day: int) -> bool:
    """Whether a stay without network began on this day or lasts since one of the days before. The first day has the network."""
    for began in range(max(2, day - DEAD_ZONE_DAYS_MAX + 1), day + 1):
        dice = random.Random(f"{seed}/{device}/{began}/dead zone")  # noqa: S311 -- a story, no secret
        if dice.random() < DEAD_ZONE_STARTS and began + dice.randint(1, DEAD_ZONE_DAYS_MAX) > day:
            return True
    return False


def facts(visit: Visit) -> Iterator[Body | Photo]:
    """What the technician records, in order; a photo stands for its event and its bytes. About twenty events."""
    dice = random.Random(visit.seed)  # noqa: S311 -- a story, no secret
    yield fieldwork.TravelStarted()
    yield fieldwork.Arrived()
    yield fieldwork.Started()
    yield fieldwork.Diagnosed(diagnosis="Le joint du circulateur est usé.", symptom="leak", cause="wear")
    for at in range(dice.randint(1, 4)):
        yield Photo(f"{visit.seed}/{at}", round(PHOTO_BYTES * dice.uniform(0.5, 1.5)))
    for check in CHECKS[: dice.randint(2, len(CHECKS))]:
        yield fieldwork.ChecklistAnswered(checklist="boiler", item=check, answer=dice.random() < 0.9)
    for _ in range(dice.randint(1, 4)):
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


def stock_moved(body: fieldwork.PartUsed, line: str) -> places.StockMoved:
    """What leaves the van with a part."""
    return places.StockMoved(part=body.part, quantity=f"-{body.quantity}", cause="used", line=line)
