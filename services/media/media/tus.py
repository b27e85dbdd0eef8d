"""tus 1.0.0 over HTTP (core, creation, checksum, expiration): what a device's upload client speaks.

Uploads are addressed by hash: `/v1/uploads/<sha256>` is this device's upload of that file. A part is taken whole or not at
all, because the device's proof covers its bytes; so a part has a limit of its own. The rules are in uploads.py.
"""

import base64
import binascii
import hashlib
import re
from email.utils import formatdate
from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from media.uploads import Declared, Progress, Uploads
from zb_chassis.devices import Devices
from zb_chassis.devices import Request as DeviceRequest
from zb_chassis.http import PUBLIC, stated
from zb_contracts.events.values import File
from zb_contracts.handover import CHUNK_TYPE
from zb_contracts.problems import INPUT_INVALID, INPUT_TOO_LARGE, MEDIA_CHECKSUM, MEDIA_HANDOVER, MEDIA_VERSION, Problem
from zb_contracts.subjects import DRAIN

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,checksum,expiration"
ALGORITHM: Final = "sha256"
PART_TYPE: Final = "application/offset+octet-stream"
METADATA_CHARACTERS_MAX: Final = 4_096
DRAIN_TAG: Final = f"t:{DRAIN}"
PATH: Final = "/v1/uploads"

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Metadata(BaseModel):
    """What `Upload-Metadata` has to say; other keys are ignored. `device`, where given, must be the session's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str
    mime: str = Field(max_length=128)
    device: str | None = None
    handover: str | None = None


def router(uploads: Uploads, devices: Devices) -> APIRouter:
    """The endpoints. Every one but OPTIONS asks for a device's token and proof."""
    routes = APIRouter(tags=["uploads"])

    async def session(request: Request) -> None:
        devices.token(request.headers)

    device_only = Depends(stated("device", session))

    @routes.options(PATH, status_code=204, dependencies=[PUBLIC])
    @routes.options(PATH + "/{sha256}", status_code=204, dependencies=[PUBLIC])
    async def speaks() -> Response:
        """What this server speaks."""
        sizes = {"Tus-Max-Size": str(uploads.limits.upload_bytes_max)}
        return _answer(204, sizes | {"Tus-Extension": EXTENSIONS, "Tus-Checksum-Algorithm": ALGORITHM})

    @routes.post(PATH, status_code=201, dependencies=[device_only])
    async def begin(request: Request) -> Response:
        """Begin an upload or go on with it. A file that is stored already answers with its whole length as offset."""
        _check_version(request)
        device = devices.device(await _proven(request, 0))
        is_drain = DRAIN_TAG in devices.token(request.headers).tags
        progress = await uploads.begin(device, _declared(request, device, is_drain=is_drain))
        return _answer(201, _headers(progress) | {"Location": f"{PATH}/{progress.sha256}"})

    @routes.head(PATH + "/{sha256}", dependencies=[device_only])
    async def look(sha256: str, request: Request) -> Response:
        """How far the upload is."""
        _check_version(request)
        device = devices.device(await _proven(request, 0))
        return _answer(200, _headers(await uploads.look(device, _hash(sha256))) | {"Cache-Control": "no-store"})

    @routes.patch(PATH + "/{sha256}", status_code=204, dependencies=[device_only])
    async def append(sha256: str, request: Request) -> Response:
        """Take the next part, in the clear or as an encrypted chunk."""
        _check_version(request)
        kind = request.headers.get("content-type")
        if kind not in (PART_TYPE, CHUNK_TYPE):
            raise _invalid("Content-Type", f"is neither {PART_TYPE} nor {CHUNK_TYPE}")
        offset = _number(request, "upload-offset")
        part = await _proven(request, uploads.limits.part_bytes_max)
        device = devices.device(part)
        _check_sum(request, part.body)
        progress = await uploads.append(device, _hash(sha256), offset, part.body, is_sealed=kind == CHUNK_TYPE)
        return _answer(204, _headers(progress))

    return routes


