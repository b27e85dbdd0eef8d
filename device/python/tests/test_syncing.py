"""Syncing: receipts move the mark, nothing unproven is believed, and a fault of the network or the server loses nothing."""

import hashlib

import msgspec
import pytest

from tests.fixtures.little_platform import Wire
from zb_contracts.events.fieldwork import CommentAdded, Done, Started
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import root_of
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint
from zb_contracts.problems import Problem
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, Command, ScopeDelta, SyncAnswer, Verdict, answer_payload
from zb_device.faults import Refused, Unreachable
from zb_device.log import EventState
from zb_device.recording import Draft
from zb_device.reporting import open_entries, status
from zb_device.syncing import RESEND_AFTER_MS

BOILER = "intervention:leaky-boiler"
CELLAR = "intervention:dry-cellar"


def twisted(answer: SyncAnswer, **changes) -> SyncAnswer:
    return msgspec.structs.replace(answer, **changes)


def first_receipt_as(answer: SyncAnswer, **changes) -> SyncAnswer:
    first, *rest = answer.receipts
    return twisted(answer, receipts=(msgspec.structs.replace(first, **changes), *rest))


async def worked(device) -> None:
    await device.record(Started(), stream=BOILER)
    await device.record(Done(), stream=BOILER)


async def refused_with(device, code: str) -> None:
    """The sync fails with this problem, nothing is believed, and the device says so."""
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == code
    assert device.parts.log.counts()[EventState.ADMITTED] == 0
    assert device.parts.log.mark() == 0
    assert [problem["code"] for problem in status(device)["problems"]] == [code]


async def test_events_recorded_off_line_wait_and_go_up_in_order(device, platform):
    platform.connected = False
    await worked(device)
    with pytest.raises(Unreachable):
        await device.sync()
    assert device.parts.log.counts()[EventState.QUEUED] == 2

    platform.connected = True
    await device.sync()

    assert [row.event.header.seq for row in platform.rows] == [1, 2]
    assert device.parts.log.mark() == 2


async def test_an_answer_signed_by_a_stranger_is_refused(device, platform):
    await worked(device)
    stranger = SigningKey.generate()
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), stranger)
    await refused_with(device, "sync.signature_invalid")


async def test_an_answer_whose_signature_is_of_another_type_is_refused(device, platform):
    await worked(device)
    platform.seal_with = lambda answer: sign_document("application/other", answer_payload(answer), platform.ledger)
    await refused_with(device, "sync.signature_invalid")


async def test_an_answer_to_another_question_is_refused(device, platform):
    await worked(device)
    platform.twist = lambda answer: twisted(answer, nonce="0" * 32)
    await refused_with(device, "sync.wrong_nonce")


async def test_a_receipt_without_a_place_in_the_log_is_refused(device, platform):
    await worked(device)
    platform.twist = lambda answer: first_receipt_as(answer, inclusion=(), position=0)
    await refused_with(device, "sync.split_view")


async def test_a_receipt_that_turns_a_refusal_into_an_admission_is_refused(device, platform):
    await worked(device)
    platform.refuse[1] = "event.type_not_allowed"
    platform.twist = lambda answer: first_receipt_as(answer, verdict=Verdict.ADMITTED)
    await refused_with(device, "sync.split_view")


async def test_a_history_that_contradicts_the_last_checkpoint_is_a_split_view(device, platform):
    await device.record(Started(), stream=BOILER)
    await device.sync()
    size = device.parts.log.mark()

    def other_history(answer: SyncAnswer) -> SyncAnswer:
        root = root_of([hashlib.sha256(b"another ledger").digest()])
        note = sign_checkpoint(Checkpoint("zb.test/shard-0", 1, root), NoteSigner("zb.test/shard-0", platform.ledger))
        return twisted(answer, checkpoint=note, consistency=(), receipts=())

    platform.twist = other_history
    with pytest.raises(Problem, match="contradicts"):
        await device.sync()
    assert device.parts.log.mark() == size
    assert status(device)["problems"][-1]["code"] == "sync.split_view"


