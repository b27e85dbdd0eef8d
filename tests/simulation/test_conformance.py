"""One suite for every store of the ledger: Postgres and the simulation's memory keep the same promises.

What a store must refuse, keep and answer is asked of each; and the same messages, honest and hostile, must make the same ledger
in both, to the byte.
"""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from field_ingest.admission.admitting import Admission, Message
from field_ingest.admission.domain import Appended, Author, Chain, Known
from field_ingest.admission.rejects import Reject
from field_ingest.admission.verification import Verifier, read_event
from field_ingest.ledger.appending import Row
from field_ingest.ledger.ports import Ledger
from field_ingest.ledger.postgres import PostgresLedger
from tests.simulation.keys import ESCROW, key_of
from tests.simulation.memory_ledger import MemoryLedger
from zb_chassis import migrate
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts import subjects
from zb_contracts.envelope import BODY_TYPE, GENESIS, Header, SignedEvent, digest, sign_event
from zb_contracts.events import AuthorKind
from zb_contracts.merkle import Frontier
from zb_contracts.problems import SEGMENT_MALFORMED, Problem
from zb_contracts.segment import encode_segment, message_id

BOILER = "intervention:00000000-0000-4000-8000-000000000001"
LIFT = "intervention:00000000-0000-4000-8000-000000000002"
TEN_MS = 1_795_428_000_000
STORES = ("memory", "postgres")


class Store:
    """A store under test, with what it takes to put authors into it and to read it whole."""

    def __init__(self, ledger: Ledger, pool: Pool | None = None) -> None:
        self.ledger, self._pool = ledger, pool

    async def register(self, device: str) -> Author:
        name = f"{device}-i1"
        author = Author(name, AuthorKind.DEVICE, "main", device, "camille", key_of(name).public, 0, 0, bytes(32))
        if isinstance(self.ledger, MemoryLedger):
            self.ledger.register(author)
            return author
        assert self._pool is not None
        await self._pool.execute(
            """
            INSERT INTO authors (author, kind, agency, device, incarnation, technician, event_key, shard, head_hash,
                registered_at_ms) VALUES ($1, 'device', 'main', $2, 1, 'camille', $3, 0, $4, 0)
            """,
            name,
            device,
            author.event_key,
            bytes(32),
        )
        return author

    async def rows(self) -> list[Row]:
        if isinstance(self.ledger, MemoryLedger):
            return self.ledger.rows()
        assert self._pool is not None
        rows = await self._pool.fetch(f"SELECT {', '.join(Row._fields)} FROM ledger ORDER BY shard, position")
        return [Row(*row) for row in rows]

    async def author(self, name: str) -> Author:
        return (await self.ledger.read_authors([name]))[name]


class Pen:
    """Writes a device's chain."""

    def __init__(self, device: str) -> None:
        self.device, self.author = device, f"{device}-i1"
        self.events: list[SignedEvent] = []

    def write(
        self, stream: str = BOILER, *, seen: dict[str, int] | None = None, text: str = "it leaks", id: str = ""
    ) -> SignedEvent:
        body = f'{{"text":"{text}"}}'.encode()
        seq = len(self.events) + 1
        header = Header(
            id=id or f"019ac000-0000-7000-8000-{sum(self.device.encode()):04x}{seq:08x}",
            author=self.author,
            seq=seq,
            prev=digest(self.events[-1].header) if self.events else GENESIS,
            type="intervention.comment_added.v1",
            stream=stream,
            visit=None,
            actor="camille",
            token=None,
            at="2026-11-23T10:00:00.000Z",
            boot=None,
            elapsed_ms=None,
            anchor=None,
            seen=seen or {},
            body_sha256=digest(body),
            body_type=BODY_TYPE,
        )
        self.events.append(sign_event(key_of(self.author), header, body))
        return self.events[-1]

    def message(self, *events: SignedEvent, tries: int = 1, sequence: int = 0) -> Message:
        return Message(subjects.field(self.device), encode_segment(events), tries, message_id(events), sequence)

    def twin(self) -> "Pen":
        """A copy of the device, which goes another way from here."""
        other = Pen(self.device)
        other.events = list(self.events)
        return other


