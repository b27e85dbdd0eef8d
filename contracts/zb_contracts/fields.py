"""The one table of fields: name, kind of stream, class, which events write it, and what a person calls it.

The fold, the documentation page and the "why" explanation all read this table, so that they cannot disagree. It holds no
rule: what a class means is said in `zb_contracts.merge`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, get_args

from zb_contracts.events.office import Priority
from zb_contracts.times import parse_time_ms


class FieldClass(StrEnum):
    """How writes of one field meet each other."""

    VISIT_FACT = "visit_fact"
    LINE = "line"
    OFFICE = "office"
    SHARED = "shared"
    STOCK = "stock"
    ASSIGNMENT = "assignment"


@dataclass(frozen=True, slots=True)
class Field:
    """One row. `written_by` are event types without their version.

    A register (office, shared, assignment) is written by a body attribute of its own name that is not None. A visit fact or a
    line is written by the event as a whole. `from_text` reads the text of a proposal as the field's value (ValueError if it
    is none); None: a proposal on this field is never more than a request.
    """

    name: str
    stream_kind: str
    field_class: FieldClass
    written_by: tuple[str, ...]
    english: str
    french: str
    from_text: Callable[[str], Any] | None = None

    @property
    def is_register(self) -> bool:
        return self.field_class in (FieldClass.OFFICE, FieldClass.SHARED, FieldClass.ASSIGNMENT)

    def label(self, language: str) -> str:
        """What a person calls the field; French for every language but English."""
        return self.english if language == "en" else self.french


def _time(text: str) -> str:
    parse_time_ms(text)
    return text


def _minutes(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= value <= 14 * 24 * 60:
        raise ValueError(f"no number of minutes: {text}")
    return value


def _rank(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else -1
    if not 0 <= value <= 1000:
        raise ValueError(f"no position in a tour: {text}")
    return value


def _priority(text: str) -> str:
    if text not in get_args(Priority):
        raise ValueError(f"no priority: {text}")
    return text


def _text(text: str) -> str:
    return text


_CREATED: Final = ("intervention.created",)
_DETAILS: Final = ("intervention.created", "intervention.details_changed")
_PLANNED: Final = ("intervention.planned",)
_MOVED: Final = ("intervention.planned", "intervention.rescheduled")
_TOUR: Final = ("intervention.planned", "intervention.assigned")
_SITE: Final = ("site.registered",)
_SITE_BOTH: Final = ("site.registered", "site.changed")
_KIT: Final = ("equipment.registered",)
_KIT_BOTH: Final = ("equipment.registered", "equipment.identified")

_OFFICE: Final = FieldClass.OFFICE
_SHARED: Final = FieldClass.SHARED
_FACT: Final = FieldClass.VISIT_FACT
_LINE: Final = FieldClass.LINE

_ROWS: Final = (
    Field("reference", "intervention", _OFFICE, _CREATED, "number", "numéro"),
    Field("kind", "intervention", _OFFICE, _CREATED, "kind of work", "type d'intervention"),
    Field("title", "intervention", _OFFICE, _DETAILS, "title", "intitulé", _text),
    Field("site", "intervention", _OFFICE, _CREATED, "site", "site"),
    Field("equipment", "intervention", _OFFICE, _CREATED, "equipment", "équipement"),
    Field("agency", "intervention", _OFFICE, _CREATED, "agency", "agence"),
    Field("follows", "intervention", _OFFICE, _CREATED, "follow-up of", "fait suite à"),
    Field("contract", "intervention", _OFFICE, _DETAILS, "contract", "contrat"),
    Field("sla", "intervention", _OFFICE, _DETAILS, "service level", "niveau de service"),
    Field("priority", "intervention", _OFFICE, _DETAILS, "priority", "priorité", _priority),
    Field("required_skills", "intervention", _OFFICE, _DETAILS, "required skills", "compétences requises"),
    Field("bill_of_materials", "intervention", _OFFICE, _DETAILS, "bill of materials", "nomenclature"),
    Field("instructions", "intervention", _OFFICE, _DETAILS, "instructions", "consignes", _text),
    Field("price_list", "intervention", _OFFICE, _DETAILS, "price list", "barème"),
    Field("checklist", "intervention", _OFFICE, _DETAILS, "checklist", "liste de contrôle"),
    Field("planned_start", "intervention", _OFFICE, _MOVED, "planned start", "début prévu", _time),
    Field("window_start", "intervention", _OFFICE, _MOVED, "window from", "créneau, début", _time),
    Field("window_end", "intervention", _OFFICE, _MOVED, "window to", "créneau, fin", _time),
    Field("duration_min", "intervention", _OFFICE, _MOVED, "planned minutes", "durée prévue (min)", _minutes),
    Field("tour_position", "intervention", _OFFICE, _TOUR, "position in the tour", "rang dans la tournée", _rank),
    Field("promise", "intervention", _OFFICE, _PLANNED, "promise to the customer", "engagement envers le client"),
    Field("policy", "intervention", _OFFICE, _PLANNED, "agency policy", "règles de l'agence"),
    Field("cancelled", "intervention", _OFFICE, ("intervention.cancelled",), "cancellation", "annulation"),
    Field("assignee", "intervention", FieldClass.ASSIGNMENT, ("intervention.assigned",), "assigned to", "attribuée à"),
    Field("travel_started", "intervention", _FACT, ("intervention.travel_started",), "set out", "départ"),
    Field("travel_ended", "intervention", _FACT, ("intervention.travel_ended",), "end of travel", "fin du trajet"),
    Field("arrived", "intervention", _FACT, ("intervention.arrived",), "arrival", "arrivée"),
    Field("started", "intervention", _FACT, ("intervention.started",), "start of work", "début du travail"),
    Field("paused", "intervention", _FACT, ("intervention.paused",), "pause", "pause"),
    Field("resumed", "intervention", _FACT, ("intervention.resumed",), "work resumed", "reprise"),
    Field(
        "ended",
        "intervention",
        _FACT,
        ("intervention.done", "intervention.not_done", "intervention.left", "intervention.released"),
        "end of the visit",
        "fin de la visite",
    ),
    Field("diagnosis", "intervention", _FACT, ("intervention.diagnosed",), "diagnosis", "diagnostic"),
    Field(
        "equipment_state",
        "intervention",
        _FACT,
        ("intervention.equipment_state_set",),
        "state of the equipment",
        "état de l'équipement",
    ),
    Field("checklist_answer", "intervention", _LINE, ("intervention.checklist_answered",), "answer", "réponse"),
    Field("measurement", "intervention", _LINE, ("intervention.measured",), "measurement", "mesure"),
    Field("part", "intervention", _LINE, ("intervention.part_used",), "part used", "pièce utilisée"),
    Field("photo", "intervention", _LINE, ("intervention.photo_taken",), "photo", "photo"),
    Field("signature", "intervention", _LINE, ("intervention.signature_taken",), "signature", "signature"),
    Field(
        "signature_refused",
        "intervention",
        _LINE,
        ("intervention.signature_refused",),
        "signature refused",
        "signature refusée",
    ),
    Field(
        "comment",
        "intervention",
        _LINE,
        ("intervention.comment_added", "intervention.comment_edited"),
        "comment",
        "commentaire",
    ),
    Field("quote", "intervention", _LINE, ("intervention.quote_made",), "quote", "devis"),
    Field("payment", "intervention", _LINE, ("intervention.payment_taken",), "payment", "paiement"),
    Field("follow_up", "intervention", _LINE, ("intervention.follow_up_requested",), "follow-up", "suite à donner"),
    Field("reference", "site", _OFFICE, _SITE, "number", "numéro"),
    Field("name", "site", _OFFICE, _SITE, "name", "nom"),
    Field("agency", "site", _OFFICE, _SITE, "agency", "agence"),
    Field("address", "site", _OFFICE, _SITE, "address", "adresse"),
    Field("location", "site", _SHARED, _SITE_BOTH, "location", "position"),
    Field("contact", "site", _SHARED, _SITE_BOTH, "contact", "contact"),
    Field("access_code", "site", _SHARED, _SITE_BOTH, "access code", "code d'accès"),
    Field("notes", "site", _SHARED, _SITE_BOTH, "site notes", "remarques sur le site"),
    Field("reference", "equipment", _OFFICE, _KIT, "number", "numéro"),
    Field("kind", "equipment", _OFFICE, _KIT, "kind", "type"),
    Field("label", "equipment", _OFFICE, _KIT, "label", "libellé"),
    Field("site", "equipment", _OFFICE, _KIT, "site", "site"),
    Field("location", "equipment", _OFFICE, _KIT, "location", "position"),
    Field("manufacturer", "equipment", _SHARED, _KIT_BOTH, "manufacturer", "fabricant"),
    Field("model", "equipment", _SHARED, _KIT_BOTH, "model", "modèle"),
    Field("serial", "equipment", _SHARED, _KIT_BOTH, "serial number", "numéro de série"),
    Field("year_built", "equipment", _SHARED, _KIT_BOTH, "year built", "année de construction"),
    Field("place", "equipment", _SHARED, _KIT_BOTH, "place on the site", "emplacement"),
    Field("quantity", "stock", FieldClass.STOCK, ("stock.moved",), "quantity", "quantité"),
)

FIELDS: Final[dict[tuple[str, str], Field]] = {(row.stream_kind, row.name): row for row in _ROWS}
"""Every field by (kind of stream, name)."""


def field_of(stream_kind: str, name: str) -> Field | None:
    """The row of a field, or None where the kind of stream has no such field."""
    return FIELDS.get((stream_kind, name))


@lru_cache(maxsize=1024)
def unversioned(event_type: str) -> str:
    """`intervention.started.v1` without its version."""
    return event_type.rpartition(".")[0]


def _by_writer(wanted: Callable[[Field], bool]) -> dict[str, tuple[Field, ...]]:
    found: dict[str, tuple[Field, ...]] = {}
    for row in filter(wanted, _ROWS):
        for event_type in row.written_by:
            found[event_type] = (*found.get(event_type, ()), row)
    return found


REGISTERS_OF: Final = _by_writer(lambda row: row.is_register and row.name != "cancelled")
"""Unversioned event type -> the registers that a body of it may write. `cancelled` is decided by the cancel table."""

FACT_OF: Final = {name: rows[0] for name, rows in _by_writer(lambda row: row.field_class is _FACT).items()}
"""Unversioned event type -> the visit fact that it is."""

LINE_OF: Final = {name: rows[0] for name, rows in _by_writer(lambda row: row.field_class is _LINE).items()}
"""Unversioned event type -> the kind of line that it makes."""
