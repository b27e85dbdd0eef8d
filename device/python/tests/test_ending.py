"""A device that is revoked or wiped: reading goes at once, what was signed goes up first, the last event says what was left."""

from pathlib import Path

import pytest

from tests.fixtures.little_platform import PIN, Platform, Wire
from zb_contracts.envelope import check_signature
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.events.testimony import DeviceWiped
from zb_contracts.keys import SigningKey
from zb_contracts.problems import Problem
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, Command, answer_payload
from zb_device.bound_secret import FILE_NAME as SECRET_FILE
from zb_device.device import Device
from zb_device.faults import NoTechnician, Unreachable, Wiped, Wiping
from zb_device.folder import DATABASE_FILE, WIPED_FILE, Folder
from zb_device.log import KEEP_MS
from zb_device.recording import Draft
from zb_device.reporting import status
from zb_device.settings import Ended, WipeOrder
from zb_device.vault import BOXED

BOILER = "intervention:leaky-boiler"
ORDER = Command(kind="wipe", argument="retired", order="order-1")
LOST = Command(kind="wipe", argument="lost", order="order-2", at_once=True)
PHOTO = b"a leaking boiler" * 70_000


def told(platform: Platform) -> list[DeviceWiped]:
    """The attestations that the platform has."""
    signed = [row.event for row in platform.rows if row.event.header.type == "device.wiped.v1"]
    for event in signed:
        check_signature(platform.event_key, event)
    return [DeviceWiped.model_validate_json(event.signed.body) for event in signed]


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_a_revoked_device_loses_its_read_model_at_the_next_contact_and_goes_on_sending(device, platform, tmp_path):
    await device.record(Started(), stream=BOILER)
    await device.sync()
    platform.commands = (Command(kind="wipe", argument="stolen"),)
    platform.hold_from = 2
    await device.record(CommentAdded(text="before it heard"), stream=BOILER)
    await device.sync()

    assert not device.unlocked
    assert not [name for name in files_of(tmp_path / "device") if name.startswith("read-")]
    with pytest.raises(NoTechnician):
        await device.unlock(PIN)
    await device.record(CommentAdded(text="after it heard"), stream=BOILER)
    await device.sync()
    assert [row.kind for row in platform.rows] == ["admitted", "held", "held"]
    assert device.parts.log.counts()["held"] == 2
    assert status(device)["ending"] == {"cause": "stolen", "at": status(device)["ending"]["at"], "wipe": None}


async def test_no_box_for_a_technician_is_left_when_a_device_ends(device, platform):
    await device.work_on("leaky-boiler").sign(b"strokes", signer="Frau Weber", shown="two hours", mime="image/png")
    platform.commands = (Command(kind="suspend", argument="stolen"),)
    await device.sync()
    for table in BOXED:
        left = device._folder.connection.execute(f"select count(*) from {table} where for_reader is not null").fetchone()
        assert left == (0,), table


async def test_the_log_of_a_revoked_device_is_kept_until_some_days_after_its_receipts(device, platform, hands):
    platform.hold_from = 1
    platform.commands = (Command(kind="suspend", argument="retired"),)
    await device.record(Started(), stream=BOILER)
    await device.sync()
    kept = device.parts.log.outgoing(1)
    assert len(kept) == 1
    platform.server_ms += KEEP_MS + 1
    hands.pass_ms(KEEP_MS + 1)
    await device.sync()
    await device.sync()
    assert device.parts.log.outgoing(1) == []
    assert device.parts.log.counts()["held"] == 1


async def test_a_wipe_sends_everything_first_attests_and_destroys_the_store(device, platform, tmp_path):
    platform.connected = False
    await device.record(Started(), stream=BOILER)
    await device.record(CommentAdded(text="recorded off line"), stream=BOILER)
    platform.connected = True
    platform.commands = (ORDER,)
    await device.sync()

    (word,) = told(platform)
    assert (word.order, word.at_once, word.read_models, word.files_left, word.bytes_left) == ("order-1", False, 1, 0, 0)
    (left,) = word.logs
    assert (left.author, left.head, left.unsent, left.unreceipted) == ("dev-1-a", 2, 0, 0)
    assert [row.event.header.seq for row in platform.rows] == [1, 2, 3], "the attestation is the author's last event"
    assert files_of(tmp_path / "device") == {WIPED_FILE, "device.lock"}
    with pytest.raises(Wiped):
        await device.record(CommentAdded(text="nobody is there any more"), stream=BOILER)
    await device.close()
    with pytest.raises(Wiped, match="order-1"):
        Device.open(tmp_path / "device")


