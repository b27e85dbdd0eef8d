"""HTTP for dispatchers and planners: interventions, their edits, the day's plan and the board.

Each endpoint states its roles and checks the agency. An edit repeats the version that its sender saw, else 409. Bodies are
forms.py's, answers views.py's, rules domain.py's; imports and reference data are intake_api.py's.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response

from scheduling import commands as c
from scheduling import forms, places, store, views
from scheduling.desk import Desk, Sitting
from scheduling.ids import id_of
from scheduling.planning import Policy, plan_agency_day, zone_of
from scheduling.values import Identity
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.events.values import Id, Name
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, PLAN_IMPOSSIBLE, Problem
from zb_contracts.subjects import ID_PATTERN
from zb_contracts.times import parse_time_ms

BOARD_ROWS_MAX: Final = 2_000

Planning = Annotated[Principal, allow(Role.DISPATCHER, Role.PLANNER)]
Opening = Annotated[Principal, allow(Role.DISPATCHER, Role.PLANNER, Role.INTEGRATOR)]
Reading = Annotated[Principal, allow(Role.DISPATCHER, Role.PLANNER, Role.INTEGRATOR, Role.AUDITOR)]
InterventionId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]


def actor_of(principal: Principal) -> str:
    """The caller as events name them: the provider's subject where it is an id, else a pseudonym of it."""
    subject = principal.subject
    return subject if ID_PATTERN.fullmatch(subject) else str(uuid.uuid5(uuid.NAMESPACE_URL, f"subject:{subject}"))


@dataclass(frozen=True)
class Counter:
    """Where an edit is handed in: finds the intervention, checks the agency, has it decided, answers with what is then."""

    desk: Desk

    async def entry(self, principal: Principal, intervention: str) -> Any:
        """The board's row. Problem INPUT_NOT_FOUND or WRONG_AGENCY."""
        async with self.desk.pool.acquire() as connection:
            row = await store.board_entry(connection, intervention)
        if row is None:
            raise Problem(INPUT_NOT_FOUND, what="intervention", id=intervention)
        principal.check_agency(row["agency"])
        return row

    async def view(self, principal: Principal, intervention: str) -> views.InterventionView:
        return views.intervention_view(await self.entry(principal, intervention))

    async def edit(self, principal: Principal, intervention: str, command: Callable[[int], c.Command]) -> views.InterventionView:
        """Decide the command that `command` makes of the time."""
        agency = (await self.entry(principal, intervention))["agency"]
        async with self.desk.sitting(agency, actor_of(principal)) as sitting:
            await sitting.decide(intervention, command(sitting.now_ms))
        return await self.view(principal, intervention)


def router(desk: Desk, policy: Policy) -> APIRouter:
    """All of it under /v1."""
    counter = Counter(desk)
    routes = APIRouter(prefix="/v1", tags=["interventions"])
    _add_interventions(routes, counter)
    _add_planning(routes, counter, policy)
    _add_edits(routes, counter)
    _add_answers(routes, counter)
    _add_days(routes, desk, policy)
    return routes


def _add_interventions(routes: APIRouter, counter: Counter) -> None:
    @routes.post("/interventions", status_code=201)
    async def create(principal: Opening, form: forms.CreateForm, response: Response) -> views.InterventionView:
        """Open an intervention. The same reference with the same content again answers 200 and changes nothing."""
        principal.check_agency(form.agency)
        async with counter.desk.sitting(form.agency, actor_of(principal)) as sitting:
            identity = await _identity(sitting, form)
            before = await sitting.load(identity.intervention)
            command = c.CreateIntervention(identity=identity, details=form.details(), wish=form.wish.wish(), at_ms=sitting.now_ms)
            await sitting.decide(identity.intervention, command)
        response.status_code = 200 if before.version else 201
        return await counter.view(principal, identity.intervention)

    @routes.get("/interventions/{intervention}")
    async def read(principal: Reading, intervention: InterventionId) -> views.InterventionView:
        """The intervention as the office sees it."""
        return await counter.view(principal, intervention)