async def _postgres(dsn: str) -> tuple[Store, Pool]:
    await migrate.upgrade(dsn, [CHASSIS_MIGRATIONS, MigrationSet("field-ingest", "field_ingest")])
    pool = await open_pool(dsn, application_name="conformance")
    empty = Frontier()
    await pool.execute(
        "INSERT INTO shards (shard, origin, root, frontier) VALUES (0, 'zb.simulation/0', $1, $2)", empty.root(), empty.to_bytes()
    )
    return Store(PostgresLedger(pool), pool), pool


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield Store(MemoryLedger(1))
        return
    store, pool = await _postgres(database)
    yield store
    await pool.close()


async def append(store: Store, *events: SignedEvent, known: Known | None = None) -> list[Row]:
    """Decide and write. `known` pretends what the ledger has: then it is asked what the store itself allows."""
    read = [read_event(event) for event in events]
    async with store.ledger.transaction() as transaction:
        authors = await transaction.lock_authors([read[0].author])
        found = await transaction.known(authors, read)
        chain = Chain(authors[read[0].author], known or found[read[0].author], received_at_ms=TEN_MS)
        for event in read:
            assert isinstance(chain.take(event), Appended)
        return await transaction.write([chain], received_at_ms=TEN_MS)


async def write(store: Store, chain: Chain, *, then: Exception | None = None) -> None:
    """Writes what a chain decided, and a reject, in one transaction that may fail at its end."""
    reject = Reject("field.v1.leaky", None, Problem(SEGMENT_MALFORMED, reason="no segment"), b"junk")
    async with store.ledger.transaction() as transaction:
        await transaction.lock_authors([chain.author.author])
        await transaction.note_rejects([reject], at_ms=TEN_MS)
        await transaction.write([chain], received_at_ms=TEN_MS)
        if then is not None:
            raise then


async def test_rows_are_dense_and_the_mark_follows(store: Store) -> None:
    await store.register("leaky")
    await store.register("lofty")
    leaky, lofty = Pen("leaky"), Pen("lofty")
    placed = await append(store, leaky.write(), leaky.write())
    placed += await append(store, lofty.write(LIFT))
    assert [row.position for row in placed] == [0, 1, 2]
    assert await store.rows() == placed
    author = await store.author(leaky.author)
    assert (author.mark, author.head_hash.hex()) == (2, digest(leaky.events[-1].header))
    assert await store.ledger.read_authors(["nobody"]) == {}


async def test_a_second_event_under_a_number_is_refused_by_the_store_itself(store: Store) -> None:
    author = await store.register("leaky")
    leaky = Pen("leaky")
    twin = leaky.twin()
    await append(store, leaky.write())
    # A decision on an author's row as it was before: what a lock that does not hold would lead to.
    stale = Chain(author, Known(), received_at_ms=TEN_MS)
    stale.take(read_event(twin.write(text="another past")))
    with pytest.raises(Exception, match=r"unique|leaky-i1"):
        await write(store, stale)
    assert len(await store.rows()) == 1
    assert (await store.author(leaky.author)).head_hash.hex() == digest(leaky.events[0].header)


async def test_a_second_event_under_an_id_is_refused_by_the_store_itself(store: Store) -> None:
    await store.register("leaky")
    await store.register("lofty")
    leaky, lofty = Pen("leaky"), Pen("lofty")
    first = await append(store, leaky.write())
    taken = lofty.write(id=first[0].event_id)
    with pytest.raises(Exception, match=r"unique|019ac000"):
        await append(store, taken, known=Known())
    assert len(await store.rows()) == 1
    assert (await store.author(lofty.author)).mark == 0
    [refused] = await append(store, taken)
    assert (refused.kind, refused.code) == ("refusal", "event.id_taken")


async def test_a_fork_is_one_row_beside_the_chain_however_often_it_comes(store: Store) -> None:
    await store.register("leaky")
    leaky = Pen("leaky")
    twin = leaky.twin()
    await append(store, leaky.write())
    other = twin.write(text="another past")
    [stray] = await append(store, other)
    assert (stray.kind, stray.chained) == ("refusal", False)
    there = (leaky.author, 1, stray.header_hash)
    assert await store.ledger.read_strays([there, (leaky.author, 2, stray.header_hash), (leaky.author, 1, bytes(32))]) == {there}
    with pytest.raises(Exception, match=r"unique|leaky-i1"):
        await append(store, other, known=Known(chained={1: read_event(leaky.events[0]).header_hash}))
    assert len(await store.rows()) == 2
    assert (await store.author(leaky.author)).stray_refusals == 1


