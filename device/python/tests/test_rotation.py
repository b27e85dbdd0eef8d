"""The ledger's key is rotated: a device learns the new one from the root's word, whenever it syncs again, and forgets no end."""

import msgspec
import pytest

from tests.fixtures.little_platform import T0, Hands, Platform
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.keys import KeyPurpose, SigningKey, certify
from zb_contracts.problems import Problem
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, answer_payload
from zb_device.device import Device
from zb_device.settings import Pinned
from zb_device.trust import ledger_keys

STREAM = "intervention:11111111-1111-4111-8111-111111111111"


def kids(device: Device) -> set[str]:
    """The ledger keys that the device believes now."""
    pinned = device.parts.settings.get(Pinned)
    assert pinned is not None
    return set(ledger_keys(pinned, device.clock.real_ms()))


async def test_a_device_that_missed_the_whole_overlap_goes_on_under_the_new_key(device: Device, platform: Platform) -> None:
    await device.record(CommentAdded(text="before"), stream=STREAM)
    await device.sync()
    old = platform.rotate()
    await device.record(CommentAdded(text="after"), stream=STREAM)
    report = await device.sync()
    assert (report.receipts, device.settled()) == (1, True)
    assert kids(device) == {platform.ledger.kid} != {old.kid}
    await device.sync()
    names = [one.name for one in platform.rotated]
    assert sorted(platform.requests[-1].certificates) == sorted(names), "it says what it knows, so nothing is told twice"


async def test_both_keys_are_believed_while_they_overlap(device: Device, platform: Platform) -> None:
    old = platform.rotate(ended_ms=platform.real_ms() + 3_600_000)
    await device.sync()
    assert kids(device) == {old.kid, platform.ledger.kid}
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), old)
    await device.sync()


async def test_an_old_certificate_gives_a_rotated_key_no_time_back(device: Device, platform: Platform) -> None:
    old = platform.rotate()
    await device.sync()
    again = certify(platform.root, old.public, KeyPurpose.LEDGER, not_before_ms=0)
    platform.twist = lambda answer: msgspec.structs.replace(answer, certificates=(again,))
    await device.sync()
    assert kids(device) == {platform.ledger.kid}
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), old)
    with pytest.raises(Problem) as refused:
        await device.sync()
    assert refused.value.code == "sync.signature_invalid"


async def test_a_key_that_another_root_certified_is_no_key(device: Device, platform: Platform) -> None:
    mallory, before = SigningKey.generate(), kids(device)
    word = certify(mallory, mallory.public, KeyPurpose.LEDGER, not_before_ms=0)
    platform.twist = lambda answer: msgspec.structs.replace(answer, certificates=(word,))
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), mallory)
    with pytest.raises(Problem) as refused:
        await device.sync()
    assert (refused.value.code, kids(device)) == ("sync.signature_invalid", before)


async def test_a_new_incarnation_keeps_what_the_store_learned(device: Device, platform: Platform) -> None:
    platform.rotate()
    await device.sync()
    device.parts.succession.begin("a test")
    device._reopen()
    assert kids(device) == {platform.ledger.kid}


async def test_a_device_whose_clock_is_wrong_learns_the_time_from_the_new_key(
    device: Device, platform: Platform, hands: Hands
) -> None:
    platform.rotate()
    platform.real_error_ms = 40 * 86_400_000
    await device.parts.real_time.learn(device._client)
    assert device.parts.real_time() - platform.real_ms() < 5_000
    assert hands.wall == T0
