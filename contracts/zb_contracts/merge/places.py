"""The folds of the streams beside the interventions: sites and equipment, stock, shifts, devices."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from zb_contracts.fields import REGISTERS_OF, FieldClass, field_of
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank
from zb_contracts.merge.records import Record
from zb_contracts.merge.registers import decide
from zb_contracts.merge.state import (
    DeviceState,
    EquipmentState,
    Movement,
    Note,
    Register,
    ShiftState,
    SiteState,
    StockState,
)

_FRACTION_DIGITS: Final = 9
"""A quantity has at most nine digits after the point, so a sum of scaled integers is exact."""


MOVEMENTS_SHOWN_MAX: Final = 200
"""Movements that a state lists, the newest; the quantities are the sums of all."""


class _RegisterFold:
    """A stream that is nothing but registers."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._writes: dict[str, Writes] = defaultdict(Writes)

    def add(self, event: MergeEvent) -> None:
        for row in REGISTERS_OF.get(event.name, ()):
            if row.name in event.value:
                self._writes[row.name].add(Write(event, event.value[row.name]))

    def kept(self) -> Iterable[MergeEvent]:
        """The last write of each author on each field: an author's last write knows its earlier ones."""
        last = {write.event.id: write.event for writes in self._writes.values() for write in writes.last()}
        return last.values()

    def held(self) -> int:
        """As many as it took."""
        return self.record.readable

    def _fields(self) -> dict[str, Register]:
        fields = {}
        for name, writes in sorted(self._writes.items()):
            row = field_of(self.record.kind, name)
            assert row is not None
            fields[name] = decide(name, row.field_class, writes, {})
        return fields


class SiteFold(_RegisterFold):
    """All events of one site."""

    def state(self) -> SiteState:
        return SiteState(**self.record.header(), fields=self._fields())


class EquipmentFold(_RegisterFold):
    """All events of one piece of equipment."""

    def state(self) -> EquipmentState:
        return EquipmentState(**self.record.header(), fields=self._fields())


class StockFold:
    """All movements of one van or depot: the quantity is their sum, never a register. The newest movements are kept."""

    def __init__(self, record: Record) -> None:
        self.record = record
        # Rule version 1 lists every movement and counts none.
        self._shown_max = MOVEMENTS_SHOWN_MAX if record.rule_version > 1 else None
        self._movements: list[MergeEvent] = []

    def add(self, event: MergeEvent) -> None:
        part, scaled = event.value["part"], int(Decimal(event.value["quantity"]).scaleb(_FRACTION_DIGITS))
        self.record.sums[part] = self.record.sums.get(part, 0) + scaled
        insort(self._movements, event, key=lambda movement: movement.rank)
        if self._shown_max is not None and len(self._movements) > self._shown_max:
            del self._movements[0]

    def kept(self) -> Iterable[MergeEvent]:
        """The movements that the state lists: the sums of all are the record's."""
        return self._movements

    def held(self) -> int:
        """The movements that the state lists."""
        return len(self._movements)

    def state(self) -> StockState:
        return StockState(
            **self.record.header(),
            quantities={part: decimal_text(total) for part, total in sorted(self.record.sums.items())},
            movements=[_movement(event) for event in self._movements],
            movement_count=msgspec.UNSET if self._shown_max is None else self.record.readable,
        )


def decimal_text(scaled: int) -> str:
    """The shortest decimal text of billionths: no exponent, no trailing zeros, no negative zero."""
    whole, fraction = divmod(abs(scaled), 10**_FRACTION_DIGITS)
    digits = f"{fraction:0{_FRACTION_DIGITS}d}".rstrip("0")
    return f"{'-' if scaled < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def _movement(event: MergeEvent) -> Movement:
    value = event.value
    return Movement(
        part=value["part"],
        quantity=value["quantity"],
        cause=value["cause"],
        line=value.get("line"),
        counterpart=value.get("counterpart"),
        origin=event.origin,
    )


class ShiftFold:
    """All events of one working day."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._started = Writes()
        self._ended = Writes()
        self._notes: list[MergeEvent] = []

    def add(self, event: MergeEvent) -> None:
        if event.name == "shift.noted":
            self._notes.append(event)
        elif event.name == "shift.started":
            self._started.add(Write(event, event.value))
        else:
            self._ended.add(Write(event, event.value))

    def kept(self) -> Iterable[MergeEvent]:
        """Every remark, and of each author the last start and end."""
        return [*self._notes, *(write.event for writes in (self._started, self._ended) for write in writes.last())]

    def held(self) -> int:
        """As many as it took."""
        return self.record.readable

    def state(self) -> ShiftState:
        fact = FieldClass.VISIT_FACT
        return ShiftState(
            **self.record.header(),
            started=decide("started", fact, self._started, {}) if self._started else None,
            ended=decide("ended", fact, self._ended, {}) if self._ended else None,
            notes=[Note(text=_text(event), origin=event.origin) for event in by_rank(self._notes)],
        )


def _text(event: MergeEvent) -> Any:
    return event.value["text"]


class DeviceFold:
    """All events about one device: counted, not merged."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def add(self, event: MergeEvent) -> None:
        """Nothing: keys and revocations are read one by one."""

    def kept(self) -> Iterable[MergeEvent]:
        """None."""
        return ()

    def held(self) -> int:
        """None."""
        return 0

    def state(self) -> DeviceState:
        return DeviceState(**self.record.header())
