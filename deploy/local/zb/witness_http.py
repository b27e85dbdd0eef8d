"""A witness over HTTP, as logs ask it (C2SP tlog-witness). What it cosigns is `witness`'s matter."""

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from zb.witness import Witness
from zb_chassis.http import PUBLIC, application
from zb_contracts.cosignatures import REQUEST_BYTES_MAX


def serve(witness: Witness) -> FastAPI:
    """The witness's HTTP application: `POST /add-checkpoint`."""
    router = APIRouter(tags=["witness"])

    @router.post("/add-checkpoint", dependencies=[PUBLIC])
    async def add_checkpoint(request: Request) -> Response:
        """Ask for a cosignature (C2SP tlog-witness). The body is the old size, the proof and the checkpoint."""
        answer = await run_in_threadpool(witness.add, await request.body())
        return Response(answer.body, answer.status, media_type=answer.media_type)

    async def ready() -> None:
        return None

    return application("Zone Blanche witness", [router], ready=ready, body_bytes_max=REQUEST_BYTES_MAX)
