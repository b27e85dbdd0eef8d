"""HTTP of the billing bridge: make the next batch, list batches, fetch their files, see what waits and why.

The integrator's part of the platform. A batch holds the work of all agencies, so whoever makes or reads one acts for all. Files
are the frozen bytes from the database, whatever lies in the folder. It decides nothing: batches.py makes, delivery.py writes.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from billing_bridge import store
from billing_bridge.batches import Batches, Frozen, LeftOut
from billing_bridge.delivery import Delivery
from billing_bridge.profiles import PROFILES, profile_of
from billing_bridge.store import BatchRow
from zb_chassis.database import Pool
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.times import format_time_ms

BATCHES_MAX: Final = 500
Integrator = Annotated[Principal, allow(Role.INTEGRATOR, of_all_agencies=True)]
Number = Annotated[int, Path(ge=1, le=2**53)]
Reader = Annotated[Principal, allow(Role.INTEGRATOR, Role.AUDITOR, of_all_agencies=True)]


class FileView(BaseModel):
    """One file of a batch."""

    name: str
    sha256: str
    length_bytes: int


class WaitingView(BaseModel):
    """A closed intervention that is in no batch yet; `ready` when the next batch would take it."""

    profile: str
    intervention: str
    reference: str
    reason: str


class BatchView(BaseModel):
    """A frozen batch: totals in cents, and whether its files lie in the folder."""

    profile: str
    batch: int
    frozen_at: str
    currency: str
    interventions: int
    lines: int
    net_cents: int
    vat_cents: int
    total_cents: int
    delivered_at: str | None
    fault: str | None


class MadeView(BatchView):
    """A batch as it was just made, and what it left out."""

    files: tuple[FileView, ...]
    billed: tuple[str, ...]
    left_out: tuple[WaitingView, ...]
    left_out_count: int


def making(pool: Pool, batches: Batches, delivery: Delivery) -> APIRouter:
    """The endpoints that make and deliver, and what the next batch would be made of."""
    routes = APIRouter(tags=["billing"])

    @routes.post("/v1/profiles/{profile}/batches", status_code=201)
    async def make(profile: str, _: Integrator) -> MadeView:
        """Freeze the next batch and put its files into the folder. 409 `billing.nothing` when nothing can be billed.

        Once frozen it is the answer, even when the folder could not be written: `fault` says so, and it is tried again.
        """
        frozen = await batches.make(profile_of(profile))
        await delivery.attempt(profile, frozen.row.batch)
        delivered = await store.find_batch(pool, profile, frozen.row.batch)
        return made_view(frozen, delivered or frozen.row)

    @routes.post("/v1/profiles/{profile}/batches/{batch}/deliveries", status_code=204)
    async def deliver(profile: str, batch: Number, _: Integrator) -> None:
        """Put the same bytes into the folder again, e.g. after they were lost there."""
        await delivery.deliver(profile_of(profile).name, batch)

    @routes.get("/v1/waiting")
    async def waiting(_: Reader) -> list[WaitingView]:
        """Closed interventions that are in no batch yet, with the reason, for each profile."""
        found = []
        for profile in PROFILES.values():
            found += [waiting_view(profile.name, one) for one in await batches.waiting(profile)]
        return found

    return routes


def reading(pool: Pool) -> APIRouter:
    """The endpoints that show what was made."""
    routes = APIRouter(tags=["billing"])

    @routes.get("/v1/batches")
    async def listed(
        _: Reader, profile: str | None = None, limit: Annotated[int, Query(ge=1, le=BATCHES_MAX)] = 100
    ) -> list[BatchView]:
        """The newest batches."""
        return [_batch_view(row) for row in await store.find_batches(pool, limit=limit, profile=profile)]

    @routes.get("/v1/batches/{profile}/{batch}/files")
    async def files(profile: str, batch: Number, _: Reader) -> list[FileView]:
        """What the batch consists of."""
        return _file_views(await _files(profile, batch))

    @routes.get("/v1/batches/{profile}/{batch}/files/{name}")
    async def file(profile: str, batch: Number, name: str, _: Reader) -> Response:
        """The frozen bytes of one file."""
        for one in await _files(profile, batch):
            if one.name == name:
                headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": f'"{one.sha256}"'}
                return Response(one.content, media_type="application/octet-stream", headers=headers)
        raise Problem(INPUT_NOT_FOUND, what="file of the batch", id=name[:200])

    async def _files(profile: str, batch: int) -> list[store.FileRow]:
        found = await store.find_files(pool, profile, batch)
        if not found:
            raise Problem(INPUT_NOT_FOUND, what=f"batch of {profile[:64]}", id=batch)
        return found

    return routes


def made_view(frozen: Frozen, row: BatchRow) -> MadeView:
    """What the maker of a batch is told."""
    return MadeView(
        **_batch_view(row).model_dump(),
        files=tuple(_file_views(frozen.files)),
        billed=frozen.interventions,
        left_out=tuple(waiting_view(row.profile, one) for one in frozen.left_out),
        left_out_count=frozen.left_out_count,
    )


def waiting_view(profile: str, one: LeftOut) -> WaitingView:
    return WaitingView(profile=profile, intervention=one.intervention, reference=one.reference, reason=one.reason)


def _batch_view(row: BatchRow) -> BatchView:
    return BatchView(
        profile=row.profile,
        batch=row.batch,
        frozen_at=format_time_ms(row.frozen_at_ms),
        currency=row.currency,
        interventions=row.interventions,
        lines=row.lines,
        net_cents=row.net_cents,
        vat_cents=row.vat_cents,
        total_cents=row.net_cents + row.vat_cents,
        delivered_at=None if row.delivered_at_ms is None else format_time_ms(row.delivered_at_ms),
        fault=row.fault,
    )


def _file_views(files: tuple[store.FileRow, ...] | list[store.FileRow]) -> list[FileView]:
    return [FileView(name=one.name, sha256=one.sha256, length_bytes=len(one.content)) for one in files]
