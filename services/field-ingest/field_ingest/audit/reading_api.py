"""What people and programs may read over HTTP: an intervention's state, its history, why it is so; hashes, quarantine.

Reads only. Every endpoint states its roles, a caller sees the interventions of its own agencies, and every read by a person is
an entry in the access log. Values stay sealed: opening them is not done here.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query

from field_ingest.audit import moments
from field_ingest.audit.explain import HISTORY_ROWS_MAX, Current, current_state, explained, history
from field_ingest.audit.past import state_at
from field_ingest.projection import marks, states
from field_ingest.projection.replay import live_hash
from zb_chassis import access_log
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.identity import Principal, Role, allow
from zb_contracts import canonical
from zb_contracts.merge.state import InterventionState
from zb_contracts.problems import INPUT_INVALID, Problem

UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
TIME_MAX: Final = 24
MOMENT_MAX: Final = 1_600
"""Characters: a position for each of the most shards that there can be."""
POSITION: Final = r"^[0-9]{1,9}:[0-9]{1,18}$"

Reader = Annotated[
    Principal, allow(Role.DISPATCHER, Role.PLANNER, Role.FLEET_ADMINISTRATOR, Role.AUDITOR, Role.INTEGRATOR, Role.SERVICE)
]
Auditor = Annotated[Principal, allow(Role.AUDITOR, Role.FLEET_ADMINISTRATOR, Role.SERVICE)]
Intervention = Annotated[str, Path(pattern=UUID)]


def router(pool: Pool, clock: Clock) -> APIRouter:
    """The endpoints on this database."""
    routes = APIRouter(prefix="/v1", tags=["reading"])
    _interventions(routes, pool, clock)
    _projection(routes, pool)
    return routes


def _interventions(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/interventions/{intervention}/state")
    async def state(
        intervention: Intervention,
        caller: Reader,
        known_at: Annotated[str | None, Query(max_length=MOMENT_MAX, description="the past as it was known then")] = None,
        occurred_until: Annotated[str | None, Query(max_length=TIME_MAX, description="the past as it is known now")] = None,
    ) -> dict[str, Any]:
        """The merged state with its version, hash and the ledger positions that it includes.

        With `known_at` (`SHARD:POSITION[,...]` or a time of receipt) or `occurred_until` (a time) the state of that moment.
        """
        current = await readable(pool, intervention, caller, "state", clock())
        if known_at or occurred_until:
            return await _state_then(pool, intervention, known_at, occurred_until)
        return {
            "intervention": intervention,
            "version": current.row.version,
            "rule_version": current.row.rule_version,
            "state_hash": current.row.state_hash.hex(),
            "positions": current.positions,
            "state": canonical.decode(current.row.state),
        }

    @routes.get("/interventions/{intervention}/history")
    async def intervention_history(
        intervention: Intervention,
        caller: Reader,
        after: Annotated[str | None, Query(pattern=POSITION, description="`shard:position` of the last entry read")] = None,
    ) -> dict[str, Any]:
        """The ledger's rows on it, a page at a time: who, what, every clock; refusals and held events too."""
        shard, _, position = (after or "-1:-1").partition(":")
        await readable(pool, intervention, caller, "history", clock())
        async with pool.acquire() as connection:
            entries = await history(connection, f"intervention:{intervention}", after=(int(shard), int(position)))
        last = entries[-1] if len(entries) == HISTORY_ROWS_MAX else None
        return {"entries": entries, "next": f"{last['shard']}:{last['position']}" if last else None}

    @routes.get("/interventions/{intervention}/explain")
    async def explanation(
        intervention: Intervention,
        caller: Reader,
        field: Annotated[str | None, Query(max_length=64)] = None,
        language: Literal["fr", "en"] = "fr",
    ) -> dict[str, Any]:
        """Why the state says what it says, decision by decision: the rule, the events, and what each had seen of the other."""
        current = await readable(pool, intervention, caller, "explain", clock())
        async with pool.acquire() as connection:
            decisions = await explained(connection, current.state, field, language)
        return {"decisions": [msgspec.to_builtins(one) for one in decisions]}


def _projection(routes: APIRouter, pool: Pool) -> None:
    @routes.get("/states/hash")
    async def states_hash(_caller: Auditor) -> dict[str, Any]:
        """The hash over all states, as a replay computes it."""
        async with pool.acquire() as connection:
            total = await live_hash(connection)
        return {"streams": total.streams, "state_hash": total.state_hash}

    @routes.get("/states/progress")
    async def progress(_caller: Auditor) -> dict[str, Any]:
        """How far the projection has read each shard, how far the ledger goes, and which streams it had to leave aside."""
        async with pool.acquire() as connection:
            read = await marks.read_marks(connection)
            sizes = await states.ledger_sizes(connection)
            listed = await states.quarantined(connection)
        shards = {str(shard): {"position": read.get(shard, 0), "size": size} for shard, size in sizes.items()}
        return {"shards": shards, "quarantined": listed}


async def _state_then(pool: Pool, intervention: str, known: str | None, occurred: str | None) -> dict[str, Any]:
    """Folded for this answer from the ledger's rows. Problem INPUT_INVALID for no moment, INPUT_NOT_FOUND before the first."""
    try:
        moment = moments.known_at(known) if known else moments.NOW
        moment = moments.occurred_until(occurred, moment) if occurred else moment
        async with pool.acquire() as connection:
            then = await state_at(connection, f"intervention:{intervention}", moment)
    except moments.MomentUnreadable as fault:
        field = "known_at" if known else "occurred_until"
        raise Problem(INPUT_INVALID, errors=({"field": field, "reason": str(fault)},)) from fault
    return {
        "intervention": intervention,
        "moment": moment.told(),
        "rule_version": moment.rules,
        "state_hash": states.hash_of(then.state_json).hex(),
        "events": then.events,
        "state": canonical.decode(then.state_json),
    }


async def readable(pool: Pool, intervention: str, caller: Principal, action: str, at_ms: int) -> Current:
    """The intervention's state, for a caller of its agency, noted in the access log. INPUT_NOT_FOUND, WRONG_AGENCY.

    What belongs to no agency (yet) is for those of all agencies.
    """
    stream = f"intervention:{intervention}"
    async with pool.acquire() as connection:
        current = await current_state(connection, stream)
    agency = current.state.fields.get("agency") if isinstance(current.state, InterventionState) else None
    if agency is None:
        caller.check_all_agencies()
    else:
        caller.check_agency(agency.value)
    await access_log.record(pool, caller, action, stream, at_ms=at_ms)
    return current
