"""A ledger that came back behind a head that it had published: refused at the start, accepted by name, with a trace."""

from pathlib import Path

import pytest

from field_ingest.ledger.checkpoints import LedgerBehind, Published
from field_ingest.ledger.healing import NothingToHeal, Returned, accept_loss, newest, word_on
from field_ingest.projection import states
from zb_contracts import canonical
from zb_contracts.healing import Healing, read_healing
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import EMPTY_ROOT, Frontier
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint

LOST = 7
ORIGIN = "zb.test/0"
ROOT = bytes([9] * 32)


def publish_ahead(folder: Path, key: SigningKey, size: int) -> str:
    """The file that a ledger of this size left behind."""
    note = sign_checkpoint(Checkpoint(ORIGIN, size, ROOT), NoteSigner(ORIGIN, key))
    (folder / "checkpoint-0.note").write_text(note)
    return note


async def accepted(house, **how: bool) -> list[Healing]:
    how = {"restored": False} | how
    key = house.ledger_keys.signing
    return await accept_loss(
        house.pool, house.checkpoints, key, house.signer, house.clock, reason="the disk broke", restored=how["restored"]
    )


async def size_and_root(house) -> tuple[int, bytes]:
    row = await house.pool.fetchrow("SELECT size, root FROM shards WHERE shard = 0")
    assert row is not None
    return row["size"], row["root"]


async def start(house) -> None:
    async with house.pool.acquire() as connection:
        await house.checkpoints.check_start(connection)


async def test_a_loss_is_accepted_with_a_trace_and_the_ledger_goes_on(house, tmp_path: Path) -> None:
    pen = await house.hire("boiler-pda")
    await house.deliver(pen, pen.writes(3))
    size, root = await size_and_root(house)
    note = publish_ahead(tmp_path, house.ledger_key, size + LOST)
    with pytest.raises(LedgerBehind, match="go on from what is there with zb heal --accept-loss"):
        await start(house)

    (word,) = await accepted(house)

    assert (word.number, word.kept, word.kept_root) == (1, size, root.hex())
    assert (word.abandoned, word.abandoned_root) == (size + LOST, ROOT.hex())
    row = await house.pool.fetchrow("SELECT position, stream, body FROM ledger WHERE type = 'device.ledger_healed.v1'")
    assert row is not None
    assert (row["position"], row["stream"]) == (size, "device:ingest")
    said = canonical.decode(row["body"])
    assert (said["abandoned_note"], said["reason"], said["kept"]) == (note, "the disk broke", size)
    heal = await newest(house.pool, 0)
    assert heal is not None
    assert read_healing(heal.document, {house.ledger_key.kid: house.ledger_key.public}, ORIGIN) == heal.healing == word
    assert (tmp_path / f"abandoned-0-{size + LOST}.note").read_text() == note
    await start(house)
    asked = await house.row(pen)
    assert len(asked["gap_nonce"]) == 32
    await house.deliver(pen, pen.writes(2))
    await house.check_invariants()


async def test_a_call_that_died_before_it_moved_the_file_is_finished_by_the_next(house, tmp_path: Path) -> None:
    size, _ = await size_and_root(house)
    note = publish_ahead(tmp_path, house.ledger_key, size + LOST)
    await accepted(house)
    (tmp_path / "checkpoint-0.note").write_text(note)
    assert await accepted(house) == []
    assert not (tmp_path / "checkpoint-0.note").exists()
    assert await house.pool.fetchval("SELECT count(*) FROM heals") == 1
    await start(house)


async def test_a_ledger_that_is_not_behind_has_nothing_to_accept(house, tmp_path: Path) -> None:
    with pytest.raises(NothingToHeal):
        await accepted(house)
    await house.checkpoints.current(house.pool, 0)
    with pytest.raises(NothingToHeal):
        await accepted(house)
    assert await house.pool.fetchval("SELECT count(*) FROM heals") == 0


