"""field-ingest as a process of its own, with a real broker, database and issuer: enrolment, tokens, segments, revocation.

One process for the whole module; each test has devices of its own.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from field_ingest.intake import PAUSES_S
from zb import keyring
from zb_chassis.claims import Credentials, Kind, Nkey, decode
from zb_chassis.issuer import add_user
from zb_contracts import subjects
from zb_contracts.enrolment import PROOF_AGE_MAX_S, enrolment_statement, request_statement
from zb_contracts.envelope import SignedEvent
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, nkey_user_public
from zb_contracts.sealed import to_base64url
from zb_contracts.segment import encode_segment, message_id
from zb_contracts.times import format_time_ms

DEADLINE_S = 30.0
PASSWORD = "leaky-boiler"
SHORT_S = sum(PAUSES_S[:2])


@dataclass
class Service:
    """The running process, and who talks to it."""

    broker: Any
    environment: dict[str, str]
    log: Path
    issuer: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['ZB_INGEST_HTTP_PORT']}"

    def start(self) -> None:
        self.process = _spawn(["field_ingest", "serve"], self.log, self.environment)
        _wait_ready(f"{self.url}/ready", self.process, self.log)

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
        body = json.dumps({"device": self.answer["device"], "technician": technician}).encode()
        at = format_time_ms(time_ms or time.time_ns() // 1_000_000)
        proof = self.login.sign(request_statement("POST", "/v1/tokens", body, at))
        headers = {"Zb-Device": self.answer["device"], "Zb-Proof": to_base64url(proof), "Zb-Proof-Time": at}
        if person is not None:
            headers["Zb-Person"] = await office.token_of(person)
        return await office.client.post(f"{office.service.url}/v1/tokens", content=body, headers=headers)

    async def connect(self, office: Office, token: str | None = None) -> Client:
        return await office.service.broker.connect(Credentials(token or self.answer["token"], self.login))

    async def send(
        self, client: Client, events: list[SignedEvent], *, subject: str | None = None, nonce: str | None = None
    ) -> None:
        headers = {"Nats-Msg-Id": message_id(events, nonce)}
        acknowledged = await client.request(subject or self.pen.subject, encode_segment(events), timeout=10, headers=headers)
        assert json.loads(acknowledged.data)["stream"] == "FIELD"


@pytest.fixture(scope="module")
def service(postgres_server: Any, broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("ingest")
    dsn = asyncio.run(_new_database(postgres_server))
    people = folder / "people"
    add_user(people, "administrator", PASSWORD, ("fleet-administrator",), ("main",))
    add_user(people, "auditor", PASSWORD, ("auditor",), ("*",))
    add_user(people, "noor", PASSWORD, ("technician",), ("main",))
    add_user(people, "stranger", PASSWORD, ("technician",), ("elsewhere",))
    add_user(people, "elsewhere", PASSWORD, ("fleet-administrator",), ("elsewhere",))
    issuer_port = _free_port()
    keys = keyring.load_or_create(folder / "keys", ("main",), time.time_ns() // 1_000_000)
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
    }
    environment = {f"ZB_INGEST_{name}": value for name, value in settings.items()}
    arguments = ["zb_chassis.issuer", "serve", "--folder", str(people), "--port", str(issuer_port)]
    issuer = _spawn(arguments, folder / "issuer.log", {})
    service = Service(broker, environment, folder / "ingest.log", settings["OIDC_ISSUER"])
    try:
        _wait_ready(f"{service.issuer}/ready", issuer, folder / "issuer.log")
        service.start()
        yield service
    finally:
        for process in (service.process, issuer):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(DEADLINE_S)


@pytest.fixture
async def office(service: Service) -> AsyncIterator[Office]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield Office(service, client)


@pytest.fixture
def device(new_pen: Any) -> Device:
    return Device(new_pen)


async def test_an_enrolled_device_sends_a_segment_and_it_is_in_the_ledger(office: Office, device: Device) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    await device.send(client, device.pen.writes(3))
    row = await office.until_mark(device.answer["author"], 3)
    assert (row["device"], row["agency"]) == (device.answer["device"], "main")
    await client.close()


async def test_the_answer_holds_all_that_a_device_pins(office: Office, device: Device) -> None:
    await device.enrol(office)
    claims = decode(device.answer["token"], now=time.time())
    assert (claims.subject, claims.name, claims.tags) == (device.login.public, device.answer["device"], ("t:camille",))
    assert [key["purpose"] for key in device.answer["keys"]] == ["ledger", "escrow"]
    assert device.answer["log_origin"].endswith(f"/{device.answer['shard']}")


async def test_a_lost_answer_is_given_again_and_other_keys_get_none(office: Office, device: Device, new_pen: Any) -> None:
    code = await office.code(technician="camille")
    url = f"{office.service.url}/v1/enrolments"
    first = await office.client.post(url, json=device.request(code))
    again = await office.client.post(url, json=device.request(code))
    assert first.json() == again.json()
    thief = await office.client.post(url, json=Device(new_pen).request(code))
    assert (thief.status_code, thief.json()["code"]) == (403, "enrolment.code")


@pytest.mark.parametrize("missing", ["proof", "certification"])
async def test_keys_that_are_not_proven_are_refused(office: Office, device: Device, missing: str) -> None:
    code = await office.code()
    request = device.request(code) | {missing: to_base64url(bytes(64))}
    answer = await office.client.post(f"{office.service.url}/v1/enrolments", json=request)
    assert (answer.status_code, answer.json()["code"]) == (403, "enrolment.proof")
    honest = await office.client.post(f"{office.service.url}/v1/enrolments", json=device.request(code))
    assert honest.status_code == 201


async def test_an_event_key_enrols_once(office: Office, device: Device, new_pen: Any) -> None:
    await device.enrol(office)
    twin = Device(new_pen, event=device.event)
    answer = await office.client.post(f"{office.service.url}/v1/enrolments", json=twin.request(await office.code()))
    assert answer.json()["code"] == "enrolment.proof"


async def test_a_device_enrolled_again_is_a_new_incarnation_of_itself(office: Office, device: Device, new_pen: Any) -> None:
    await device.enrol(office)
    reborn = Device(new_pen)
    await reborn.enrol(office, device=device.answer["device"])
    assert reborn.answer["device"] == device.answer["device"]
    assert reborn.answer["author"] == device.answer["device"] + "-i2"


async def test_only_the_agencys_administrator_issues_codes(office: Office) -> None:
    wanted = {"agency": "main"}
    elsewhere = await office.ask("elsewhere", "POST", "/v1/enrolment-codes", wanted)
    auditor = await office.ask("auditor", "POST", "/v1/enrolment-codes", wanted)
    nobody = await office.client.post(f"{office.service.url}/v1/enrolment-codes", json=wanted)
    assert [answer.status_code for answer in (elsewhere, auditor, nobody)] == [403, 403, 401]


async def test_a_device_renews_its_session_with_its_login_key_alone(office: Office, device: Device) -> None:
    await device.enrol(office)
    session = await device.token(office, "camille")
    assert session.status_code == 200, session.text
    drain = await device.token(office, None)
    assert decode(drain.json()["token"], now=time.time()).tags == ("t:drain",)
    client = await device.connect(office, session.json()["token"])
    await client.close()


async def test_a_session_of_another_technician_or_a_stale_proof_is_refused(office: Office, device: Device) -> None:
    await device.enrol(office)
    other = await device.token(office, "somebody-else")
    assert (other.status_code, other.json()["code"]) == (403, "access.forbidden")
    stale_ms = time.time_ns() // 1_000_000 - (PROOF_AGE_MAX_S + 60) * 1000
    stale = await device.token(office, "camille", time_ms=stale_ms)
    assert (stale.status_code, stale.json()["code"]) == (401, "access.device_proof_invalid")


async def test_a_pools_device_is_used_by_the_technician_of_its_agency_who_signs_in(office: Office, device: Device) -> None:
    await device.enrol(office, technician=None)
    assert decode(device.answer["token"], now=time.time()).tags == ("t:drain",)
    assert (await device.token(office, "noor")).status_code == 403
    assert (await device.token(office, "stranger", person="stranger")).status_code == 403
    assert (await device.token(office, "camille", person="noor")).status_code == 403
    session = await device.token(office, "noor", person="noor")
    assert decode(session.json()["token"], now=time.time()).tags == ("t:noor",)


async def test_another_key_proves_nothing(office: Office, device: Device, new_pen: Any) -> None:
    await device.enrol(office)
    thief = Device(new_pen, answer=device.answer)
    answer = await thief.token(office, "camille")
    assert answer.json()["code"] == "access.device_proof_invalid"


async def test_after_a_revocation_a_device_drains_and_a_supervisor_admits_in_order(office: Office, device: Device) -> None:
    await device.enrol(office)
    revoked = await office.ask(
        "administrator", "POST", f"/v1/devices/{device.answer['device']}/revocation", {"cause": "lost", "reason": "left in a cab"}
    )
    assert revoked.json() == {"revoked": [device.answer["author"]]}
    assert (await device.token(office, "camille")).json()["code"] == "enrolment.revoked"
    drain = (await device.token(office, None)).json()["token"]
    client = await device.connect(office, drain)
    await device.send(client, device.pen.writes(2))
    await office.until_mark(device.answer["author"], 2)
    await client.close()
    held = [row for row in (await office.ask("auditor", "GET", "/v1/holds")).json() if row["author"] == device.answer["author"]]
    assert [row["seq"] for row in held] == [1, 2]
    decision = {"reason": "found again, untouched"}
    early = await office.ask("administrator", "POST", f"/v1/holds/{held[1]['event_id']}/admission", decision)
    assert early.status_code == 422
    answers = [
        await office.ask("administrator", "POST", f"/v1/holds/{row['event_id']}/admission", decision) for row in (*held, held[0])
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[2].json()


async def test_a_hostile_device_is_refused_and_the_good_events_beside_it_are_admitted(office: Office, device: Device) -> None:
    await device.enrol(office)
    author = device.answer["author"]
    client = await device.connect(office)
    events = device.pen.writes(4)
    tampered = [*events[:2], events[2]._replace(body=b'{"text":"all is well"}')]
    await device.send(client, tampered, nonce="tampered")
    await office.until_mark(author, 2)
    await device.send(client, events, nonce="true")
    await office.until_mark(author, 4)
    forked = device.pen.copy()
    forked.events = forked.events[:1]
    await device.send(client, forked.writes(1), nonce="fork")
    row = await office.until(author, lambda row: row["stray_refusals"] == 1)
    assert row["mark"] == 4
    claiming = device.pen.write(seen={"office-main": 999})
    await device.send(client, [claiming])
    row = await office.until(author, lambda row: row["stopped_seq"] == 5)
    assert row["stopped_code"] == "event.seen_ahead"
    counts = (await office.ask("auditor", "GET", "/v1/rejects")).json()["counts"]
    assert ("event.body_mismatch", 1) in [(one["code"], one["times"]) for one in counts if one["subject"] == device.pen.subject]
    with pytest.raises(NatsError):
        await client.request(subjects.field("somebody-else"), encode_segment(events), timeout=SHORT_S)
    await client.close()


async def test_a_service_killed_in_the_middle_takes_everything_once(office: Office, device: Device) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    for _ in range(10):
        await device.send(client, device.pen.writes(8))
    office.service.kill()
    for _ in range(10):
        await device.send(client, device.pen.writes(8))
    await asyncio.to_thread(office.service.start)
    await office.until_mark(device.answer["author"], 160)
    verified = await asyncio.to_thread(office.service.run, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert (report["sound"], report["faults"]) == (True, 0)
    assert report["signatures"] == report["rows"] >= 160
    await client.close()


async def test_the_newest_checkpoint_is_served_and_audited(office: Office) -> None:
    newest = (await office.ask("auditor", "GET", "/v1/checkpoints/latest")).json()
    assert newest["note"].split("\n")[1] == str(newest["size"])
    verified = await asyncio.to_thread(office.service.run, "audit", "verify", "--json")
    assert json.loads(verified.stdout)["checkpoints"] == 1


async def test_the_audit_finds_a_body_that_was_changed_in_the_database(office: Office, device: Device) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    await device.send(client, device.pen.writes(1))
    author = device.answer["author"]
    await office.until_mark(author, 1)
    await client.close()
    database = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])
    body = await database.fetchval("SELECT body FROM ledger WHERE author = $1", author)
    await database.execute("UPDATE ledger SET body = $2 WHERE author = $1", author, b'{"text":"forged"}')
    forged = await asyncio.to_thread(office.service.run, "audit", "verify")
    await database.execute("UPDATE ledger SET body = $2 WHERE author = $1", author, body)
    await database.close()
    assert forged.returncode == 1
    assert "the body has another digest" in forged.stdout


async def test_dead_letters_are_listed_shown_and_exported(office: Office, service: Service) -> None:
    for command in (["list"], ["export"]):
        done = await asyncio.to_thread(service.run, "deadletters", *command)
        assert (done.returncode, done.stderr) == (0, "")
    missing = await asyncio.to_thread(service.run, "deadletters", "show", "4000000")
    assert missing.returncode == 1
    assert "there is no dead letter 4000000" in missing.stderr


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
