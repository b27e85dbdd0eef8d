"""The export profiles that are built in: what each bills, and the layouts of its files. Data only.

One profile, `erp`: the same numbered batch as a fixed-width file and as CSV. A further profile is a further entry; its
batches have numbers of their own. How a layout is written is in layouts.py, what is billed is decided in domain.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from billing_bridge.domain import Rules
from billing_bridge.layouts import Layout, amount, date, integer, quantity, text
from billing_bridge.rating import CallOut
from zb_contracts.problems import INPUT_NOT_FOUND, Problem

RECORD_HEADER: Final = "E"
RECORD_LINE: Final = "L"
RECORD_TRAILER: Final = "T"

_HEADER: Final = (
    text("record", 1),
    text("profile", 16),
    integer("batch", 8),
    date("date", 8),
    text("currency", 3),
)
# In CSV a date keeps its dashes, so it is longer.
_CSV_HEADER: Final = (*_HEADER[:3], date("date", 10), _HEADER[4])
_LINE: Final = (
    text("record", 1),
    integer("batch", 8),
    integer("number", 6),
    text("reference", 32),
    text("account", 20),
    text("document", 1),
    text("kind", 8),
    text("code", 24),
    text("label", 60),
    text("covered", 1),
    quantity("quantity", 13, 3),
    text("unit", 8),
    amount("unit_price", 12),
    amount("net", 14),
    integer("vat_permille", 4),
    amount("vat", 14),
)
_TRAILER: Final = (
    text("record", 1),
    integer("batch", 8),
    integer("interventions", 6),
    integer("lines", 6),
    amount("net", 16),
    amount("vat", 16),
    amount("total", 16),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One export profile: its name is in file names, subjects and events."""

    name: str
    rules: Rules
    layouts: tuple[Layout, ...]


PROFILES: Final[Mapping[str, Profile]] = {
    "erp": Profile(
        "erp",
        Rules(
            profile="erp",
            currency="EUR",
            statuses=frozenset({"done"}),
            evidence_required=True,
            account="DIVERS",
            price_list=None,
            call_out=CallOut("DEPL", "Déplacement", "forfait", vat_permille=200),
        ),
        (
            Layout("fixed", "fixed", ".txt", "iso8859-15", _HEADER, _LINE, _TRAILER),
            Layout("csv", "csv", ".csv", "utf-8", _CSV_HEADER, _LINE, _TRAILER),
        ),
    ),
}


def profile_of(name: str) -> Profile:
    """The profile of that name. Problem INPUT_NOT_FOUND where there is none."""
    if name not in PROFILES:
        raise Problem(INPUT_NOT_FOUND, what="export profile", id=name)
    return PROFILES[name]
