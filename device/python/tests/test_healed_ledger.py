"""A ledger that lost rows: a device believes it only with the signed word, sends again what it holds, and tells its user."""

from collections.abc import Callable

import msgspec
import pytest

from tests.fixtures.little_platform import ORIGIN, Platform
from zb_contracts import merkle
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.healing import Healed, Healing, sign_healing
from zb_contracts.keys import SigningKey
from zb_contracts.problems import Problem
from zb_contracts.sync import SyncAnswer
from zb_contracts.times import format_time_ms
from zb_device.log import KEEP_MS, EventState
from zb_device.reporting import status
from zb_device.settings import LedgerView
from zb_device.syncing import LEDGER_HEALED

BOILER = "intervention:leaky-boiler"
Twist = Callable[[SyncAnswer], SyncAnswer]


async def recorded(device, count: int) -> None:
    for number in range(count):
        await device.record(CommentAdded(text=f"remark {number}"), stream=BOILER)
    await device.sync()


def lose(platform: Platform, kept: int) -> Healing:
    """The ledger's rows from `kept` on are gone; its word on it, which it has not given yet."""
    abandoned, size = merkle.root_at(len(platform.rows), platform.tree()), len(platform.rows)
    del platform.rows[kept:]
    root = merkle.root_at(kept, platform.tree())
    return Healing(
        number=1,
        origin=ORIGIN,
        kept=kept,
        kept_root=root.hex(),
        abandoned=size,
        abandoned_root=abandoned.hex(),
        at=format_time_ms(platform.server_ms),
    )


def saying(platform: Platform, word: Healing, key: SigningKey | None = None) -> Twist:
    """Answers that carry the word, with the proof from what was kept."""

    def with_word(answer: SyncAnswer) -> SyncAnswer:
        size, tree = len(platform.rows), platform.tree()
        proof = tuple(merkle.consistency_proof(word.kept, size, tree)) if word.kept else ()
        return msgspec.structs.replace(
            answer, healed=Healed(document=sign_healing(word, key or platform.ledger), consistency=proof)
        )

    return with_word


async def split(device) -> None:
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.split_view"


async def test_a_shorter_history_without_a_word_is_a_split_view(device, platform):
    await recorded(device, 5)
    lose(platform, 2)
    await split(device)
    assert device.parts.log.counts()[EventState.ADMITTED] == 5


async def test_what_the_ledger_lost_is_sent_again_and_the_person_is_told(device, platform):
    await recorded(device, 5)
    before = [row.event.header_hash for row in platform.rows]
    platform.twist = saying(platform, lose(platform, 2))

    await device.sync()
    await device.sync()

    assert [row.event.header_hash for row in platform.rows] == before
    assert device.parts.log.counts()[EventState.ADMITTED] == 5
    assert device.parts.log.mark() == 5
    (problem,) = status(device)["problems"]
    assert problem["code"] == LEDGER_HEALED
    assert "lost its rows from 2 on" in problem["message"]
    assert "3 events of this device are sent again, of 0 the bytes are no longer kept" in problem["message"]


async def test_work_goes_on_after_a_loss_and_every_row_is_lost_once(device, platform):
    await recorded(device, 3)
    platform.twist = saying(platform, lose(platform, 0))
    await device.sync()
    await recorded(device, 2)
    assert [row.event.header.seq for row in platform.rows] == [1, 2, 3, 4, 5]
    assert device.parts.log.mark() == 5
    assert len(status(device)["problems"]) == 1


async def test_the_same_word_does_not_cover_a_second_loss(device, platform):
    await recorded(device, 5)
    word = lose(platform, 2)
    platform.twist = saying(platform, word)
    await device.sync()
    await device.sync()
    before = [row.event.header_hash for row in platform.rows]
    assert len(before) == 5

    lose(platform, 3)
    platform.twist = saying(platform, word)
    await split(device)
    platform.twist = saying(platform, msgspec.structs.replace(word, number=2))
    await device.sync()
    await device.sync()
    # What follows is the device's own testimony of the split view.
    assert [row.event.header_hash for row in platform.rows][:5] == before


@pytest.mark.parametrize(
    "change",
    [{"kept": 1}, {"kept_root": "ab" * 32}, {"abandoned": 4}, {"kept": 5}],
    ids=["kept-less-than-it-says", "another-root", "published-less", "nothing-lost"],
)
async def test_a_word_that_does_not_fit_the_history_is_a_split_view(device, platform, change):
    await recorded(device, 5)
    word = lose(platform, 2)
    proof = saying(platform, word)
    other = sign_healing(msgspec.structs.replace(word, **change), platform.ledger)
    platform.twist = lambda answer: msgspec.structs.replace(
        answer, healed=Healed(document=other, consistency=proof(answer).healed.consistency)
    )
    await split(device)
    assert device.parts.log.counts()[EventState.ADMITTED] == 5


async def test_a_word_that_no_ledger_key_signed_or_of_another_log_is_not_believed(device, platform):
    await recorded(device, 5)
    word = lose(platform, 2)
    platform.twist = saying(platform, word, SigningKey.generate())
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.signature_invalid"
    platform.twist = saying(platform, msgspec.structs.replace(word, origin="zb.test/shard-9"))
    with pytest.raises(Problem):
        await device.sync()
    view = device.parts.settings.get(LedgerView)
    assert view is not None
    assert view.size == 5


async def test_a_word_about_what_the_device_never_saw_changes_nothing(device, platform):
    await recorded(device, 2)
    await device.record(CommentAdded(text="the ledger had this one, and lost it"), stream=BOILER)
    word = msgspec.structs.replace(lose(platform, 2), abandoned=9)
    platform.twist = saying(platform, word)
    await device.sync()
    assert status(device)["problems"] == []
    assert device.parts.log.mark() == 3


async def test_events_whose_bytes_are_gone_are_counted_for_the_person(device, platform, hands):
    await recorded(device, 3)
    hands.pass_ms(KEEP_MS + 60_000)
    platform.server_ms += KEEP_MS + 60_000
    await recorded(device, 1)
    platform.twist = saying(platform, lose(platform, 1))
    await device.sync()
    (problem,) = status(device)["problems"]
    assert "1 events of this device are sent again, of 2 the bytes are no longer kept" in problem["message"]
