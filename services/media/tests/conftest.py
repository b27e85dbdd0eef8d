"""An evidence store on a fresh database and folder, a device with real keys, and HTTP through the real application."""

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from media.app import application
from media.config import MIGRATIONS, Settings
from media.erasures import Erasures, erasures
from media.evidence import state_announced
from media.files import FileStore
from media.handovers import Handovers
from media.uploads import Uploads
from zb_chassis import claims
from zb_chassis.claims import Kind, Nkey
from zb_chassis.clock import system_clock
from zb_chassis.database import Pool, open_pool, transaction
from zb_chassis.devices import Devices, DeviceSigner
from zb_chassis.identity import Principal, Role
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts.announcements import EvidenceAnnounced, InterventionAnnounced
from zb_contracts.enrolment import NO_HEADERS, request_statement
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.merge.state import InterventionState, Line, Origin, Void
from zb_contracts.times import format_time_ms, parse_time_ms

TEN = parse_time_ms("2026-03-16T10:00:00.000Z")
ROOT = SigningKey.from_seed(b"the root of the evidence store..")
STORE_KEY = WrapKey.from_private(b"the key of this evidence store..")
LEAKY_BOILER = "01900000-0000-7000-8000-00000000b011"
PHOTO = b"\xff\xd8\xff\xe0 a leaking boiler, in many bytes " * 40
ORIGIN = Origin(
    event="01900000-0000-7000-8000-000000000001",
    author="dev-1",
    seq=1,
    type="intervention.photo_taken.v1",
    actor="anna",
    visit=None,
    at="2026-03-16T10:05:00.000Z",
    trusted_ms=None,
    side="field",
)


