"""HTTP for integrators and planners: imports, technicians, reference data.

A CSV file is the body itself (`text/csv`). An import is taken whole or not at all unless `mode=good-rows` is asked. What rows
mean is imports.py's, what becomes of them intake.py's and workorders.py's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from scheduling import forms, reference, store, views
from scheduling.api import Reading, actor_of
from scheduling.desk import Desk
from scheduling.intake import Mode, Report, import_equipment, import_sites
from scheduling.planning import zone_of
from scheduling.workorders import import_interventions
from zb_chassis.database import transaction
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.events.values import Code, Id
from zb_contracts.problems import INPUT_INVALID, Problem

CSV_TYPE = "text/csv"

Feeding = Annotated[Principal, allow(Role.INTEGRATOR, Role.PLANNER)]
Sharing = Annotated[Principal, allow(Role.INTEGRATOR, Role.PLANNER, of_all_agencies=True)]
"""Who writes what every agency uses."""
AgencyQuery = Annotated[Id, Query()]
CodePath = Annotated[Code, Path()]
Importer = Callable[[Desk, str, str | None, bytes, Mode], Awaitable[Report]]


def router(desk: Desk) -> APIRouter:
    """All of it under /v1."""
    routes = APIRouter(prefix="/v1", tags=["intake"])
    for name, take in (
        ("sites", import_sites),
        ("equipment", import_equipment),
        ("interventions", import_interventions),
    ):
        _add_import(routes, desk, name, take)
    _add_technicians(routes, desk)
    _add_price_lists(routes, desk)
    _add_contracts(routes, desk)
    _add_checklists(routes, desk)
    _add_parts(routes, desk)
    _add_reasons(routes, desk)
    return routes


def _add_import(routes: APIRouter, desk: Desk, name: str, take: Importer) -> None:
    body: dict[str, Any] = {"required": True, "content": {CSV_TYPE: {"schema": {"type": "string"}}}}

    async def import_file(
        principal: Feeding, request: Request, agency: AgencyQuery = "main", mode: Mode = "all-or-nothing"
    ) -> views.ImportView:
        principal.check_agency(agency)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != CSV_TYPE:
            reason = f"the body is a file of type {CSV_TYPE}, not {content_type or 'unnamed'}"
            raise Problem(INPUT_INVALID, errors=({"field": "content-type", "reason": reason},))
        return views.import_view(await take(desk, agency, actor_of(principal), await request.body(), mode))

    routes.add_api_route(
        f"/imports/{name}",
        import_file,
        methods=["POST"],
        name=f"import_{name}",
        description=f"Take a CSV file of {name}. 422 with every wrong row, and nothing taken, unless mode=good-rows.",
        openapi_extra={"requestBody": body},
    )


def _add_technicians(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/technicians")
    async def write(principal: Feeding, form: forms.TechniciansForm) -> views.TechniciansView:
        """Write technicians; others of the agency stay as they are."""
        principal.check_agency(form.agency)
        _check_hours(form)
        async with transaction(desk.pool) as connection:
            await store.save_technicians(connection, form.agency, [each.record() for each in form.technicians])
        return await _technicians(desk, form.agency)

    @routes.get("/technicians")
    async def read(principal: Reading, agency: AgencyQuery = "main") -> views.TechniciansView:
        """The agency's technicians."""
        principal.check_agency(agency)
        return await _technicians(desk, agency)


def _check_hours(form: forms.TechniciansForm) -> None:
    for number, each in enumerate(form.technicians):
        zone_of(each.timezone)
        if each.ends <= each.starts:
            error = {"field": f"technicians.{number}.ends", "reason": "the day ends before it starts"}
            raise Problem(INPUT_INVALID, errors=(error,))


async def _technicians(desk: Desk, agency: str) -> views.TechniciansView:
    async with desk.pool.acquire() as connection:
        records = await store.load_technicians(connection, agency)
    return views.TechniciansView(agency=agency, technicians=[asdict(record) for record in records])


