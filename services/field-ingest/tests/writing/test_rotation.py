"""The ledger's key is rotated: who signs when, and that everything which checks a signature goes on across it."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.checkpoints import Checkpoints
from field_ingest.ledger.key_watch import KeyWatch
from field_ingest.ledger.keyring import KeyRing, read_keys
from field_ingest.ledger.ledger_keys import SETTLED_MS, LedgerKey, LedgerKeys, NoKeyInForce
from field_ingest.ledger.verifying import verify_ledger
from field_ingest.proof.export import Exporter, Selection
from zb import keyring
from zb.cli import main
from zb.keys import KeysError, write_secret
from zb_chassis.claims import Kind, Nkey
from zb_contracts.keys import KeyPurpose, SigningKey, certify
from zb_contracts.notes import NoteVerifier, is_signed_by, split_note

DAY_MS = 86_400_000
ROOT = SigningKey.from_seed(b"the offline root of this test...")
OLD, NEW = (SigningKey.from_seed(name) for name in (b"the old ledger key of this test.", b"the new ledger key of this test."))


def key(one: SigningKey, not_before_ms: int, not_after_ms: int | None = None) -> LedgerKey:
    word = certify(ROOT, one.public, KeyPurpose.LEDGER, not_before_ms=not_before_ms, not_after_ms=not_after_ms)
    return LedgerKey(word, one)


class Clock:
    """Real time, moved by hand."""

    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rotated(clock: Clock) -> LedgerKeys:
    """The new key from day 10 on, the old one until day 40."""
    return LedgerKeys([key(OLD, 0, 40 * DAY_MS), key(NEW, 10 * DAY_MS)], clock)


def test_the_newest_settled_key_signs_and_all_in_force_sign_checkpoints(rotated: LedgerKeys, clock: Clock) -> None:
    def at(now_ms: int) -> list[str]:
        clock.now_ms = now_ms
        assert rotated.signing is rotated.signers("log")[0].key
        return [one.key.kid for one in rotated.signers("log")]

    assert at(DAY_MS) == [OLD.kid]
    assert at(10 * DAY_MS) == [OLD.kid, NEW.kid]
    assert at(10 * DAY_MS + SETTLED_MS) == [NEW.kid, OLD.kid]
    assert at(40 * DAY_MS) == [NEW.kid]
    assert len(rotated.verifiers("log")) == 2


def test_a_founded_ledger_signs_at_once_and_one_without_a_key_in_force_never(clock: Clock) -> None:
    clock.now_ms = 10 * DAY_MS
    assert LedgerKeys([key(NEW, 10 * DAY_MS)], clock).signing is NEW
    with pytest.raises(NoKeyInForce, match="rotate-ledger"):
        _ = LedgerKeys([key(OLD, 0, DAY_MS)], clock).signing


def test_anchors_of_the_old_key_are_vouched_for(rotated: LedgerKeys, clock: Clock) -> None:
    clock.now_ms = DAY_MS
    before = Anchors(rotated).anchor("anchor-1", 1_000)
    clock.now_ms = 50 * DAY_MS
    assert Anchors(rotated).vouches(before)
    assert Anchors(rotated).anchor("anchor-1", 1_000) != before
    assert not Anchors(LedgerKeys.alone(ROOT)).vouches(before)


async def test_checkpoints_carry_both_lines_and_are_signed_again_when_the_old_key_ends(
    house: Any, rotated: LedgerKeys, clock: Clock, tmp_path: Path
) -> None:
    async def lines(now_ms: int) -> list[bool]:
        clock.now_ms = now_ms
        checkpoints = Checkpoints(rotated, tmp_path, house.clock)
        async with house.pool.acquire() as connection:
            await checkpoints.check_start(connection)
        head = await checkpoints.current(house.pool, 0)
        assert head is not None
        assert len(split_note(head.note)[1]) == sum(is_signed_by(head.note, one) for one in rotated.verifiers("zb.test/0"))
        return [is_signed_by(head.note, NoteVerifier("zb.test/0", one.public)) for one in (OLD, NEW)]

    assert await lines(DAY_MS) == [True, False]
    assert await lines(10 * DAY_MS) == [True, False], "what the key that signs now has signed stands"
    assert await lines(10 * DAY_MS + SETTLED_MS) == [True, True]
    assert await lines(40 * DAY_MS) == [True, True]


@pytest.fixture
def ring(house: Any, keys_folder: Path, rotated: LedgerKeys) -> KeyRing:
    return replace(read_keys(keys_folder), root_public=ROOT.public, ledger=rotated, ingest=house.signer._key)


async def test_verification_and_an_export_hold_across_a_rotation(
    house: Any, leaky: Any, ring: KeyRing, clock: Clock, tmp_path: Path
) -> None:
    await house.deliver(leaky, leaky.writes(3))
    for day in (1, 20, 50):
        clock.now_ms = house.now_ms = day * DAY_MS
        checkpoints = Checkpoints(ring.ledger, tmp_path, clock)
        await checkpoints.current(house.pool, 0)
        async with house.pool.acquire() as connection:
            report = await verify_ledger(connection, ring)
        assert [fault for fault in report.told if "checkpoint" in fault] == []
        assert report.checkpoints == 1
        folder = tmp_path / f"export-{day}"
        exporter = Exporter(house.pool, checkpoints, ring, clock, log_name="zb.test")
        await exporter.export(folder, Selection(shard=0, first=0, last=0))
        told = verified(folder)
        assert (told["count"], told["certificates"]) == (0, 2), told["faults"]


async def test_an_export_that_an_ended_key_signed_is_named(house: Any, ring: KeyRing, clock: Clock, tmp_path: Path) -> None:
    clock.now_ms = DAY_MS
    exporter = Exporter(house.pool, Checkpoints(ring.ledger, tmp_path, clock), ring, lambda: 50 * DAY_MS, log_name="zb.test")
    await exporter.export(tmp_path / "export", Selection(shard=0, first=0, last=0))
    assert {fault["fault"] for fault in verified(tmp_path / "export")["faults"]} == {"MANIFEST_FORGED", "CHECKPOINT_FORGED"}


def verified(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", str(folder / "verify_export.py"), str(folder), "--root", ROOT.public.hex(), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return found


@pytest.fixture
def keys_folder(tmp_path: Path) -> Path:
    keys = keyring.load_or_create(tmp_path / "home" / "up" / "keys", ("main",), DAY_MS)
    signer = Nkey.generate(Kind.ACCOUNT)
    write_secret(keys.folder / "device-signer.seed", signer.seed)
    write_secret(keys.folder / "device-signer.pub", b'{"signer":"%s","account":"A"}' % signer.public.encode())
    return keys.folder


def test_the_command_gives_the_old_key_an_end_and_the_service_reads_both(keys_folder: Path, tmp_path: Path) -> None:
    before = read_keys(keys_folder).ledger
    arguments = ["--folder", str(tmp_path / "home"), "keys", "rotate-ledger", "--overlap-days", "7"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)["ledger_keys"]
    ring = read_keys(tmp_path / "home" / "up" / "handed-out" / "field-ingest")
    new, old = ring.ledger.certificates
    assert [new.kid, old.kid] == [told[1]["kid"], told[0]["kid"]]
    assert (old.kid, new.not_after_ms) == (before.signing.kid, None)
    assert old.not_after_ms == new.not_before_ms + 7 * DAY_MS
    assert ring.ledger.signing.kid == old.kid, "the new key is not settled yet"
    assert [one.purpose for one in ring.certificates] == ["ledger", "ledger", "escrow"]
    assert not (tmp_path / "home" / "up" / "handed-out" / "field-ingest" / "root.seed").exists()


def test_a_rotation_needs_the_roots_own_seed(keys_folder: Path, tmp_path: Path) -> None:
    before = (keys_folder / "ledger.json").read_bytes()
    with pytest.raises(KeysError, match="is not there"):
        keyring.rotate_ledger(keys_folder, tmp_path / "nowhere.seed", overlap_ms=DAY_MS)
    other = tmp_path / "other.seed"
    other.write_text(SigningKey.generate().seed.hex())
    with pytest.raises(KeysError, match="not the seed of the root"):
        keyring.rotate_ledger(keys_folder, other, overlap_ms=DAY_MS)
    for number in range(15):
        keyring.rotate_ledger(keys_folder, keys_folder / "root.seed", overlap_ms=DAY_MS, now_ms=(number + 2) * DAY_MS)
    with pytest.raises(KeysError, match="16 at most"):
        keyring.rotate_ledger(keys_folder, keys_folder / "root.seed", overlap_ms=DAY_MS)
    assert len(read_keys(keys_folder).ledger.certificates) == 16
    assert before != (keys_folder / "ledger.json").read_bytes()


def test_a_folder_from_before_the_first_rotation_is_read(keys_folder: Path) -> None:
    file = keys_folder / "ledger.json"
    [only] = json.loads(file.read_text())["keys"]
    file.write_text(json.dumps(only))
    assert read_keys(keys_folder).ledger.signing.kid == only["certificate"]["kid"]
    assert len(keyring.rotate_ledger(keys_folder, keys_folder / "root.seed", overlap_ms=DAY_MS)) == 2


def test_a_running_process_takes_up_a_rotation_and_nothing_that_is_none(keys_folder: Path, tmp_path: Path) -> None:
    keys = read_keys(keys_folder).ledger
    held = Anchors(keys)
    watch, before = KeyWatch(keys_folder, keys), keys.signing.kid
    assert not watch.look()
    now_ms = time.time_ns() // 1_000_000 - 2 * SETTLED_MS
    keyring.rotate_ledger(keys_folder, keys_folder / "root.seed", overlap_ms=DAY_MS, now_ms=now_ms)
    assert watch.look()
    assert not watch.look()
    after = keys.signing.kid
    assert after != before
    assert held.vouches(Anchors(read_keys(keys_folder).ledger).anchor("anchor-1", 1_000))

    file, content = keys_folder / "ledger.json", (keys_folder / "ledger.json").read_bytes()
    oldest = json.loads(content)["keys"][0]
    for wrong in (b"{", json.dumps(oldest).encode()):
        write_secret(file, wrong)
        assert not watch.look()
        assert keys.signing.kid == after
    file.unlink()
    assert not watch.look()
    assert len(keys.certificates) == 2
