"""Commands of the field: every method of `Work`, `Site`, `Equipment`, `Stock` and `Shift`, and any event by its type.

Each commits whole or not at all; the work is the SDK's.
"""

import inspect
from typing import Any, Final

import msgspec
from pydantic import Field

from zb_device.bodies import typed_body
from zb_device.command_register import Arguments, Json, Section, command, command_of
from zb_device.device import Device
from zb_device.faults import CommandInvalid
from zb_device.surroundings import Equipment, Shift, Site, Stock
from zb_device.work import Work

READING: Final = frozenset({"void"})
"""What cannot be recorded while locked: it needs the merged state."""


class Record(Arguments):
    """Any event that a device may write. `intervention` is short for its stream."""

    type: str
    intervention: str | None = None
    stream: str | None = None
    body: Json = Field(default_factory=dict)


@command("record", Section.WORK, Record, about="Record an event by its TYPE.", positional=("type",))
async def record(device: Device, arguments: Record) -> Json:
    stream = arguments.stream or (f"intervention:{arguments.intervention}" if arguments.intervention else None)
    if stream is None:
        raise CommandInvalid("record: name the intervention or the stream")
    made = await device.record(typed_body(arguments.type, arguments.body), stream=stream)
    plain: Json = msgspec.to_builtins(made)
    return plain


def _methods(kind: type) -> dict[str, Any]:
    return {name: method for name, method in vars(kind).items() if inspect.iscoroutinefunction(method) and name[0] != "_"}


for _name, _method in _methods(Work).items():
    command_of(
        _name,
        Section.WORK,
        _method,
        lambda device, said: device.work_on(said.intervention),
        {"intervention": ...},
        reads=_name in READING,
    )
for _name, _method in _methods(Site).items():
    command_of(f"site_{_name}", Section.PLACES, _method, lambda device, said: device.site(said.site), {"site": ...})
for _name, _method in _methods(Equipment).items():
    command_of(
        f"equipment_{_name}", Section.PLACES, _method, lambda device, said: device.equipment(said.equipment), {"equipment": ...}
    )
for _name, _method in _methods(Stock).items():
    command_of(f"stock_{_name}", Section.PLACES, _method, lambda device, said: device.stock(said.stock), {"stock": None})
for _name, _method in _methods(Shift).items():
    command_of(f"shift_{_name}", Section.PLACES, _method, lambda device, said: device.shift(said.day), {"day": None})
