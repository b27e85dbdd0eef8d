"""The board's half that comes from outside: merged states as they are announced, applied once and never backwards.

Reads an announcement, keeps what the office works with (status, vector, visits, open requests, conflicts, values set aside),
and takes it only when its version is newer. It merges nothing itself and acknowledges nothing: app.py subscribes.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from scheduling import store
from scheduling.announce import stream_of
from scheduling.values import Reported, Request, Visit
from zb_chassis import inbox
from zb_chassis.database import Pool, transaction
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.merge.state import InterventionState, Register, SetAside, read_state
from zb_contracts.problems import INPUT_INVALID, Problem

SOURCE: Final = "INTERVENTIONS"


async def take_announcement(pool: Pool, message_id: str, data: bytes) -> bool:
    """Apply one announcement; False when it was applied before or is not newer. Problem INPUT_INVALID for other bytes."""
    announced = read_announcement(data)
    async with transaction(pool) as connection:
        return await inbox.first_time(connection, SOURCE, message_id) and await store.save_announced(connection, announced)


def read_announcement(data: bytes) -> store.Announced:
    """What the office works with, of an announcement's bytes. Problem INPUT_INVALID where they are none."""
    try:
        message = InterventionAnnounced.model_validate_json(data)
        state = read_state(stream_of(message.intervention), msgspec.json.encode(message.state))
    except (ValidationError, ValueError) as fault:
        raise Problem(INPUT_INVALID, errors=({"reason": str(fault)[:500]},)) from fault
    assert isinstance(state, InterventionState)  # the stream's kind says so
    return store.Announced(
        intervention=message.intervention,
        version=message.version,
        state_hash=message.state_hash,
        reported=reported_of(state),
        merged={name: register.value for name, register in state.fields.items()} | {"assignee": state.assignee},
        conflicts=[msgspec.to_builtins(conflict) for conflict in state.conflicts],
        set_aside=[_set_aside(each) for each in _all_set_aside(state)],
    )


def reported_of(state: InterventionState) -> Reported:
    """What the merged state says of the field."""
    return Reported(
        status=state.status,
        vector=tuple(sorted(state.vector.items())),
        visits=tuple(Visit(id=visit.id, technician=visit.technician, open=visit.phase != "ended") for visit in state.visits),
        requests=tuple(
            Request(id=request.id, field=request.field, value=str(request.value))
            for request in state.requests
            if request.status == "open" and request.side == "field"
        ),
    )


def _all_set_aside(state: InterventionState) -> Iterator[SetAside]:
    yield from _of_registers(state.fields.values())
    for visit in state.visits:
        yield from _of_registers(visit.facts.values())
        yield from _of_registers(visit.equipment.values())
    for line in state.lines:
        yield from line.set_aside


def _of_registers(registers: Iterable[Register]) -> Iterator[SetAside]:
    for register in registers:
        yield from register.set_aside


def _set_aside(value: SetAside) -> dict[str, Any]:
    return {
        "field": value.field,
        "value": value.value,
        "event": value.origin.event,
        "author": value.origin.author,
        "actor": value.origin.actor,
        "at": value.origin.at,
        "rule": value.rule,
        "against": value.against,
        "acknowledged": bool(value.acknowledged),
    }
