"""Bearer tokens against the real embedded issuer: who is let in, and each way in which a token is not one."""

import asyncio
import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from zb_chassis.http import application
from zb_chassis.identity import Principal, Role, TokenVerifier, allow
from zb_chassis.issuer import FAILURES_MAX, KEY_FILE
from zb_chassis.users import USERS_FILE, add_user
from zb_contracts.problems import Problem

PASSWORD = "correct horse"
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Provider:
    url: str
    folder: Path

    async def token(self, name: str, password: str = PASSWORD, grant: str = "password") -> httpx.Response:
        fields = {"password": ("username", "password"), "client_credentials": ("client_id", "client_secret")}[grant]
        form = {"grant_type": grant} | dict(zip(fields, (name, password), strict=True))
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            return await client.post(f"{self.url}/token", data=form)

    def forged(self, key: ECKey | None = None, **changes: Any) -> str:
        """A token as the issuer would sign it, with something changed."""
        signer = key or ECKey.import_key(json.loads((self.folder / KEY_FILE).read_text()))
        now = int(time.time())
        claims = {"iss": self.url, "aud": "zone-blanche", "sub": "anna", "iat": now, "exp": now + 60, "roles": []} | changes
        return jwt.encode({"alg": "ES256", "kid": signer.kid}, {k: v for k, v in claims.items() if v is not None}, signer)


def add(folder: Path, name: str, role: str, agency: str) -> None:
    """From the command line, once: each time costs a process."""
    command = [sys.executable, "-m", "zb_chassis.issuer", "add-user", name, "--folder", str(folder)]
    subprocess.run([*command, "--role", role, "--agency", agency], input=f"{PASSWORD}\n", text=True, check=True)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    folder = tmp_path_factory.mktemp("issuer") / "private"
    add(folder, "anna", "dispatcher", "paris")
    add_user(folder, "robot", PASSWORD, ("service",), ("*",))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zb_chassis.issuer", "serve", "--folder", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE_S
        while not _answers(url):
            assert process.poll() is None, "the issuer ended"
            assert time.monotonic() < deadline, "the issuer was not ready in time"
            time.sleep(0.05)
        yield Provider(url, folder)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def verifier(provider: Provider) -> TokenVerifier:
    return TokenVerifier(provider.url, "zone-blanche")


@pytest.fixture
async def client(verifier: TokenVerifier) -> AsyncIterator[httpx.AsyncClient]:
    routes = APIRouter()

    @routes.post("/plan")
    async def plan(caller: Annotated[Principal, allow(Role.DISPATCHER)], agency: str) -> str:
        caller.check_agency(agency)
        return caller.subject

    async def ready() -> None: ...

    app = application("test", [routes], ready=ready)
    app.state.verifier = verifier
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_a_person_and_a_machine_get_their_roles(provider: Provider, verifier: TokenVerifier) -> None:
    person = await verifier.verify((await provider.token("anna")).json()["access_token"])
    assert person == Principal("anna", frozenset({"dispatcher"}), frozenset({"paris"}))
    machine = await verifier.verify((await provider.token("robot", grant="client_credentials")).json()["access_token"])
    assert machine == Principal("robot", frozenset({"service"}), frozenset({"*"}))


async def test_a_role_opens_its_endpoint_for_its_agency_only(client: httpx.AsyncClient, provider: Provider) -> None:
    async def call(name: str, agency: str) -> tuple[int, Any]:
        bearer = (await provider.token(name)).json()["access_token"]
        answer = await client.post("/plan", params={"agency": agency}, headers={"Authorization": f"Bearer {bearer}"})
        return answer.status_code, answer.json() if answer.status_code == 200 else answer.json()["code"]

    assert await call("anna", "paris") == (200, "anna")
    assert await call("anna", "lyon") == (403, "access.wrong_agency")
    assert await call("robot", "paris") == (403, "access.forbidden")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer not.a.token", "Bearer a.b.c.d.e"])
