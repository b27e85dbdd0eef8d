"""The ledger on a real Postgres: crashes between its steps, shards, tiles, proofs, checkpoints, founding, audit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from field_ingest.admission.admitting import Done
from field_ingest.ledger import tree
from field_ingest.ledger.checkpoints import Checkpoints, LedgerBehind
from field_ingest.ledger.founding import AuthorKeyDiffers, ShardCountDiffers, found
from field_ingest.ledger.keyring import ServerAuthor
from field_ingest.ledger.ledger_keys import LedgerKeys
from field_ingest.ledger.ports import LedgerAway
from field_ingest.ledger.postgres import PostgresLedger, PostgresTransaction
from zb_chassis.database import open_pool, transaction
from zb_contracts import ledger_leaf, merkle
from zb_contracts.keys import SigningKey
from zb_contracts.notes import NoteVerifier, verify_checkpoint
from zb_contracts.sealed import to_base64url


@pytest.fixture(autouse=True)
async def sound(empty_house: Any) -> AsyncIterator[None]:
    yield
    await empty_house.check_invariants()


STEPS = ("lock_authors", "known", "note_rejects", "write")


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_before_the_commit_leaves_nothing_and_the_next_delivery_admits(
    house: Any, leaky: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(PostgresTransaction, step)

    async def dies(*arguments: Any, **options: Any) -> Any:
        await real(*arguments, **options)
        raise OSError("the process is gone")

    events = leaky.writes(3)
    with monkeypatch.context() as patched:
        patched.setattr(PostgresTransaction, step, dies)
        with pytest.raises(LedgerAway, match="gone"):
            await house.deliver(leaky, events)
    assert await house.rows(leaky) == []
    assert await house.deliver(leaky, events) == Done(admitted=3)


async def test_a_commit_whose_acknowledgement_was_lost_is_a_duplicate_at_the_next_delivery(house: Any, leaky: Any) -> None:
    events = leaky.writes(3)
    await house.deliver(leaky, events)  # committed; the process ends before it acknowledges
    assert await house.deliver(leaky, events, tries=2) == Done(duplicates=3)


async def test_a_session_killed_by_the_server_leaves_nothing_half_done(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(2))
    locker = await asyncpg.connect(house.dsn)
    blocked = locker.transaction()
    await blocked.start()
    await locker.execute("SELECT FROM shards FOR UPDATE")
    delivery = asyncio.create_task(house.deliver(leaky, leaky.writes(2)))
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    pid = None
    async with asyncio.timeout(10):
        while pid is None:
            pid = await locker.fetchval(waiting)
    await locker.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(LedgerAway):
        await delivery
    await blocked.rollback()
    await locker.close()
    assert (await house.row(leaky))["mark"] == 2
    assert await house.deliver(leaky, leaky.events[2:], tries=2) == Done(admitted=2)


async def test_a_session_that_died_is_the_ledgers_absence(house: Any) -> None:
    async def dies() -> None:
        async with PostgresLedger(house.pool).transaction() as transaction:
            pid = await transaction._connection.fetchval("SELECT pg_backend_pid()")
            await house.pool.execute("SELECT pg_terminate_backend($1)", pid)
            await transaction.lock_authors(["ingest"])

    with pytest.raises(LedgerAway):
        await dies()


async def test_a_call_that_we_should_not_have_made_is_our_fault_and_no_absence(house: Any) -> None:
    # The driver raises the same class for both; taken for an absence, it would be tried for ever and never be buried.
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with PostgresLedger(house.pool).transaction() as transaction:
            await transaction._connection.fetchval("SELECT $1::text")
    assert await PostgresLedger(house.pool).read_authors(["ingest"])


async def test_a_statement_that_took_too_long_is_a_messages_fault_and_no_absence(house: Any) -> None:
    with pytest.raises(asyncpg.QueryCanceledError):
        async with PostgresLedger(house.pool).transaction() as transaction:
            await transaction._connection.execute("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(60)")


async def test_a_lock_that_could_not_be_had_passes_by_itself(house: Any) -> None:
    async def wait_in_vain() -> None:
        async with PostgresLedger(house.pool).transaction() as waiting:
            await waiting._connection.execute("SET LOCAL lock_timeout = '1ms'")
            await waiting.lock_authors(["ingest"])

    async with PostgresLedger(house.pool).transaction() as holding:
        await holding.lock_authors(["ingest"])
        with pytest.raises(LedgerAway):
            await wait_in_vain()


async def test_a_pool_that_is_closed_is_the_ledgers_absence(database: str, house: Any) -> None:
    pool = await open_pool(database, application_name="test")
    await pool.close()
    with pytest.raises(LedgerAway, match="no connection"):
        await PostgresLedger(pool).read_authors(["ingest"])


async def test_segments_delivered_in_every_order_end_in_the_same_chain(house: Any) -> None:
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1))):
        pen = await house.hire(f"van-{number}")
        events = pen.writes(6)
        parts = [events[0:2], events[2:4], events[4:6]]
        waiting = [parts[at] for at in order]
        for tries in range(1, 4):
            waiting = [part for part in waiting if not isinstance(await house.deliver(pen, part, tries=tries), Done)]
        assert waiting == []
        assert [row["seq"] for row in await house.rows(pen)] == [1, 2, 3, 4, 5, 6]


async def test_tiles_and_proofs_beyond_one_level_agree_with_the_plain_tree(house: Any, leaky: Any) -> None:
    for _ in range(9):
        await house.deliver(leaky, leaky.writes(64))
    size = await house.pool.fetchval("SELECT size FROM shards")
    assert await house.pool.fetchval("SELECT count(*) FROM tiles") == 2
    hashes = [row["leaf_hash"] for row in await house.pool.fetch("SELECT leaf_hash FROM ledger ORDER BY position")]
    positions = [0, 1, 255, 256, 511, 512, size - 1]
    async with house.pool.acquire() as connection:
        for old in (1, 255, 256, 300, 512, size):
            assert await tree.root_at(connection, 0, old) == merkle.root_of(hashes[:old])
            proof = await tree.consistency_proof(connection, 0, old, size)
            merkle.verify_consistency(old, size, merkle.root_of(hashes[:old]), merkle.root_of(hashes), proof)
        for position, path in zip(positions, await tree.inclusion_proofs(connection, 0, positions, size), strict=True):
            merkle.verify_inclusion(hashes[position], position, size, path, merkle.root_of(hashes))


async def test_what_a_memory_keeps_of_the_tree_is_what_is_stored_while_the_log_grows(house: Any, leaky: Any) -> None:
    memory = tree.TreeMemory(tiles_max=2)
    for count in (3, 60, 64, 64, 64, 64, 7):
        await house.deliver(leaky, leaky.writes(count))
        size = await house.pool.fetchval("SELECT size FROM shards")
        hashes = [row["leaf_hash"] for row in await house.pool.fetch("SELECT leaf_hash FROM ledger ORDER BY position")]
        positions = sorted({0, 1, size // 2, size - 1})
        async with house.pool.acquire() as connection:
            nodes = merkle.nodes_for_inclusion(positions, size)
            paths = merkle.inclusion_proofs(positions, size, await memory.subtrees(connection, 0, nodes))
            with pytest.raises(KeyError, match="no subtree"):
                await memory.subtrees(connection, 0, {merkle.Node(0, size)})
        for position, path in zip(positions, paths, strict=True):
            merkle.verify_inclusion(hashes[position], position, size, path, merkle.root_of(hashes))


async def test_a_checkpoint_serves_all_whom_it_covers_and_those_who_wait_for_it(house: Any, leaky: Any) -> None:
    made = house.checkpoints
    makings: list[int] = []

    async def slow(pool: Any, shard: int) -> Any:
        makings.append(shard)
        if len(makings) == 1:
            await house.deliver(leaky, leaky.writes(1))
        return await type(made)._made(made, pool, shard)

    made._made = slow
    asked = await asyncio.gather(*(made.current(house.pool, 0) for _ in range(20)))
    assert makings == [0]
    assert {one.size for one in asked} == {3}
    assert await made.covering(house.pool, 0, 2) == asked[0]
    assert makings == [0]
    await house.deliver(leaky, leaky.writes(1))
    newer = await made.covering(house.pool, 0, 4)
    assert (newer.size, makings) == (4, [0, 0])


async def test_a_leaf_says_what_the_row_says_and_never_the_body(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(1))
    [row] = await house.rows(leaky)
    data = ledger_leaf.leaf_bytes(**{name: row[name] for name in ("kind", "header_hash", "signature", "received_at_ms", "facts")})
    leaf = ledger_leaf.read_leaf(data)
    assert (leaf.kind, leaf.header_sha256, leaf.signature) == ("admitted", row["header_hash"].hex(), row["signature"].hex())
    assert bytes(leaf.facts) == row["facts"]
    assert row["body"] not in data


async def test_authors_live_on_the_shard_that_their_name_gives_them(empty_house: Any) -> None:
    await empty_house.found(shards=3)
    pens = [await empty_house.hire(f"van-{number}") for number in range(6)]
    messages = [pen.message(pen.writes(3)) for pen in pens]
    assert await empty_house.admission.admit(messages) == [Done(admitted=3)] * 6
    assert await empty_house.pool.fetchval("SELECT count(DISTINCT shard) FROM ledger") == 3
    assert (
        await empty_house.pool.fetchval(
            "SELECT count(*) FROM ledger JOIN authors USING (author) WHERE ledger.shard <> authors.shard"
        )
        == 0
    )


async def test_another_number_of_shards_is_refused_by_name(empty_house: Any) -> None:
    await empty_house.found(shards=2)
    with pytest.raises(ShardCountDiffers, match="founded with 2 shards"):
        await empty_house.found(shards=1)


async def test_founding_again_changes_nothing(house: Any) -> None:
    before = await house.pool.fetchval("SELECT size FROM shards")
    await asyncio.gather(*(house.found() for _ in range(3)))
    assert await house.pool.fetchval("SELECT size FROM shards") == before == 2


async def test_an_author_with_another_key_is_refused_by_name(house: Any) -> None:
    other = ServerAuthor(author="office-main", kind="office", event_key=to_base64url(SigningKey.generate().public))
    with pytest.raises(AuthorKeyDiffers, match="office-main"):
        await found(house.pool, shards=1, log_name="zb.test", authors=[other], signer=house.signer, clock=house.clock)


async def test_a_checkpoint_is_made_once_a_size_and_is_the_ledger_keys(house: Any, leaky: Any) -> None:
    notes = [await house.checkpoints.current(house.pool, 0) for _ in range(3)]
    assert notes[0] == notes[1] == notes[2]
    await house.deliver(leaky, leaky.writes(1))
    newer = await house.checkpoints.current(house.pool, 0)
    checkpoint = verify_checkpoint(newer.note, "zb.test/0", [NoteVerifier("zb.test/0", house.ledger_key.public)])
    assert (checkpoint.size, checkpoint.root) == (3, newer.root)
    assert await house.pool.fetchval("SELECT count(*) FROM checkpoints") == 2


async def test_an_empty_shard_has_no_checkpoint(empty_house: Any) -> None:
    await empty_house.found(shards=16)
    sizes = {shard: await empty_house.checkpoints.current(empty_house.pool, shard) for shard in range(16)}
    assert sum(checkpoint is not None for checkpoint in sizes.values()) <= 2


async def test_a_ledger_behind_its_published_checkpoint_refuses_to_start(
    house: Any, leaky: Any, tmp_path: Path, database: str
) -> None:
    await house.deliver(leaky, leaky.writes(1))
    backup = await house.pool.fetch("SELECT * FROM ledger WHERE author = $1", leaky.author)
    assert len(backup) == 1
    await house.checkpoints.current(house.pool, 0)
    async with house.pool.acquire() as connection:
        await house.checkpoints.check_start(connection)
        restored = connection.transaction()
        await restored.start()  # a restored backup, for as long as this transaction lasts
        await connection.execute("UPDATE shards SET size = 2")
        with pytest.raises(LedgerBehind, match="2 rows, but a checkpoint over 3 was published"):
            await Checkpoints(house.ledger_keys, tmp_path, house.clock).check_start(connection)
        await restored.rollback()


async def test_a_checkpoint_file_of_another_key_refuses_to_start(house: Any, tmp_path: Path) -> None:
    await house.checkpoints.current(house.pool, 0)
    other = Checkpoints(LedgerKeys.alone(SigningKey.generate()), tmp_path, house.clock)
    async with house.pool.acquire() as connection:
        with pytest.raises(LedgerBehind, match="not this ledger's"):
            await other.check_start(connection)


async def test_another_ledger_of_the_same_length_refuses_to_start(house: Any, leaky: Any) -> None:
    await house.checkpoints.current(house.pool, 0)
    async with house.pool.acquire() as connection:
        other = connection.transaction()
        await other.start()
        await connection.execute("UPDATE ledger SET leaf_hash = sha256(leaf_hash) WHERE position = 0")
        with pytest.raises(LedgerBehind, match="another ledger"):
            await house.checkpoints.check_start(connection)
        await other.rollback()


async def test_a_position_is_taken_once_even_if_somebody_writes_beside_the_ledgers_function(house: Any, leaky: Any) -> None:
    await house.deliver(leaky, leaky.writes(1))
    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(house.pool) as connection:
            await connection.execute("INSERT INTO ledger SELECT * FROM ledger WHERE author = $1", leaky.author)
