"""A founded ledger on a real Postgres, devices with real keys that write chains, and the one checker of the invariants."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from field_ingest.admission.admitting import Admission, Disposition, Message
from field_ingest.admission.verification import Verifier
from field_ingest.ledger import founding, tree
from field_ingest.ledger.checkpoints import Checkpoints
from field_ingest.ledger.keyring import ServerAuthor
from field_ingest.ledger.ledger_keys import LedgerKeys
from field_ingest.ledger.postgres import PostgresLedger
from field_ingest.ledger.shards import shard_of
from field_ingest.ledger.signing import LedgerAuthor
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts import ledger_leaf, merkle, subjects
from zb_contracts.envelope import BODY_TYPE, GENESIS, Anchor, Header, SignedEvent, digest, sign_event
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.sealed import to_base64url
from zb_contracts.segment import encode_segment, message_id
from zb_contracts.times import format_time_ms, parse_time_ms

TEN_MS = parse_time_ms("2026-11-23T10:00:00.000Z")
LEAKY_BOILER = "intervention:0192f000-0000-7000-8000-000000000042"
MIGRATIONS = MigrationSet("field-ingest", "field_ingest")
INGEST_KEY = SigningKey.from_seed(b"the ledger's own author's key...")
ESCROW = WrapKey(bytes(range(32)))
OFFICE_KEY = SigningKey.from_seed(b"the main office's key...........")

_numbers = itertools.count(1)


@dataclass
class Pen:
    """An author's key and chain. `write` makes its next event."""

    author: str
    device: str | None
    key: SigningKey
    events: list[SignedEvent] = field(default_factory=list)
    places: dict[tuple[bytes, str | None], int] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return subjects.field(self.device) if self.device else subjects.office(self.author)

    @property
    def head(self) -> str:
        return hashlib.sha256(self.events[-1].header).hexdigest() if self.events else GENESIS

    def write(
        self,
        kind: str = "intervention.comment_added.v1",
        body: bytes | None = None,
        *,
        stream: str = LEAKY_BOILER,
        seen: Mapping[str, int] | None = None,
        at_ms: int = TEN_MS,
        **header: Any,
    ) -> SignedEvent:
        """The next event of the chain, kept in `events`; `header` overrides what stands in the header."""
        number = next(_numbers)
        data = body if body is not None else b'{"text":"The boiler leaks, no %d."}' % number
        values = Header(
            id=f"019ac000-0000-7000-8000-{number:012x}",
            author=self.author,
            seq=len(self.events) + 1,
            prev=self.head,
            type=kind,
            stream=stream,
            visit=None,
            actor="camille" if self.device else None,
            token=None,
            at=format_time_ms(at_ms),
            boot="boot-1" if self.device else None,
            elapsed_ms=0,
            anchor=Anchor("anchor-1", format_time_ms(at_ms)),
            seen=dict(seen or {}),
            body_sha256=digest(data),
            body_type=BODY_TYPE,
        )
        values = Header(**{name: getattr(values, name) for name in values.__struct_fields__} | header)
        event = sign_event(self.key, values, data)
        self.events.append(event)
        return event

    def writes(self, count: int) -> list[SignedEvent]:
        return [self.write() for _ in range(count)]

    def copy(self) -> "Pen":
        """A restored backup of this device: the same keys, the same past, another future."""
        return replace(self, events=list(self.events), places=dict(self.places))

    def message(self, events: Sequence[SignedEvent], *, tries: int = 1, nonce: str | None = None) -> Message:
        data = encode_segment(events)
        # The place in the stream: that of the same bytes, however often they are delivered.
        place = self.places.setdefault((data, nonce), len(self.places) + 1)
        return Message(self.subject, data, tries, message_id(events, nonce), place)


