"""What scheduling answers: an intervention, the board, a day's plan, an import's report, as JSON models.

Read from rows and results, never from commands. Times are RFC 3339 in UTC. Personal values are not among them: the office
reads those where they are unsealed.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from scheduling.domain import shown_status
from scheduling.intake import Report
from scheduling.planning import DayPlan
from scheduling.store import reported_in
from scheduling.values import Reported
from zb_contracts.times import format_time_ms


class View(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True)


class FieldView(View):
    """What the newest announced state says. `version` and `state_hash` are the announcement's; `merged` has each field's value
    by the contract's field name, as devices see it."""

    version: int
    state_hash: str
    status: str
    visits: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    merged: dict[str, Any]
    conflicts: list[dict[str, Any]]
    set_aside: list[dict[str, Any]]


class InterventionView(View):
    """An intervention as the office sees it. `version` is what the next edit repeats; `status` is the field's where it began."""

    id: str
    agency: str
    reference: str
    version: int
    status: str
    office_status: str
    kind: str
    title: str
    site: str
    site_reference: str | None
    equipment: str | None
    details: dict[str, Any]
    window_start: str | None
    window_end: str | None
    duration_min: int | None
    planned_start: str | None
    technician: str | None
    tour_position: int | None
    field: FieldView | None


class BoardView(View):
    """A day of an agency: what is planned on it, and what waits for a place."""

    agency: str
    day: str
    interventions: list[InterventionView]
    truncated: bool


class StopView(View):
    """One stop of a tour."""

    intervention: str
    reference: str
    position: int
    planned_start: str
    travel_time_s: int


class UnplacedView(View):
    """What found no place, and why."""

    intervention: str
    reference: str
    code: str
    reason: str


class DayPlanView(View):
    """The tours by technician. `planned` counts what this call gave a place."""

    agency: str
    day: str
    planned: int
    tours: dict[str, list[StopView]]
    unplaced: list[UnplacedView]


class TakenView(View):
    """A good row of an import."""

    row: int
    reference: str
    id: str
    outcome: str


class ImportView(View):
    """What an import did: every good row, and every fault by row, column and reason."""

    total: int
    taken: int
    bad: int
    rows: list[TakenView]
    errors: list[dict[str, Any]]
    ignored_columns: list[str]


class TechniciansView(View):
    """The technicians of an agency."""

    agency: str
    technicians: list[dict[str, Any]]


class ReferenceView(View):
    """A version of reference data. `changed`: this call made it."""

    id: str
    version: int
    changed: bool
    content: dict[str, Any]


def intervention_view(row: Any) -> InterventionView:
    """Of a row of the board."""
    announced = row["announced_version"] is not None
    reported = reported_in(row, row["announced_status"]) if announced else Reported()
    return InterventionView(
        id=str(row["intervention"]),
        agency=row["agency"],
        reference=row["reference"],
        version=row["version"],
        status=shown_status(row["status"], frozenset(row["settled"]), reported),
        office_status=row["status"],
        kind=row["kind"],
        title=row["title"],
        site=row["site"],
        site_reference=row["site_reference"],
        equipment=row["equipment"],
        details=row["details"],
        window_start=_time(row["window_start_ms"]),
        window_end=_time(row["window_end_ms"]),
        duration_min=row["duration_min"],
        planned_start=_time(row["planned_start_ms"]),
        technician=row["technician"],
        tour_position=row["tour_position"],
        field=_field(row) if announced else None,
    )


def _field(row: Any) -> FieldView:
    return FieldView(
        version=row["announced_version"],
        state_hash=row["state_hash"],
        status=row["announced_status"],
        visits=row["visits"],
        requests=row["requests"],
        merged=row["merged"],
        conflicts=row["conflicts"],
        set_aside=row["set_aside"],
    )


def day_plan_view(agency: str, day: str, plan: DayPlan) -> DayPlanView:
    """Of a day's plan."""
    return DayPlanView(
        agency=agency,
        day=day,
        planned=plan.planned,
        tours={
            technician: [
                StopView(
                    intervention=stop.stop,
                    reference=plan.references[stop.stop],
                    position=stop.position,
                    planned_start=format_time_ms(stop.start_ms),
                    travel_time_s=stop.travel_time_s,
                )
                for stop in tour
            ]
            for technician, tour in plan.tours.items()
        },
        unplaced=[
            UnplacedView(intervention=each.stop, reference=plan.references[each.stop], code=each.code, reason=each.reason)
            for each in plan.unplaced
        ],
    )


def import_view(report: Report) -> ImportView:
    """Of an import's report."""
    return ImportView(
        total=report.total,
        taken=len(report.taken),
        bad=report.bad,
        rows=[TakenView(row=each.row, reference=each.reference, id=each.id, outcome=each.outcome) for each in report.taken],
        errors=[fault.as_error() for fault in report.faults],
        ignored_columns=list(report.ignored_columns),
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time_ms(ms)
