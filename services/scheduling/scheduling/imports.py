"""What the rows of an import mean: sites, equipment, interventions as typed values, and every fault by row and column.

Pure. It knows the columns, their limits and spellings (decimal commas, times with a zone), and finds a reference that stands
twice in a file. Whether a reference exists already, and with what content, is intake.py's matter.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Generic, TypeVar, get_args

from zb_chassis.csvtable import CELL_CHARACTERS_MAX, Fault, Row, Table, read_table
from zb_contracts.events.office import InterventionCreated, Priority

NAME_CHARACTERS_MAX: Final = 200
TEXT_CHARACTERS_MAX: Final = 4000
SKILLS_MAX: Final = 32
DURATION_MIN_MAX: Final = 14 * 24 * 60
KINDS: Final[tuple[str, ...]] = get_args(InterventionCreated.model_fields["kind"].annotation)
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)

SITE_REQUIRED: Final = ("reference", "name", "town", "country")
SITE_OPTIONAL: Final = ("street", "postcode", "latitude", "longitude", "contact", "access_code", "notes")
EQUIPMENT_REQUIRED: Final = ("reference", "kind", "label", "site_reference")
EQUIPMENT_OPTIONAL: Final = ("manufacturer", "model", "serial", "year_built", "place", "latitude", "longitude")
INTERVENTION_REQUIRED: Final = ("reference", "kind", "title", "site_reference")
INTERVENTION_OPTIONAL: Final = (
    "equipment_reference",
    "priority",
    "duration_min",
    "window_start",
    "window_end",
    "contract",
    "price_list",
    "checklist",
    "required_skills",
)

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.,][0-9]{1,15})?")

Location = tuple[int, int]
"""Latitude and longitude in 10^-7 degrees."""


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site as the file has it; empty cells are None."""

    row: int
    reference: str
    name: str
    street: str | None
    postcode: str | None
    town: str
    country: str
    location: Location | None
    contact: str | None
    access_code: str | None
    notes: str | None


@dataclass(frozen=True, slots=True)
class EquipmentRow:
    """A piece of equipment as the file has it."""

    row: int
    reference: str
    kind: str
    label: str
    site_reference: str
    manufacturer: str | None
    model: str | None
    serial: str | None
    year_built: int | None
    place: str | None
    location: Location | None


@dataclass(frozen=True, slots=True)
class InterventionRow:
    """An intervention as the file has it; times in ms since 1970."""

    row: int
    reference: str
    kind: str
    title: str
    site_reference: str
    equipment_reference: str | None
    priority: str | None
    duration_min: int | None
    window_start_ms: int | None
    window_end_ms: int | None
    contract: str | None
    price_list: str | None
    checklist: str | None
    required_skills: tuple[str, ...]


R = TypeVar("R", SiteRow, EquipmentRow, InterventionRow)


@dataclass(frozen=True, slots=True)
class Import(Generic[R]):
    """The good rows and the faults of a file. `total` counts the rows that are not blank.

    `repeats` are rows (number, reference) that say the same as an earlier good one.
    """

    good: tuple[R, ...]
    repeats: tuple[tuple[int, str], ...]
    faults: tuple[Fault, ...]
    total: int
    ignored_columns: tuple[str, ...]


def read_sites(data: bytes) -> Import[SiteRow]:
    """The sites of a file. A Problem of the area `input` where it cannot be read at all."""
    return _read(read_table(data, required=SITE_REQUIRED, optional=SITE_OPTIONAL), _site)


def read_equipment(data: bytes) -> Import[EquipmentRow]:
    """The equipment of a file, as above."""
    return _read(read_table(data, required=EQUIPMENT_REQUIRED, optional=EQUIPMENT_OPTIONAL), _equipment)


def read_interventions(data: bytes) -> Import[InterventionRow]:
    """The interventions of a file, as above."""
    return _read(read_table(data, required=INTERVENTION_REQUIRED, optional=INTERVENTION_OPTIONAL), _intervention)