async def test_the_scope_never_goes_back(device, platform):
    platform.put_document(BOILER, [])
    platform.put_document(CELLAR, [])
    await device.sync()

    def older(answer: SyncAnswer) -> SyncAnswer:
        scope = ScopeDelta(epoch=platform.epoch, cursor=1, full=False, documents=(), count=2, more=False)
        return twisted(answer, scope=scope)

    platform.twist = older
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.rollback"
    assert device.opened().reading.scope().cursor == 2


async def test_the_scope_is_applied_with_its_cursor_and_tombstones_remove(device, platform):
    platform.put_document(BOILER, [])
    platform.put_document(CELLAR, [])
    await device.sync()
    assert device.opened().reading.ids("intervention") == [CELLAR, BOILER]

    platform.drop_document(CELLAR)
    report = await device.sync()

    assert device.opened().reading.ids("intervention") == [BOILER]
    assert (device.opened().reading.scope().cursor, report.full_resync) == (3, False)


async def test_a_count_that_does_not_fit_brings_everything_again(device, platform):
    platform.put_document(BOILER, [])
    platform.twist = lambda answer: twisted(answer, scope=msgspec.structs.replace(answer.scope, count=5))
    await device.sync()
    assert not device.opened().reading.scope().complete

    platform.twist = lambda answer: answer
    report = await device.sync()

    assert report.full_resync
    assert device.opened().reading.scope().complete
    assert device.opened().reading.ids("intervention") == [BOILER]


async def test_a_lost_answer_changes_nothing_and_the_next_one_settles_all(device, platform):
    await worked(device)
    platform.lose_answers = 1
    with pytest.raises(Unreachable):
        await device.sync()
    assert device.parts.log.counts()[EventState.RECEIVED] == 2

    report = await device.sync()

    assert (report.sent, report.mark, len(platform.rows)) == (0, 2, 2)


async def test_a_gap_is_filled_by_a_resend_that_carries_the_nonce(device, platform):
    platform.drop_segments = 1
    await worked(device)
    report = await device.sync()

    assert report.resent == 2
    assert platform.published[-1][0].endswith(":" + "ab" * 16)
    assert len(platform.rows) == 2
    await device.sync()
    assert device.parts.log.mark() == 2


async def test_a_refused_event_lets_the_others_pass_and_stays_visible_until_dealt_with(device, platform):
    platform.refuse[1] = "event.type_not_allowed"
    await worked(device)
    await device.sync()

    assert device.parts.log.mark() == 2
    (entry,) = open_entries(device, open_only=True, limit=10)
    assert (entry["state"], entry["code"], entry["message"]) == (
        "refused",
        "event.type_not_allowed",
        "because event.type_not_allowed",
    )
    assert device.deal_with(entry["id"])
    assert open_entries(device, open_only=True, limit=10) == []


async def test_a_held_event_stays_visible_and_is_asked_for_again(device, platform):
    platform.hold_from = 2
    await worked(device)
    await device.sync()
    (entry,) = open_entries(device, open_only=True, limit=10)
    assert (entry["state"], entry["seq"], device.parts.log.mark()) == ("held", 2, 2)

    lifted = platform.rows[1]
    platform.twist = lambda answer: twisted(
        answer,
        receipts=tuple(
            msgspec.structs.replace(receipt, verdict=Verdict.ADMITTED) if receipt.seq == lifted.event.header.seq else receipt
            for receipt in answer.receipts
        ),
    )
    await device.sync()

    assert device.parts.log.counts()[EventState.ADMITTED] == 2


async def test_beyond_many_held_events_the_receipts_of_later_ones_still_come(device, platform):
    platform.hold_from = 1
    for number in range(7):
        await device.record(CommentAdded(text=f"drop {number}"), stream=BOILER)
    platform.twist = lambda answer: twisted(answer, receipts=answer.receipts[:3], more=len(answer.receipts) > 3)

    report = await device.sync()

    assert (report.mark, device.parts.log.counts()[EventState.HELD]) == (7, 7)
    assert [request.mark for request in platform.requests] == [0, 3, 6]


