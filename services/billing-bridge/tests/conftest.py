"""A billing bridge on a fresh database and folder, with memorable interventions, and readers of what it wrote."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from billing_bridge import collect
from billing_bridge.app import application
from billing_bridge.authoring import random_uuid7
from billing_bridge.batches import Batches, Frozen
from billing_bridge.config import MIGRATIONS, Settings
from billing_bridge.delivery import Delivery
from billing_bridge.profiles import PROFILES
from zb_chassis.database import Pool, open_pool, transaction
from zb_chassis.identity import Principal, Role
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts.announcements import (
    CONTRACTS,
    PRICE_LIST,
    Contract,
    ContractsPublished,
    EvidenceAnnounced,
    EvidenceItem,
    InterventionAnnounced,
    Price,
    PriceListPublished,
)
from zb_contracts.envelope import GENESIS, ParsedEvent, check_signature, digest, parse_event
from zb_contracts.events.office import Part
from zb_contracts.keys import SigningKey
from zb_contracts.merge.state import InterventionState, Line, Origin, Pause, Register, Visit, Void
from zb_contracts.segment import decode_segment
from zb_contracts.times import format_time_ms, parse_time_ms

EVENING = parse_time_ms("2026-03-16T18:00:00.000Z")
TEN_OH_FIVE = parse_time_ms("2026-03-16T10:05:00.000Z")
MINUTE = 60_000
HASH = "ab" * 32

_numbers = itertools.count(1)


def origin(at_ms: int, *, side: Any = "field", trusted: bool = True) -> Origin:
    return Origin(
        event=f"01900000-0000-7000-8000-{next(_numbers):012d}",
        author="dev-1" if side == "field" else "office-main",
        seq=1,
        type="intervention.started.v1",
        actor="anna",
        visit=None,
        at=format_time_ms(at_ms),
        trusted_ms=at_ms if trusted else None,
        side=side,
    )


def register(value: Any, at_ms: int = TEN_OH_FIVE, **values: Any) -> Register:
    return Register(value=value, origin=origin(at_ms, **values), rule="only")


class Story:
    """Memorable data: what tests name. Given by the fixture `story`, because test modules import nothing from here."""

    EVENING = EVENING
    TEN_OH_FIVE = TEN_OH_FIVE
    HASH = HASH

    @staticmethod
    def id(number: int) -> str:
        return f"01900000-0000-7000-8000-0000000b{number:04d}"

    @staticmethod
    def part(code: str, quantity: str, *, void: bool = False) -> Line:
        return Story.line("part", {"part": code, "quantity": quantity}, void=void)

    @staticmethod
    def photo(*, void: bool = False) -> Line:
        return Story.line("photo", {"file": {"sha256": HASH, "length_bytes": 9, "mime": "image/jpeg"}}, void=void)

    @staticmethod
    def line(kind: str, value: dict[str, Any], *, void: bool) -> Line:
        made = origin(TEN_OH_FIVE)
        return Line(
            id=made.event,
            kind=kind,
            visit=None,
            value=value,
            origin=made,
            versions=[],
            void=Void(reason="mistaken", origin=made) if void else None,
            set_aside=[],
        )

    @staticmethod
    def visit(minutes: int = 50, pauses: tuple[tuple[int, int | None], ...] = (), **end: Any) -> Visit:
        """A visit from 10:05; pauses are (from, to) in minutes after its start."""
        stops = [
            Pause(
                paused=origin(TEN_OH_FIVE + a * MINUTE),
                resumed=None if b is None else origin(TEN_OH_FIVE + b * MINUTE),
                reason=None,
            )
            for a, b in pauses
        ]
        start = register({})
        return Visit(
            id=start.origin.event,
            technician="anna",
            author="dev-1",
            opening=start.origin,
            phase="ended",
            outcome="done",
            facts={"started": start, "ended": register({}, TEN_OH_FIVE + minutes * MINUTE, **end)},
            equipment={},
            pauses=stops,
            flags=[],
            cancel_verdict=None,
        )

    @staticmethod
    def state(number: int = 1, *lines: Line, status: Any = "done", visits: Any = None, **fields: str) -> InterventionState:
        named = {"reference": f"LEAKY-{number}", "agency": "main", "price_list": "PL-2026"} | fields
        return InterventionState(
            stream=f"intervention:{Story.id(number)}",
            rule_version=1,
            vector={"dev-1": 7, "office-main": 3},
            events=10,
            unknown=[],
            status=status,
            fields={name: register(value) for name, value in named.items()},
            assignee="anna",
            held_by=[],
            visits=[Story.visit()] if visits is None else visits,
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
    def prices(version: int = 1, *, valid_from: str = "2026-01-01T00:00:00.000Z", labour: int = 6_000, **more: Any) -> Any:
        return PriceListPublished(
            price_list="PL-2026",
            version=version,
            currency=more.get("currency", "EUR"),
            valid_from=valid_from,
            prices=(
                Price(code="SEAL-12", label="Joint à lèvre 12", unit="pce", unit_price_cents=1_234, vat_permille=200),
                Price(code="PIPE", label="Tube cuivre", unit="m", unit_price_cents=333, vat_permille=100),
                Price(code="MO", label="Main d'œuvre", unit="h", unit_price_cents=labour, vat_permille=100),
                *more.get("prices", ()),
            ),
            call_out_cents=4_500,
        )

    @staticmethod
    def contract(**values: Any) -> Contract:
        given = {"contract": "C-1", "customer": "Syndic", "erp_account": "411SYN", "price_list": "PL-2026"} | values
        return Contract.model_validate(given)

    @staticmethod
    def covered(part: str, quantity: str) -> Part:
        return Part(part=part, quantity=quantity)


def announcement_of(state: InterventionState, version: int = 1) -> InterventionAnnounced:
    return InterventionAnnounced(
        intervention=state.stream.partition(":")[2],
        agency="main",
        positions={"0": 9},
        version=version,
        state_hash=HASH,
        state=msgspec.to_builtins(state),
    )


@dataclass
class Bridge:
    """The bridge under test. `now` is its clock."""

    pool: Pool
    batches: Batches
    delivery: Delivery
    out: Path
    key: SigningKey
    http: httpx.AsyncClient
    now: list[int]
    versions: dict[str, int] = field(default_factory=dict)

    async def hear(self, state: InterventionState, *, version: int | None = None) -> None:
        """An announcement of this state, a version after the last one unless told otherwise."""
        self.versions[state.stream] = version or self.versions.get(state.stream, 0) + 1
        message = announcement_of(state, self.versions[state.stream])
        async with transaction(self.pool) as connection:
            await collect.state_announced(connection, message.model_dump_json().encode())

    async def hear_evidence(self, intervention: str, version: int, *lines: Line, stored: bool = True) -> None:
        items = tuple(
            EvidenceItem(sha256=HASH, length_bytes=9, mime="image/jpeg", line=line.id, kind="photo", stored=stored)
            for line in lines
        )
        message = EvidenceAnnounced(intervention=intervention, version=version, items=items, complete=stored)
        async with transaction(self.pool) as connection:
            await collect.evidence_announced(connection, message.model_dump_json().encode())

    async def hear_prices(self, published: PriceListPublished) -> None:
        async with transaction(self.pool) as connection:
            await collect.reference_published(connection, PRICE_LIST, published.model_dump_json().encode())

    async def hear_contracts(self, version: int, *contracts: Contract) -> None:
        published = ContractsPublished(agency="main", version=version, contracts=contracts)
        async with transaction(self.pool) as connection:
            await collect.reference_published(connection, CONTRACTS, published.model_dump_json().encode())

    async def export(self) -> Frozen:
        return await self.batches.make(PROFILES["erp"])

    async def signed(self) -> list[ParsedEvent]:
        """Every event in the outbox, in order, with signatures, digests, numbers and links verified."""
        rows = await self.pool.fetch(
            "SELECT payload FROM chassis.outbox WHERE subject = 'office.v1.billing-bridge' ORDER BY position"
        )
        events = [parse_event(event) for row in rows for event in decode_segment(row["payload"])]
        before = GENESIS
        for number, event in enumerate(events, 1):
            check_signature(self.key.public, event)
            assert (event.header.seq, event.header.prev) == (number, before)
            before = digest(event.signed.header)
        return events

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.out / "erp").glob("*"))}


class Callers:
    """The application's verifier for tests: the token is the role, of all agencies or (`integrator/north`) of one."""

    async def verify(self, token: str) -> Principal:
        role, _, agency = token.partition("/")
        return Principal("somebody", frozenset({Role(role)}), frozenset({agency or "*"}))


async def _always() -> None:
    return None


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story


@pytest.fixture(scope="session")
def announced() -> Any:
    """Makes the announcement of a state."""
    return announcement_of


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    return CHASSIS_MIGRATIONS, MIGRATIONS


@pytest.fixture
async def bridge(database: str, tmp_path: Path) -> AsyncIterator[Bridge]:
    pool = await open_pool(database, application_name="billing-test")
    now, key, out = [EVENING], SigningKey.from_seed(b"billing-bridge-test-seed".ljust(32, b".")), tmp_path / "out"
    settings = Settings(
        database_url=database,
        nats_url="nats://127.0.0.1:1",
        nats_creds=tmp_path / "none",
        http_port=1,
        oidc_issuer="http://127.0.0.1:1",
        keys_dir=tmp_path,
        data_dir=tmp_path,
    )
    batches, delivery = Batches(pool, key, lambda: now[0], random_uuid7), Delivery(pool, settings.delivery_dir, lambda: now[0])
    app = application(settings, pool, batches, delivery, _always)
    app.state.verifier = Callers()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://billing") as http:
        made = Bridge(pool, batches, delivery, out, key, http, now)
        await made.hear_prices(Story.prices())
        yield made
    await pool.close()