class _Cells:
    """Reads one row's cells and collects what is wrong with them."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.faults: list[Fault] = []

    def wrong(self, column: str, reason: str) -> None:
        self.faults.append(Fault(self.row.number, column, reason, self.row.cells.get(column, "")))

    def text(self, column: str, characters_max: int = NAME_CHARACTERS_MAX) -> str | None:
        value = self.row.cells.get(column, "")
        if not value:
            return None
        if len(value) > min(characters_max, CELL_CHARACTERS_MAX):
            self.wrong(column, f"has {len(value)} characters, the limit is {characters_max}")
            return None
        if _CONTROL.search(value):
            self.wrong(column, "has a control character")
            return None
        return value

    def required(self, column: str) -> str:
        if not self.row.cells.get(column, ""):
            self.wrong(column, "is empty")
            return ""
        return self.text(column) or ""

    def code(self, column: str) -> str | None:
        value = self.text(column)
        if value is not None and not _CODE.fullmatch(value):
            self.wrong(column, "is no code (letters, digits, . _ -, at most 64)")
            return None
        return value

    def choice(self, column: str, choices: Sequence[str]) -> str | None:
        value = self.text(column)
        if value is not None and value.lower() not in choices:
            self.wrong(column, f"is none of {', '.join(choices)}")
            return None
        return value and value.lower()

    def number(self, column: str) -> Decimal | None:
        """A number with a decimal point or comma."""
        value = self.text(column)
        if value is None:
            return None
        try:
            if _NUMBER.fullmatch(value):
                return Decimal(value.replace(",", "."))
        except InvalidOperation:
            pass
        self.wrong(column, "is no number")
        return None

    def integer(self, column: str, least: int, most: int) -> int | None:
        number = self.number(column)
        if number is None:
            return None
        if number != number.to_integral_value() or not least <= number <= most:
            self.wrong(column, f"is no whole number within {least} and {most}")
            return None
        return int(number)

    def location(self) -> Location | None:
        cells = self.row.cells
        for column, other in (("latitude", "longitude"), ("longitude", "latitude")):
            if not cells.get(column, "") and cells.get(other, ""):
                self.wrong(column, f"is empty although there is a {other}")
        latitude, longitude = self._degrees("latitude", 90), self._degrees("longitude", 180)
        return None if latitude is None or longitude is None else (latitude, longitude)

    def _degrees(self, column: str, most: int) -> int | None:
        number = self.number(column)
        if number is not None and not -most <= number <= most:
            self.wrong(column, f"lies outside -{most} and {most} degrees")
            return None
        return None if number is None else int((number * 10_000_000).to_integral_value())

    def moment(self, column: str) -> int | None:
        value = self.text(column)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return round(moment.astimezone(UTC).timestamp() * 1000)
        except (ValueError, OverflowError):
            pass
        self.wrong(column, "is no time with a zone, such as 2026-11-22T14:00Z or 2026-11-22T15:00+01:00")
        return None

    def codes(self, column: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(re.findall(r"[^\s,;|]+", self.row.cells.get(column, ""))))
        if len(found) > SKILLS_MAX:
            self.wrong(column, f"names {len(found)}, the limit is {SKILLS_MAX}")
        if not all(_CODE.fullmatch(code) for code in found):
            self.wrong(column, "has something that is no code (letters, digits, . _ -, at most 64)")
        return found


def _site(cells: _Cells) -> SiteRow:
    country = cells.required("country").upper()
    if country and not _COUNTRY.fullmatch(country):
        cells.wrong("country", "is no country code of two letters")
    return SiteRow(
        row=cells.row.number,
        reference=cells.required("reference"),
        name=cells.required("name"),
        street=cells.text("street"),
        postcode=cells.text("postcode"),
        town=cells.required("town"),
        country=country,
        location=cells.location(),
        contact=cells.text("contact", TEXT_CHARACTERS_MAX),
        access_code=cells.text("access_code"),
        notes=cells.text("notes", TEXT_CHARACTERS_MAX),
    )


def _equipment(cells: _Cells) -> EquipmentRow:
    cells.required("kind")
    return EquipmentRow(
        row=cells.row.number,
        reference=cells.required("reference"),
        kind=cells.code("kind") or "",
        label=cells.required("label"),
        site_reference=cells.required("site_reference"),
        manufacturer=cells.text("manufacturer"),
        model=cells.text("model"),
        serial=cells.text("serial"),
        year_built=cells.integer("year_built", 1800, 2200),
        place=cells.text("place"),
        location=cells.location(),
    )


def _intervention(cells: _Cells) -> InterventionRow:
    cells.required("kind")
    start, end = cells.moment("window_start"), cells.moment("window_end")
    if start is not None and end is not None and end < start:
        cells.wrong("window_end", "lies before window_start")
    return InterventionRow(
        row=cells.row.number,
        reference=cells.required("reference"),
        kind=cells.choice("kind", KINDS) or "",
        title=cells.required("title"),
        site_reference=cells.required("site_reference"),
        equipment_reference=cells.text("equipment_reference"),
        priority=cells.choice("priority", PRIORITIES),
        duration_min=cells.integer("duration_min", 1, DURATION_MIN_MAX),
        window_start_ms=start,
        window_end_ms=end,
        contract=cells.code("contract"),
        price_list=cells.code("price_list"),
        checklist=cells.code("checklist"),
        required_skills=cells.codes("required_skills"),
    )


def _read(table: Table, parse: Callable[[_Cells], R]) -> Import[R]:
    good: dict[str, R] = {}
    repeats: list[tuple[int, str]] = []
    faults = list(table.faults)
    for row in table.rows:
        cells = _Cells(row)
        value = parse(cells)
        twin = good.get(value.reference)
        if twin is not None and not cells.faults:
            _check_twin(cells, twin, value)
        if cells.faults:
            faults.extend(cells.faults)
        elif twin is not None:
            repeats.append((row.number, value.reference))
        else:
            good[value.reference] = value
    faults.sort(key=lambda fault: (fault.row, fault.column))
    return Import(tuple(good.values()), tuple(repeats), tuple(faults), table.total, table.ignored_columns)


def _check_twin(cells: _Cells, first: Any, second: Any) -> None:
    """The same reference twice in a file: fine with the same content, else nobody knows which one is meant."""
    names = [name for name in first.__slots__ if name != "row" and getattr(first, name) != getattr(second, name)]
    if names:
        cells.wrong("reference", f"stands in row {first.row} already, with another {', '.join(names)}")