class Story:
    """Memorable data: what tests name. Given by the fixture `story`, because test modules import nothing from here."""

    TEN = TEN
    LEAKY_BOILER = LEAKY_BOILER
    PHOTO = PHOTO
    ROOT = ROOT
    STORE_KEY = STORE_KEY

    @staticmethod
    def sha256(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    @staticmethod
    def line(number: int, data: bytes, kind: str = "photo", *, length: int | None = None, void: bool = False) -> Line:
        """A line that names a file."""
        file = {"sha256": Story.sha256(data), "length_bytes": len(data) if length is None else length, "mime": "image/jpeg"}
        return Line(
            id=f"01900000-0000-7000-8000-{number:012d}",
            kind=kind,
            visit=None,
            value={"file": file},
            origin=ORIGIN,
            versions=[],
            void=Void(reason="blurred", origin=ORIGIN) if void else None,
            set_aside=[],
        )

    @staticmethod
    def state(*lines: Line, intervention: str = LEAKY_BOILER) -> InterventionState:
        """A merged state with these lines."""
        return InterventionState(
            stream=f"intervention:{intervention}",
            rule_version=1,
            vector={"dev-1": 3},
            events=3,
            unknown=[],
            status="in_progress",
            fields={},
            assignee="anna",
            held_by=["anna"],
            visits=[],
            lines=list(lines),
            requests=[],
            corrections=[],
            conflicts=[],
            cancels=[],
            reopened=None,
            exports=[],
            admissions=[],
        )

    @staticmethod
    def announced(version: int, *lines: Line, intervention: str = LEAKY_BOILER, agency: str = "main") -> InterventionAnnounced:
        """An announcement of such a state."""
        return InterventionAnnounced(
            intervention=intervention,
            agency=agency,
            positions={"0": version},
            version=version,
            state_hash="0" * 64,
            state=msgspec.to_builtins(Story.state(*lines, intervention=intervention)),
        )


@dataclass
class Phone:
    """A device's side of tus: token, proofs, requests. `now_s` is the clock that its proofs name."""

    http: httpx.AsyncClient
    signer: Nkey
    account: str
    name: str = "dev-1"
    key: Nkey = field(default_factory=lambda: Nkey.generate(Kind.USER))
    expires_in_s: int = 3600
    technician: str = "anna"

    def token(self) -> str:
        now = int(time.time())
        tags = (f"t:{self.technician}",)
        return claims.scoped_user(
            self.signer,
            self.account,
            self.key.public,
            self.name,
            tags=tags,
            issued_at=now - 60,
            expires_at=now + self.expires_in_s,
        )

    def headers(
        self, method: str, path: str, body: bytes, covered: Mapping[str, str] = NO_HEADERS, *, at_s: float | None = None
    ) -> dict[str, str]:
        """Token and proof; the proof covers the headers of the upload, which are part of what is returned."""
        at = format_time_ms(int((at_s or time.time()) * 1000))
        proof = self.key.sign(request_statement(method, path, body, at, covered))
        return {
            "Tus-Resumable": "1.0.0",
            "Authorization": f"Zb-Device {self.token()}",
            "Zb-Proof": base64.urlsafe_b64encode(proof).rstrip(b"=").decode(),
            "Zb-Proof-Time": at,
            **covered,
        }

    async def begin(self, data: bytes, *, digest: str | None = None, length: int | None = None, **extra: str) -> httpx.Response:
        metadata = {"sha256": digest or Story.sha256(data), "mime": "image/jpeg", **extra}
        written = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
        headers = {"Upload-Length": str(len(data) if length is None else length), "Upload-Metadata": written}
        return await self.http.post("/v1/uploads", headers=self.headers("POST", "/v1/uploads", b"", headers))

    async def look(self, digest: str) -> httpx.Response:
        path = f"/v1/uploads/{digest}"
        return await self.http.head(path, headers=self.headers("HEAD", path, b""))

    async def send(self, digest: str, offset: int, part: bytes, **headers: str) -> httpx.Response:
        path = f"/v1/uploads/{digest}"
        own = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"} | headers
        return await self.http.patch(path, content=part, headers=self.headers("PATCH", path, part, own))

    async def upload(self, data: bytes) -> httpx.Response:
        (await self.begin(data)).raise_for_status()
        return await self.send(Story.sha256(data), 0, data)


class Callers:
    """The application's verifier for tests: the token is `role@agency`."""

    async def verify(self, token: str) -> Principal:
        role, _, agency = token.partition("@")
        return Principal("somebody", frozenset({Role(role)}), frozenset({agency}))


@dataclass
class House:
    """The store under test. `now` is the service's clock."""

    pool: Pool
    uploads: Uploads
    erasing: Erasures
    files: FileStore
    http: httpx.AsyncClient
    phone: Phone
    now: list[int]

    def another_phone(self, name: str, **values: Any) -> Phone:
        return Phone(self.http, self.phone.signer, self.phone.account, name, **values)

    async def hear(self, message: InterventionAnnounced) -> None:
        async with transaction(self.pool) as connection:
            await state_announced(connection, message, self.now[0])

    async def told(self) -> list[EvidenceAnnounced]:
        """What was announced, in order."""
        rows = await self.pool.fetch("SELECT payload FROM chassis.outbox ORDER BY position")
        return [EvidenceAnnounced.model_validate_json(row["payload"]) for row in rows]

    async def read(self, path: str, who: str = "auditor@main", **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {who}", **headers})


async def _always() -> None:
    return None


@pytest.fixture(scope="session")
def new_phone() -> type[Phone]:
    return Phone


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    return CHASSIS_MIGRATIONS, MIGRATIONS


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="media-test")
    yield opened
    await opened.close()


@pytest.fixture
async def house(pool: Pool, database: str, tmp_path: Path) -> AsyncIterator[House]:
    signer, account = Nkey.generate(Kind.ACCOUNT), Nkey.generate(Kind.ACCOUNT)
    settings = Settings(
        database_url=database,
        nats_url="nats://127.0.0.1:1",
        nats_creds=tmp_path / "none",
        http_port=1,
        oidc_issuer="http://127.0.0.1:1",
        keys_dir=tmp_path,
        data_dir=tmp_path / "data",
        upload_bytes_max=1_000_000,
        part_bytes_max=64 * 1024,
        uploads_unfinished_max=3,
        upload_expiry_s=3600,
        stored_bytes_max=200_000,
        stored_days=30,
    )
    now = [TEN]
    files = FileStore(settings.files_dir)
    handovers = Handovers(ROOT.public, STORE_KEY, system_clock)
    uploads = Uploads(pool, files, settings.limits, handovers, lambda: now[0])
    devices = Devices(DeviceSigner(signer.public, account.public))
    erasing = Erasures(pool, files, erasures(tmp_path), lambda: now[0])
    app = application(settings, pool, files, uploads, erasing, devices, lambda: now[0], _always)
    app.state.verifier = Callers()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://media") as http:
        yield House(pool, uploads, erasing, files, http, Phone(http, signer, account.public), now)
