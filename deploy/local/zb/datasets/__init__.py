"""What the day is played on: a generated French city, or the real lifts and outages of a folder.

A dataset is three CSV files in the columns that scheduling imports, as bytes, with the wrong rows left in: saying what is
wrong with them is the import's task.
"""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Dataset:
    """Three CSV files. `interventions` count is not known here: wrong rows are still among them."""

    title: str
    day: date
    sites_csv: bytes
    equipment_csv: bytes
    interventions_csv: bytes
    timezone: str


SITE_COLUMNS = (
    "reference", "name", "street", "postcode", "town", "country", "latitude", "longitude", "contact", "access_code", "notes",
)  # fmt: skip
EQUIPMENT_COLUMNS = (
    "reference", "kind", "label", "site_reference", "manufacturer", "model", "serial", "year_built", "place", "latitude",
    "longitude",
)  # fmt: skip
INTERVENTION_COLUMNS = (
    "reference", "kind", "title", "site_reference", "equipment_reference", "priority", "duration_min", "window_start",
    "window_end", "contract", "price_list", "checklist", "required_skills",
)  # fmt: skip
