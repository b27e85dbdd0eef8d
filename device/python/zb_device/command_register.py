"""The register of commands: name, typed arguments, handler. JSON in, JSON out; `serve` and the command line are made of it.

A method of the SDK becomes a command by its signature alone (`command_of`), so that what the SDK can record the command line
can too. Arguments are checked here, once; `commands` and `field_commands` hold the handlers.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from zb_contracts.problems import Problem
from zb_device.attachments import Picture
from zb_device.bodies import first_error
from zb_device.device import Device
from zb_device.faults import CommandInvalid, DeviceFault, Refused

Json = dict[str, Any]
Handler = Callable[[Device, Any], Awaitable[Any]]


class Section(StrEnum):
    """Where a command stands in the help."""

    DEVICE = "This device"
    PEOPLE = "Who works with it"
    READING = "Reading (asks for the PIN)"
    WORK = "Recording on an intervention"
    PLACES = "Recording on sites, equipment, stock, the day"
    OUTCOME = "What became of it"
    NETWORK = "The network"


class Arguments(BaseModel):
    """Base of every command's arguments: unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoArguments(Arguments):
    """A command without arguments."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `positional` arguments stand without their names on a command line; `reads`: it needs an open read model;
    `waits`: it takes as long as the network does."""

    name: str
    arguments: type[Arguments]
    handler: Handler
    about: str
    section: Section
    positional: tuple[str, ...]
    reads: bool
    waits: bool = False


COMMANDS: Final[dict[str, Command]] = {}


def command(
    name: str,
    section: Section,
    arguments: type[Arguments] = NoArguments,
    *,
    about: str,
    positional: tuple[str, ...] = (),
    reads: bool = False,
    waits: bool = False,
) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        COMMANDS[name] = Command(name, arguments, handler, about, section, positional, reads, waits)
        return handler

    return register


def command_of(
    name: str,
    section: Section,
    method: Callable[..., Any],
    on: Callable[[Device, Any], Any],
    subject: dict[str, Any],
    *,
    reads: bool = False,
) -> None:
    """Register a method of one of the SDK's classes. `on` gives its object for the arguments `subject` (name -> default)."""
    hints = typing.get_type_hints(method)
    fields: dict[str, Any] = {named: (str if default is ... else str | None, default) for named, default in subject.items()}
    positional = [named for named, default in subject.items() if default is ...]
    parameters = list(inspect.signature(method).parameters.values())[1:]
    for parameter in parameters:
        # JSON holds no bytes: a file is named by its path.
        kind = Path if hints[parameter.name] == Picture else hints[parameter.name]
        fields[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            positional.append(parameter.name)
    given = [parameter.name for parameter in parameters]

    async def handler(device: Device, arguments: Any) -> Any:
        called = {named: getattr(arguments, named) for named in given}
        return msgspec.to_builtins(await method(on(device, arguments), **called))

    about = (inspect.getdoc(method) or f"{name.replace('_', ' ').capitalize()}.").split("\n")[0]
    model = create_model(f"{name}_arguments", __base__=Arguments, **fields)
    COMMANDS[name] = Command(name, model, handler, about, section, tuple(positional), reads)


async def run(device: Device, name: str, arguments: Json) -> Any:
    """Do one command. CommandInvalid for an unknown name or wrong arguments, else what the command raises."""
    if name not in COMMANDS:
        raise CommandInvalid(f"there is no command {name!r}; there are {', '.join(sorted(COMMANDS))}")
    one = COMMANDS[name]
    try:
        checked = one.arguments.model_validate(arguments)
    except ValidationError as fault:
        raise CommandInvalid(f"{name}: {first_error(fault)}") from fault
    return await one.handler(device, checked)


def told(fault: DeviceFault | Problem) -> Json:
    """What a program is told of a refusal. `problem` is the server's own code, where it was the server that refused."""
    said: Json = {"ok": False, "code": fault.code, "message": str(fault), "retryable": fault.retryable}
    return said | {"problem": fault.problem} if isinstance(fault, Refused) else said
