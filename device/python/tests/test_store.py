"""The store on disk: what was confirmed survives any kill, a damaged or foreign file is named, a thief reads nothing."""

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from zb_contracts.envelope import GENESIS, check_signature, parse_event
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.problems import Problem
from zb_device.bound_secret import FILE_NAME as SECRET_FILE
from zb_device.bound_secret import BoundSecret
from zb_device.database import open_database
from zb_device.device import Device
from zb_device.faults import (
    AlreadyEnrolled,
    DeviceBusy,
    NoTechnician,
    NotEnrolled,
    PinBlocked,
    PinTooWeak,
    StoreDamaged,
    Unreachable,
    WrongPin,
)
from zb_device.folder import DATABASE_FILE

pytestmark = pytest.mark.full_stretching  # other processes open the store
BOILER = "intervention:leaky-boiler"
PIN = "271828"
KILLS = 4
ANSWER_TIMEOUT_S = 30


@pytest_asyncio.fixture
async def folder(device, tmp_path) -> Path:
    """An enrolled device's folder that nobody has open."""
    await device.record(Started(), stream=BOILER)
    await device.close()
    return tmp_path / "device"


async def reopened(folder: Path, pin: str = PIN) -> Device:
    device = Device.open(folder)
    await device.unlock(pin)
    return device


