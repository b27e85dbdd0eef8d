"""A small field company on a real ledger: authors with real keys, events admitted by the real write path."""

import hashlib
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from field_ingest.admission.domain import Chain
from field_ingest.admission.verification import read_event
from field_ingest.ledger.checkpoints import Checkpoints
from field_ingest.ledger.ledger_keys import LedgerKeys
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.projection.projector import Projector
from field_ingest.projection.scope import ScopeLimits
from field_ingest.projection.scoping import Scopes
from field_ingest.projection.store import PostgresReadStore
from field_ingest.sync.arrivals import Arrivals
from field_ingest.sync.responder import SyncResponder
from field_ingest.sync.store import PostgresSyncStore
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts import merkle
from zb_contracts.envelope import BODY_TYPE, GENESIS, Anchor, Header, SignedEvent, digest, parse_header, sign_event
from zb_contracts.events import Body, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.times import format_time_ms, parse_time_ms

TEN_MS = parse_time_ms("2026-11-23T10:00:00.000Z")
DAY_MS = 86_400_000
LOG = "zone-blanche.test/ledger"
BOILER = "11111111-1111-4111-8111-111111111111"
LIFT = "22222222-2222-4222-8222-222222222222"
INGEST_MIGRATIONS = MigrationSet("field-ingest", "field_ingest")


@dataclass
class Pen:
    """An author's key and chain: what it wrote, and what it knows of each stream."""

    name: str
    kind: str
    key: SigningKey
    device: str | None = None
    technician: str | None = None
    seq: int = 0
    prev: str = GENESIS
    seen: dict[str, dict[str, int]] = field(default_factory=dict)


