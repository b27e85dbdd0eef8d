"""The auditor's surface over HTTP: a list of interventions, and of each the timeline, set-aside values, evidence and proofs.

Reads only, for the role auditor. A caller sees the interventions of its own agencies, and every read by a person is an entry in
the access log, with the purpose of the header Zb-Purpose. What is shown is `auditing`'s matter.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from field_ingest.audit import dossier
from field_ingest.audit.dossier import Wanted
from field_ingest.audit.explain import HISTORY_ROWS_MAX, Current
from field_ingest.audit.reading_api import POSITION, UUID, readable
from zb_chassis import access_log
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.identity import ALL_AGENCIES, Principal, Role, allow
from zb_contracts.events.values import Id
from zb_contracts.merge.state import Status
from zb_contracts.problems import INPUT_INVALID, Problem
from zb_contracts.times import parse_time_ms

Auditor = Annotated[Principal, allow(Role.AUDITOR, Role.SERVICE)]
Intervention = Annotated[str, Path(pattern=UUID)]
After = Annotated[str | None, Query(pattern=POSITION, description="`shard:position` of the last entry read")]
Time = Annotated[str | None, Query(max_length=40, description="RFC 3339, UTC, with milliseconds")]


def router(pool: Pool, clock: Clock) -> APIRouter:
    """The endpoints on this database."""
    routes = APIRouter(prefix="/v1/audit/interventions", tags=["audit"])
    _list(routes, pool, clock)
    _one(routes, pool, clock)
    return routes


def _list(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("")
    async def interventions(
        caller: Auditor,
        agency: Id | None = None,
        status: Status | None = None,
        conflict: bool | None = None,
        changed_from: Time = None,
        changed_until: Time = None,
        after: Annotated[str | None, Query(pattern=UUID, description="the last intervention of the page before")] = None,
    ) -> dict[str, Any]:
        """The interventions of the caller's agencies that match, a page at a time, by id."""
        if agency is not None:
            caller.check_agency(agency)
        everyone = ALL_AGENCIES in caller.agencies and agency is None
        wanted = Wanted(
            agencies=None if everyone else (agency,) if agency else tuple(sorted(caller.agencies)),
            status=status,
            conflict=conflict,
            changed_from_ms=_ms("changed_from", changed_from),
            changed_until_ms=_ms("changed_until", changed_until),
            after=f"intervention:{after}" if after else "",
        )
        await access_log.record(pool, caller, "list interventions", f"agency={agency or '*'}", at_ms=clock())
        async with pool.acquire() as connection:
            found = await dossier.listed(connection, wanted)
        return {"interventions": found, "next": found[-1]["intervention"] if len(found) == dossier.PAGE else None}


def _one(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    async def opened(intervention: str, caller: Principal, action: str) -> Current:
        return await readable(pool, intervention, caller, f"audit {action}", clock())

    @routes.get("/{intervention}/timeline")
    async def timeline(intervention: Intervention, caller: Auditor, after: After = None) -> dict[str, Any]:
        """Every event on it in the ledger's order, with all its clocks and what it knew; refusals and held events, too."""
        await opened(intervention, caller, "timeline")
        entries = await _entries(intervention, after)
        return {"entries": entries, "next": _next(entries)}

    @routes.get("/{intervention}/set-aside")
    async def set_aside(intervention: Intervention, caller: Auditor, language: Literal["fr", "en"] = "fr") -> dict[str, Any]:
        """Every value that does not stand: the rule, its sentence, what stands in its place."""
        current = await opened(intervention, caller, "set-aside")
        async with pool.acquire() as connection:
            return {"decisions": await dossier.set_aside(connection, current.state, language)}

    @routes.get("/{intervention}/evidence")
    async def evidence(intervention: Intervention, caller: Auditor) -> dict[str, Any]:
        """The files that its events name, by SHA-256. The bytes are in the evidence store."""
        return {"files": dossier.evidence((await opened(intervention, caller, "evidence")).state)}

    @routes.get("/{intervention}/proofs")
    async def proofs(intervention: Intervention, caller: Auditor, after: After = None) -> dict[str, Any]:
        """Of each of its events the inclusion proof (RFC 6962) under the newest witnessed checkpoint, else the newest of all."""
        await opened(intervention, caller, "proofs")
        entries = await _entries(intervention, after)
        async with pool.acquire() as connection:
            found = await dossier.proofs(connection, [(entry["shard"], entry["position"]) for entry in entries])
        return {"checkpoints": found, "next": _next(entries)}

    async def _entries(intervention: str, after: str | None) -> list[dict[str, Any]]:
        shard, _, position = (after or "-1:-1").partition(":")
        async with pool.acquire() as connection:
            return await dossier.timeline(connection, f"intervention:{intervention}", after=(int(shard), int(position)))


def _next(entries: list[dict[str, Any]]) -> str | None:
    return f"{entries[-1]['shard']}:{entries[-1]['position']}" if len(entries) == HISTORY_ROWS_MAX else None


def _ms(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_time_ms(text)
    except ValueError as fault:
        raise Problem(INPUT_INVALID, errors=({"field": name, "reason": str(fault)},)) from fault
