"""ERP file layouts as data, and the two ways of writing them: fixed width, and CSV with `;`. Pure, deterministic bytes.

A column has a name, a width, a type, an alignment and a padding. What does not fit its column, or would be a formula to whoever
opens the CSV, is a Problem BILLING_LAYOUT that names the field; nothing is cut, rounded or replaced in silence. A file is a
header record, the lines, and a trailer with the control totals. Which profile writes which layouts is in profiles.py.
"""

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal

from zb_contracts.problems import BILLING_LAYOUT, Problem

Record = Mapping[str, str | int]
"""One record's values by column name: text, whole numbers and cents as int, quantities as decimal text."""
LINE_END: Final = "\r\n"
FORMULA: Final = ("=", "+", "-", "@")
"""With these a spreadsheet begins to compute. A control character, which may come before, is in no file at all."""


class Kind(StrEnum):
    """How a value is written. AMOUNT takes cents; QUANTITY exact decimal text; DATE `yyyy-mm-dd`."""

    TEXT = "text"
    INTEGER = "integer"
    AMOUNT = "amount"
    QUANTITY = "quantity"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `width` is in characters; in CSV it is the longest value. `scale`: decimals of a quantity."""

    name: str
    width: int
    kind: Kind = Kind.TEXT
    align: Literal["left", "right"] = "left"
    padding: str = " "
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """One file of a profile. `suffix` ends its name; `encoding` is Python's name of a character set."""

    name: str
    form: Literal["fixed", "csv"]
    suffix: str
    encoding: str
    header: tuple[Column, ...]
    line: tuple[Column, ...]
    trailer: tuple[Column, ...]


def text(name: str, width: int) -> Column:
    return Column(name, width)


def integer(name: str, width: int) -> Column:
    return Column(name, width, Kind.INTEGER, "right", "0")


def amount(name: str, width: int) -> Column:
    return Column(name, width, Kind.AMOUNT, "right", "0")


def quantity(name: str, width: int, scale: int) -> Column:
    return Column(name, width, Kind.QUANTITY, "right", "0", scale)


def date(name: str, width: int) -> Column:
    return Column(name, width, Kind.DATE)


def write_lines(layout: Layout, lines: Sequence[Record]) -> bytes:
    """The line records alone: to find out whether they fit before they are part of a batch. Problem BILLING_LAYOUT."""
    return b"".join(_record(layout, layout.line, line, f"line {number}") for number, line in enumerate(lines, 1))


def write_file(layout: Layout, header: Record, lines: Sequence[Record], trailer: Record) -> bytes:
    """The whole file; the same values give the same bytes. Problem BILLING_LAYOUT names record and field."""
    return (
        _record(layout, layout.header, header, "header")
        + write_lines(layout, lines)
        + _record(layout, layout.trailer, trailer, "trailer")
    )


def _record(layout: Layout, columns: Sequence[Column], values: Record, place: str) -> bytes:
    form = _FORMS[layout.form]
    cells = []
    for column in columns:
        cell = _checked(column, form.write(column, values[column.name], place), place)
        _check_characters(cell, layout.encoding, f"{place}, {column.name}")
        cells.append(cell)
    return form.join(columns, cells).encode(layout.encoding)


# --- fixed width ---


def _fixed(column: Column, value: str | int, place: str) -> str:
    match column.kind:
        case Kind.TEXT:
            return str(value)
        case Kind.DATE:
            return str(value).replace("-", "")
        case Kind.INTEGER:
            return str(value)
        case Kind.AMOUNT:
            return _signed(int(value), column.width)
        case Kind.QUANTITY:
            return _signed(_scaled(column, str(value), place), column.width)


def _signed(value: int, width: int) -> str:
    """Sign first, then digits without a decimal mark: -000001250."""
    return f"{'-' if value < 0 else '+'}{abs(value):0{width - 1}d}"


def _join_fixed(columns: Sequence[Column], cells: Sequence[str]) -> str:
    return "".join(map(_padded, columns, cells)) + LINE_END


def _padded(column: Column, cell: str) -> str:
    pad = str.ljust if column.align == "left" else str.rjust
    return pad(cell, column.width, column.padding)


# --- CSV ---


def _csv(column: Column, value: str | int, place: str) -> str:
    match column.kind:
        case Kind.TEXT:
            if str(value).startswith(FORMULA):
                reason = f"to a spreadsheet it is a formula: {str(value)[:60]!r}"
                raise Problem(BILLING_LAYOUT, field=f"{place}, {column.name}", reason=reason)
            return str(value)
        case Kind.INTEGER | Kind.DATE:
            return str(value)
        case Kind.AMOUNT:
            return _with_comma(int(value), 2)
        case Kind.QUANTITY:
            return _with_comma(_scaled(column, str(value), place), column.scale)


def _with_comma(value: int, scale: int) -> str:
    digits = f"{abs(value):0{scale + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-scale]},{digits[-scale:]}"


def _join_csv(_: Sequence[Column], cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=";", lineterminator=LINE_END).writerow(cells)
    return line.getvalue()


@dataclass(frozen=True, slots=True)
class _Form:
    write: Callable[[Column, str | int, str], str]
    join: Callable[[Sequence[Column], Sequence[str]], str]


_FORMS: Final[Mapping[str, _Form]] = {"fixed": _Form(_fixed, _join_fixed), "csv": _Form(_csv, _join_csv)}


# --- what does not fit ---


def _scaled(column: Column, value: str, place: str) -> int:
    """A quantity as a whole number of its smallest unit; more decimals than the column has are refused, not rounded."""
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > column.scale:
        raise Problem(BILLING_LAYOUT, field=f"{place}, {column.name}", reason=f"{value} has more than {column.scale} decimals")
    return int(f"{number:.{column.scale}f}".replace(".", ""))


def _checked(column: Column, cell: str, place: str) -> str:
    if len(cell) > column.width:
        reason = f"{len(cell)} characters for {column.width}: {cell[:60]!r}"
        raise Problem(BILLING_LAYOUT, field=f"{place}, {column.name}", reason=reason)
    return cell


def _check_characters(cell: str, encoding: str, field: str) -> None:
    control = next((character for character in cell if unicodedata.category(character).startswith("C")), None)
    if control is not None:
        raise Problem(BILLING_LAYOUT, field=field, reason=f"the control character {control!r} has no place in a file")
    try:
        cell.encode(encoding)
    except UnicodeEncodeError as fault:
        wrong = cell[fault.start]
        raise Problem(BILLING_LAYOUT, field=field, reason=f"{encoding} has no {wrong!r} (U+{ord(wrong):04X})") from fault
