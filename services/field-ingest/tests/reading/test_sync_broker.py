"""The responder behind the real broker: devices ask as themselves, services answer, hints arrive."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import pytest

from field_ingest.projection.hints import Hints
from field_ingest.sync.subscriber import SyncSubscriber
from zb_contracts import subjects
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.signed import verify_document
from zb_contracts.sync import ANSWER_TYPE, SyncAnswer, SyncRequest, pack, read_answer, unpack_document

BOILER = "intervention:11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def responding(company: Any, broker: Any) -> AsyncIterator[SyncSubscriber]:
    client = await broker.connect("field-ingest-sync")
    responder = company.responder()
    subscriber = SyncSubscriber(client, responder)
    await subscriber.start()
    yield subscriber
    await subscriber.stop()
    await client.close()


async def ask(company: Any, client: Any, subject: str, author: str, number: int = 0) -> SyncAnswer:
    request = SyncRequest(nonce=f"{number:032x}", author=author, mark=0, head=0)
    message = await client.request(subject, pack(request), timeout=10)
    keys = {company.ledger_key.kid: company.ledger_key.public}
    answer = read_answer(verify_document(ANSWER_TYPE, unpack_document(message.data), keys))
    assert answer.nonce == f"{number:032x}"
    return answer


async def test_devices_are_answered_side_by_side_each_with_its_own(
    company: Any, broker: Any, camille: Any, responding: SyncSubscriber
) -> None:
    await company.record(camille, BOILER, CommentAdded(text="one"))
    client = await broker.connect(broker.device("device-a", "camille"))
    subject = subjects.sync("device-a", "camille")
    answers = await asyncio.gather(*(ask(company, client, subject, camille.name, number) for number in range(40)))
    assert {len(answer.receipts) for answer in answers} == {1}
    assert responding.failed == 0
    await client.close()


async def test_a_malformed_request_gets_no_answer_and_the_next_one_does(
    company: Any, broker: Any, camille: Any, responding: SyncSubscriber
) -> None:
    client = await broker.connect(broker.device("device-a", "camille"))
    subject = subjects.sync("device-a", "camille")
    with pytest.raises(nats.errors.TimeoutError):
        await client.request(subject, b"\xff" * 100, timeout=0.5)
    assert (await ask(company, client, subject, camille.name)).refusal is None
    await client.close()


async def test_a_hint_reaches_its_device_and_no_other(company: Any, broker: Any, camille: Any) -> None:
    service = await broker.connect("field-ingest-sync")
    device = await broker.connect(broker.device("device-a", "camille"))
    other = await broker.connect(broker.device("device-b", "dominique"))
    hears = await device.subscribe(subjects.hint("device-a"))
    deaf = await other.subscribe(subjects.hint("device-b"))
    await asyncio.gather(device.flush(), other.flush())
    hints = Hints(service.publish)
    hints.note(["device-a"])
    await hints.say()
    assert (await hears.next_msg(timeout=10)).data == b""
    with pytest.raises(nats.errors.TimeoutError):
        await deaf.next_msg(timeout=0.2)
    for client in (service, device, other):
        await client.close()


async def test_stopping_finishes_what_is_at_work(company: Any, broker: Any, camille: Any) -> None:
    client = await broker.connect("field-ingest-sync")
    responder = company.responder()
    subscriber = SyncSubscriber(client, responder)
    await subscriber.start()
    device = await broker.connect(broker.device("device-a", "camille"))
    subject = subjects.sync("device-a", "camille")
    asked = [asyncio.create_task(ask(company, device, subject, camille.name, number)) for number in range(20)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    await subscriber.stop()
    await client.flush()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert responder.counts.answered == sum(isinstance(one, SyncAnswer) for one in done)
    assert responder.counts.answered >= 1
    await device.close()
    await client.close()