async def _proven(request: Request, body_bytes_max: int) -> DeviceRequest:
    """The request as its proof covers it; its body is read to the limit and no further."""
    body = bytearray()
    declared = request.headers.get("content-length", "0")
    if _NUMBER.fullmatch(declared) is None or int(declared) > body_bytes_max:
        raise Problem(INPUT_TOO_LARGE, limit=body_bytes_max)
    try:
        async for block in request.stream():
            body += block
            if len(body) > body_bytes_max:
                raise Problem(INPUT_TOO_LARGE, limit=body_bytes_max)
    except ClientDisconnect as fault:
        # Nobody hears this answer; it only must not look like a fault of ours. Half a part is no part.
        raise _invalid("body", "ended too early") from fault
    return DeviceRequest(request.method, request.url.path, request.headers, bytes(body))


def _declared(request: Request, device: str, *, is_drain: bool) -> Declared:
    if "upload-defer-length" in request.headers:
        raise _invalid("Upload-Length", "has to be declared with the creation")
    metadata = _metadata(request.headers.get("upload-metadata", ""))
    if metadata.device not in (None, device):
        raise _invalid("Upload-Metadata.device", "is not the device of the session")
    try:
        file = File(sha256=metadata.sha256, length_bytes=_number(request, "upload-length"), mime=metadata.mime)
    except ValidationError as fault:
        raise Problem(INPUT_INVALID, errors=_errors(fault)) from fault
    if is_drain and metadata.handover is None:
        # Nobody is logged in: only what the device's own events name, by the ledger's word.
        raise Problem(MEDIA_HANDOVER, reason="a drain session needs one for each file")
    return Declared(file.sha256, file.length_bytes, file.mime, metadata.handover)


def _metadata(text: str) -> Metadata:
    """`key base64,key base64 ...` as tus has it."""
    if len(text) > METADATA_CHARACTERS_MAX:
        raise _invalid("Upload-Metadata", f"has more than {METADATA_CHARACTERS_MAX} characters")
    found: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError) as fault:
            raise _invalid(f"Upload-Metadata.{key}", "is not base64 of UTF-8") from fault
    try:
        return Metadata.model_validate(found)
    except ValidationError as fault:
        raise Problem(INPUT_INVALID, errors=_errors(fault)) from fault


def _check_version(request: Request) -> None:
    offered = request.headers.get("tus-resumable", "nothing")
    if offered != VERSION:
        raise Problem(MEDIA_VERSION, offered=offered)


def _check_sum(request: Request, body: bytes) -> None:
    given = request.headers.get("upload-checksum")
    if given is None:
        return
    algorithm, _, value = given.partition(" ")
    if algorithm != ALGORITHM:
        raise _invalid("Upload-Checksum", f"is not of the algorithm {ALGORITHM}")
    try:
        expected = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise _invalid("Upload-Checksum", "is not base64") from fault
    if expected != hashlib.sha256(body).digest():
        raise Problem(MEDIA_CHECKSUM)


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if _NUMBER.fullmatch(text) is None:
        raise _invalid(name.title(), "is not a number of bytes")
    return int(text)


def _hash(text: str) -> str:
    if _HASH.fullmatch(text) is None:
        raise _invalid("sha256", "is not 64 hex digits")
    return text


def _invalid(field: str, reason: str) -> Problem:
    return Problem(INPUT_INVALID, errors=({"field": field, "reason": reason},))


def _errors(fault: ValidationError) -> tuple[dict[str, str], ...]:
    listed = fault.errors(include_url=False, include_context=False, include_input=False)
    return tuple({"field": f"Upload-Metadata.{'.'.join(map(str, one['loc']))}", "reason": one["msg"]} for one in listed)


def _headers(progress: Progress) -> dict[str, str]:
    headers = {"Upload-Offset": str(progress.offset), "Upload-Length": str(progress.length_bytes)}
    if progress.expires_at_ms is not None:
        headers["Upload-Expires"] = formatdate(progress.expires_at_ms / 1000, usegmt=True)
    return headers


def _answer(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, "Tus-Version": VERSION} | headers)