def _add_price_lists(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/reference/price-lists/{price_list}")
    async def write(_: Sharing, price_list: CodePath, form: forms.PriceListForm) -> views.ReferenceView:
        """Make this the newest version of the price list, and publish it. Any agency's contracts may name it."""
        content = {"price_list": price_list, **form.model_dump(mode="json")}
        return _view(price_list, await reference.publish(desk.pool, desk.clock, reference.PRICE_LISTS, price_list, content))

    @routes.get("/reference/price-lists/{price_list}")
    async def read(principal: Reading, price_list: CodePath) -> views.ReferenceView:
        """The newest version of the price list."""
        return _view(price_list, await reference.read(desk.pool, reference.PRICE_LISTS, price_list))


def _add_contracts(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/reference/contracts/{agency}")
    async def write(principal: Feeding, agency: Annotated[Id, Path()], form: forms.ContractsForm) -> views.ReferenceView:
        """Make these all contracts of the agency, and publish them."""
        principal.check_agency(agency)
        content = {"agency": agency, **form.model_dump(mode="json")}
        return _view(agency, await reference.publish(desk.pool, desk.clock, reference.AGENCY_CONTRACTS, agency, content))

    @routes.get("/reference/contracts/{agency}")
    async def read(principal: Reading, agency: Annotated[Id, Path()]) -> views.ReferenceView:
        """All contracts of the agency."""
        principal.check_agency(agency)
        return _view(agency, await reference.read(desk.pool, reference.AGENCY_CONTRACTS, agency))


def _add_checklists(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/reference/checklists/{checklist}")
    async def write(_: Sharing, checklist: CodePath, form: forms.ChecklistForm) -> views.ReferenceView:
        """Make this the newest version of the checklist, and publish it. Any agency's interventions may name it."""
        content = {"checklist": checklist, **form.model_dump(mode="json")}
        return _view(checklist, await reference.publish(desk.pool, desk.clock, reference.CHECKLISTS, checklist, content))

    @routes.get("/reference/checklists/{checklist}")
    async def read(principal: Reading, checklist: CodePath) -> views.ReferenceView:
        """The newest version of the checklist."""
        return _view(checklist, await reference.read(desk.pool, reference.CHECKLISTS, checklist))


def _add_parts(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/reference/parts/{agency}")
    async def write(principal: Feeding, agency: Annotated[Id, Path()], form: forms.PartsForm) -> views.ReferenceView:
        """Make these all parts of the agency, and publish them: its technicians' devices get them."""
        principal.check_agency(agency)
        content = {"agency": agency, **form.model_dump(mode="json")}
        return _view(agency, await reference.publish(desk.pool, desk.clock, reference.AGENCY_PARTS, agency, content))

    @routes.get("/reference/parts/{agency}")
    async def read(principal: Reading, agency: Annotated[Id, Path()]) -> views.ReferenceView:
        """All parts of the agency."""
        principal.check_agency(agency)
        return _view(agency, await reference.read(desk.pool, reference.AGENCY_PARTS, agency))


def _add_reasons(routes: APIRouter, desk: Desk) -> None:
    @routes.put("/reference/reasons/{agency}")
    async def write(principal: Feeding, agency: Annotated[Id, Path()], form: forms.ReasonsForm) -> views.ReferenceView:
        """Make these all reasons of the agency for which work is not done, and publish them: technicians choose among them."""
        principal.check_agency(agency)
        content = {"agency": agency, **form.model_dump(mode="json")}
        return _view(agency, await reference.publish(desk.pool, desk.clock, reference.AGENCY_REASONS, agency, content))

    @routes.get("/reference/reasons/{agency}")
    async def read(principal: Reading, agency: Annotated[Id, Path()]) -> views.ReferenceView:
        """All reasons of the agency."""
        principal.check_agency(agency)
        return _view(agency, await reference.read(desk.pool, reference.AGENCY_REASONS, agency))


def _view(id_: str, published: reference.Published) -> views.ReferenceView:
    return views.ReferenceView(id=id_, version=published.version, changed=published.changed, content=published.content)
