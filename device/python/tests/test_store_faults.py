"""What can befall a store, each with its outcome: nothing signed is lost, and the fault has a name.

Beside this: wrong key, foreign secret, half-copied file, torn write, changed byte in `test_store`; an old copy that is put back
in `test_incarnations`; a kill at every write in `test_crash_points`.
"""

import asyncio
import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.little_platform import PIN, Hands, Platform, Wire
from zb_contracts.envelope import GENESIS, parse_event
from zb_contracts.events.fieldwork import CommentAdded, PhotoTaken, Started
from zb_contracts.sync import Command
from zb_device.device import Device
from zb_device.faults import NoTechnician, PinBlocked, PinTooWeak, ReadingDestroyed, StoreDamaged, WrongPin
from zb_device.folder import DATABASE_FILE
from zb_device.media import MediaState
from zb_device.reading import database_path
from zb_device.recording import Draft
from zb_device.settings import LockPolicy, Problems
from zb_device.vault import BACKOFF_S_MAX, FREE_TRIES, TRIES_MAX

BOILER = "intervention:leaky-boiler"
CHILD = Path(__file__).with_name("full_disk_child.py")
CHILD_TIMEOUT_S = 90
PHOTO = bytes(range(256)) * 5_000
PAGE_BYTES = 4_096