async def test_what_the_broker_took_and_the_ledger_never_saw_is_sent_again_after_a_while(device, platform):
    platform.twist = lambda answer: twisted(answer, gap=None)
    platform.drop_segments = 1
    await worked(device)
    await device.sync()
    await device.sync()
    assert (len(platform.published), len(platform.rows)) == (1, 0)

    platform.server_ms += RESEND_AFTER_MS
    await device.sync()
    await device.sync()

    assert device.parts.log.mark() == 2
    assert len({message_id for message_id, _ in platform.published}) == 1


async def test_a_technician_who_locks_while_an_answer_is_on_its_way_stops_nothing(device, platform):
    platform.put_document(BOILER, [])
    await worked(device)

    def meanwhile(answer: SyncAnswer) -> SyncAnswer:
        device.lock()
        return answer

    platform.twist = meanwhile
    report = await device.sync()
    assert (report.mark, report.documents) == (2, 0)


async def test_a_scope_that_was_asked_for_another_technician_never_reaches_an_open_read_model(device, platform):
    platform.put_document(BOILER, [])

    await device.parts.sessions.renew("tech-bruno", device._client)
    opened = device.opened()
    report = await device.parts.syncer.sync(Wire(platform), opened.reading, opened.reader)
    assert report.documents == 0
    assert device.opened().reading.ids("intervention") == []


async def test_what_a_document_showed_stays_known_while_locked_and_after_it_left_the_scope(device, platform):
    shown = {"office-main": 7}
    platform.put_document(BOILER, [])
    platform.put_document(CELLAR, [])
    for stream, document in platform.documents.items():
        platform.documents[stream] = msgspec.structs.replace(document, vector=shown)
    await device.sync()
    platform.change += 1
    platform.documents[CELLAR] = msgspec.structs.replace(platform.documents[CELLAR], content=None, change=platform.change)
    await device.sync()
    assert device.opened().reading.document(CELLAR) is None
    device.lock()

    await device.record(Started(), stream=BOILER)
    await device.record(Started(), stream=CELLAR)
    await device.sync()

    assert [row.event.header.seen for row in platform.rows] == [shown, shown]


async def test_a_refused_request_names_its_code(device, platform):
    platform.twist = lambda answer: twisted(answer, refusal="sync.wrong_author", receipts=())
    with pytest.raises(Refused) as caught:
        await device.sync()
    assert caught.value.problem == "sync.wrong_author"


async def test_a_wipe_locks_reading_and_what_was_signed_is_still_sent(device, platform):
    await worked(device)
    platform.twist = lambda answer: twisted(answer, commands=(Command(kind="wipe", argument="stolen"),))
    await device.sync()
    assert not device.unlocked

    await device.record(CommentAdded(text="found it again"), stream=BOILER)
    platform.twist = lambda answer: answer
    await device.sync()

    assert len(platform.rows) == 3
    assert platform.published[-1][0].endswith(":sealed")


async def test_a_locked_device_sends_boxes_that_only_escrow_opens(device, platform):
    device.lock()
    await device.record(Started(), stream=BOILER)
    report = await device.sync()

    assert report.mark == 1
    assert b"leaky-boiler" not in platform.published[0][1]
    assert platform.rows[0].event.header.stream == BOILER


async def test_the_header_says_what_the_clocks_said(device, platform, hands):
    hands.pass_ms(60_000)
    hands.wall -= 3_600_000
    await device.record(Started(), stream=BOILER)
    await device.sync()

    header = platform.rows[0].event.header
    assert header.trusted_ms == platform.server_ms + 60_000
    assert header.at_ms == platform.server_ms + 60_000 - 3_600_000
    assert (header.boot, header.anchor.id) == ("boot-1", "anchor-0")


async def test_the_oldest_of_more_than_a_thousand_unsent_events_is_known(device, hands, platform):
    """A month in a dead zone: the status used to look at the newest thousand."""
    platform.connected = False
    first = await device.record(Started(), stream=BOILER)
    hands.pass_ms(30 * 86_400_000)
    for _ in range(63):
        await device.record_all([Draft(BOILER, CommentAdded(text="still here"))] * 16)
    shown = status(device)
    assert (shown["events"]["queued"], shown["events"]["oldest_unsettled_at"]) == (1_009, first.at)
    assert shown["waits"] == [{"what": "events", "for": "turn", "count": 1_009, "oldest_s": 30 * 86_400}]
