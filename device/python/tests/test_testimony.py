"""A device that is shown two histories says so in its own log, with both signed heads, once; and it is sent."""

import msgspec
import pytest

from tests.fixtures.little_platform import ORIGIN, Platform
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.testimony import SplitViewSeen
from zb_contracts.notes import Checkpoint, NoteSigner, NoteVerifier, sign_checkpoint, verify_checkpoint
from zb_contracts.problems import Problem
from zb_contracts.sync import SyncAnswer
from zb_device.device import Device

STREAM = "intervention:11111111-1111-4111-8111-111111111111"


def told_by_device(platform: Platform) -> list[SplitViewSeen]:
    """What the device testified to, as the platform has it."""
    signed = [row.event.signed for row in platform.rows if row.event.header.type == "device.split_view_seen.v1"]
    return [SplitViewSeen.model_validate_json(event.body) for event in signed]


async def test_two_histories_are_testified_to_once_with_the_ledgers_own_signatures(device: Device, platform: Platform) -> None:
    await device.record(CommentAdded(text="one"), stream=STREAM)
    await device.sync()

    def another(answer: SyncAnswer) -> SyncAnswer:
        note = sign_checkpoint(Checkpoint(ORIGIN, 2, bytes(32)), NoteSigner(ORIGIN, platform.ledger))
        return msgspec.structs.replace(answer, checkpoint=note, receipts=())

    platform.twist = another
    for _ in range(3):
        with pytest.raises(Problem) as refused:
            await device.sync()
        assert refused.value.code == "sync.split_view"
    (told,) = told_by_device(platform)
    assert told.seen is not None
    keys = [NoteVerifier(ORIGIN, platform.ledger.public)]
    seen, shown = (verify_checkpoint(note, ORIGIN, keys) for note in (told.seen, told.shown))
    assert (seen.size, shown.size, shown.root, told.device) == (1, 2, bytes(32), "dev-1")
    row = platform.rows[-1].event.header
    assert (row.stream, row.actor, row.seq) == ("device:dev-1", "tech-anna", 2)


async def test_a_receipt_that_is_not_in_the_first_head_ever_shown_is_testified_to(device: Device, platform: Platform) -> None:
    await device.record(CommentAdded(text="one"), stream=STREAM)
    platform.twist = lambda answer: msgspec.structs.replace(
        answer, receipts=tuple(msgspec.structs.replace(one, inclusion=(bytes(32),)) for one in answer.receipts)
    )
    with pytest.raises(Problem):
        await device.sync()
    platform.twist = lambda answer: answer
    await device.sync()
    (told,) = told_by_device(platform)
    assert told.seen is None
    assert device.settled(), "once the ledger is as it was, the testimony itself has its receipt"