class House:
    """A founded ledger and its door."""

    def __init__(self, dsn: str, pool: Pool, verifier: Verifier, folder: Path) -> None:
        self.dsn = dsn
        self.pool = pool
        self.now_ms = TEN_MS
        self.signer = LedgerAuthor(INGEST_KEY, self.clock)
        self.ledger_key = SigningKey.from_seed(b"the ledger's checkpoint key.....")
        self.ledger_keys = LedgerKeys.alone(self.ledger_key)
        self.checkpoints = Checkpoints(self.ledger_keys, folder, self.clock)
        nonces = (f"{number:032x}" for number in itertools.count(1))
        self.admission = Admission(PostgresLedger(pool), verifier, self.clock, nonce=lambda: next(nonces))
        self.office = Pen("office-main", None, OFFICE_KEY)

    def clock(self) -> int:
        return self.now_ms

    async def found(self, shards: int = 1) -> None:
        authors = [
            ServerAuthor(author="ingest", kind="service", event_key=to_base64url(INGEST_KEY.public)),
            ServerAuthor(author="office-main", kind="office", agency="main", event_key=to_base64url(OFFICE_KEY.public)),
        ]
        await founding.found(self.pool, shards=shards, log_name="zb.test", authors=authors, signer=self.signer, clock=self.clock)

    async def hire(self, device: str) -> Pen:
        """A device whose keys the ledger knows."""
        shards = await self.pool.fetchval("SELECT count(*) FROM shards")
        pen = Pen(f"{device}-i1", device, SigningKey.from_seed(hashlib.sha256(device.encode()).digest()))
        await self.pool.execute(
            """
            INSERT INTO authors (author, kind, agency, device, incarnation, technician, event_key, shard, head_hash,
                registered_at_ms)
            VALUES ($1, 'device', 'main', $2, 1, 'camille', $3, $4, $5, $6)
            """,
            pen.author,
            device,
            pen.key.public,
            shard_of(device, shards),
            bytes(32),
            TEN_MS,
        )
        return pen

    async def deliver(self, pen: Pen, events: Sequence[SignedEvent], *, tries: int = 1, nonce: str | None = None) -> Disposition:
        [disposition] = await self.admission.admit([pen.message(events, tries=tries, nonce=nonce)])
        return disposition

    async def row(self, pen: Pen) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM authors WHERE author = $1", pen.author)
        assert row is not None
        return dict(row)

    async def rows(self, pen: Pen) -> list[dict[str, Any]]:
        """The author's ledger rows in the ledger's order."""
        rows = await self.pool.fetch("SELECT * FROM ledger WHERE author = $1 ORDER BY position", pen.author)
        return [dict(row) for row in rows]

    async def check_invariants(self) -> None:
        """Whatever happened: dense positions, whole chains, marks that fit, leaves, tiles, frontier and root that agree."""
        async with self.pool.acquire() as connection:
            for shard in await connection.fetch("SELECT shard, size, root, frontier FROM shards"):
                rows = await connection.fetch("SELECT * FROM ledger WHERE shard = $1 ORDER BY position", shard["shard"])
                assert [row["position"] for row in rows] == list(range(shard["size"]))
                leaves = [_leaf_hash(row) for row in rows]
                assert [row["leaf_hash"] for row in rows] == leaves
                assert merkle.root_of(leaves) == shard["root"] == merkle.Frontier.from_bytes(shard["frontier"]).root()
                assert await tree.root_at(connection, shard["shard"], shard["size"]) == shard["root"]
                await self._check_tiles(connection, shard["shard"], leaves)
            await self._check_chains(connection)

    async def _check_tiles(self, connection: Any, shard: int, leaves: list[bytes]) -> None:
        tiles = await connection.fetch("SELECT * FROM tiles WHERE shard = $1 AND level = 0 ORDER BY tile", shard)
        assert [tile["tile"] for tile in tiles] == list(range(len(leaves) // 256))
        for tile in tiles:
            part = leaves[tile["tile"] * 256 : (tile["tile"] + 1) * 256]
            assert tile["hashes"] == b"".join(part)
            assert tile["root"] == merkle.root_of(part)

    async def _check_chains(self, connection: Any) -> None:
        for author in await connection.fetch("SELECT author, mark, head_hash FROM authors"):
            chain = await connection.fetch(
                "SELECT seq, header, header_hash FROM ledger WHERE author = $1 AND chained ORDER BY seq", author["author"]
            )
            assert [row["seq"] for row in chain] == list(range(1, author["mark"] + 1))
            assert author["head_hash"] == (chain[-1]["header_hash"] if chain else bytes(32))
            for before, after in itertools.pairwise(chain):
                assert before["header_hash"].hex().encode() in after["header"]


def _leaf_hash(row: Mapping[str, Any]) -> bytes:
    names = ("kind", "header_hash", "signature", "received_at_ms", "facts")
    return ledger_leaf.leaf_hash(ledger_leaf.leaf_bytes(**{name: row[name] for name in names}))


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    with Verifier(ESCROW) as verifier:
        yield verifier


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    return CHASSIS_MIGRATIONS, MIGRATIONS


@pytest.fixture
async def empty_house(database: str, verifier: Verifier, tmp_path: Path) -> AsyncIterator[House]:
    """Tables, and nothing founded."""
    pool = await open_pool(database, application_name="test")
    yield House(database, pool, verifier, tmp_path)
    await pool.close()


@pytest.fixture
async def house(empty_house: House, request: pytest.FixtureRequest) -> House:
    """A ledger of one shard, or of as many as a module says (`parametrize("house", ..., indirect=True)`)."""
    await empty_house.found(getattr(request, "param", 1))
    return empty_house


@pytest.fixture
async def leaky(house: House) -> Pen:
    """The device of the technician who repairs the leaky boiler."""
    return await house.hire("leaky")


@pytest.fixture
def new_pen() -> type[Pen]:
    """Makes a chain's writer: author, device, key."""
    return Pen
