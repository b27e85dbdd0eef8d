"""Commands that read, and those of session and network. Importing this module registers every command.

`run` is the way in for `serve` and the command line.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from pydantic import Field

from zb_contracts.envelope import ParsedEvent
from zb_contracts.merge.state import InterventionState
from zb_device import field_commands
from zb_device.command_register import Arguments, Json, NoArguments, command, run
from zb_device.device import Device
from zb_device.faults import CommandInvalid
from zb_device.local_state import LocalState
from zb_device.reporting import media_items, open_entries, status

__all__ = ["field_commands", "run"]

WAIT_S_MAX: Final = 600.0


@command("status")
async def status_command(device: Device, _: NoArguments) -> Json:
    return status(device)


@command("check")
async def check(device: Device, _: NoArguments) -> Json:
    device.check()
    return {"whole": True}


@command("list")
async def list_command(device: Device, _: NoArguments) -> list[Json]:
    return [summary(state) for state in device.interventions()]


class Show(Arguments):
    """A stream, or an intervention by id."""

    intervention: str | None = None
    stream: str | None = None


@command("show", Show)
async def show(device: Device, arguments: Show) -> Json:
    stream = arguments.stream or f"intervention:{arguments.intervention}"
    return _shown(device, device.state(stream))


class Documents(Arguments):
    """Which kind: `site`, `equipment`, `catalogue` ..."""

    kind: str = "intervention"


@command("documents", Documents)
async def documents(device: Device, arguments: Documents) -> list[str]:
    return device.opened().reading.ids(arguments.kind)


class Outbox(Arguments):
    """`all` shows settled events too."""

    all: bool = False
    limit: int = Field(default=200, ge=1, le=10_000)


@command("outbox", Outbox)
async def outbox(device: Device, arguments: Outbox) -> Json:
    return {
        "events": open_entries(device, open_only=not arguments.all, limit=arguments.limit),
        "media": media_items(device),
        "counts": device.parts.log.counts(),
    }


class Dealt(Arguments):
    """A held or refused event that a person has dealt with."""

    event: str


@command("dealt", Dealt)
async def dealt(device: Device, arguments: Dealt) -> Json:
    return {"dealt_with": device.deal_with(arguments.event)}


# --- Session and network ---


class Unlock(Arguments):
    """Another technician than the one signed in is named."""

    pin: str
    technician: str | None = None


@command("unlock", Unlock)
async def unlock(device: Device, arguments: Unlock) -> Json:
    await device.unlock(arguments.pin, arguments.technician)
    return {"technician": device.technician}


class SignIn(Arguments):
    """A technician who begins to work with this device, with a PIN of their choice."""

    technician: str
    pin: str


@command("sign_in", SignIn)
async def sign_in(device: Device, arguments: SignIn) -> Json:
    await device.sign_in(arguments.technician, arguments.pin)
    return {"technician": device.technician}


@command("lock")
async def lock(device: Device, _: NoArguments) -> Json:
    device.lock()
    return {"locked": True}


@command("sync")
async def sync(device: Device, _: NoArguments) -> Json:
    report = await device.sync()
    uploaded = await device.upload()
    return {**msgspec.to_builtins(report), "uploaded": uploaded}


@command("offline")
async def offline(device: Device, _: NoArguments) -> Json:
    await device.offline()
    return {"online": False}


@command("online")
async def online(device: Device, _: NoArguments) -> Json:
    device.online()
    return {"online": True}


class Wait(Arguments):
    """What to wait for: `settled` (every event has its receipt), `uploaded`, `covered` (the stream's document covers what was
    recorded here), `documents` (at least `count` interventions in the scope)."""

    until: str = "settled"
    stream: str | None = None
    count: int = 1
    timeout_s: float = Field(default=30.0, gt=0, le=WAIT_S_MAX)


@command("wait", Wait)
async def wait(device: Device, arguments: Wait) -> Json:
    conditions: dict[str, Callable[[], bool]] = {
        "settled": device.settled,
        "uploaded": lambda: not device.parts.media.waiting(),
        "covered": lambda: not device.state(arguments.stream or "").pending,
        "documents": lambda: len(device.opened().reading.ids("intervention")) >= arguments.count,
    }
    if arguments.until not in conditions:
        raise CommandInvalid(f"wait: until is one of {', '.join(conditions)}")
    device.background.wake()
    reached = await device.wait_until(conditions[arguments.until], arguments.timeout_s)
    return {"reached": reached, "last_fault": device.background.last_fault}


# --- JSON ---


def summary(state: InterventionState) -> Json:
    """One line of the day's list."""
    fields = {name: register.value for name, register in state.fields.items()}
    return {
        "intervention": state.stream.partition(":")[2],
        "status": state.status,
        **{name: fields.get(name) for name in ("reference", "title", "kind", "site", "equipment", "planned_start", "priority")},
        "lines": len(state.lines),
        "conflicts": len(state.conflicts),
    }


def _shown(device: Device, found: LocalState) -> Json:
    return {
        "stream": found.stream,
        "change": found.change,
        "pending": [_pending(device, event) for event in found.pending],
        "state": msgspec.to_builtins(found.state),
    }


def _pending(device: Device, event: ParsedEvent) -> Json:
    header = event.header
    return {
        "id": header.id,
        "seq": header.seq,
        "type": header.type,
        "at": header.at,
        "state": device.parts.log.state_of(header.id).value,
    }
