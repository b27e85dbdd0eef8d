"""The HTTP edge: an application whose refusals are RFC 9457 documents, whose bodies are limited, whose endpoints state access.

Every route carries a dependency that says who may call it (`stated`); an application with one that does not refuses to
start. Health, readiness and metrics are here. Who a caller is, `identity` says.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.exceptions import HTTPException

from zb_chassis.telemetry import TraceRequests
from zb_contracts.problems import INPUT_INVALID, INPUT_METHOD, INPUT_NOT_FOUND, INPUT_TOO_LARGE, INTERNAL, Problem, ProblemType

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
STRANGERS_BYTES_MAX: Final = 1024 * 1024
"""Of a JSON body whose sender has not shown who he is: it is decoded before any endpoint is asked, into twenty times its size."""
PROBLEM_TYPE: Final = "application/problem+json"
ERRORS_MAX: Final = 50
FIELD_CHARACTERS_MAX: Final = 100
REASON_CHARACTERS_MAX: Final = 300
Ready = Callable[[], Awaitable[None]]
"""Returns when the service can work; raises with a sentence when it cannot."""

F = TypeVar("F", bound=Callable[..., Any])

log = structlog.get_logger()


def stated(access: str, dependency: F) -> F:
    """Mark a dependency as one that states who may call (`public`, `device`, `roles: ...`)."""
    dependency.access = access  # type: ignore[attr-defined]
    return dependency


async def _anyone() -> None:
    return None


PUBLIC: Final = Depends(stated("public", _anyone))
"""For `dependencies=[PUBLIC]` on an endpoint that anybody may call."""


def application(
    title: str,
    routers: Iterable[APIRouter],
    *,
    ready: Ready,
    body_bytes_max: int = BODY_BYTES_MAX,
    larger_bodies: Mapping[str, int] = MappingProxyType({}),
) -> FastAPI:
    """The service's application. `larger_bodies`: the limit of those paths that take more. ValueError when an endpoint states
    no access."""
    app = FastAPI(title=title, version="1", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    for router in routers:
        unstated = [route.path for route in router.routes if isinstance(route, APIRoute) and access_of(route) is None]
        if unstated:
            raise ValueError(f"{title}: these endpoints state no role: {', '.join(unstated)}")
        app.include_router(router)
    app.include_router(_operations(ready))
    for kind, handler in (
        (Problem, _refused),
        (RequestValidationError, _invalid),
        (HTTPException, _plain),
        (Exception, _unexpected),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]
    app.add_middleware(LimitBody, limit=body_bytes_max, larger=larger_bodies)
    app.add_middleware(RefuseNul)
    app.add_middleware(TraceRequests)
    return app


def access_of(route: APIRoute) -> str | None:
    """What the route says about who may call it; None when it says nothing."""

    def walk(dependant: Dependant) -> str | None:
        own = getattr(dependant.call, "access", None)
        return own or next(filter(None, map(walk, dependant.dependencies)), None)

    return walk(route.dependant)


def problem_response(kind: ProblemType, detail: str, **members: Any) -> JSONResponse:
    """An RFC 9457 document. `code` is the stable name that programs should read."""
    body = {
        "type": f"urn:zone-blanche:problem:{kind.code}",
        "title": kind.code,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "retryable": kind.retryable,
        **members,
    }
    return JSONResponse(body, status_code=kind.status, media_type=PROBLEM_TYPE)


def _operations(ready: Ready) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("alive")

    @router.get("/ready")
    async def readiness() -> PlainTextResponse:
        try:
            await ready()
        except Exception as fault:
            return PlainTextResponse(f"not ready: {fault}", status_code=503)
        return PlainTextResponse("ready")

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router


async def _refused(_request: Request, problem: Problem) -> JSONResponse:
    members: dict[str, Any] = {"details": jsonable_encoder(problem.details)} if problem.details else {}
    if problem.errors:
        members["errors"] = list(problem.errors)
    response = problem_response(problem.kind, str(problem), **members)
    if problem.kind.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _invalid(_request: Request, fault: RequestValidationError) -> JSONResponse:
    return problem_response(INPUT_INVALID, INPUT_INVALID.message, errors=named_faults(fault.errors()))


def named_faults(errors: Sequence[Any]) -> list[dict[str, str]]:
    """pydantic's errors as field and reason, as many and as long as help somebody.

    A body of nothing but unknown keys must not come back as an answer many times its size.
    """
    return [
        {"field": ".".join(map(str, error["loc"]))[:FIELD_CHARACTERS_MAX], "reason": error["msg"][:REASON_CHARACTERS_MAX]}
        for error in errors[:ERRORS_MAX]
    ]


async def _plain(request: Request, fault: HTTPException) -> JSONResponse:
    if fault.status_code == 405:
        return problem_response(INPUT_METHOD, INPUT_METHOD.message.format(method=request.method))
    if fault.status_code == 400:  # FastAPI's word for a body that it could not even read, e.g. one nested too deeply
        return problem_response(INPUT_INVALID, INPUT_INVALID.message, errors=[{"field": "body", "reason": str(fault.detail)}])
    kind = ProblemType(INPUT_NOT_FOUND.code if fault.status_code == 404 else INPUT_INVALID.code, "", fault.status_code)
    return problem_response(kind, str(fault.detail))


async def _unexpected(request: Request, fault: Exception) -> JSONResponse:
    trace = uuid4().hex
    log.error("unexpected fault", path=request.url.path, trace=trace, exc_info=fault)
    return problem_response(INTERNAL, INTERNAL.message.format(trace=trace))


class RefuseNul:
    """ASGI middleware: no path and no query of ours holds a NUL, and PostgreSQL can store none; it is refused by name."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            errors = [{"field": "url", "reason": "a NUL character is not possible"}]
            await problem_response(INPUT_INVALID, INPUT_INVALID.message, errors=errors)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class LimitBody:
    """ASGI middleware: a body beyond the limit is refused by its declared length, or while it is read.

    A JSON body of a stranger has a smaller limit: only `app.state.verifier` knows who is none.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], limit: int, larger: Mapping[str, int]) -> None:
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        limit = self._larger.get(scope["path"], self._limit)
        if _is_large_json(headers) and not await _is_known(scope, headers):
            limit = min(limit, STRANGERS_BYTES_MAX)
        await self._limited(scope, receive, send, limit, headers.get(b"content-length", b"0"))

    async def _limited(self, scope: Any, receive: Any, send: Any, limit: int, declared: bytes) -> None:
        refusal = problem_response(INPUT_TOO_LARGE, INPUT_TOO_LARGE.message.format(limit=limit))
        if declared.isdigit() and int(declared) > limit:
            await refusal(scope, receive, send)
            return
        read, started = 0, False

        async def limited() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise Problem(INPUT_TOO_LARGE, limit=limit)
            return message

        async def answered(message: Any) -> None:
            # FastAPI answers 400 to any fault while it reads a document: ours has a name of its own.
            nonlocal started
            if read <= limit or started:
                started = True
                await send(message)

        await self._app(scope, limited, answered)
        if read > limit and not started:
            await refusal(scope, receive, send)


def _is_large_json(headers: dict[bytes, bytes]) -> bool:
    """Whether the body may be more than STRANGERS_BYTES_MAX of what is decoded as JSON, which is also what has no type."""
    declared, kind = headers.get(b"content-length", b""), headers.get(b"content-type", b"json")
    is_small = declared.isdigit() and int(declared) <= STRANGERS_BYTES_MAX
    return not is_small and b"json" in kind.lower()


async def _is_known(scope: Any, headers: dict[bytes, bytes]) -> bool:
    """Whether the bearer token is somebody's; what he may do is the endpoint's to say."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    verifier = getattr(scope["app"].state, "verifier", None)
    if verifier is None or scheme.lower() != "bearer" or not token:
        return False
    try:
        await verifier.verify(token)
    except Problem:
        return False
    return True