async def _identity(sitting: Sitting, form: forms.CreateForm) -> Identity:
    sites = await places.load_sites(sitting.connection, form.agency, [form.site_reference])
    if form.site_reference not in sites:
        raise Problem(INPUT_NOT_FOUND, what="site", id=form.site_reference)
    equipment = None
    if form.equipment_reference is not None:
        machines = await places.load_equipment(sitting.connection, form.agency, [form.equipment_reference])
        equipment = machines.get(form.equipment_reference)
        if equipment is None or equipment.site != sites[form.site_reference].id:
            raise Problem(INPUT_NOT_FOUND, what=f"equipment at {form.site_reference}", id=form.equipment_reference)
    return Identity(
        intervention=id_of("intervention", form.agency, form.reference),
        agency=form.agency,
        reference=form.reference,
        kind=form.kind,
        site=sites[form.site_reference].id,
        equipment=equipment.id if equipment else None,
        follows=form.follows,
    )


def _add_planning(routes: APIRouter, counter: Counter, policy: Policy) -> None:
    @routes.post("/interventions/{intervention}/plan")
    async def plan(principal: Planning, intervention: InterventionId, form: forms.PlanForm) -> views.InterventionView:
        """Give it a place in the day."""
        return await counter.edit(principal, intervention, lambda now_ms: _plan(form, policy, now_ms))

    @routes.post("/interventions/{intervention}/assign")
    async def assign(principal: Planning, intervention: InterventionId, form: forms.AssignForm) -> views.InterventionView:
        """Name the technician, who must work for the agency and have the skills; null takes it from everybody."""
        agency = (await counter.entry(principal, intervention))["agency"]
        async with counter.desk.sitting(agency, actor_of(principal)) as sitting:
            skills = await _skills(sitting, agency, intervention, form.technician)
            command = c.AssignTechnician(
                version=form.version,
                at_ms=sitting.now_ms,
                technician=form.technician,
                skills=skills,
                tour_position=form.tour_position,
            )
            await sitting.decide(intervention, command)
        return await counter.view(principal, intervention)

    @routes.post("/interventions/{intervention}/move")
    async def move(principal: Planning, intervention: InterventionId, form: forms.MoveForm) -> views.InterventionView:
        """Another start, and perhaps another window or duration."""
        return await counter.edit(principal, intervention, form.command)


def _plan(form: forms.PlanForm, policy: Policy, now_ms: int) -> c.Command:
    return c.PlanIntervention(
        version=form.version,
        at_ms=now_ms,
        start_ms=parse_time_ms(form.planned_start),
        duration_min=form.duration_min,
        window_start_ms=forms.ms_of(form.window_start),
        window_end_ms=forms.ms_of(form.window_end),
        tour_position=form.tour_position,
        promise=form.promise,
        policy_version=policy.version,
        field_may_set=policy.field_may_set,
    )


async def _skills(sitting: Sitting, agency: str, intervention: str, technician: str | None) -> frozenset[str]:
    if technician is None:
        return frozenset()
    known = {each.id: each for each in await store.load_technicians(sitting.connection, agency)}
    if technician not in known:
        raise Problem(INPUT_NOT_FOUND, what="technician", id=technician)
    if not known[technician].active:
        raise Problem(PLAN_IMPOSSIBLE, id=intervention, reason=f"{technician} is not active")
    return frozenset(known[technician].skills)


def _add_edits(routes: APIRouter, counter: Counter) -> None:
    @routes.post("/interventions/{intervention}/cancel")
    async def cancel(principal: Planning, intervention: InterventionId, form: forms.ReasonForm) -> views.InterventionView:
        """Call it off. Whether a visit that had begun stands is for the merge to say."""
        return await counter.edit(
            principal,
            intervention,
            lambda now_ms: c.CancelIntervention(version=form.version, at_ms=now_ms, reason=form.reason),
        )

    @routes.post("/interventions/{intervention}/reopen")
    async def reopen(principal: Planning, intervention: InterventionId, form: forms.ReasonForm) -> views.InterventionView:
        """Want another visit of what was cancelled or closed."""
        return await counter.edit(
            principal,
            intervention,
            lambda now_ms: c.ReopenIntervention(version=form.version, at_ms=now_ms, reason=form.reason),
        )

    @routes.post("/interventions/{intervention}/details")
    async def details(principal: Opening, intervention: InterventionId, form: forms.ChangeForm) -> views.InterventionView:
        """Set the details that are named; the others stay."""
        return await counter.edit(principal, intervention, form.command)


