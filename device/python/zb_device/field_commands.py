"""Commands of the field: record an event, attach a photo or a signature, use a part, withdraw a line.

Each commits whole or not at all; the work is `Device`'s and `actions`'.
"""

import asyncio
import hashlib
import mimetypes
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import Field, ValidationError

from zb_contracts import canonical
from zb_contracts.events import Body, Opaque, read_body
from zb_contracts.events.fieldwork import PartUsed, PhotoTaken
from zb_contracts.events.values import Position
from zb_device import actions
from zb_device.command_register import Arguments, Json, command, first_error
from zb_device.device import Device, Recorded
from zb_device.faults import CommandInvalid, FileInvalid, RecordInvalid
from zb_device.media import FILE_BYTES_MAX, Prepared
from zb_device.recording import Draft

B = TypeVar("B", bound=Body)


class Record(Arguments):
    """Any event that a device may write. `intervention` is short for its stream."""

    type: str
    intervention: str | None = None
    stream: str | None = None
    body: Json = Field(default_factory=dict)


@command("record", Record)
async def record(device: Device, arguments: Record) -> Json:
    stream = arguments.stream or (f"intervention:{arguments.intervention}" if arguments.intervention else None)
    if stream is None:
        raise CommandInvalid("record: name the intervention or the stream")
    return _recorded(await device.record(typed_body(arguments.type, arguments.body), stream=stream))


def typed_body(type_name: str, body: Json) -> Body:
    """The body as its event type has it. RecordInvalid else."""
    found = read_body(type_name, canonical.encode(body))
    if isinstance(found, Opaque):
        raise RecordInvalid(f"{type_name}: {found.reason}")
    return found


class AttachArguments(Arguments):
    """A file on this machine for an intervention."""

    intervention: str
    path: Path
    mime: str | None = None


class Photo(AttachArguments):
    """A photo; the position is where the device was. `source`: taken with this device's camera, or chosen from its library."""

    source: str = "camera"
    label: str | None = None
    taken_at: str | None = None
    position: Position | None = None
    replaces: str | None = None


@command("photo", Photo)
async def photo(device: Device, arguments: Photo) -> Json:
    data, mime = await _file(arguments)

    def drafts(prepared: Prepared) -> list[Draft]:
        body = _built(
            PhotoTaken,
            file=prepared.file,
            source=arguments.source,
            taken_at=arguments.taken_at,
            position=arguments.position,
            label=arguments.label,
            replaces=arguments.replaces,
        )
        return [Draft(f"intervention:{arguments.intervention}", body)]

    (made,) = await device.attach(data, mime, drafts)
    return _recorded(made) | {"sha256": hashlib.sha256(data).hexdigest()}


class Signature(AttachArguments):
    """The customer's strokes, and exactly what was shown to them."""

    signer: str
    role: str = "customer"
    shown: str


@command("signature", Signature)
async def signature(device: Device, arguments: Signature) -> Json:
    data, mime = await _file(arguments)
    made: list[actions.SealedSignature] = []

    def drafts(prepared: Prepared) -> list[Draft]:
        sealed = actions.signature_taken(
            arguments.intervention,
            file=prepared.file,
            signer=arguments.signer,
            role=arguments.role,
            shown_sha256=hashlib.sha256(arguments.shown.encode()).hexdigest(),
            escrow=device.parts.pinned.escrow,
            now_ms=device.clock.wall_ms(),
        )
        made.append(sealed)
        return [sealed.draft]

    (event,) = await device.attach(data, mime, drafts)
    device.keep_subject_key(made[0].kid, made[0].key)
    return _recorded(event) | {"sha256": hashlib.sha256(data).hexdigest()}


class Part(Arguments):
    """A part out of a stock: the technician's van where none is named. `replaces` names the line to correct."""

    intervention: str
    part: str
    quantity: str = "1"
    stock: str | None = None
    serials: tuple[str, ...] = ()
    lot: str | None = None
    replaces: str | None = None


@command("part", Part)
async def part(device: Device, arguments: Part) -> list[Json]:
    stock = arguments.stock or van_of(device)
    body = _built(
        PartUsed,
        part=arguments.part,
        quantity=arguments.quantity,
        stock=stock,
        serials=arguments.serials,
        lot=arguments.lot,
        replaces=arguments.replaces,
    )
    replaced = None
    if arguments.replaces:
        replaced = actions.line_of(device.intervention(arguments.intervention), arguments.replaces)
    drafts = actions.part_used(arguments.intervention, body, stock=stock, now_ms=device.clock.wall_ms(), replaced=replaced)
    return [_recorded(event) for event in await device.record_all(drafts)]


class Void(Arguments):
    """Withdraw a line; a part goes back into its stock."""

    intervention: str
    line: str
    reason: str


@command("void", Void)
async def void(device: Device, arguments: Void) -> list[Json]:
    line = actions.line_of(device.intervention(arguments.intervention), arguments.line)
    drafts = actions.line_voided(arguments.intervention, line, arguments.reason, stock=van_of(device))
    return [_recorded(event) for event in await device.record_all(drafts)]


def van_of(device: Device) -> str:
    """The stock of the technician's van."""
    return f"van-{device.technician}"


def _recorded(made: Recorded) -> Json:
    found: Json = msgspec.to_builtins(made)
    return found


def _built(model: type[B], **values: Any) -> B:
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as fault:
        raise RecordInvalid(first_error(fault)) from fault


async def _file(arguments: AttachArguments) -> tuple[bytes, str]:
    mime = arguments.mime or mimetypes.guess_type(arguments.path.name)[0]
    if mime is None:
        raise FileInvalid(f"{arguments.path.name}: name its MIME type")
    try:
        if arguments.path.stat().st_size > FILE_BYTES_MAX:
            raise FileInvalid(f"{arguments.path.name} is larger than {FILE_BYTES_MAX} bytes")
        return await asyncio.to_thread(arguments.path.read_bytes), mime
    except OSError as fault:
        raise FileInvalid(f"{arguments.path} cannot be read: {fault.strerror}") from fault
