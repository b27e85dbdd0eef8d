"""The HTTP edge: every refusal is a problem document, every body has a limit, every endpoint states who may call it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from zb_chassis import http
from zb_chassis.http import PROBLEM_TYPE, PUBLIC, application
from zb_chassis.identity import Principal
from zb_contracts.problems import PLAN_CLOSED, UNAUTHENTICATED, Problem

LIMIT = 1_000


class Site(BaseModel):
    name: str = Field(max_length=20)
    floors: int


def router() -> APIRouter:
    routes = APIRouter(dependencies=[PUBLIC])

    @routes.post("/sites")
    async def create(site: Site) -> Site:
        return site

    @routes.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @routes.get("/closed")
    async def closed() -> None:
        raise Problem(PLAN_CLOSED, id="leaky-boiler", status="done")

    @routes.get("/who")
    async def who() -> None:
        raise Problem(UNAUTHENTICATED, reason="there is none")

    @routes.get("/fault")
    async def fault() -> None:
        raise RuntimeError("password=hunter2")

    return routes


class Readiness:
    fault: str | None = None

    async def __call__(self) -> None:
        if self.fault:
            raise RuntimeError(self.fault)


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
async def client(readiness: Readiness) -> AsyncIterator[httpx.AsyncClient]:
    app = application("test", [router()], ready=readiness, body_bytes_max=LIMIT)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def test_an_endpoint_that_states_no_access_stops_the_application() -> None:
    routes = APIRouter()

    @routes.get("/open", dependencies=[PUBLIC])
    async def open_() -> None: ...

    @routes.get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(ValueError, match=r"these endpoints state no role: /forgotten$"):
        application("test", [routes], ready=Readiness())


async def test_a_problem_becomes_a_document_with_its_code(client: httpx.AsyncClient) -> None:
    answer = await client.get("/closed")
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert answer.json() == {
        "type": "urn:zone-blanche:problem:plan.closed",
        "title": "plan.closed",
        "status": 409,
        "detail": "the intervention leaky-boiler is closed: done",
        "code": "plan.closed",
        "retryable": False,
        "details": {"id": "leaky-boiler", "status": "done"},
    }


async def test_the_wrong_fields_are_named_and_their_values_are_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sites", json={"name": "secret" * 10, "floors": "many"})
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")
    assert [error["field"] for error in answer.json()["errors"]] == ["body.name", "body.floors"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[]", b""])
async def test_a_body_that_is_no_document_is_a_problem(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/sites", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_TYPE)


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody declares."""
    for _ in range(size // 100):
        yield bytes(100)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_beyond_the_limit_is_named(client: httpx.AsyncClient, declared: bool) -> None:
    at_limit = await client.post("/raw", content=bytes(LIMIT) if declared else chunks(LIMIT))
    assert (at_limit.status_code, at_limit.json()) == (200, LIMIT)
    beyond = await client.post("/raw", content=bytes(LIMIT + 100) if declared else chunks(LIMIT + 100))
    assert (beyond.status_code, beyond.json()["code"]) == (413, "input.too_large")


async def test_a_document_beyond_the_limit_is_named_though_its_length_is_not_declared(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sites", content=chunks(LIMIT + 100), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")


async def test_a_path_may_take_more_than_the_others() -> None:
    app = application("test", [router()], ready=Readiness(), body_bytes_max=LIMIT, larger_bodies={"/raw": 2 * LIMIT})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        sizes = {"/raw": (2 * LIMIT, 2 * LIMIT + 1), "/sites": (LIMIT + 1,)}
        answers = {(path, size): await client.post(path, content=b"x" * size) for path, each in sizes.items() for size in each}
    assert [answer.status_code for answer in answers.values()] == [200, 413, 413]
    assert answers["/raw", 2 * LIMIT + 1].json()["detail"] == "the request has more than 2000 bytes"


class _People:
    """The token is the person's name; Ada is somebody."""

    async def verify(self, token: str) -> Principal:
        if token != "ada":
            raise Problem(UNAUTHENTICATED, reason="nobody")
        return Principal(token, frozenset(), frozenset())


async def test_a_strangers_document_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be decoded, and its faults listed, into many times its size before the endpoint asks who sent it."""
    monkeypatch.setattr(http, "STRANGERS_BYTES_MAX", 100)
    app = application("test", [router()], ready=Readiness(), body_bytes_max=LIMIT)
    app.state.verifier = _People()
    document = json.dumps({"name": "shop", "floors": 2, "more": "m" * 200}).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def sent(kind: str = "application/json", token: str = "", content: Any = document, path: str = "sites") -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return (await client.post(f"/{path}", content=content, headers=headers | {"Content-Type": kind})).status_code

        assert [await sent(), await sent(token="eve"), await sent(token="ada")] == [413, 413, 200]
        assert [await sent("application/merge+json"), await sent("Application/JSON")] == [413, 413]
        assert [await sent(content=chunks(200)), await sent(content=chunks(200), token="ada")] == [413, 422]
        assert await sent("text/csv", path="raw") == 200
        untyped = await client.send(httpx.Request("POST", "http://test/sites", content=document))
        assert untyped.status_code == 413


async def test_an_unexpected_fault_shows_a_number_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fault")
    assert (answer.status_code, answer.json()["code"]) == (500, "system.internal")
    assert "hunter2" not in answer.text


async def test_a_missing_page_a_wrong_method_and_a_missing_token_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json()["code"] == "input.not_found"
    assert (await client.get("/sites")).json()["code"] == "input.method"
    refused = await client.get("/who")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


async def test_health_readiness_and_metrics(client: httpx.AsyncClient, readiness: Readiness) -> None:
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).status_code == 200
    readiness.fault = "the database cannot be reached"
    late = await client.get("/ready")
    assert (late.status_code, late.text) == (503, "not ready: the database cannot be reached")
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/metrics")).headers["content-type"].startswith("text/plain")
