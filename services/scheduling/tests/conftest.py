"""A desk on a fresh database with keys of its own, a clock that stands still, and readers of what it signed."""

import asyncio
import itertools
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from scheduling.app import build
from scheduling.config import CUSTODY_MIGRATIONS, MIGRATIONS
from scheduling.custody.journal import deletions
from scheduling.custody.vault import Vault
from scheduling.desk import Desk
from scheduling.ids import uuid7
from scheduling.keys import CUSTODY_FILE, LEDGER_FILE, MASTER_FILE, ROOT_FILE, Keyring
from scheduling.planning import Policy
from tests.fixtures.trusted_keys import trusted
from zb_chassis import claims
from zb_chassis.claims import Kind, Nkey
from zb_chassis.database import Pool, open_pool
from zb_chassis.devices import SIGNER_FILE, Devices, DeviceSigner
from zb_chassis.identity import TokenVerifier
from zb_chassis.issuer import build as build_issuer
from zb_chassis.users import add_user
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.enrolment import request_statement
from zb_contracts.envelope import GENESIS, ParsedEvent, check_signature, digest, parse_event
from zb_contracts.events import Body, read_body
from zb_contracts.keys import KeyPurpose, SigningKey, WrapKey, certify, open_sealed
from zb_contracts.merge.state import InterventionState, Origin, Visit, state_bytes, state_hash
from zb_contracts.sealed import SUBJECT_KEY_BYTES, from_base64url, to_base64url
from zb_contracts.segment import decode_segment
from zb_contracts.subject_keys import (
    KEYS_PATH,
    DeliveredKey,
    KeysAnswer,
    KeysRequest,
    ScopeStatement,
    SignedStatement,
    sign_statement,
)
from zb_contracts.times import format_time_ms, parse_time_ms

ROOT, LEDGER = SigningKey.generate(), SigningKey.generate()
SIGNER, ACCOUNT = Nkey.generate(Kind.ACCOUNT), Nkey.generate(Kind.ACCOUNT)
NINE = parse_time_ms("2026-03-16T09:00:00.000Z")


@dataclass
class Office:
    """The desk under test, its keys, and what left it."""

    desk: Desk
    keys: dict[str, SigningKey]
    custody: Pool
    now: list[int] = field(default_factory=lambda: [NINE])

    @property
    def pool(self) -> Pool:
        return self.desk.pool

    async def signed(self, agency: str = "main") -> list[ParsedEvent]:
        """Every event in the outbox for this agency, in order, with signatures, digests and links verified."""
        rows = await self.pool.fetch(
            "SELECT payload FROM chassis.outbox WHERE subject = $1 ORDER BY position", f"office.v1.office-{agency}"
        )
        events = [parse_event(event) for row in rows for event in decode_segment(row["payload"])]
        before = GENESIS
        for number, event in enumerate(events, 1):
            check_signature(self.keys[agency].public, event)
            assert (event.header.seq, event.header.prev) == (number, before)
            before = digest(event.signed.header)
        return events

    async def bodies(self, agency: str = "main") -> list[Body]:
        """The typed bodies of them; none may be opaque."""
        found = [read_body(event.header.type, event.signed.body) for event in await self.signed(agency)]
        assert all(isinstance(body, Body) for body in found)
        return [body for body in found if isinstance(body, Body)]


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, SigningKey]]:
    """A keys folder as the deployment lays it, with the offices of two agencies."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "authors").mkdir()
    (folder / MASTER_FILE).write_text(os.urandom(SUBJECT_KEY_BYTES).hex())
    (folder / CUSTODY_FILE).write_text(os.urandom(SUBJECT_KEY_BYTES).hex())
    (folder / ROOT_FILE).write_text(ROOT.public.hex())
    (folder / SIGNER_FILE).write_text(json.dumps({"signer": SIGNER.public, "account": ACCOUNT.public}))
    ledger = trusted(certify(ROOT, LEDGER.public, KeyPurpose.LEDGER, not_before_ms=0))
    (folder / LEDGER_FILE).write_text(f"[{ledger.model_dump_json()}]")
    offices = {agency: SigningKey.generate() for agency in ("main", "north")}
    for agency, key in offices.items():
        (folder / "authors" / f"office-{agency}.seed").write_text(key.seed.hex())
    return folder, offices


@dataclass
class Phone:
    """A technician's device as custody meets it: session, proofs, and what the ledger states of it."""

    http: httpx.AsyncClient
    custody_key: bytes
    device: str = "dev-1"
    technician: str = "anna"
    login: Nkey = field(default_factory=lambda: Nkey.generate(Kind.USER))
    wrap: WrapKey = field(default_factory=WrapKey.generate)
    documents: tuple[str, ...] = ()

    def statement(self, key: SigningKey | None = None, **other: Any) -> SignedStatement:
        now_ms = time.time_ns() // 1_000_000
        said = {
            "device": self.device,
            "author": f"{self.device}-i1",
            "technician": self.technician,
            "wrap_key": to_base64url(self.wrap.public),
            "documents": self.documents,
            "custody_url": "http://custody.test",
            "custody_key": to_base64url(self.custody_key),
            "issued_at": format_time_ms(now_ms),
            "ends_ms": now_ms + 60_000,
        }
        return sign_statement(ScopeStatement.model_validate(said | other), key or LEDGER)

    async def post(self, path: str, body: Any, *, session_of: str | None = None) -> httpx.Response:
        content, now_s = body.model_dump_json().encode(), int(time.time())
        token = claims.scoped_user(
            SIGNER,
            ACCOUNT.public,
            self.login.public,
            self.device,
            tags=(f"t:{session_of or self.technician}",),
            issued_at=now_s - 60,
            expires_at=now_s + 600,
        )
        at = format_time_ms(now_s * 1000)
        proof = to_base64url(self.login.sign(request_statement("POST", path, content, at)))
        headers = {"Authorization": f"Zb-Device {token}", "Zb-Proof": proof, "Zb-Proof-Time": at}
        return await self.http.post(path, content=content, headers=headers)

    async def keys(self, *held: str, **other: Any) -> KeysAnswer:
        """What custody gives and takes away."""
        asked = KeysRequest(device=self.device, statement=self.statement(**other), held=held)
        answer = await self.post(KEYS_PATH, asked)
        assert answer.status_code == 200, answer.text
        return KeysAnswer.model_validate(answer.json())

    def opened(self, key: DeliveredKey) -> bytes:
        return open_sealed(self.wrap.private, from_base64url(key.wrapped))


