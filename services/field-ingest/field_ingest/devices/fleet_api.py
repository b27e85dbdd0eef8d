"""HTTP for those who look after devices: codes, the inventory, acts on a device, agencies; and held events for supervisors.

Each endpoint states its roles, and acts for the caller's agencies and all below them: a device of others is not found, an
agency of others is refused. It parses, calls one function, and answers. What concerns codes and agencies is noted in the
access log before it is done, what is done to a device stands in the ledger.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from field_ingest.devices import codes as one_time
from field_ingest.devices import inventory
from field_ingest.devices.acts import Fleet
from field_ingest.devices.agencies import Agency, AgencyTree
from field_ingest.devices.codes import CODE_VALID_S_MAX, Codes, Invitation
from field_ingest.devices.holds import Holds
from field_ingest.devices.inventory import Filter
from field_ingest.devices.invitations import CSV, JSON, InvitationRows, Mode, invite_all, read_wanted
from field_ingest.devices.people import Administrator, Reach, person_id
from field_ingest.devices.standing import Standing
from field_ingest.devices.suspensions import HOURS_MAX
from zb_chassis import access_log
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.events.values import Id, Name, Text
from zb_contracts.times import format_time_ms

INVITATIONS_PATH: Final = "/v1/invitations"
PAGE: Final = 100
SILENT_H_MAX: Final = 24 * 366

Caller = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR)]
Overseer = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR, Role.AUDITOR)]
Told = Annotated[str | None, Query(min_length=1, max_length=64)]
Hours = Annotated[int | None, Query(ge=1, le=SILENT_H_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CodeRequest(_Body):
    """What an administrator asks a one-time code for. `device` set: its user becomes the next incarnation of that device."""

    agency: Id
    technician: Id | None = None
    device: Id | None = None
    valid_s: Annotated[int, Field(ge=60, le=CODE_VALID_S_MAX)] = 86_400


class CodeAnswer(_Body):
    """The code is shown this once; `id` is what it is called by afterwards."""

    id: str
    code: str
    expires_at: str


class RowCode(CodeAnswer):
    """The code of one row of a request for many."""

    row: int
    agency: str
    technician: str | None


class RowFault(_Body):
    """Why a row has no code. `column` is empty where the whole row is wrong."""

    row: int
    column: str
    reason: str
    value: str


class InvitationsAnswer(_Body):
    """A code for each good row, shown this once, and what is wrong with the others."""

    codes: list[RowCode]
    errors: list[RowFault]


class RevocationRequest(_Body):
    """Why the device may no longer be believed: it is lost or stolen, or retired for good, perhaps replaced by another."""

    cause: Literal["lost", "stolen", "retired", "replaced"]
    reason: Text | None = None


class SuspensionRequest(_Body):
    """Why the device gets no sessions, and for how many hours; null: until somebody lifts it."""

    reason: Text
    hours: Annotated[int, Field(ge=1, le=HOURS_MAX)] | None = None


class WipeRequest(_Body):
    """Why the device is to destroy what it holds. `at_once`: without waiting for events and photos that it cannot send."""

    reason: Text
    at_once: bool = False


class AgencyRequest(_Body):
    """An agency's place in the tree. `parent` null: a root, which only somebody who acts for all may enter."""

    parent: Id | None = None
    name: Name


class HoldDecision(_Body):
    """Why a supervisor admits a held event."""

    reason: Text


@dataclass(frozen=True, slots=True)
class Desk:
    """What every endpoint works with. `clock` (perhaps a story's) dates what is heard, `real_clock` codes and sessions."""

    pool: Pool
    tree: AgencyTree
    codes: Codes
    fleet: Fleet
    holds: Holds
    clock: Clock
    real_clock: Clock

    async def administrator(self, who: Principal) -> Administrator:
        return Administrator(person_id(who.subject), await self.tree.reach(who))

    async def note(self, who: Principal, action: str, *about: str) -> None:
        """Note in the access log what the caller is about to do."""
        await access_log.record_all(self.pool, who, action, about, at_ms=self.clock())


def fleet_router(desk: Desk) -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/v1", tags=["devices"])
    _codes(router, desk)
    _invitations(router, desk)
    _inventory(router, desk)
    _sessions(router, desk)
    _endings(router, desk)
    _agencies(router, desk)
    _holds(router, desk)
    return router


