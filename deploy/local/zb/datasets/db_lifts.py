"""Real lifts and outages of German railway stations, read from a folder in the form in which they were published.

Four files: facilities (lift -> station, place), stations, lifts (maker, year; Windows-1252, `;`, decimal commas) and outages
(minutes out of service for each day of 2019). Rows that contradict each other or lack a station are kept as they are.
"""

import csv
import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from zb.datasets import EQUIPMENT_COLUMNS, INTERVENTION_COLUMNS, SITE_COLUMNS, Dataset
from zb.datasets.tables import csv_bytes

CENTRE: Final = (52.5200, 13.4050)
RADIUS_KM: Final = 40.0
OUTAGE_YEAR: Final = 2019
TIMEZONE: Final = "Europe/Berlin"
DAY: Final = date(2019, 3, 4)
FILES: Final = ("facilities.csv", "stations.csv", "lifts.csv", "outages.json")

Row = dict[str, str]


class DatasetMissing(Exception):
    """The folder is not such a data set; the message says which file is missing."""


def berlin_and_around(folder: Path, day: date = DAY) -> Dataset:
    """The lifts within RADIUS_KM of Berlin, and the outages of `day` (in 2019) as interventions."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DatasetMissing(f"{folder} lacks {', '.join(missing)}: give the folder of the lifts data set with --data")
    facilities = _rows(folder / "facilities.csv", "utf-8", ",")
    near = [row for row in facilities if _is_near(row)]
    stations = {row["Bf. Nr."]: row for row in _rows(folder / "stations.csv", "utf-8-sig", ";")}
    lifts = {row["Equipment (EQ)"]: row for row in _rows(folder / "lifts.csv", "cp1252", ";")}
    outages = {str(row["equipmentnumber"]): row["calendar"] for row in json.loads((folder / "outages.json").read_text())}
    return Dataset(
        title=f"lifts of the stations within {RADIUS_KM:.0f} km of Berlin, outages of {day}",
        day=day,
        sites_csv=csv_bytes(SITE_COLUMNS, _sites(near, stations), delimiter=";"),
        equipment_csv=csv_bytes(EQUIPMENT_COLUMNS, _lifts(near, lifts), delimiter=";", encoding="cp1252"),
        interventions_csv=csv_bytes(INTERVENTION_COLUMNS, _outages(near, outages, day)),
        timezone=TIMEZONE,
    )


def _rows(path: Path, encoding: str, delimiter: str) -> list[Row]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def _is_near(facility: Row) -> bool:
    try:
        latitude, longitude = float(facility["y"]), float(facility["x"])
    except ValueError:
        return False
    north_km = (latitude - CENTRE[0]) * 111.2
    east_km = (longitude - CENTRE[1]) * 111.2 * math.cos(math.radians(CENTRE[0]))
    return math.hypot(north_km, east_km) <= RADIUS_KM


def _utc(day: date, hour: int) -> str:
    local = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(TIMEZONE))
    return f"{local.astimezone(UTC):%Y-%m-%dT%H:%M}:00.000Z"


def _sites(near: list[Row], stations: dict[str, Row]) -> Iterator[Row]:
    places = {row["stationnumber"]: row for row in near}
    for number in sorted(places):
        station = stations.get(number, {})
        yield {
            "reference": number,
            "name": station.get("Station", ""),
            "street": station.get("Straße", ""),
            "postcode": station.get("PLZ", ""),
            "town": station.get("Ort", ""),
            "country": "DE",
            "latitude": places[number]["y"].replace(".", ","),
            "longitude": places[number]["x"].replace(".", ","),
        }


def _lifts(near: list[Row], lifts: dict[str, Row]) -> Iterator[Row]:
    for facility in near:
        number = facility["equipmentnumber"]
        lift = lifts.get(number, {})
        yield {
            "reference": number,
            "kind": "lift",
            "label": lift.get("Bezeichnung (EQ)") or facility["description"],
            "site_reference": facility["stationnumber"],
            "manufacturer": lift.get("Hersteller (EQ)", ""),
            "serial": lift.get("FABRIKNUMMER", ""),
            "year_built": lift.get("Baujahr (EQ)", ""),
            "place": lift.get("AUSFTEXTLICHEBESCHREIBUNG", "") or facility["description"],
            "latitude": lift.get("GEOKOORDINATEHOCHWERTNEU", ""),
            "longitude": lift.get("GEOKOORDINATERECHTSWERTNEU", ""),
        }


def _outages(near: list[Row], outages: dict[str, list[int]], day: date) -> Iterator[Row]:
    index = (day - date(OUTAGE_YEAR, 1, 1)) // timedelta(days=1)
    for facility in near:
        number = facility["equipmentnumber"]
        minutes = outages.get(number, [])[index : index + 1]
        if not minutes or not minutes[0]:
            continue
        chance = random.Random(int(number))  # noqa: S311 - hours are generated, the same for the same lift
        opens, closes = chance.choice(((8, 18), (8, 18), (8, 18), (8, 13), (12, 18)))
        yield {
            "reference": f"OUT-{day:%Y%m%d}-{number}",
            "kind": "repair",
            "title": f"Out of service for {minutes[0]} min: {facility['description'] or number}",
            "site_reference": facility["stationnumber"],
            "equipment_reference": number,
            "priority": "high" if minutes[0] >= 120 else "normal",
            "duration_min": str(chance.choice((30, 40, 50))),
            "window_start": _utc(day, opens),
            "window_end": _utc(day, closes),
            "contract": "C-COPRO",
            "price_list": "PL-2026",
            "checklist": "lift-safety",
            "required_skills": "lift",
        }