async def served(folder: Path) -> asyncio.subprocess.Process:
    """A `zb-device serve` of its own, ready for commands."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "zb_device",
        "--folder",
        str(folder),
        "serve",
        "--json",
        "--offline",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"ZB_DEVICE_PIN": PIN},
    )
    send(process, command="status")
    assert (await answer_of(process))["result"]["unlocked"]
    return process


async def answer_of(process: asyncio.subprocess.Process) -> dict:
    line = await asyncio.wait_for(process.stdout.readline(), ANSWER_TIMEOUT_S)
    return json.loads(line)


def send(process: asyncio.subprocess.Process, **command) -> None:
    process.stdin.write(json.dumps(command).encode() + b"\n")


async def test_killed_in_the_middle_of_appends_every_confirmed_event_is_there(folder, platform):
    confirmed: list[dict] = []
    for kill in range(KILLS):
        process = await served(folder)
        for number in range(200):
            body = {"text": f"remark {number} of run {kill}"}
            send(process, command="record", type="intervention.comment_added.v1", intervention="leaky-boiler", body=body)
        for _ in range(5 + 17 * kill):
            answer = await answer_of(process)
            assert answer["ok"], answer
            confirmed.append(answer["result"])
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        confirmed += [json.loads(line)["result"] for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
        await process.wait()

    device = await reopened(folder)
    events = [parse_event(signed) for signed in device.parts.log.opened(device.opened().unlocked.reader, "tech-anna")]
    await device.close()

    on_disk = {event.header.seq: event.header.id for event in events}
    assert confirmed
    assert {event["seq"]: event["id"] for event in confirmed}.items() <= on_disk.items()
    previous = GENESIS
    for seq, event in enumerate(events, start=1):
        check_signature(platform.event_key, event)
        assert (event.header.seq, event.header.prev) == (seq, previous)
        previous = event.header_hash.hex()


async def test_a_second_process_is_told_that_the_device_is_in_use(folder):
    first = await reopened(folder)
    with pytest.raises(DeviceBusy, match="another process"):
        Device.open(folder)
    await first.close()


async def test_an_empty_folder_and_a_foreign_one_are_told_apart(tmp_path, folder):
    with pytest.raises(NotEnrolled):
        Device.open(tmp_path / "nothing-here")
    (folder / SECRET_FILE).unlink()
    with pytest.raises(StoreDamaged, match=r"device\.secret is missing"):
        Device.open(folder)


async def test_another_devices_secret_opens_nothing_and_destroys_nothing(folder):
    own = (folder / SECRET_FILE).read_bytes()
    (folder / SECRET_FILE).write_bytes(bytes(32))
    with pytest.raises(StoreDamaged, match="wrong key"):
        Device.open(folder)
    (folder / SECRET_FILE).write_bytes(own)
    device = await reopened(folder)
    assert device.parts.log.head().seq == 1
    await device.close()


async def test_a_changed_byte_in_the_database_is_found(folder):
    path = folder / DATABASE_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged):
        await checked(folder)


async def test_a_half_copied_database_is_named(folder):
    path = folder / DATABASE_FILE
    path.write_bytes(path.read_bytes()[: 3 * 4096 + 100])
    with pytest.raises(StoreDamaged):
        await checked(folder)


async def checked(folder: Path) -> None:
    device = Device.open(folder)
    try:
        device.check()
    finally:
        await device.close()


async def test_a_whole_store_passes_its_check(folder):
    await checked(folder)


async def test_a_torn_write_at_the_end_of_the_journal_loses_only_what_was_not_confirmed(folder, tmp_path):
    device = await reopened(folder)
    await device.record(CommentAdded(text="confirmed"), stream=BOILER)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    await device.close()
    journal = copy / f"{DATABASE_FILE}-wal"
    with journal.open("ab") as file:
        file.write(os.urandom(2_000))

    torn = await reopened(copy)

    assert torn.parts.log.head().seq == 2
    assert [line.value["text"] for line in torn.intervention("leaky-boiler").lines] == ["confirmed"]
    await torn.close()


async def test_a_store_of_a_newer_version_is_left_alone(folder):
    connection = open_database(folder / DATABASE_FILE, BoundSecret.read(folder).derive("device.db"), "device")
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(Problem, match="99"):
        Device.open(folder)


async def test_files_are_the_owners_alone_and_say_nothing(folder):
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == 0o600, path
            assert b"leaky-boiler" not in path.read_bytes(), path
            assert b"SQLite format" not in path.read_bytes()[:16], path


async def test_with_the_devices_secret_but_no_pin_nobody_reads_an_event(folder):
    key = BoundSecret.read(folder).derive("device.db")
    connection = open_database(folder / DATABASE_FILE, key, "device")
    for row in connection.execute("select for_escrow, for_reader from log").fetchall():
        assert all(b"leaky-boiler" not in value for value in row)
    wrapped = connection.execute("select wrapped from readers").fetchone()[0]
    connection.close()
    assert len(wrapped) > 64


async def test_wrong_pins_are_counted_across_restarts_and_cost_time(folder):
    for _ in range(3):
        device = Device.open(folder)
        with pytest.raises(WrongPin):
            await device.unlock("000000")
        await device.close()
    device = Device.open(folder)
    for _ in range(2):
        with pytest.raises(WrongPin):
            await device.unlock("000000")
    with pytest.raises(PinBlocked, match="try again in"):
        await device.unlock(PIN)
    await device.record(CommentAdded(text="recording goes on"), stream=BOILER)
    assert device.parts.log.head().seq == 2
    await device.close()


async def test_two_technicians_have_two_read_models_and_neither_reads_the_other(device, platform, tmp_path):
    await device.record(CommentAdded(text="written by anna"), stream=BOILER)
    platform.put_document(BOILER, [])
    await device.sync()

    with pytest.raises(PinTooWeak):
        await device.sign_in("tech-bert", "1")
    await device.sign_in("tech-bert", "another passphrase")

    assert device.opened().reading.ids("intervention") == []
    assert device.listed() == []
    assert {path.name for path in (tmp_path / "device").glob("read-*.db")} == {"read-tech-anna.db", "read-tech-bert.db"}
    made = await device.record(CommentAdded(text="written by bert"), stream=BOILER)
    await device.unlock(PIN, "tech-anna")
    texts = [line.value["text"] for line in device.intervention("leaky-boiler").lines]
    assert (texts, made.seq) == (["written by anna"], 2)
    with pytest.raises(NoTechnician):
        await device.unlock(PIN, "tech-carl")


async def test_a_pin_that_is_too_weak_uses_up_no_code(platform, hands, tmp_path):
    with pytest.raises(PinTooWeak):
        await Device.enrol(tmp_path / "weak", platform.invitation(), "1", clock=hands.clock())
    assert platform.enrolments == 0
    device = await Device.enrol(tmp_path / "weak", platform.invitation(), PIN, clock=hands.clock())
    await device.close()
    with pytest.raises(AlreadyEnrolled):
        await Device.enrol(tmp_path / "weak", platform.invitation(), PIN, clock=hands.clock())


async def test_a_lost_enrolment_answer_is_asked_for_again_with_the_same_keys(platform, hands, tmp_path):
    platform.lose_answers = 1
    with pytest.raises(Unreachable):
        await Device.enrol(tmp_path / "lost", platform.invitation(), PIN, clock=hands.clock())
    with pytest.raises(NotEnrolled, match="not finished"):
        Device.open(tmp_path / "lost")

    device = await Device.enrol(tmp_path / "lost", platform.invitation(), PIN, clock=hands.clock())

    assert (platform.enrolments, device.technician) == (2, "tech-anna")
    await device.close()