async def test_after_a_restore_heads_that_nobody_has_any_more_are_abandoned_too(house, tmp_path: Path) -> None:
    await house.checkpoints.current(house.pool, 0)
    (word,) = await accepted(house, restored=True)
    assert (word.abandoned, word.abandoned_root) == (None, None)
    assert word.abandons(10**9)
    assert (tmp_path / "checkpoint-0.note").exists()
    await start(house)


async def test_the_file_of_another_ledger_is_no_loss_of_this_one(house, tmp_path: Path) -> None:
    publish_ahead(tmp_path, SigningKey.generate(), 1_000)
    with pytest.raises(LedgerBehind, match="is not this ledger's"):
        await accepted(house)
    assert await house.pool.fetchval("SELECT count(*) FROM heals") == 0


async def test_states_go_on_above_every_version_that_was_given_before(house, tmp_path: Path) -> None:
    async with house.pool.acquire() as connection:
        assert await states.versions(connection, ["intervention:leaky-boiler"]) == {}
        publish_ahead(tmp_path, house.ledger_key, 1_000)
        await accepted(house)
        found = await states.versions(connection, ["intervention:leaky-boiler"])
    assert found == {"intervention:leaky-boiler": (states.VERSIONS_APART, states.NO_STATE)}


def test_a_word_covers_the_losses_before_it() -> None:
    first = word_on(Returned(0, ORIGIN, 40, Published(90, ROOT, "note")), None, ROOT, 0)
    assert (first.number, first.kept, first.abandoned) == (1, 40, 90)
    less = word_on(Returned(0, ORIGIN, 60, Published(70, ROOT, "note")), first, ROOT, 0)
    assert (less.number, less.kept, less.abandoned) == (2, 40, 90)
    more = word_on(Returned(0, ORIGIN, 30, Published(200, ROOT, "note")), less, ROOT, 0)
    assert (more.number, more.kept, more.abandoned) == (3, 30, 200)
    unknown = word_on(Returned(0, ORIGIN, 50, None), more, ROOT, 0)
    assert (unknown.kept, unknown.abandoned) == (30, None)
    assert word_on(Returned(0, ORIGIN, 80, Published(95, ROOT, "note")), unknown, ROOT, 0).abandoned is None


async def test_of_two_shards_each_is_healed_by_a_word_of_its_own_and_the_whole_one_is_left_alone(house, tmp_path: Path) -> None:
    """Both are behind: a word each, about its own log. Only one is: the other's history stands, nothing is said of it."""
    await house.pool.execute(
        "INSERT INTO shards (shard, origin, root, frontier) VALUES (1, 'zb.test/1', $1, $2)", EMPTY_ROOT, Frontier().to_bytes()
    )
    size, _ = await size_and_root(house)
    publish_ahead(tmp_path, house.ledger_key, size + LOST)
    other = sign_checkpoint(Checkpoint("zb.test/1", 3, ROOT), NoteSigner("zb.test/1", house.ledger_key))
    (tmp_path / "checkpoint-1.note").write_text(other)
    words = {word.origin: word for word in await accepted(house)}
    assert set(words) == {"zb.test/0", "zb.test/1"}
    assert (words["zb.test/0"].kept, words["zb.test/0"].abandoned) == (size, size + LOST)
    assert (words["zb.test/1"].kept, words["zb.test/1"].abandoned) == (0, 3)
    assert (tmp_path / f"abandoned-0-{size + LOST}.note").exists()
    assert (tmp_path / "abandoned-1-3.note").exists()
    await start(house)

    size, _ = await size_and_root(house)
    publish_ahead(tmp_path, house.ledger_key, size + 2 * LOST)
    (again,) = await accepted(house)
    assert (again.origin, again.number, again.abandoned) == ("zb.test/0", 2, size + 2 * LOST)
    untouched = await newest(house.pool, 1)
    assert untouched is not None
    assert untouched.healing == words["zb.test/1"]
    await start(house)
