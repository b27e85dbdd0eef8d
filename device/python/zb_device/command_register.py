"""The register of commands: name, typed arguments, handler. JSON in, JSON out.

Arguments are checked here, once; `commands` and `field_commands` hold the handlers.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from zb_device.device import Device
from zb_device.faults import CommandInvalid

Json = dict[str, Any]
Handler = Callable[[Device, Any], Awaitable[Any]]


class Arguments(BaseModel):
    """Base of every command's arguments: unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoArguments(Arguments):
    """A command without arguments."""


COMMANDS: Final[dict[str, tuple[type[Arguments], Handler]]] = {}


def command(name: str, arguments: type[Arguments] = NoArguments) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        COMMANDS[name] = (arguments, handler)
        return handler

    return register


async def run(device: Device, name: str, arguments: Json) -> Any:
    """Do one command. CommandInvalid for an unknown name or wrong arguments, else what the command raises."""
    if name not in COMMANDS:
        raise CommandInvalid(f"there is no command {name!r}; there are {', '.join(sorted(COMMANDS))}")
    model, handler = COMMANDS[name]
    try:
        checked = model.model_validate(arguments)
    except ValidationError as fault:
        raise CommandInvalid(f"{name}: {first_error(fault)}") from fault
    return await handler(device, checked)


def first_error(fault: ValidationError) -> str:
    """Where the first fault is and what it is."""
    error = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
