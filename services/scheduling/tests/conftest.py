"""A desk on a fresh database with keys of its own, a clock that stands still, and readers of what it signed."""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scheduling.config import MIGRATIONS
from scheduling.desk import Desk
from scheduling.ids import uuid7
from scheduling.keys import Keyring
from zb_chassis.clock import system_clock
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS, upgrade
from zb_contracts.envelope import GENESIS, ParsedEvent, check_signature, digest, parse_event
from zb_contracts.events import Body, read_body
from zb_contracts.keys import KeyPurpose, SigningKey, WrapKey, certify
from zb_contracts.sealed import to_base64url
from zb_contracts.segment import decode_segment
from zb_contracts.times import parse_time_ms

NINE = parse_time_ms("2026-03-16T09:00:00.000Z")


@dataclass
class Office:
    """The desk under test, its keys, and what left it."""

    desk: Desk
    escrow: WrapKey
    keys: dict[str, SigningKey]
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
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrapKey, dict[str, SigningKey]]:
    """A keys folder as the deployment lays it, with the offices of two agencies."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "authors").mkdir()
    root, escrow = SigningKey.generate(), WrapKey.generate()
    certificate = certify(root, escrow.public, KeyPurpose.ESCROW, not_before_ms=0)
    (folder / "root.pub").write_text(root.public.hex())
    text: dict[str, Any] = {
        "kid": certificate.kid,
        "public": to_base64url(certificate.public),
        "purpose": str(certificate.purpose),
        "not_before_ms": 0,
        "not_after_ms": None,
        "signature": to_base64url(certificate.signature),
    }
    (folder / "escrow.pub.json").write_text(json.dumps(text))
    offices = {agency: SigningKey.generate() for agency in ("main", "north")}
    for agency, key in offices.items():
        (folder / "authors" / f"office-{agency}.seed").write_text(key.seed.hex())
    return folder, escrow, offices


@pytest.fixture
async def office(database: str, key_folder: tuple[Path, WrapKey, dict[str, SigningKey]]) -> AsyncIterator[Office]:
    """The desk on its own migrated database; the clock stands at 09:00 until a test moves it."""
    await upgrade(database, [CHASSIS_MIGRATIONS, MIGRATIONS])
    folder, escrow, offices = key_folder
    pool = await open_pool(database, application_name="scheduling-test")
    now = [NINE]
    desk = Desk(pool, Keyring(folder, system_clock()), lambda: now[0], counted_ids())
    yield Office(desk, escrow, offices, now)
    await pool.close()


def counted_ids() -> Callable[[int], str]:
    """UUIDv7s with a counter in place of chance: the same run, the same ids."""
    numbers = itertools.count(1)
    return lambda now_ms: uuid7(now_ms, next(numbers))
