"""The values an intervention is made of in the office: identity, details, wish, plan, and what the field reported.

Small frozen types without a rule. Times are whole milliseconds since 1970, durations minutes. It does not know the wire's
spelling (announce.py does) nor the database's (store.py does).
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What never changes of an intervention: another value means another intervention."""

    intervention: str
    agency: str
    reference: str
    kind: str
    site: str
    equipment: str | None = None
    follows: str | None = None


@dataclass(frozen=True, kw_only=True)
class Details:
    """What the office may change at any time."""

    title: str
    contract: str | None = None
    sla: str | None = None
    priority: str | None = None
    required_skills: tuple[str, ...] = ()
    bill_of_materials: tuple[tuple[str, str], ...] = ()
    """Pairs of part number and exact decimal quantity."""
    instructions: str | None = None
    price_list: str | None = None
    checklist: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A partial write of Details: None leaves a value as it is, so no value can be taken away but by another."""

    title: str | None = None
    contract: str | None = None
    sla: str | None = None
    priority: str | None = None
    required_skills: tuple[str, ...] | None = None
    bill_of_materials: tuple[tuple[str, str], ...] | None = None
    instructions: str | None = None
    price_list: str | None = None
    checklist: str | None = None

    def is_empty(self) -> bool:
        return all(value is None for value in self.given().values())

    def given(self) -> dict[str, Any]:
        """Every field by name, None where nothing is said."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the customer or contract asks for before there is a plan: a window and an expected duration."""

    window_start_ms: int | None = None
    window_end_ms: int | None = None
    duration_min: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The place in the day that the office gave."""

    start_ms: int
    duration_min: int
    window_start_ms: int | None = None
    window_end_ms: int | None = None
    tour_position: int | None = None
    promise: str = "none"
    """What the customer was promised: `none`, `window` or `start`."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One technician's presence, as last announced. `open`: neither done, nor left, nor given up."""

    id: str
    technician: str | None
    open: bool


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the field asks of the office and the office has not answered."""

    id: str
    field: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What the newest announced state says of the field. Status is None before anything was announced."""

    status: str | None = None
    visits: tuple[Visit, ...] = ()
    requests: tuple[Request, ...] = ()
    vector: tuple[tuple[str, int], ...] = ()