def _codes(router: APIRouter, desk: Desk) -> None:
    @router.post("/enrolment-codes", status_code=201)
    async def issue_code(body: CodeRequest, who: Caller) -> CodeAnswer:
        """A one-time code for a device of the agency."""
        await desk.note(who, "issue a code", f"agency:{body.agency}" if body.device is None else f"device:{body.device}")
        wanted = Invitation(body.agency, body.technician, body.device, body.valid_s)
        issued = await desk.codes.issue(wanted, await desk.administrator(who))
        return CodeAnswer(id=issued.id, code=issued.code, expires_at=format_time_ms(issued.expires_at_ms))

    @router.get("/enrolment-codes")
    async def list_codes(
        who: Overseer,
        state: one_time.State | None = None,
        agency: Id | None = None,
        after: Annotated[str | None, Query(pattern=one_time.CURSOR_PATTERN, description="`next` of the page before")] = None,
    ) -> dict[str, Any]:
        """What became of the codes, the newest first, a page at a time; never the codes themselves."""
        return await desk.codes.all(await _chosen(desk, who, agency), state=state, after=after)

    @router.delete("/enrolment-codes/{code}")
    async def take_code_back(code: Annotated[str, Path(pattern=one_time.ID_PATTERN)], who: Caller) -> dict[str, Any]:
        """Take a code back, by its id, before somebody uses it. Repeating it changes nothing."""
        await desk.note(who, "take a code back", f"code:{code}")
        return await desk.codes.take_back(code, await desk.administrator(who))


def _invitations(router: APIRouter, desk: Desk) -> None:
    forms = {CSV: {"schema": {"type": "string"}}, JSON: {"schema": InvitationRows.model_json_schema()}}

    @router.post(
        INVITATIONS_PATH.removeprefix(router.prefix),
        status_code=201,
        openapi_extra={"requestBody": {"required": True, "content": forms}},
    )
    async def invite(request: Request, who: Caller, mode: Mode = "all-or-nothing") -> InvitationsAnswer:
        """A one-time code for each row: columns `agency`, `technician`, `valid_hours`. 422 with every wrong row, and no code,
        unless mode=good-rows. Each request makes new codes."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = read_wanted(content_type, await request.body())
        await desk.note(who, f"issue {len(wanted.rows)} codes", *(f"agency:{agency}" for agency in wanted.agencies))
        invited = await invite_all(desk.codes, desk.tree, wanted, await desk.administrator(who), mode)
        return InvitationsAnswer(
            codes=[
                RowCode(
                    row=number,
                    agency=row.agency,
                    technician=row.technician,
                    id=code.id,
                    code=code.code,
                    expires_at=format_time_ms(code.expires_at_ms),
                )
                for number, (row, code) in invited.codes.items()
            ],
            errors=[RowFault(**fault.as_error()) for fault in invited.faults],
        )


def _inventory(router: APIRouter, desk: Desk) -> None:
    @router.get("/devices")
    async def list_devices(
        who: Overseer,
        agency: Annotated[Id | None, Query(description="with all below it")] = None,
        technician: Id | None = None,
        standing: Standing | None = None,
        model: Told = None,
        os: Told = None,
        app: Told = None,
        battery_below: Annotated[int | None, Query(ge=1, le=100)] = None,
        silent_h: Annotated[Hours, Query(description="nothing heard for so many hours")] = None,
        waiting_h: Annotated[Hours, Query(description="its oldest event without a receipt is so many hours old")] = None,
        unwiped: Annotated[bool, Query(description="nothing attests to an order for its hardware, replaced or not")] = False,
        after: Annotated[Id | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=inventory.PAGE_MAX)] = PAGE,
    ) -> dict[str, Any]:
        """The devices, by name, a page at a time: what they told, what the ledger knows, how they stand."""
        chosen = await _chosen(desk, who, agency)
        wanted = Filter(technician, standing, model, os, app, battery_below, silent_h, waiting_h, unwiped)
        async with desk.pool.acquire() as connection:
            found = await inventory.page(
                connection,
                chosen,
                wanted,
                now_ms=desk.clock(),
                real_ms=desk.real_clock(),
                after=after or "",
                limit=limit,
            )
        return {"devices": found, "next": found[-1]["device"] if len(found) == limit else None}

    @router.get("/devices/{device}")
    async def show_device(device: Id, who: Overseer) -> dict[str, Any]:
        """One device, with its incarnations, what it attested, and who did what with it."""
        async with desk.pool.acquire() as connection:
            return await inventory.one(connection, device, await desk.tree.reach(who), real_ms=desk.real_clock())

    @router.get("/devices/{device}/suspensions")
    async def list_suspensions(device: Id, who: Overseer) -> list[dict[str, Any]]:
        """The device's suspensions, newest first."""
        return [one.as_json() for one in await desk.fleet.suspensions(device, await desk.tree.reach(who))]