class Company:
    """Writes events, admits them, projects them."""

    def __init__(self, pool: Pool, folder: Path, shards: int = 1) -> None:
        self.pool = pool
        self.shards = shards
        self.now_ms = TEN_MS
        self.ledger_key = SigningKey.from_seed(b"ledger key of the test company!!")
        self.ledger_keys = LedgerKeys.alone(self.ledger_key)
        self.checkpoints = Checkpoints(self.ledger_keys, folder, self.clock)
        self.pens: dict[str, Pen] = {}
        self.admitted: dict[str, dict[str, int]] = {}
        self._ids = itertools.count(1)
        self._epochs = itertools.count(1)
        self.store = PostgresReadStore(pool.acquire)
        self.projector = self.new_projector()
        self.scopes = self.new_scopes()

    def clock(self) -> int:
        return self.now_ms

    def new_projector(self, **options: Any) -> Projector:
        return Projector(**{"store": self.store, "limits": ScopeLimits(), "clock": self.clock} | options)

    def new_scopes(self, limits: ScopeLimits | None = None) -> Scopes:
        return Scopes(
            self.store,
            limits=limits or ScopeLimits(),
            clock=self.clock,
            new_epoch=lambda: f"epoch-{next(self._epochs)}",
        )

    async def hire(
        self,
        name: str,
        kind: str = "device",
        *,
        device: str | None = None,
        technician: str | None = None,
        shard: int | None = None,
    ) -> Pen:
        """Registers an author: a device's incarnation is named like its device, shards come in turn, unless said otherwise."""
        device = (device or name) if kind == "device" else None
        pen = Pen(name, kind, SigningKey.from_seed(hashlib.sha256(name.encode()).digest()), device, technician)
        self.pens[name] = pen
        await self.pool.execute(
            """
            INSERT INTO authors (author, kind, agency, device, technician, event_key, shard, head_hash, registered_at_ms)
            VALUES ($1, $2, 'main', $3, $4, $5, $6, $7, $8)
            """,
            name,
            kind,
            device,
            technician,
            pen.key.public,
            len(self.pens) % self.shards if shard is None else shard,
            bytes(32),
            self.now_ms,
        )
        return pen

    async def add_shard(self, shard: int) -> None:
        """A further log of the ledger."""
        await self.pool.execute(
            "INSERT INTO shards (shard, origin, root, frontier) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            shard,
            f"{LOG}/{shard}",
            merkle.EMPTY_ROOT,
            merkle.Frontier().to_bytes(),
        )

    def write(
        self,
        pen: Pen,
        stream: str,
        body: Body,
        *,
        visit: str | None = None,
        informed: bool = True,
        at_ms: int | None = None,
        event_id: str | None = None,
    ) -> SignedEvent:
        """The author's next event. `informed`: it knows all that was admitted on the stream before it."""
        known = dict(pen.seen.get(stream, {}))
        if informed:
            known |= self.admitted.get(stream, {})
        known.pop(pen.name, None)
        pen.seen[stream] = known
        data = body.canonical_bytes()
        number = next(self._ids)
        header = Header(
            id=event_id or f"019ac000-0000-7000-8000-{number:012x}",
            author=pen.name,
            seq=pen.seq + 1,
            prev=pen.prev,
            type=type_of(body).name,
            stream=stream,
            visit=visit,
            actor=pen.technician,
            token=None,
            at=format_time_ms(at_ms if at_ms is not None else self.now_ms),
            boot="boot-1" if pen.kind == "device" else None,
            elapsed_ms=0,
            anchor=Anchor("anchor-1", format_time_ms(at_ms if at_ms is not None else self.now_ms)),
            seen=known,
            body_sha256=digest(data),
            body_type=BODY_TYPE,
        )
        signed = sign_event(pen.key, header, data)
        pen.seq += 1
        pen.prev = hashlib.sha256(signed.header).hexdigest()
        return signed

    async def admit(self, *events: SignedEvent) -> None:
        """Appends events to the ledger, each in its own decision, in one transaction."""
        async with self.pool.acquire() as connection, connection.transaction():
            await admit(connection, events, self.now_ms)
        for signed in events:
            header = parse_header(signed.header)
            known = self.admitted.setdefault(header.stream, {})
            known[header.author] = max(known.get(header.author, 0), header.seq)

    async def record(self, pen: Pen, stream: str, body: Body, **how: Any) -> str:
        """Writes and admits one event; its id."""
        signed = self.write(pen, stream, body, **how)
        await self.admit(signed)
        return parse_header(signed.header).id

    async def project(self, projector: Projector | None = None) -> None:
        """Steps until the ledger is read to its end and the scopes have followed."""
        while (await (projector or self.projector).step()).passed:
            pass
        while await self.scopes.step() is not None:
            pass

    def sync_store(self) -> PostgresSyncStore:
        """What answers are made of."""
        return PostgresSyncStore(self.pool, self.checkpoints)

    def responder(self, arrivals: Arrivals | None = None) -> SyncResponder:
        """A sync responder with the company's ledger key; `arrivals` is who waits."""
        numbers = itertools.count(1)
        return SyncResponder(
            self.sync_store(), self.ledger_keys, clock=self.clock, new_id=lambda: f"anchor-{next(numbers)}", arrivals=arrivals
        )


async def admit(connection: Any, events: Any, now_ms: int) -> None:
    """The write path, one event at a time, as admission would take single-event segments."""
    writing = PostgresTransaction(connection)
    for signed in events:
        event = read_event(signed)
        authors = await writing.lock_authors([event.author])
        known = await writing.known(authors, [event])
        chain = Chain(authors[event.author], known[event.author], received_at_ms=now_ms)
        chain.take(event)
        await writing.write([chain], received_at_ms=now_ms)


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    return CHASSIS_MIGRATIONS, INGEST_MIGRATIONS


async def company_on(dsn: str, folder: Path, shards: int = 1) -> Company:
    """A company on a database with tables and nothing in them."""
    pool = await open_pool(dsn, application_name="test")
    company = Company(pool, folder, shards)
    for shard in range(shards):
        await company.add_shard(shard)
    return company


@pytest.fixture
async def company(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Company]:
    """A company whose ledger has one shard, or as many as a module says (`parametrize("company", ..., indirect=True)`)."""
    company = await company_on(database, tmp_path, getattr(request, "param", 1))
    yield company
    await company.pool.close()


@pytest.fixture
def company_at() -> Any:
    """Opens a company on a DSN; for tests that need two. The caller closes its pool."""
    return company_on


@pytest.fixture
def shuffled() -> random.Random:
    return random.Random(20261123)  # noqa: S311 a fixed order, no secret


@pytest.fixture
async def office(company: Company) -> Pen:
    return await company.hire("office-main", "office")


@pytest.fixture
async def camille(company: Company) -> Pen:
    return await company.hire("device-a-1", device="device-a", technician="camille")
