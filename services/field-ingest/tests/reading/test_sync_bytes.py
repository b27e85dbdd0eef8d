"""What a sync costs in bytes. They are the same on every machine, so that they can be asserted."""

import itertools
import uuid
from typing import Any

import pytest

from field_ingest.projection.scope import ScopeLimits
from field_ingest.sync.responder import SyncResponder
from field_ingest.sync.store import PostgresSyncStore
from tests.fixtures.wire_bytes import Exchange, compressed_bytes, exchange
from zb_contracts import subjects
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import Assigned, InterventionCreated, Planned, Policy
from zb_contracts.signed import verify_document
from zb_contracts.sync import ANSWER_TYPE, CERTIFICATES_MAX, SyncAnswer, SyncRequest, pack, read_answer, unpack_document

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
DEVICE = "019ac222-0000-7000-8000-00000000000a"
TECHNICIAN = "camille-lefebvre"
IDLE_BYTES_MAX = 1024
CHANGED_RATIO_MAX = 1.3
CHANGED = 50


class Wire:
    """A device's requests to a responder, with names and ids as long as they are in the field."""

    def __init__(self, company: Any, author: str) -> None:
        numbers = itertools.count(1)
        store = PostgresSyncStore(company.pool, company.checkpoints)
        self._responder = SyncResponder(
            store, company.ledger_keys, clock=company.clock, new_id=lambda: str(uuid.UUID(int=next(numbers) * (2**120 // 7)))
        )
        self._keys = {company.ledger_key.kid: company.ledger_key.public}
        self._known = {
            "author": author,
            "certificates": tuple(one.name for one in company.ledger_keys.certificates),
        }

    async def ask(self, **what: Any) -> tuple[SyncAnswer, Exchange]:
        request = pack(SyncRequest(**({"nonce": uuid.UUID(int=2**127 // 3).hex, "mark": 0, "head": 0} | self._known | what)))
        data = await self._responder.answer(subjects.sync(DEVICE, TECHNICIAN), request)
        assert data is not None
        answer = read_answer(verify_document(ANSWER_TYPE, unpack_document(data), self._keys))
        return answer, exchange(DEVICE, TECHNICIAN, request, data)


def place(answer: SyncAnswer) -> dict[str, Any]:
    """What a device that took this answer says of its scope."""
    assert answer.scope is not None
    return {
        "scope_epoch": answer.scope.epoch,
        "scope_cursor": answer.scope.cursor,
        "scope_count": answer.scope.count,
        "wants_checkpoint": False,
    }


@pytest.fixture
async def busy(company: Any, office: Any) -> Any:
    """A technician with sixty planned interventions, more than the budget takes, and forty events of a device."""
    company.scopes = company.new_scopes(limits=ScopeLimits(documents_max=CHANGED))
    pen = await company.hire(f"{DEVICE}-1", device=DEVICE, technician=TECHNICIAN)
    for number in range(CHANGED + 10):
        stream = f"intervention:00000000-0000-4000-8000-{number:012x}"
        created = InterventionCreated(
            reference=f"W-{number}",
            kind="repair",
            title=f"boiler {number} leaks at the lower flange",
            site=f"site-{number % 17}",
            agency="main",
            instructions=f"Close the valve of floor {number % 9} first, then ring at the lodge and ask for {number * 37}.",
        )
        await company.record(office, stream, created)
        start = f"2026-11-{number % 20 + 1:02}T{number % 10 + 8:02}:00:00.000Z"
        await company.record(office, stream, Planned(planned_start=start, duration_min=60, policy=Policy(version=1)))
        await company.record(office, stream, Assigned(assignee=TECHNICIAN))
    for number in range(40):
        await company.record(pen, BOILER, CommentAdded(text=f"remark {number}"))
    await company.project()
    return company


async def test_a_sync_with_nothing_new_is_one_request_of_at_most_a_kilobyte_each_way(busy: Any) -> None:
    wire = Wire(busy, f"{DEVICE}-1")
    first, _ = await wire.ask(head=40)
    assert (len(first.receipts), first.mark) == (40, 40)
    assert first.scope is not None
    assert first.scope.omitted_count == 10

    answer, cost = await wire.ask(mark=40, head=40, checkpoint_size=100, **place(first))

    assert (answer.more, answer.receipts, answer.scope, answer.checkpoint) == (False, (), None, None)
    assert cost.asked <= IDLE_BYTES_MAX
    assert cost.answered <= IDLE_BYTES_MAX
    # Half of it is what cannot shrink: subjects, nonce, signature and anchor. A field more that is always sent is noticed.
    assert cost.asked < 512
    assert cost.answered < 640


async def test_also_of_a_ledger_that_rotated_its_key_sixteen_times(busy: Any) -> None:
    wire = Wire(busy, f"{DEVICE}-1")
    names = tuple(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(CERTIFICATES_MAX - 1))
    first, _ = await wire.ask(head=40)
    own = tuple(one.name for one in busy.ledger_keys.certificates)
    _, cost = await wire.ask(mark=40, head=40, checkpoint_size=100, certificates=own + names, **place(first))
    assert max(cost.asked, cost.answered) <= IDLE_BYTES_MAX


async def test_fifty_changed_documents_cost_little_more_than_their_own_compressed_bytes(busy: Any, office: Any) -> None:
    wire = Wire(busy, f"{DEVICE}-1")
    first, whole = await wire.ask(mark=40, head=40)
    given = {document.id: document for document in first.scope.documents if document.content}
    assert len(given) == CHANGED
    assert whole.answered <= CHANGED_RATIO_MAX * compressed_bytes(one.content for one in given.values())

    for stream in given:
        await busy.record(office, stream, Assigned(assignee=TECHNICIAN, tour_position=3))
    await busy.project()
    answer, cost = await wire.ask(mark=40, head=40, checkpoint_size=100, **place(first))

    assert answer.scope is not None
    contents = [one.content for one in answer.scope.documents if one.content]
    assert len(contents) == CHANGED
    assert cost.answered <= CHANGED_RATIO_MAX * compressed_bytes(contents)


async def test_a_device_that_asks_for_the_ledgers_head_gets_it_with_its_proof(busy: Any) -> None:
    wire = Wire(busy, f"{DEVICE}-1")
    first, _ = await wire.ask(head=40)
    answer, cost = await wire.ask(mark=40, head=40, checkpoint_size=100, **place(first) | {"wants_checkpoint": True})
    assert answer.checkpoint is not None
    assert answer.consistency
    assert answer.scope is None
    assert cost.answered <= 2 * IDLE_BYTES_MAX