def _add_answers(routes: APIRouter, counter: Counter) -> None:
    @routes.post("/interventions/{intervention}/abandon-visit")
    async def abandon(principal: Planning, intervention: InterventionId, form: forms.AbandonForm) -> views.InterventionView:
        """End a visit that a lost device left open."""
        return await counter.edit(
            principal,
            intervention,
            lambda now_ms: c.AbandonVisit(version=form.version, at_ms=now_ms, visit=form.visit, reason=form.reason),
        )

    @routes.post("/interventions/{intervention}/request")
    async def answer(principal: Planning, intervention: InterventionId, form: forms.RequestForm) -> views.InterventionView:
        """Accept or decline what the field asked for."""
        return await counter.edit(principal, intervention, form.command)

    @routes.post("/interventions/{intervention}/ask")
    async def ask(principal: Planning, intervention: InterventionId, form: forms.AskForm) -> views.InterventionView:
        """Ask the field for a value of what only the field writes."""
        return await counter.edit(principal, intervention, form.command)

    @routes.post("/interventions/{intervention}/correct")
    async def correct(principal: Planning, intervention: InterventionId, form: forms.CorrectForm) -> views.InterventionView:
        """Lay a correction beside a fact of an ended visit: the technician's record stays as it is."""
        return await counter.edit(principal, intervention, form.command)

    @routes.post("/interventions/{intervention}/acknowledge")
    async def acknowledge(
        principal: Planning, intervention: InterventionId, form: forms.AcknowledgeForm
    ) -> views.InterventionView:
        """Say that a person has read what was set aside."""
        return await counter.edit(
            principal,
            intervention,
            lambda now_ms: c.AcknowledgeSetAside(version=form.version, at_ms=now_ms, event=form.event, field=form.field),
        )


def _add_days(routes: APIRouter, desk: Desk, policy: Policy) -> None:
    @routes.post("/plans")
    async def plan_day(principal: Planning, form: forms.DayForm) -> views.DayPlanView:
        """Plan and assign what waits for the day; what stands already stays."""
        principal.check_agency(form.agency)
        plan = await plan_agency_day(desk, policy, form.agency, actor_of(principal), form.day, form.technicians)
        return views.day_plan_view(form.agency, form.day.isoformat(), plan)

    @routes.get("/board")
    async def board(
        principal: Reading,
        day: date,
        agency: Annotated[Id, Query()] = "main",
        timezone: Annotated[Name, Query()] = "UTC",
    ) -> views.BoardView:
        """What starts on that day of the time zone, and what waits for a place in it."""
        principal.check_agency(agency)
        start, end = _bounds(day, timezone)
        async with desk.pool.acquire() as connection:
            rows = await store.board_of_day(connection, agency, start, end, BOARD_ROWS_MAX + 1)
        shown = [views.intervention_view(row) for row in rows[:BOARD_ROWS_MAX]]
        return views.BoardView(agency=agency, day=day.isoformat(), interventions=shown, truncated=len(rows) > BOARD_ROWS_MAX)


def _bounds(day: date, timezone: str) -> tuple[int, int]:
    """Where the day begins and ends in that zone, ms since 1970. Problem INPUT_INVALID at the calendar's ends."""
    zone = zone_of(timezone)
    try:
        begins = datetime.combine(day, time(), zone)
        ends = datetime.combine(day + timedelta(days=1), time(), zone)
        start, end = (round(moment.astimezone(UTC).timestamp() * 1000) for moment in (begins, ends))
    except (OverflowError, ValueError) as fault:
        raise Problem(INPUT_INVALID, errors=({"field": "day", "reason": f"no day to plan: {day}"},)) from fault
    return start, end
