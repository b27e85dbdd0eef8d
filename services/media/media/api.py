"""HTTP for people and programs: an intervention's evidence, the files themselves, their erasure. Devices upload through tus.py.

A caller sees what belongs to its agencies. A file is served as bytes to save, never as a page: what devices send must not run
in somebody's browser. Every read of a file is an entry of the access log.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel

from media import store
from media.erasures import Erasures, check_there
from media.files import FileStore
from zb_chassis import access_log
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.identity import ALL_AGENCIES, Principal, Role, allow
from zb_contracts.announcements import EvidenceItem
from zb_contracts.problems import INPUT_NOT_FOUND, WRONG_AGENCY, Problem
from zb_contracts.times import format_time_ms

Reader = Annotated[Principal, allow(Role.DISPATCHER, Role.AUDITOR, Role.SERVICE)]
Eraser = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR)]
SAFETY_HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class EvidenceView(BaseModel):
    """The evidence of one intervention. `state_version`: the announcement of its state that demanded the items."""

    intervention: UUID
    version: int
    state_version: int
    complete: bool
    items: tuple[EvidenceItem, ...]


class ErasedView(BaseModel):
    """A file that is gone."""

    sha256: str
    erased_at: str


def router(pool: Pool, files: FileStore, erasures: Erasures, clock: Clock) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["evidence"])

    @routes.get("/v1/interventions/{intervention}/evidence")
    async def evidence(intervention: UUID, caller: Reader) -> EvidenceView:
        """What the intervention's merged state demands, and what is stored of it."""
        row = await store.find_evidence(pool, str(intervention))
        if row is None or row.version == 0:
            raise Problem(INPUT_NOT_FOUND, what="evidence of the intervention", id=intervention)
        _check_agencies(caller, {row.agency} if row.agency else set())
        return EvidenceView(
            intervention=intervention,
            version=row.version,
            state_version=row.state_version,
            complete=row.complete,
            items=tuple(EvidenceItem.model_validate(item) for item in row.items),
        )

    @routes.get("/v1/files/{sha256}", response_class=FileResponse)
    async def file(sha256: str, caller: Reader) -> Any:
        """The bytes of a stored file; answers ranges."""
        stored = await _stored(pool, sha256, caller)
        check_there(stored)
        await access_log.record(pool, caller, "file", f"file:{sha256}", at_ms=clock())
        return _download(files.path(sha256), stored)

    @routes.post("/v1/files/{sha256}/erasure")
    async def erase(sha256: str, caller: Eraser) -> ErasedView:
        """Remove a file for ever: 410 from then on. The evidence goes on saying that it was there, with its hash."""
        await _stored(pool, sha256, caller)
        return ErasedView(sha256=sha256, erased_at=format_time_ms(await erasures.erase(sha256)))

    return routes


async def _stored(pool: Pool, sha256: str, caller: Principal) -> store.StoredFile:
    """The file of that hash, which belongs to the caller's agencies. Problems INPUT_NOT_FOUND, WRONG_AGENCY."""
    stored = await store.find_file(pool, sha256) if _HASH.fullmatch(sha256) else None
    if stored is None:
        raise Problem(INPUT_NOT_FOUND, what="stored file", id=sha256[:64])
    _check_agencies(caller, await store.agencies_demanding(pool, sha256))
    return stored


def _check_agencies(caller: Principal, agencies: set[str]) -> None:
    """Problem WRONG_AGENCY unless one of them is the caller's; what belongs to none is for those of all agencies."""
    if ALL_AGENCIES not in caller.agencies and not agencies & caller.agencies:
        raise Problem(WRONG_AGENCY, agency=", ".join(sorted(agencies)) or "none")


def _download(path: Path, stored: store.StoredFile) -> FileResponse:
    headers = SAFETY_HEADERS | {"ETag": f'"{stored.sha256}"'}
    return FileResponse(path, media_type=stored.mime, filename=stored.sha256, headers=headers)
