"""The bytes of a CSV file as numbered rows: encoding, delimiter, header, shape.

UTF-8 (with or without a byte order mark) or Windows-1252; `,` or `;`. A row is numbered as a spreadsheet shows it: the header
is row 1. A file that cannot be read at all is a Problem; a row that does not fit the header is a Fault, and the others stay
good. What the cells mean, its caller knows.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zb_contracts.problems import INPUT_COLUMNS, INPUT_ENCODING, INPUT_INVALID, INPUT_TOO_LARGE, Problem

FILE_BYTES_MAX: Final = 16 << 20
ROWS_MAX: Final = 10_000
CELL_CHARACTERS_MAX: Final = 16_384
COLUMNS_MAX: Final = 500
DELIMITERS: Final = (";", ",")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one cell, or with a whole row (`column` is empty then)."""

    row: int
    column: str
    reason: str
    value: str = ""

    def as_error(self) -> dict[str, Any]:
        """As it stands in a problem document. Long values are cut."""
        return {"row": self.row, "column": self.column, "reason": self.reason, "value": self.value[:200]}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, and its cells by column, trimmed."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows that fit the header, the faults of those that do not, and the columns that nobody asked for."""

    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    ignored_columns: tuple[str, ...]

    @property
    def total(self) -> int:
        return len(self.rows) + len(self.faults)


def read_table(data: bytes, *, required: Sequence[str], optional: Sequence[str]) -> Table:
    """The table of a file. Problem INPUT_TOO_LARGE, INPUT_ENCODING, INPUT_COLUMNS or INPUT_INVALID."""
    if len(data) > FILE_BYTES_MAX:
        raise Problem(INPUT_TOO_LARGE, limit=FILE_BYTES_MAX)
    text = _decoded(data)
    lines = _lines(text)
    header = _header(next(lines, []), required)
    known = {*required, *optional}
    rows: list[Row] = []
    faults: list[Fault] = []
    for number, cells in enumerate(lines, 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(rows) + len(faults) >= ROWS_MAX:
            raise Problem(INPUT_INVALID, errors=({"reason": f"the file has more than {ROWS_MAX} rows: cut it in parts"},))
        if len(cells) != len(header):
            faults.append(Fault(number, "", f"the row has {len(cells)} cells, the header {len(header)}"))
            continue
        named = zip(header, cells, strict=True)
        rows.append(Row(number, {name: cell.strip() for name, cell in named if name in known}))
    return Table(tuple(rows), tuple(faults), tuple(name for name in header if name not in known))


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Problem(INPUT_ENCODING)  # Windows-1252 would read it as letters with holes between them
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError as fault:
        raise Problem(INPUT_ENCODING) from fault


def _lines(text: str) -> Iterator[list[str]]:
    """The records of the file; the delimiter is the one of which the first line has more."""
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error as fault:
        reason = f"line {reader.line_num} is no CSV: {fault}"
        raise Problem(INPUT_INVALID, errors=({"row": reader.line_num, "column": "", "reason": reason},)) from fault


def _header(cells: list[str], required: Sequence[str]) -> list[str]:
    if len(cells) > COLUMNS_MAX:
        raise Problem(INPUT_INVALID, errors=({"row": 1, "reason": f"the file has more than {COLUMNS_MAX} columns"},))
    header = [cell.strip().lower() for cell in cells]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise Problem(INPUT_INVALID, errors=({"row": 1, "column": twice[0], "reason": "the column is there twice"},))
    missing = [name for name in required if name not in header]
    if missing:
        raise Problem(INPUT_COLUMNS, missing=", ".join(missing))
    return header