@pytest.mark.full_stretching
async def test_a_full_disk_refuses_by_name_and_keeps_what_it_confirmed(device, platform, hands, tmp_path):
    """On a real file system of two megabytes, in a mount namespace of its own."""
    await device.record(Started(), stream=BOILER)
    await device.close()
    mounted, out = tmp_path / "small", tmp_path / "after"
    mounted.mkdir()
    script = (
        f"mount -t tmpfs -o size=2m tmpfs {mounted} && cp -a {tmp_path / 'device'} {mounted}/device"
        f" && head -c 1300000 /dev/zero > {mounted}/filler"
        f" && {sys.executable} {CHILD} {mounted}/device {mounted}/filler && cp -a {mounted}/device {out}"
    )
    if shutil.which("unshare") is None:
        pytest.skip("this system has no mount namespaces")
    process = await asyncio.create_subprocess_exec(
        "unshare", "-rm", "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await asyncio.wait_for(process.communicate(), CHILD_TIMEOUT_S)
    if b"unshare" in complaint or b"mount:" in complaint:
        pytest.skip(f"no mount namespaces here: {complaint.decode().strip()}")
    assert process.returncode == 0, complaint.decode()
    told = json.loads(said)
    assert told["confirmed"] > 0
    assert told["refused"] == "device.disk_full"
    assert told["head"] == told["before"] + told["confirmed"]
    assert told["after"] == told["head"] + 1, "the chain goes on where it stood"

    again = Device.open(out, clock=hands.clock(), transport=Wire(platform))
    await again.unlock(PIN)
    events = [parse_event(one) for one in again.parts.log.opened(again.opened().unlocked.reader, "tech-anna")]
    previous = GENESIS
    for event in events:
        assert event.header.prev == previous
        previous = event.header_hash.hex()
    assert len(events) == told["after"]
    assert again.parts.media.items() == []
    await again.close()


def damage(path: Path, page: int) -> None:
    """One byte of a page (from 0) of a database."""
    data = bytearray(path.read_bytes())
    data[page * PAGE_BYTES + 100] ^= 1
    path.write_bytes(bytes(data))


async def test_a_damaged_read_model_is_begun_anew_and_the_next_sync_brings_it(device, platform, hands, tmp_path):
    await device.record(Started(), stream=BOILER)
    platform.put_document(BOILER, platform.own_events(BOILER))
    await device.sync()
    await device.close()
    damage(database_path(tmp_path / "device", "tech-anna"), 0)
    again = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    await again.unlock(PIN)
    assert (again.documents("intervention"), again.status()["problems"][-1]["code"]) == ([], "device.store_damaged")
    assert again.intervention("leaky-boiler").status == "in_progress", "what was recorded here is in the log"
    await again.sync()
    assert again.documents("intervention") == [BOILER]
    await again.close()


async def test_a_page_that_is_damaged_while_it_is_open_stops_neither_recording_nor_sending(device, platform, hands, tmp_path):
    for number in range(40):
        platform.put_document(f"site:{number}", [])
    await device.sync()
    await device.close()
    path = database_path(tmp_path / "device", "tech-anna")
    again = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    await again.unlock(PIN)
    for page in range(2, path.stat().st_size // PAGE_BYTES):
        damage(path, page)
    await again.record(Started(), stream="intervention:site-7")
    await again.sync()
    assert not again.unlocked
    assert len(platform.rows) == 1
    await again.unlock(PIN)
    await again.sync()
    assert len(again.documents("site")) == 40
    await again.close()


async def test_a_damaged_page_of_the_log_is_named_by_whatever_reads_it(device, tmp_path, hands, platform):
    for number in range(60):
        await device.record(CommentAdded(text=f"remark {number} " + "x" * 2_000), stream=BOILER)
    await device.close()
    path = tmp_path / "device" / DATABASE_FILE
    for page in range(path.stat().st_size // PAGE_BYTES // 2, path.stat().st_size // PAGE_BYTES):
        damage(path, page)
    again = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    assert "tell the office" in again.parts.settings.get(Problems).entries[-1][2]
    with pytest.raises(StoreDamaged, match=r"device\.db"):
        await again.sync()
    with pytest.raises(StoreDamaged, match=r"device\.db"):
        again.check()
    await again.close()
    assert path.exists(), "what can still be read of it is somebody's evidence"


async def test_a_photo_whose_chunk_was_damaged_fails_by_name_and_the_others_go_on(device, platform, tmp_path):
    for data in (PHOTO, PHOTO[::-1]):
        await device.attach(data, "image/jpeg", lambda made: [Draft(BOILER, PhotoTaken(file=made.file, source="camera"))])
    await device.sync()
    broken = device.parts.media.items()[0]
    chunk = next((tmp_path / "device" / "media").glob(f"{broken.sha256}.0"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert await device.upload() == 1
    states = {item.sha256: (item.state, item.code) for item in device.parts.media.items()}
    assert states.pop(broken.sha256) == (MediaState.FAILED, "device.store_damaged")
    assert [state for state, _ in states.values()] == [MediaState.STORED]


async def test_the_write_ahead_log_gone_is_an_old_copy_that_the_ledger_notices(device, platform, hands, tmp_path):
    """Somebody copied the database without its journal: what it held is not there, and the device goes on as another author."""
    await device.record(Started(), stream=BOILER)
    copy = tmp_path / "copy"
    await device.close()
    shutil.copytree(tmp_path / "device", copy)
    ahead = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    await ahead.record(CommentAdded(text="only in the journal"), stream=BOILER)
    await ahead.sync()
    await ahead.close()
    behind = Device.open(copy, clock=hands.clock(), transport=Wire(platform))
    await behind.sync()
    assert len(behind.parts.closed) == 1
    await behind.record(CommentAdded(text="goes on"), stream=BOILER)
    await behind.sync()
    assert platform.rows[-1].event.header.seq == 1
    assert (copy / DATABASE_FILE).exists()
    await behind.close()


async def test_pauses_after_wrong_pins_pass_with_time_and_not_with_the_wall_clock(device, hands, tmp_path):
    folder, passed = tmp_path / "device", [0]
    await device.close()
    right = hands.clock()
    clock = replace(right, wall_ms=lambda: right.wall_ms() + 10**9, real_elapsed_ms=lambda: 1_000 + passed[0])
    again = Device.open(folder, clock=clock)
    for _ in range(5):
        with pytest.raises(WrongPin):
            await again.unlock("000000")
    with pytest.raises(PinBlocked, match="30 s"):
        await again.unlock(PIN)
    passed[0] = 29_000
    await again.close()
    # After a reboot nobody knows how long it was off: the pause begins anew.
    rebooted = Device.open(folder, clock=replace(clock, boot="boot-2", real_elapsed_ms=lambda: passed[0]))
    with pytest.raises(PinBlocked, match="30 s"):
        await rebooted.unlock(PIN)
    passed[0] = 60_000
    await rebooted.unlock(PIN)
    await rebooted.close()


async def test_after_too_many_wrong_pins_reading_is_destroyed_and_what_was_signed_goes_up(device, platform, hands, tmp_path):
    await device.record(Started(), stream=BOILER)
    device.lock()
    passed = [0]
    device.clock = replace(device.clock, real_elapsed_ms=lambda: passed[0])
    for _ in range(TRIES_MAX - 1):
        with pytest.raises(WrongPin):
            device.parts.vault.open("tech-anna", bytes(32), device.clock)
        passed[0] += BACKOFF_S_MAX * 1000
    with pytest.raises(ReadingDestroyed, match="sign in again"):
        device.parts.vault.open("tech-anna", bytes(32), device.clock)
    with pytest.raises(NoTechnician):
        await device.unlock(PIN)
    await device.record(CommentAdded(text="still recording"), stream=BOILER)

    # What was sealed to the keys that went is not taken for damage under the new ones: it goes up for escrow.
    await device.sign_in("tech-anna", "a new beginning")
    await device.record(CommentAdded(text="readable again"), stream=BOILER)
    assert [line.value["text"] for line in device.intervention("leaky-boiler").lines] == ["readable again"]
    await device.sync()
    assert [row.event.header.seq for row in platform.rows] == [1, 2, 3]


async def test_tries_that_were_begun_together_are_counted_one_by_one(device):
    device.lock()
    faults = await asyncio.gather(*(device.unlock("000000") for _ in range(FREE_TRIES + 2)), return_exceptions=True)
    assert Counter(map(type, faults)) == {WrongPin: FREE_TRIES, PinBlocked: 2}


async def test_where_the_policy_asks_for_a_passphrase_a_pin_is_too_weak(device, tmp_path):
    device.use_lock(LockPolicy(kind="passphrase", idle_s=300))
    for weak in ("271828", "eleven char", "123456789012"):
        with pytest.raises(PinTooWeak):
            await device.change_pin(PIN, weak)
    await device.change_pin(PIN, "twelve words are more")
    device.lock()
    with pytest.raises(WrongPin):
        await device.unlock(PIN)
    await device.unlock("twelve words are more")


async def test_two_technicians_work_on_one_device_and_each_ones_wrong_pins_are_their_own(device, platform, hands: Hands):
    await device.sign_in("tech-bert", "bert's passphrase")
    for _ in range(5):
        with pytest.raises(WrongPin):
            await device.unlock("000000", "tech-anna")
    with pytest.raises(PinBlocked):
        await device.unlock(PIN, "tech-anna")
    await device.unlock("bert's passphrase", "tech-bert")
    made = await device.record(CommentAdded(text="bert goes on"), stream=BOILER)
    assert made.seq == 1


async def test_what_the_platform_revoked_stays_revoked_for_both_technicians(device, platform: Platform):
    await device.sign_in("tech-bert", "bert's passphrase")
    platform.commands = (Command(kind="suspend", argument="retired"),)
    await device.sync()
    for technician, pin in (("tech-anna", PIN), ("tech-bert", "bert's passphrase")):
        with pytest.raises(NoTechnician):
            await device.unlock(pin, technician)
