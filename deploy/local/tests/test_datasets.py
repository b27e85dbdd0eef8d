"""The days that the demo is played on."""

import csv
import io
from pathlib import Path

import pytest

from zb.datasets import EQUIPMENT_COLUMNS, INTERVENTION_COLUMNS, SITE_COLUMNS, Dataset
from zb.datasets.city import french_city
from zb.datasets.db_lifts import DatasetMissing, berlin_and_around

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "db-lifts"


def rows(data: bytes, encoding: str = "utf-8", delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(encoding)), delimiter=delimiter))


def test_the_same_seed_builds_the_same_city() -> None:
    assert french_city(7) == french_city(7)
    assert french_city(7) != french_city(8)


def test_every_generated_lift_stands_at_a_site_and_every_outage_on_a_lift() -> None:
    city = french_city()
    sites = {row["reference"] for row in rows(city.sites_csv)}
    lifts = {row["reference"]: row["site_reference"] for row in rows(city.equipment_csv)}
    assert set(lifts.values()) <= sites
    assert all(lifts[row["equipment_reference"]] == row["site_reference"] for row in rows(city.interventions_csv))


def test_the_columns_are_those_of_the_import() -> None:
    city = french_city()
    tables = (
        (city.sites_csv, SITE_COLUMNS),
        (city.equipment_csv, EQUIPMENT_COLUMNS),
        (city.interventions_csv, INTERVENTION_COLUMNS),
    )
    for data, columns in tables:
        assert tuple(rows(data)[0]) == columns


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"lacks facilities\.csv, stations\.csv, lifts\.csv, outages\.json"):
        berlin_and_around(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real lifts data set does not lie beside the checkout")
def test_the_real_day_keeps_its_dirt() -> None:
    day: Dataset = berlin_and_around(REAL)
    lifts = rows(day.equipment_csv, "cp1252", ";")
    assert len(rows(day.interventions_csv)) == 23
    assert any("," in lift["latitude"] for lift in lifts), "decimal commas stay for the import to read"
    assert any(not lift["year_built"] for lift in lifts), "lifts that the second file does not know stay too"
