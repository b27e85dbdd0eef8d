"""field-ingest as processes of its own, with a real broker, database and issuer, and who talks to it: people and devices.

One service for the whole module; each test has devices of its own. A module that says `SHARDS` gets that many, the admission of
each in a process of its own; the depots of its broker are fetched from.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.client import Client

from zb import keyring
from zb_chassis.claims import Credentials, Kind, Nkey
from zb_chassis.users import add_user
from zb_contracts import subjects
from zb_contracts.enrolment import enrolment_statement, request_statement
from zb_contracts.envelope import SignedEvent
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, nkey_user_public
from zb_contracts.sealed import to_base64url
from zb_contracts.segment import encode_segment, message_id
from zb_contracts.signed import SignedDocument
from zb_contracts.sync import SyncAnswer, SyncRequest, pack, read_answer, unpack_document
from zb_contracts.times import format_time_ms

DEADLINE_S = 30.0
KEYS_AGE_MS = 3_600_000
"""The platform's keys were made an hour ago: a test may rotate them into one that is settled."""
PASSWORD = "leaky-boiler"


@dataclass
class Service:
    """The running processes, and who talks to them."""

    broker: Any
    environment: dict[str, str]
    log: Path
    issuer: str
    keys: keyring.Keyring
    shards: int = 1
    process: subprocess.Popen[bytes] | None = None
    admitting: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Shard -> the process of its admission, where that is not the one process."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['ZB_INGEST_HTTP_PORT']}"

    def start(self) -> None:
        roles = ["--roles", "api,projector,sync"] if self.shards > 1 else []
        self.process = _spawn(["field_ingest", "serve", *roles], self.log, self.environment)
        _wait_ready(f"{self.url}/ready", self.process, self.log)
        for shard in range(self.shards) if self.shards > 1 else ():
            self.admit(shard)

    def admit(self, shard: int) -> None:
        """Start the process of a shard's admission."""
        port = _free_port()
        arguments = ["field_ingest", "serve", "--roles", "admission", "--shards", str(shard)]
        process = _spawn(arguments, self.log, self.environment | {"ZB_INGEST_HTTP_PORT": str(port)})
        self.admitting[shard] = process
        _wait_ready(f"http://127.0.0.1:{port}/ready", process, self.log)

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        return [*self.admitting.values(), *([self.process] if self.process else [])]

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One of the service's own commands."""
        return subprocess.run(
            [sys.executable, "-m", "field_ingest", *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@dataclass
class Office:
    """People with tokens of the issuer."""

    service: Service
    client: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    async def token_of(self, who: str) -> str:
        if who not in self.tokens:
            form = {"grant_type": "password", "username": who, "password": PASSWORD}
            answer = await self.client.post(f"{self.service.issuer}/token", data=form)
            self.tokens[who] = answer.json()["access_token"]
        return self.tokens[who]

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self.token_of(who)}"}
        return await self.client.request(method, self.service.url + path, json=body, headers=headers)

    async def code(self, **wanted: Any) -> str:
        answer = await self.ask("administrator", "POST", "/v1/enrolment-codes", {"agency": "main"} | wanted)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    async def mark(self, author: str) -> dict[str, Any]:
        answer = await self.ask("auditor", "GET", f"/v1/ledger/{author}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until_mark(self, author: str, mark: int) -> dict[str, Any]:
        return await self.until(author, lambda row: row["mark"] >= mark)

    async def until(self, author: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Asks for the author's row until the condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                row = await self.mark(author)
                if holds(row):
                    return row


@dataclass
class Device:
    """A device's keys, before and after enrolment."""

    new_pen: Any
    login: Nkey = field(default_factory=lambda: Nkey.generate(Kind.USER))
    event: SigningKey = field(default_factory=SigningKey.generate)
    wrap: WrapKey = field(default_factory=WrapKey.generate)
    answer: dict[str, Any] = field(default_factory=dict)
    pen: Any = None

    def request(self, code: str, **other: Any) -> dict[str, Any]:
        event, wrap = to_base64url(self.event.public), to_base64url(self.wrap.public)
        statement = certification_statement(nkey_user_public(self.login.public), self.event.public, self.wrap.public)
        return {
            "code": code,
            "login_key": self.login.public,
            "event_key": event,
            "wrap_key": wrap,
            "certification": to_base64url(self.login.sign(statement)),
            "proof": to_base64url(self.event.sign(enrolment_statement(code, self.login.public, event, wrap))),
        } | other

    async def enrol(self, office: Office, **wanted: Any) -> None:
        code = await office.code(**({"technician": "camille"} | wanted))
        answer = await office.client.post(f"{office.service.url}/v1/enrolments", json=self.request(code))
        assert answer.status_code == 201, answer.text
        self.answer = answer.json()
        self.pen = self.new_pen(self.answer["author"], self.answer["device"], self.event)

    async def token(
        self, office: Office, technician: str | None, *, time_ms: int | None = None, person: str | None = None
    ) -> httpx.Response:
        headers = {} if person is None else {"Zb-Person": await office.token_of(person)}
        body = {"device": self.answer["device"], "technician": technician}
        return await self.post(office, "/v1/tokens", body, headers, time_ms=time_ms)

    async def post(
        self, office: Office, path: str, body: Any, headers: Mapping[str, str] | None = None, *, time_ms: int | None = None
    ) -> httpx.Response:
        """A request under the login key's proof."""
        content, at = json.dumps(body).encode(), format_time_ms(time_ms or time.time_ns() // 1_000_000)
        proof = to_base64url(self.login.sign(request_statement("POST", path, content, at)))
        proven = {"Zb-Device": self.answer["device"], "Zb-Proof": proof, "Zb-Proof-Time": at, **(headers or {})}
        return await office.client.post(office.service.url + path, content=content, headers=proven)

    async def connect(self, office: Office, token: str | None = None, *, url: str | None = None) -> Client:
        return await office.service.broker.connect(self.credentials(token or self.answer["token"]), url=url)

    def credentials(self, token: str) -> Credentials:
        return Credentials(token, self.login)

    async def send(
        self, client: Client, events: list[SignedEvent], *, subject: str | None = None, nonce: str | None = None
    ) -> dict[str, Any]:
        """The broker's acknowledgement: a stream took it."""
        headers = {"Nats-Msg-Id": message_id(events, nonce)}
        acknowledged = await client.request(subject or self.pen.subject, encode_segment(events), timeout=10, headers=headers)
        said = dict(json.loads(acknowledged.data))
        assert "error" not in said, said
        return said

    async def sync(self, client: Client, mark: int = 0) -> SyncAnswer:
        """Ask for receipts after `mark`, as camille."""
        return read_answer((await self.ask(client, mark)).payload)

    async def ask(self, client: Client, mark: int = 0, size: int = 0, technician: str = "camille") -> SignedDocument:
        """The answer as it was signed; `size`: of the checkpoint that the device verified."""
        request = SyncRequest(
            nonce=secrets.token_hex(16),
            author=self.answer["author"],
            mark=mark,
            head=len(self.pen.events),
            checkpoint_size=size,
        )
        subject = subjects.sync(self.answer["device"], technician)
        return unpack_document((await client.request(subject, pack(request), timeout=10)).data)


@pytest.fixture(scope="module")
def service(
    postgres_server: Any, broker: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("ingest")
    shards = getattr(request.module, "SHARDS", 1)
    dsn = asyncio.run(_new_database(postgres_server))
    people = folder / "people"
    add_user(people, "administrator", PASSWORD, ("fleet-administrator",), ("main",))
    add_user(people, "auditor", PASSWORD, ("auditor",), ("*",))
    add_user(people, "noor", PASSWORD, ("technician",), ("main",))
    add_user(people, "stranger", PASSWORD, ("technician",), ("elsewhere",))
    add_user(people, "elsewhere", PASSWORD, ("fleet-administrator",), ("elsewhere",))
    issuer_port = _free_port()
    keys = keyring.load_or_create(folder / "keys", ("main",), time.time_ns() // 1_000_000 - KEYS_AGE_MS)
    keyring.add_device_signer(keys, broker.layout)
    for user in ("field-ingest", "field-ingest-sync"):
        (folder / f"{user}.creds").write_text(broker.credentials(user).text())
    (folder / "data").mkdir()
    settings = {
        "DATABASE_URL": dsn,
        "NATS_URL": broker.url,
        "NATS_CREDS": str(folder / "field-ingest.creds"),
        "NATS_SYNC_CREDS": str(folder / "field-ingest-sync.creds"),
        "HTTP_PORT": str(_free_port()),
        "OIDC_ISSUER": f"http://127.0.0.1:{issuer_port}",
        "KEYS_DIR": str(keyring.hand_out(keys, "field-ingest", folder / "handed-out")),
        "DATA_DIR": str(folder / "data"),
        "SHARDS": str(shards),
        "CUSTODY_URL": "https://custody.test",
    }
    if depots := getattr(broker.server, "depots", ()):
        settings["DEPOTS"] = ",".join(depot.name for depot in depots)
    environment = {f"ZB_INGEST_{name}": value for name, value in settings.items()}
    arguments = ["zb_chassis.issuer", "serve", "--folder", str(people), "--port", str(issuer_port)]
    issuer = _spawn(arguments, folder / "issuer.log", {})
    service = Service(broker, environment, folder / "ingest.log", settings["OIDC_ISSUER"], keys, shards)
    try:
        _wait_ready(f"{service.issuer}/ready", issuer, folder / "issuer.log")
        service.start()
        yield service
    finally:
        for process in (*service.processes, issuer):
            if process.poll() is None:
                process.terminate()
                process.wait(DEADLINE_S)


@pytest.fixture
async def office(service: Service) -> AsyncIterator[Office]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield Office(service, client)


@pytest.fixture
def device(new_pen: Any) -> Device:
    return Device(new_pen)


@pytest.fixture
def new_device(new_pen: Any) -> Callable[..., Device]:
    """Makes a device with keys of its own, or with given ones."""
    return lambda **keys: Device(new_pen, **keys)


def _spawn(arguments: list[str], log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=out, stderr=out, env=os.environ | environment, start_new_session=True
        )


def _wait_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, log.read_text()[-3000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _new_database(server: Any) -> str:
    administrator = await asyncpg.connect(server.dsn())
    await administrator.execute("DROP DATABASE IF EXISTS ingest_service WITH (FORCE)")
    await administrator.execute("CREATE DATABASE ingest_service")
    await administrator.close()
    return str(server.dsn("ingest_service"))