async def test_nothing_of_a_transaction_that_fails_is_left(store: Store) -> None:
    await store.register("leaky")
    leaky = Pen("leaky")
    chain = Chain(await store.author(leaky.author), Known(), received_at_ms=TEN_MS)
    chain.take(read_event(leaky.write()))
    with pytest.raises(RuntimeError, match="in the middle"):
        await write(store, chain, then=RuntimeError("in the middle"))
    assert await store.rows() == []
    assert (await store.author(leaky.author)).mark == 0


async def test_what_is_known_answers_every_question(store: Store) -> None:
    await store.register("leaky")
    await store.register("lofty")
    leaky, lofty = Pen("leaky"), Pen("lofty")
    await append(store, leaky.write(), leaky.write(LIFT))
    await append(store, lofty.write(seen={leaky.author: 1}))
    event = read_event(leaky.write(seen={lofty.author: 1}))
    async with store.ledger.transaction() as transaction:
        authors = await transaction.lock_authors([leaky.author])
        known = (await transaction.known(authors, [event, read_event(leaky.events[0])]))[leaky.author]
        assert known.chained == {1: read_event(leaky.events[0]).header_hash}
        assert known.marks == {lofty.author: 1}
        assert known.vectors == {BOILER: {}}
        assert known.knowledge == {(BOILER, lofty.author, 1): {leaky.author: 1}}
        assert await transaction.newest_vector(lofty.author, BOILER) == {leaky.author: 1}
        assert await transaction.newest_vector(lofty.author, LIFT) == {}


def _messages() -> list[Message]:
    """Honest segments out of order and twice, forks, holes, false vectors and signatures, a taken id."""
    leaky, lofty = Pen("leaky"), Pen("lofty")
    numbers = itertools.count(1)

    def sent(pen: Pen, *events: SignedEvent, tries: int = 1) -> Message:
        return pen.message(*events, tries=tries, sequence=next(numbers))

    first, second = leaky.write(), leaky.write(LIFT)
    fork = leaky.twin()
    third, fourth = leaky.write(), leaky.write()
    false = fork.write(text="another past")
    told = lofty.write(seen={leaky.author: 1})
    ahead = lofty.twin().write(seen={leaky.author: 9})
    return [
        sent(leaky, third, fourth),
        sent(leaky, first, second),
        sent(lofty, told),
        sent(leaky, first, second, third),
        sent(leaky, false),
        sent(leaky, false),
        sent(lofty, told, tries=2),
        sent(lofty, ahead),
        sent(lofty, ahead, tries=8),
        sent(lofty, lofty.write(id=read_event(first).id)),
        sent(lofty, lofty.write(seen={})),
        sent(leaky, leaky.write(seen={lofty.author: 1})._replace(signature=bytes(64))),
        replace(sent(leaky, first), subject=subjects.field("lofty")),
        Message(subjects.field("leaky"), b"\x93junk", 1, "x", next(numbers)),
        sent(leaky, third, fourth, tries=2),
    ]


async def test_the_same_messages_make_the_same_ledger_in_both_stores(database: str) -> None:
    stores = [Store(MemoryLedger(1))]
    postgres, pool = await _postgres(database)
    stores.append(postgres)
    told = []
    for store in stores:
        for device in ("leaky", "lofty"):
            await store.register(device)
        nonces = itertools.count(1)
        with Verifier(ESCROW, threads=0) as verifier:
            admission = Admission(store.ledger, verifier, lambda: TEN_MS, nonce=lambda: f"{next(nonces):032x}")  # noqa: B023
            messages = _messages()
            dispositions = [await admission.admit(messages[at : at + 3]) for at in range(0, len(messages), 3)]
        authors = [await store.author(f"{device}-i1") for device in ("leaky", "lofty")]
        told.append((await store.rows(), authors, [[repr(one) for one in batch] for batch in dispositions]))
    await pool.close()
    assert told[0] == told[1]
    kinds = {(row.kind, row.chained) for row in told[0][0]}
    assert kinds == {("admitted", True), ("refusal", True), ("refusal", False)}