def _sessions(router: APIRouter, desk: Desk) -> None:
    @router.post("/devices/{device}/suspension")
    async def suspend(device: Id, body: SuspensionRequest, who: Caller) -> dict[str, Any]:
        """End the device's sessions and refuse others, until it is lifted or the hours are over. It changes no suspension."""
        for_s = None if body.hours is None else body.hours * 3600
        return (await desk.fleet.suspend(device, await desk.administrator(who), body.reason, for_s=for_s)).as_json()

    @router.post("/devices/{device}/resumption")
    async def resume(device: Id, who: Caller) -> dict[str, bool]:
        """Lift the suspension. Repeating it changes nothing."""
        return {"lifted": await desk.fleet.resume(device, await desk.administrator(who))}


def _endings(router: APIRouter, desk: Desk) -> None:
    @router.post("/devices/{device}/revocation")
    async def revoke(device: Id, body: RevocationRequest, who: Caller) -> dict[str, list[str]]:
        """Lost, stolen or retired: hold what the device sends from now on. Repeating it changes nothing."""
        return {"revoked": await desk.fleet.revoke(device, await desk.administrator(who), body.cause, body.reason)}

    @router.post("/devices/{device}/wipe")
    async def wipe(device: Id, body: WipeRequest, who: Caller) -> dict[str, Any]:
        """Order the device to send what it has, attest, and destroy what it holds. Repeating it changes nothing."""
        order = await desk.fleet.wipe(device, await desk.administrator(who), body.reason, at_once=body.at_once)
        return {"order": order.order, "at_once": order.at_once, "ordered_at": format_time_ms(order.ordered_at_ms)}

    @router.delete("/devices/{device}/wipe")
    async def withdraw_wipe(device: Id, who: Caller) -> dict[str, str | None]:
        """Withdraw the order; null where there is none. A device that has it already goes on with it."""
        return {"withdrawn": await desk.fleet.withdraw_wipe(device, await desk.administrator(who))}


def _agencies(router: APIRouter, desk: Desk) -> None:
    @router.get("/agencies")
    async def list_agencies(who: Overseer) -> list[dict[str, Any]]:
        """What of the tree is the caller's, by name; closed agencies too."""
        return [one.as_json() for one in await desk.tree.all(await desk.tree.reach(who))]

    @router.put("/agencies/{agency}")
    async def put_agency(agency: Id, body: AgencyRequest, who: Caller) -> dict[str, Any]:
        """Enter an agency below one of the caller's, rename it, move it with all below it, or open it again."""
        await desk.note(who, f"put an agency below {body.parent or 'nobody'}", f"agency:{agency}")
        new = Agency(agency, body.parent, body.name)
        await desk.tree.put(new, await desk.administrator(who))
        return new.as_json()

    @router.delete("/agencies/{agency}")
    async def close_agency(agency: Id, who: Caller) -> dict[str, Any]:
        """Close an agency that nothing uses any more: no code is issued for it. Repeating it changes nothing."""
        await desk.note(who, "close an agency", f"agency:{agency}")
        return (await desk.tree.close(agency, await desk.administrator(who), real_ms=desk.real_clock())).as_json()


def _holds(router: APIRouter, desk: Desk) -> None:
    @router.get("/holds")
    async def list_holds(who: Overseer, device: Id | None = None) -> list[dict[str, Any]]:
        """Events that wait for a supervisor, of each author in the order in which they are decided."""
        return await desk.holds.waiting(await desk.tree.reach(who), device=device)

    @router.post("/holds/{event}/admission")
    async def admit(event: Id, body: HoldDecision, who: Caller) -> dict[str, str]:
        """Admit a held event, in the order of its author's numbers. Repeating it changes nothing."""
        admitted = await desk.holds.admit(event, supervisor=await desk.administrator(who), reason=body.reason)
        return {"event": event, "admitted_by": admitted}


async def _chosen(desk: Desk, who: Principal, agency: str | None) -> Reach:
    """The caller's agencies, or of them those that were asked for. WRONG_AGENCY for one that is not theirs."""
    reach = await desk.tree.reach(who)
    if agency is None:
        return reach
    Administrator(person_id(who.subject), reach).check(agency)
    return await desk.tree.below(agency)
