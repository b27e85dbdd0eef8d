"""Reading over HTTP: roles, agencies, named refusals; the same state that devices and announcements carry."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from field_ingest.audit.reading_api import router
from zb_chassis import issuer, users
from zb_chassis.http import application
from zb_chassis.identity import TokenVerifier
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import InterventionCreated

BOILER = "11111111-1111-4111-8111-111111111111"
PEOPLE = {
    "alix": (("auditor",), ("*",)),
    "dana": (("dispatcher",), ("main",)),
    "nora": (("dispatcher",), ("north",)),
    "timo": (("technician",), ("main",)),
}


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A real OpenID provider with some people."""
    folder: Path = tmp_path_factory.mktemp("issuer")
    for name, (roles, agencies) in PEOPLE.items():
        users.add_user(folder, name, f"password of {name}", roles, agencies)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(issuer.build(folder, url), log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve([listening]))
    yield url
    server.should_exit = True
    await serving


@pytest.fixture
async def reading(company: Any, provider: str) -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> None:
        return None

    app = application("field-ingest", [router(company.pool, company.clock)], ready=ready)
    app.state.verifier = TokenVerifier(provider, issuer.AUDIENCE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        yield client


async def bearer(provider: str, name: str) -> dict[str, str]:
    form = {"grant_type": "password", "username": name, "password": f"password of {name}"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{provider}/token", data=form)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def boiler(company: Any, office: Any, camille: Any) -> None:
    stream = f"intervention:{BOILER}"
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, stream, created)
    await company.record(camille, stream, CommentAdded(text="it leaks"))
    await company.project()


@pytest.mark.usefixtures("boiler")
async def test_a_dispatcher_reads_state_history_and_reasons_of_her_agency(
    reading: httpx.AsyncClient, provider: str, company: Any
) -> None:
    headers = await bearer(provider, "dana") | {"Zb-Purpose": "complaint 114"}
    state = (await reading.get(f"/v1/interventions/{BOILER}/state", headers=headers)).json()
    assert (state["version"], state["positions"], state["state"]["status"]) == (1, {"0": 2}, "draft")
    history = (await reading.get(f"/v1/interventions/{BOILER}/history", headers=headers)).json()
    assert [entry["author"] for entry in history["entries"]] == ["office-main", "device-a-1"]
    rest = (await reading.get(f"/v1/interventions/{BOILER}/history?after=0:0", headers=headers)).json()
    assert [entry["position"] for entry in rest["entries"]] == [1]
    path = f"/v1/interventions/{BOILER}/explain?field=title&language=en"
    (title,) = (await reading.get(path, headers=headers)).json()["decisions"]
    assert (title["field"], len(title["knew"])) == ("title", 1)
    assert "had seen nothing of others" in title["knew"][0]
    noted = await company.pool.fetch("SELECT purpose, action, object FROM chassis.access_log ORDER BY number")
    assert {row["object"] for row in noted} == {f"intervention:{BOILER}"}
    assert {row["purpose"] for row in noted} == {"complaint 114"}
    assert [row["action"] for row in noted] == ["state", "history", "history", "explain"]


@pytest.mark.usefixtures("boiler")
@pytest.mark.parametrize(
    ("name", "path", "code"),
    [
        (None, f"/v1/interventions/{BOILER}/state", "access.unauthenticated"),
        ("timo", f"/v1/interventions/{BOILER}/state", "access.forbidden"),
        ("nora", f"/v1/interventions/{BOILER}/history", "access.wrong_agency"),
        ("dana", "/v1/states/hash", "access.forbidden"),
        ("dana", "/v1/interventions/22222222-2222-4222-8222-222222222222/state", "input.not_found"),
        ("dana", "/v1/interventions/no-uuid/state", "input.invalid"),
        ("dana", f"/v1/interventions/{BOILER}/history?after=x", "input.invalid"),
        ("dana", f"/v1/interventions/{BOILER}/explain?language=de", "input.invalid"),
        ("dana", f"/v1/interventions/{BOILER}/explain?field=colour", "input.field_unknown"),
    ],
)
async def test_every_refusal_has_its_name(
    reading: httpx.AsyncClient, provider: str, name: str | None, path: str, code: str
) -> None:
    answer = await reading.get(path, headers=await bearer(provider, name) if name else {})
    assert answer.json()["code"] == code


async def test_what_belongs_to_no_agency_is_for_those_of_all(
    reading: httpx.AsyncClient, provider: str, company: Any, camille: Any
) -> None:
    """A device may have recorded before the office said whose the intervention is."""
    await company.record(camille, f"intervention:{BOILER}", CommentAdded(text="it leaks"))
    await company.project()
    path = f"/v1/interventions/{BOILER}/state"
    assert (await reading.get(path, headers=await bearer(provider, "nora"))).json()["code"] == "access.wrong_agency"
    assert (await reading.get(path, headers=await bearer(provider, "alix"))).status_code == 200


@pytest.mark.usefixtures("boiler")
async def test_an_auditor_reads_the_hash_and_how_far_the_projection_is(reading: httpx.AsyncClient, provider: str) -> None:
    headers = await bearer(provider, "alix")
    assert (await reading.get("/v1/states/hash", headers=headers)).json()["streams"] == 1
    progress = (await reading.get("/v1/states/progress", headers=headers)).json()
    assert progress == {"shards": {"0": {"position": 2, "size": 2}}, "quarantined": {}}


async def test_a_state_of_the_past_says_which_past_it_is(reading: httpx.AsyncClient, boiler: None, provider: str) -> None:
    auditor = await bearer(provider, "alix")
    path = f"/v1/interventions/{BOILER}/state"
    then = (await reading.get(path, params={"known_at": "0:0"}, headers=auditor)).json()
    now = (await reading.get(path, params={"occurred_until": "2026-11-23T10:00:00Z"}, headers=auditor)).json()
    assert (then["events"], now["events"]) == (1, 2)
    assert "as it was known then" in then["moment"]
    assert "as it is known now" in now["moment"]
    assert now["state_hash"] == (await reading.get(path, headers=auditor)).json()["state_hash"]
    refused = await reading.get(path, params={"known_at": "0:7"}, headers=auditor)
    assert (refused.status_code, "no position 7" in refused.text) == (422, True)
    early = await reading.get(path, params={"known_at": "2020-01-01T00:00:00Z"}, headers=auditor)
    assert early.status_code == 404
