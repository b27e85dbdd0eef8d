"""A day's plan: what may be done on it, on whom, decided as ordinary commands.

Gathers the day's technicians and interventions, asks insertion.py for the tours, and plans and assigns what found a place. What
stands already keeps its technician and start. What found none is listed with its reason and stays as it is. Asked twice, the
second time changes nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduling import store
from scheduling.commands import AssignTechnician, PlanIntervention
from scheduling.desk import Desk, Sitting
from scheduling.domain import status_of
from scheduling.insertion import Day, Place, Placed, Stop, Technician, Unplaced, plan_day
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, PLAN_IMPOSSIBLE, Problem

INTERVENTIONS_PER_DAY_MAX: Final = 1_000
BEGUN: Final = frozenset({"in_progress", "done", "not_done"})


@dataclass(frozen=True)
class Policy:
    """What the agency stamps on its plans, and what it assumes where an intervention says nothing."""

    version: int
    field_may_set: tuple[str, ...]
    duration_min: int


@dataclass(frozen=True)
class DayPlan:
    """The tours as they stand after planning, with references, and what is left over."""

    tours: dict[str, tuple[Placed, ...]]
    unplaced: tuple[Unplaced, ...]
    references: dict[str, str]
    planned: int


async def plan_agency_day(
    desk: Desk, policy: Policy, agency: str, actor: str | None, day: date, technicians: Sequence[str] | None
) -> DayPlan:
    """Plan the day of these technicians (None: all active ones). Problem INPUT_NOT_FOUND for an unknown technician."""
    async with desk.sitting(agency, actor) as sitting:
        records = _chosen(await store.load_technicians(sitting.connection, agency), technicians)
        crew = [technician_on(record, day) for record in records]
        rows = await _rows(sitting, agency, crew)
        stops = [_stop(row, policy) for row in rows if row["latitude_e7"] is not None]
        tours = await asyncio.to_thread(plan_day, crew, stops)
        skills = {technician.id: technician.skills for technician in crew}
        planned = await _carry_out(sitting, policy, {str(row["intervention"]): row for row in rows}, tours, skills)
    lost = tuple(
        Unplaced(stop=str(row["intervention"]), code="no_location", reason="its site has no coordinates")
        for row in rows
        if row["latitude_e7"] is None and row["status"] != "assigned"
    )
    references = {str(row["intervention"]): row["reference"] for row in rows}
    return DayPlan(tours.tours, tours.unplaced + lost, references, planned)


def technician_on(record: store.TechnicianRecord, day: date) -> Technician:
    """The technician with the hours of that day in their own time zone. Problem INPUT_INVALID at the calendar's ends."""
    zone = zone_of(record.timezone)
    try:
        starts, ends = (
            round(datetime.combine(day, time.fromisoformat(text), zone).timestamp() * 1000)
            for text in (record.starts, record.ends)
        )
    except (OverflowError, ValueError) as fault:
        raise Problem(INPUT_INVALID, errors=({"field": "day", "reason": f"no day to plan: {day}"},)) from fault
    home = Place(record.latitude_e7, record.longitude_e7)
    return Technician(id=record.id, home=home, starts_ms=starts, ends_ms=ends, skills=frozenset(record.skills))


def zone_of(name: str) -> tzinfo:
    """The time zone of that name. Problem INPUT_INVALID where this machine does not know it. UTC needs no data."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
        raise Problem(INPUT_INVALID, errors=({"field": "timezone", "reason": f"unknown time zone {name}"},)) from fault


def _chosen(records: Sequence[store.TechnicianRecord], wanted: Sequence[str] | None) -> list[store.TechnicianRecord]:
    if wanted is None:
        return [record for record in records if record.active]
    by_id = {record.id: record for record in records}
    for technician in wanted:
        if technician not in by_id:
            raise Problem(INPUT_NOT_FOUND, what="technician", id=technician)
    return [by_id[technician] for technician in dict.fromkeys(wanted)]


async def _rows(sitting: Sitting, agency: str, crew: Sequence[Technician]) -> list[Any]:
    if not crew:
        raise Problem(PLAN_IMPOSSIBLE, id=agency, reason="no technician works on this day")
    start, end = min(each.starts_ms for each in crew), max(each.ends_ms for each in crew)
    limit = INTERVENTIONS_PER_DAY_MAX
    rows = await store.board_of_day(sitting.connection, agency, start, end, limit + 1)
    if len(rows) > limit:
        raise Problem(PLAN_IMPOSSIBLE, id=agency, reason=f"more than {limit} interventions wait: give them windows")
    return list(rows)


def _stop(row: Any, policy: Policy) -> Stop:
    place = Place(row["latitude_e7"], row["longitude_e7"])
    start, technician = row["planned_start_ms"], row["technician"]
    standing = start is not None and technician is not None
    return Stop(
        id=str(row["intervention"]),
        place=place,
        duration_min=row["duration_min"] or policy.duration_min,
        priority=row["details"].get("priority") or "normal",
        required_skills=frozenset(row["details"]["required_skills"]),
        window_start_ms=row["window_start_ms"] if start is None else start,
        window_end_ms=row["window_end_ms"] if start is None else start,
        technician=technician,
        fixed_ms=start if standing else None,
    )


async def _carry_out(
    sitting: Sitting, policy: Policy, rows: Mapping[str, Any], day: Day, skills: Mapping[str, frozenset[str]]
) -> int:
    """Plan and assign what the tours say; how many interventions found a place."""
    placed = 0
    for tour in day.tours.values():
        for stop in tour:
            row = rows[stop.stop]
            state = await sitting.load(stop.stop)
            if status_of(state) in BEGUN:
                continue
            version = state.version
            if row["planned_start_ms"] is None:
                version = (await sitting.decide(stop.stop, _plan(row, stop, policy, version, sitting.now_ms))).version
            placed += row["technician"] is None
            assign = AssignTechnician(
                version=version,
                at_ms=sitting.now_ms,
                technician=stop.technician,
                # Who has it already keeps it: a person decided that.
                skills=skills[stop.technician] | (frozenset(row["details"]["required_skills"]) if row["technician"] else set()),
                tour_position=stop.position,
            )
            await sitting.decide(stop.stop, assign)
    return placed


def _plan(row: Any, stop: Placed, policy: Policy, version: int, now_ms: int) -> PlanIntervention:
    return PlanIntervention(
        version=version,
        at_ms=now_ms,
        start_ms=stop.start_ms,
        duration_min=row["duration_min"] or policy.duration_min,
        window_start_ms=row["window_start_ms"],
        window_end_ms=row["window_end_ms"],
        tour_position=stop.position,
        policy_version=policy.version,
        field_may_set=policy.field_may_set,
    )