PEOPLE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dispatcher": (("dispatcher",), ("main",)),
    "planner": (("planner",), ("main",)),
    "integrator": (("integrator",), ("*",)),
    "auditor": (("auditor",), ("*",)),
    "administrator": (("fleet-administrator",), ("*",)),
    "technician": (("technician",), ("main",)),
    "northerner": (("dispatcher", "planner"), ("north",)),
}


@pytest.fixture(scope="session")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """The embedded OpenID provider on a free port, and a token for each of PEOPLE."""
    folder = tmp_path_factory.mktemp("issuer")
    for name, (roles, agencies) in PEOPLE.items():
        add_user(folder, name, f"{name}-secret", roles, agencies)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(build_issuer(folder, url), log_config=None, lifespan="off"))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve([listener]))
        async with httpx.AsyncClient(base_url=url) as client:
            tokens = {}
            for name in PEOPLE:
                form = {"grant_type": "password", "username": name, "password": f"{name}-secret"}
                tokens[name] = (await client.post("/token", data=form)).raise_for_status().json()["access_token"]
        yield url, tokens
        server.should_exit = True
        await serving


@dataclass
class Client:
    """The service's HTTP as one of PEOPLE, in process."""

    http: httpx.AsyncClient
    tokens: dict[str, str]

    async def ask(self, who: str, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} | arguments.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **arguments)

    async def csv(self, who: str, kind: str, text: str, **query: str) -> httpx.Response:
        return await self.ask(
            who, "POST", f"/v1/imports/{kind}", content=text.encode(), params=query, headers={"Content-Type": "text/csv"}
        )


@pytest.fixture
async def client(office: "Office", issuer: tuple[str, dict[str, str]]) -> AsyncIterator[Client]:
    """The application over the desk under test, with real tokens."""
    url, tokens = issuer
    devices = Devices(DeviceSigner(SIGNER.public, ACCOUNT.public))
    app = build(office.desk, Policy(1, ("planned_start",), 60), TokenVerifier(url, "zone-blanche"), devices)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduling") as http:
        yield Client(http, tokens)


@pytest.fixture
async def office(
    databases: Callable[..., Any], key_folder: tuple[Path, dict[str, SigningKey]], tmp_path: Path
) -> AsyncIterator[Office]:
    """The desk on its own migrated databases; the clock stands at 09:00 until a test moves it."""
    async with databases(1, *MIGRATIONS) as (database,), databases(1, *CUSTODY_MIGRATIONS) as (custody,):
        folder, offices = key_folder
        pool = await open_pool(database, application_name="scheduling-test")
        keys = await open_pool(custody, application_name="custody-test")
        now, ids, keyring = [NINE], counted_ids(), Keyring(folder)
        vault = Vault(keys, keyring.subjects_master, deletions(tmp_path), ids)
        yield Office(Desk(pool, keyring, lambda: now[0], ids, vault), offices, keys, now)
        await pool.close()
        await keys.close()


@pytest.fixture
def phone(office: Office, client: Client) -> Phone:
    return Phone(client.http, office.desk.keyring.custody.public)


@pytest.fixture
def new_phone(office: Office, client: Client) -> Callable[..., Phone]:
    """Makes another device."""
    return lambda **values: Phone(client.http, office.desk.keyring.custody.public, **values)


def counted_ids() -> Callable[[int], str]:
    """UUIDv7s with a counter in place of chance: the same run, the same ids."""
    numbers = itertools.count(1)
    return lambda now_ms: uuid7(now_ms, next(numbers))


@pytest.fixture(scope="session")
def announcement() -> Callable[..., bytes]:
    """The bytes of an announcement: `announcement(intervention, version, vector, status)`."""
    return announced_state


def announced_state(
    intervention: str, version: int, vector: dict[str, int], status: Any = "in_progress", visit_id: str = "visit-1"
) -> bytes:
    origin = Origin(event="e", author="dev-1", seq=1, type="t", actor=None, visit=None, at="", trusted_ms=None, side="field")
    visit = Visit(
        id=visit_id,
        technician="anna",
        author="dev-1",
        opening=origin,
        phase="begun" if status == "in_progress" else "ended",
        outcome=None,
        facts={},
        equipment={},
        pauses=[],
        flags=[],
        cancel_verdict=None,
    )
    state = InterventionState(
        stream=f"intervention:{intervention}",
        rule_version=1,
        vector=vector,
        events=3,
        unknown=[],
        status=status,
        fields={},
        assignee="anna",
        held_by=["anna"],
        visits=[visit],
        lines=[],
        requests=[],
        corrections=[],
        conflicts=[],
        cancels=[],
        reopened=None,
        exports=[],
        admissions=[],
    )
    message = InterventionAnnounced(
        intervention=intervention,
        agency="main",
        positions={"0": 7},
        version=version,
        state_hash=state_hash(state),
        state=msgspec.json.decode(state_bytes(state)),
    )
    return message.model_dump_json().encode()
