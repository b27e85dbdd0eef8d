"""What a simulation found: the tallies of all processes as one, beside what the ledger says of every device.

Lost is an event that a device signed and the ledger does not hold: a chain whose end is not the ledger's end of that author.
Pure, but for printing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Compared:
    """The ledger's word on every device: events that it lacks, and chains that end in another event."""

    devices: int
    events: int
    lost: int
    other_ends: int


@dataclass(frozen=True, slots=True)
class Report:
    """One simulation. Times in seconds or as named; bytes without framing, of the light devices, catalogues included."""

    devices: int
    whole_devices: int
    days: int
    seed: int
    events: int
    receipts_of_light_devices: int
    refused: dict[str, int]
    held: int
    lost: int
    other_ends: int
    foreign_receipts: int
    unsettled_devices: int
    ledger_rows: int | None
    ledger_sound: bool | None
    field_s: float
    """Of the days and of coming back; the office's planning between them is not in it."""
    events_per_s: float
    enrolled_per_s: float
    to_receipt_p50_ms: float
    to_receipt_p99_ms: float
    bytes_up_a_device_day: float
    bytes_down_a_device_day: float
    photos: int
    photo_bytes: int
    catalogues: int
    """Fetched by the light devices, each once for each of its contents."""
    contacts: int
    connected_max: int
    mishaps: dict[str, int]
    faults: dict[str, int]

    @property
    def is_whole(self) -> bool:
        """Nothing is lost, everything has its receipt, and the ledger is sound where it was verified."""
        bad = self.lost or self.other_ends or self.foreign_receipts or self.unsettled_devices
        return not bad and self.ledger_sound is not False

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_whole": self.is_whole}


def compared(heads: Sequence[Mapping[str, Any]], marks: Sequence[Mapping[str, Any]]) -> Compared:
    """The end of each device's log beside the ledger's mark of that author, in the same order."""
    lost = other = 0
    for head, mark in zip(heads, marks, strict=True):
        lost += max(0, head["seq"] - mark["mark"])
        other += mark["mark"] >= head["seq"] and mark["head_sha256"] != head["header_sha256"]
    return Compared(len(heads), sum(head["seq"] for head in heads), lost, other)


def merged(tallies: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of all tallies: numbers are added, lists joined, counts by name added by name."""
    total: dict[str, Any] = {}
    for tally in tallies:
        for name, value in tally.items():
            if isinstance(value, dict):
                total[name] = dict(Counter(total.get(name, {})) + Counter(value))
            else:
                total[name] = total.get(name, type(value)()) + value
    return total


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1)] if ordered else 0.0


def table(report: Report) -> Table:
    """The report as a person reads it."""
    shown = Table("", "", show_header=False)
    for name, value in asdict(report).items():
        if value is not None:
            shown.add_row(name.replace("_", " "), _text(value))
    shown.add_row("nothing lost", "yes" if report.is_whole else "NO")
    return shown


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in sorted(value.items())) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
