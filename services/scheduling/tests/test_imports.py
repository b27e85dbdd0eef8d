"""Dirty files: encodings, delimiters, decimal commas, and every wrong row by number, column and reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.imports import read_equipment, read_interventions, read_sites
from zb_chassis import csvtable
from zb_contracts.problems import INPUT_COLUMNS, INPUT_ENCODING, INPUT_INVALID, INPUT_TOO_LARGE, Problem, ProblemType

SITES = "reference,name,street,postcode,town,country,latitude,longitude,contact,access_code,notes\n"
WORK = "reference,kind,title,site_reference,duration_min,window_start,window_end,priority,required_skills\n"


def faults(text: str) -> list[tuple[int, str]]:
    return [(fault.row, fault.column) for fault in read_sites((SITES + text).encode()).faults]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_the_same_site_in_every_spelling(encoding: str, delimiter: str) -> None:
    latitude = '"52,5"' if delimiter == "," else "52,5"
    cells = ["A-1", "Bahnhof Köln", "", "50667", "Köln", "de", latitude, "13.4", "", "", "Schlüssel beim Wärter"]
    text = SITES.replace(",", delimiter) + delimiter.join(cells) + "\r\n"
    found = read_sites(text.encode(encoding))
    assert found.faults == ()
    (site,) = found.good
    assert (site.name, site.country, site.location, site.notes) == (
        "Bahnhof Köln",
        "DE",
        (525_000_000, 134_000_000),
        "Schlüssel beim Wärter",
    )
    assert site.street is None


def test_every_wrong_cell_is_named_and_the_good_rows_stay_good() -> None:
    found = read_sites(
        (
            SITES
            + "A-1,Good,,,Berlin,DE,52.5,13.4,,,\n"
            + ",No reference,,,Berlin,DE,,,,,\n"
            + "A-3,,,,,Germany,,,,,\n"
            + "A-4,North of the pole,,,Berlin,DE,95,13.4,,,\n"
            + "A-5,Half a place,,,Berlin,DE,52.5,,,,\n"
            + "A-6,Not a number,,,Berlin,DE,fifty,13.4,,,\n"
            + "A-7,too,few,cells\n"
            + "\n"
            + f"A-9,{'x' * 201},,,Berlin,DE,,,,,\n"
            + "A-10,bell\x07,,,Berlin,DE,,,,,\n"
        ).encode()
    )
    assert [site.reference for site in found.good] == ["A-1"]
    assert [(fault.row, fault.column) for fault in found.faults] == [
        (3, "reference"),
        (4, "country"),
        (4, "name"),
        (4, "town"),
        (5, "latitude"),
        (6, "longitude"),
        (7, "latitude"),
        (8, ""),
        (10, "name"),
        (11, "name"),
    ]
    assert found.total == 9
    assert "limit is 200" in next(fault.reason for fault in found.faults if fault.row == 10)


def test_a_reference_twice_is_fine_with_the_same_content_only() -> None:
    row = "A-1,Good,,,Berlin,DE,,,,,\n"
    assert faults(row + row) == []
    assert faults(row + row.replace("Good", "Other")) == [(3, "reference")]


def test_a_quoted_cell_may_hold_a_line_break_and_rows_are_counted_as_a_spreadsheet_does() -> None:
    assert faults('A-1,Good,,,Berlin,DE,,,,,"two\nlines"\nA-2,,,,Berlin,DE,,,,,\n') == [(3, "name")]


def test_times_need_a_zone_and_durations_are_whole_minutes() -> None:
    found = read_interventions(
        (
            WORK
            + "W-1,repair,Fix,A-1,45,2026-03-16T08:00Z,2026-03-16T10:00:00+01:00,HIGH,lift gas\n"
            + "W-2,repair,Fix,A-1,45,2026-03-16T08:00,,,\n"
            + "W-3,repair,Fix,A-1,1.5,,,,\n"
            + "W-4,repair,Fix,A-1,45,2026-03-16T12:00Z,2026-03-16T10:00Z,,\n"
            + "W-5,party,Fix,A-1,45,,,urgent,li/ft\n"
        ).encode()
    )
    (good,) = found.good
    assert good.window_end_ms is not None
    assert good.window_start_ms is not None
    assert good.window_end_ms - good.window_start_ms == 3_600_000
    assert (good.priority, good.required_skills) == ("high", ("lift", "gas"))
    assert [(fault.row, fault.column) for fault in found.faults] == [
        (3, "window_start"),
        (4, "duration_min"),
        (5, "window_end"),
        (6, "kind"),
        (6, "priority"),
        (6, "required_skills"),
    ]


def test_a_year_with_a_decimal_comma_is_a_year() -> None:
    header = "reference;kind;label;site_reference;year_built\n"
    found = read_equipment((header + "L-1;lift;Aufzug;A-1;2007,0\nL-2;lift;Aufzug;A-1;07\n").encode())
    assert [lift.year_built for lift in found.good] == [2007]
    assert [(fault.row, fault.column) for fault in found.faults] == [(3, "year_built")]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"reference,name\nA,B\n", INPUT_COLUMNS),
        (b"", INPUT_COLUMNS),
        (b"\x81\x8d\xff,\n", INPUT_ENCODING),
        (SITES.replace("notes", "name").encode(), INPUT_INVALID),
        (SITES.encode() + b'A-1,"unclosed', INPUT_INVALID),
        (b"x" * (csvtable.FILE_BYTES_MAX + 1), INPUT_TOO_LARGE),
        (SITES.encode() + b"a\n" * (csvtable.ROWS_MAX + 1), INPUT_INVALID),
        (SITES.strip().encode() + b"".join(b",c%d" % number for number in range(1_000_000)), INPUT_INVALID),
    ],
)
def test_a_file_that_cannot_be_read_is_one_named_problem(data: bytes, kind: ProblemType) -> None:
    with pytest.raises(Problem) as caught:
        read_sites(data)
    assert caught.value.kind is kind


def test_columns_that_nobody_asked_for_are_listed() -> None:
    found = read_sites(b"reference,name,town,country,colour\nA-1,Good,Berlin,DE,blue\n")
    assert found.ignored_columns == ("colour",)
    assert len(found.good) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    codes = set()
    for read in (read_sites, read_equipment, read_interventions):
        for body in (data, SITES.encode() + data, WORK.encode() + data):
            try:
                found = read(body)  # type: ignore[operator]
            except Problem as problem:
                codes.add(problem.code)
            else:
                assert found.total >= len(found.good)
    assert codes <= {"input.columns", "input.invalid", "input.encoding"}