async def test_no_token_is_no_caller(client: httpx.AsyncClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = await client.post("/plan", params={"agency": "paris"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "access.unauthenticated")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iss": "http://elsewhere"},
        {"aud": "another-platform"},
        {"aud": None},
        {"sub": None},
        {"nbf": 4_000_000_000},
        {"roles": "dispatcher"},
        {"roles": [1]},
        {"agencies": {"paris": True}},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(provider: Provider, verifier: TokenVerifier, changes: dict[str, Any]) -> None:
    assert (await verifier.verify(provider.forged())).subject == "anna"
    with pytest.raises(Problem) as refused:
        await verifier.verify(provider.forged(**changes))
    assert refused.value.code == "access.unauthenticated"


async def test_a_token_of_a_strange_key_is_refused(provider: Provider, verifier: TokenVerifier) -> None:
    with pytest.raises(Problem, match="a valid bearer token is needed"):
        await verifier.verify(provider.forged(ECKey.generate_key("P-256", auto_kid=True)))


async def test_an_unsigned_token_and_one_signed_with_the_public_key_are_refused(
    provider: Provider, verifier: TokenVerifier
) -> None:
    async with httpx.AsyncClient() as client:
        (published,) = (await client.get(f"{provider.url}/jwks")).json()["keys"]
    assert "d" not in published
    real = provider.forged().split(".")[1]
    none = "eyJhbGciOiJub25lIn0." + real + "."
    claims = {"iss": provider.url, "aud": "zone-blanche", "sub": "anna", "exp": int(time.time()) + 60}
    confused = jwt.encode({"alg": "HS256", "kid": published["kid"]}, claims, OctKey.import_key(json.dumps(published)))
    for token in (none, confused):
        with pytest.raises(Problem, match="a valid bearer token is needed"):
            await verifier.verify(token)


async def test_a_provider_that_is_away_is_named_and_known_keys_go_on(provider: Provider) -> None:
    with pytest.raises(Problem) as away:
        await TokenVerifier("http://127.0.0.1:9", "zone-blanche").verify(provider.forged())
    assert (away.value.code, away.value.retryable) == ("system.unavailable", True)


async def test_a_wrong_password_is_refused_and_guessing_is_slowed(provider: Provider) -> None:
    add_user(provider.folder, "guessed", PASSWORD, ("auditor",), ("*",))
    for _ in range(FAILURES_MAX):
        refused = await provider.token("guessed", "wrong")
        assert (refused.status_code, refused.json()["code"]) == (401, "access.unauthenticated")
    slowed = await provider.token("guessed")
    assert (slowed.status_code, slowed.json()["code"]) == (429, "system.rate_limited")
    assert (await provider.token("anna")).status_code == 200


async def test_an_unknown_name_is_answered_like_a_wrong_password(provider: Provider) -> None:
    unknown, wrong = await asyncio.gather(provider.token("nobody"), provider.token("anna", "wrong"))
    assert (unknown.status_code, unknown.json()) == (wrong.status_code, wrong.json())


@pytest.mark.parametrize("body", [b"", b"grant_type=implicit", b"\xff", b"grant_type=password", b"a=1&" * 500])
async def test_a_form_that_is_none_is_a_problem(provider: Provider, body: bytes) -> None:
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(f"{provider.url}/token", content=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "access.unauthenticated")


async def test_a_form_beyond_its_limit_is_refused_whole(provider: Provider) -> None:
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(f"{provider.url}/token", content=b"a=1&" * 5000)
    assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")


def test_passwords_are_kept_as_hashes_in_a_private_file(provider: Provider) -> None:
    users = provider.folder / USERS_FILE
    assert PASSWORD not in users.read_text()
    assert json.loads(users.read_text())["anna"]["hash"].startswith("$argon2id$")
    for path in (users, provider.folder / KEY_FILE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(provider.folder.stat().st_mode) == 0o700