async def test_a_wiped_folder_can_be_enrolled_as_another_device(device, platform, hands, tmp_path):
    platform.commands = (ORDER,)
    await device.sync()
    await device.close()
    platform.commands, platform.event_key = (), b""
    platform.rows.clear()
    new = await Device.enrol(tmp_path / "device", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    await new.record(Started(), stream=BOILER)
    await new.sync()
    assert new.parts.log.head().seq == 1
    await new.close()


async def test_with_nothing_reachable_a_wipe_stays_pending_and_records_nothing_more(device, platform):
    platform.commands = (ORDER,)
    platform.drop_segments = 100
    await device.record(Started(), stream=BOILER)
    await device.sync()
    assert device.parts.ending.order is not None
    assert told(platform) == []
    assert not device.unlocked
    platform.connected = False
    with pytest.raises(Wiping):
        await device.record(CommentAdded(text="putting it off"), stream=BOILER)
    with pytest.raises(Unreachable):
        await device.sync()

    platform.connected, platform.drop_segments = True, 0
    await device.sync()
    if not device._folder.is_wiped:
        await device.sync()
    assert len(told(platform)) == 1
    assert device._folder.is_wiped


async def test_a_lost_device_is_wiped_at_once_and_says_what_went_with_it(device, platform, tmp_path):
    await device.attach(PHOTO, "image/jpeg", lambda prepared: [Draft(BOILER, CommentAdded(text="with a photo"))])
    await device.record(CommentAdded(text="never taken by the ledger"), stream=BOILER)
    platform.commands = (LOST,)
    platform.drop_segments = 1
    await device.sync()

    assert device._folder.is_wiped
    assert files_of(tmp_path / "device") == {WIPED_FILE, "device.lock"}
    assert platform.published, "it tried to send first"


async def test_an_answer_lost_after_the_attestation_attests_once_and_wipes_later(device, platform):
    await device.sync()
    platform.commands = (ORDER,)
    answers = iter([False, True, False, False])
    real = platform.answer

    def flaky(data: bytes) -> bytes:
        answer = real(data)
        if next(answers, False):
            raise Unreachable("the answer was lost")
        return answer

    platform.answer = flaky
    with pytest.raises(Unreachable):
        await device.sync()
    assert not device._folder.is_wiped
    await device.sync()
    assert device._folder.is_wiped
    assert len(told(platform)) == 1


async def test_the_same_order_twice_is_one_wipe_and_an_order_after_a_revocation_is_obeyed(device, platform):
    platform.commands = (Command(kind="wipe", argument="stolen"),)
    await device.sync()
    ended = device.parts.settings.get(Ended)
    assert ended is not None
    platform.commands = (ORDER, ORDER)
    await device.sync()
    (word,) = told(platform)
    assert word.read_models == 1
    assert device._folder.is_wiped


async def test_a_wipe_that_was_interrupted_is_finished_at_the_next_opening(device, platform, tmp_path):
    folder = tmp_path / "device"
    await device.record(Started(), stream=BOILER)
    await device.close()
    (folder / WIPED_FILE).write_text("dev-1 order-9")
    with pytest.raises(Wiped, match="order-9"):
        Folder.open(folder)
    assert not (folder / SECRET_FILE).exists()
    assert not (folder / DATABASE_FILE).exists()


async def test_a_wipe_by_an_answer_that_nobody_signed_is_no_wipe(device, platform):
    platform.commands = (LOST,)
    stranger = SigningKey.generate()
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), stranger)
    with pytest.raises(Problem):
        await device.sync()
    assert device.unlocked
    assert device.parts.settings.get(WipeOrder) is None
