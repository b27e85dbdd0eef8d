"""What came of a scope while nobody could read: kept in boxes for its technician, laid into the read model when they unlock.

So a device that was locked for the night has its day in the morning, without a network and without anybody's PIN. Where each
technician's scope stands is known beside the lock: an order's number is nothing personal. What a delivery brings is known to
its author only once it was laid in: nobody has seen it before.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from zb_contracts.catalogues import Reference
from zb_contracts.envelope import is_summed
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import WrapKey, open_sealed, seal_to
from zb_contracts.problems import Problem
from zb_contracts.sync import ScopeDelta
from zb_device.database import Connection, transaction
from zb_device.faults import DiskFull, StoreDamaged
from zb_device.log import Log, ReaderBox
from zb_device.reading import ReadModel, Scope, check_order

BYTES_MAX: Final = 16 << 20
"""Of all deliveries to one technician; beyond it the scope waits for them."""


class _Delivery(msgspec.Struct, frozen=True, array_like=True):
    healing: int
    delta: ScopeDelta


@dataclass(frozen=True, slots=True)
class Place:
    """Where a technician's scope stands, deliveries counted in."""

    epoch: str = ""
    cursor: int = 0
    count: int = 0


class Deliveries:
    """The tables `deliveries` and `scope_places`."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def place(self, technician: str) -> Place:
        row = self._db.execute("select epoch, cursor, count from scope_places where technician = ?", (technician,)).fetchone()
        return Place(*row) if row else Place()

    def put_place(self, technician: str, place: Place) -> None:
        """In the caller's transaction."""
        self._db.execute(
            "insert or replace into scope_places (technician, epoch, cursor, count) values (?, ?, ?, ?)",
            (technician, place.epoch, place.cursor, place.count),
        )

    def has_room(self, technician: str) -> bool:
        (size,) = self._db.execute(
            "select coalesce(sum(length(for_reader)), 0) from deliveries where reader = ?", (technician,)
        ).fetchone()
        return int(size) < BYTES_MAX

    def put(self, reader: ReaderBox, delta: ScopeDelta, healing: int) -> None:
        """One more, and where the scope stands with it, together."""
        box = seal_to(reader.public, msgspec.msgpack.encode(_Delivery(healing, delta)))
        with transaction(self._db):
            self._db.execute("insert into deliveries (reader, for_reader) values (?, ?)", (reader.technician, box))
            self.put_place(reader.technician, Place(delta.epoch, delta.cursor, delta.count))

    def lay_in(self, reading: ReadModel, reader: WrapKey, log: Log) -> None:
        """Apply all of them, in order. What does not go on from what is there is left to the next sync, which brings it."""
        try:
            # What is of an old copy, or for a read model that was begun anew, goes: its place makes the next request ask for it.
            with suppress(Problem, StoreDamaged, CryptoFault, msgspec.DecodeError):
                for one in self._waiting(reading.technician, reader):
                    reading.apply(one.delta, one.healing)
                    with transaction(self._db):
                        know(log, one.delta)
        except DiskFull:
            # They stay for the next unlocking.
            return
        scope = reading.scope()
        place = Place(scope.epoch, scope.cursor, reading.count())
        if place == self.place(reading.technician) and not self._count(reading.technician):
            return
        with transaction(self._db):
            self._db.execute("delete from deliveries where reader = ?", (reading.technician,))
            self.put_place(reading.technician, place)

    def _count(self, technician: str) -> int:
        (count,) = self._db.execute("select count(*) from deliveries where reader = ?", (technician,)).fetchone()
        return int(count)

    def _waiting(self, technician: str, reader: WrapKey) -> Iterator[_Delivery]:
        rows = self._db.execute("select for_reader from deliveries where reader = ? order by number", (technician,)).fetchall()
        for (box,) in rows:
            yield msgspec.msgpack.decode(open_sealed(reader.private, bytes(box)), type=_Delivery)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """In the place of a locked read model: a sync asks it what is here, and lays into it what came."""

    deliveries: Deliveries
    reader: ReaderBox
    is_locked: Callable[[], bool]

    @property
    def technician(self) -> str:
        return self.reader.technician

    @property
    def is_open(self) -> bool:
        """Not once the technician has unlocked: then the read model itself asks."""
        return self.is_locked()

    def scope(self) -> Scope:
        place = self.deliveries.place(self.technician)
        return Scope(place.epoch, place.cursor)

    def count(self) -> int:
        return self.deliveries.place(self.technician).count

    def references(self) -> list[Reference]:
        """None: catalogues are fetched when somebody can read what refers to them."""
        return []

    def apply(self, delta: ScopeDelta, healing: int = 0) -> None:
        """Keep it for the technician. SYNC_ROLLBACK where it does not go on; what it holds is checked when it is laid in."""
        check_order(delta, self.scope())
        self.deliveries.put(self.reader, delta, healing)


def know(log: Log, delta: ScopeDelta) -> None:
    """In the caller's transaction: what the author was shown stays known, locked or after the document has left the scope."""
    for document in delta.documents:
        if document.vector and not is_summed(document.id):
            log.raise_vector(document.id, document.vector)
