"""Sync answers, checked with nothing but what a device has: contracts, the ledger's public key, its last checkpoint."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import zstandard

from field_ingest.sync.arrivals import Arrival, Arrivals
from field_ingest.sync.responder import ON_THE_WAY_S
from zb_contracts import canonical, merkle, notes, subjects
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.events.office import Assigned, EventAdmitted, InterventionCreated
from zb_contracts.ledger_leaf import leaf_hash, read_leaf
from zb_contracts.problems import SYNC_CHECKPOINT_AHEAD, SYNC_MALFORMED, SYNC_WRONG_AUTHOR, SYNC_WRONG_TECHNICIAN
from zb_contracts.signed import verify_document
from zb_contracts.sync import ANSWER_TYPE, SyncAnswer, SyncRequest, Verdict, pack, read_answer, unpack_document

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
LOG = "zone-blanche.test/ledger"
NONCE = "0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.parametrize("company", [2], indirect=True)


class Asking:
    """A device's view: it asks, and believes only what it can verify."""

    def __init__(self, company: Any) -> None:
        self.company = company
        self.responder = company.responder()

    async def ask(self, author: str, device: str = "device-a", technician: str = "camille", **what: Any) -> SyncAnswer:
        request = SyncRequest(**({"nonce": NONCE, "author": author, "mark": 0, "head": 0} | what))
        data = await self.responder.answer(subjects.sync(device, technician), pack(request))
        assert data is not None
        return self.verified(data)

    def verified(self, data: bytes) -> SyncAnswer:
        keys = {self.company.ledger_key.kid: self.company.ledger_key.public}
        answer = read_answer(verify_document(ANSWER_TYPE, unpack_document(data), keys))
        assert answer.nonce == NONCE
        return answer

    def checkpoint(self, answer: SyncAnswer) -> notes.Checkpoint:
        assert answer.checkpoint is not None
        origin = f"{LOG}/{answer.shard}"
        verifier = notes.NoteVerifier(origin, self.company.ledger_key.public)
        return notes.verify_checkpoint(answer.checkpoint, origin, [verifier])


@pytest.fixture
def asking(company: Any) -> Asking:
    return Asking(company)


def created() -> InterventionCreated:
    return InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")


async def test_receipts_come_with_a_leaf_and_a_proof_in_the_signed_checkpoint(
    company: Any, office: Any, camille: Any, asking: Asking
) -> None:
    await company.record(office, BOILER, created())
    for number in range(300):
        await company.record(camille, BOILER, CommentAdded(text=f"remark {number}"))
    answer = await asking.ask(camille.name, mark=290)
    checkpoint = asking.checkpoint(answer)
    assert [receipt.seq for receipt in answer.receipts] == list(range(291, 301))
    assert answer.mark == 300
    for receipt in answer.receipts:
        assert receipt.verdict is Verdict.ADMITTED
        leaf = read_leaf(receipt.leaf)
        assert (leaf.kind, leaf.header_sha256) == ("admitted", receipt.header_sha256)
        merkle.verify_inclusion(leaf_hash(receipt.leaf), receipt.position, checkpoint.size, receipt.inclusion, checkpoint.root)


class Expected(Arrivals):
    """Notes who waits, and lets something happen meanwhile."""

    def __init__(self, pool: Any, meanwhile: Callable[[], Awaitable[int | None]]) -> None:
        super().__init__(pool)
        self.waited: list[tuple[str, int, float]] = []
        self._meanwhile = meanwhile

    @contextmanager
    def expected(self, author: str, head: int) -> Iterator[Arrival | None]:
        with super().expected(author, head) as arrival:
            assert arrival is not None

            async def wait(seconds: float) -> int | None:
                self.waited.append((author, head, seconds))
                return await self._meanwhile()

            arrival.wait = wait  # type: ignore[method-assign]
            yield arrival


async def test_what_was_just_sent_is_given_a_moment_to_arrive_and_answered_with_its_receipts(
    company: Any, office: Any, camille: Any, asking: Asking
) -> None:
    await company.record(office, BOILER, created())

    async def meanwhile() -> int | None:
        if len(arrivals.waited) > 1:
            return None
        await company.record(camille, BOILER, CommentAdded(text="on its way"))
        return int(await company.pool.fetchval("SELECT size FROM shards ORDER BY size DESC LIMIT 1"))

    arrivals = Expected(company.pool, meanwhile)
    asking.responder = company.responder(arrivals)
    assert [receipt.seq for receipt in (await asking.ask(camille.name, head=1)).receipts] == [1]
    assert (await asking.ask(camille.name, mark=1, head=2)).receipts == ()
    assert arrivals.waited == [(camille.name, 1, ON_THE_WAY_S), (camille.name, 2, ON_THE_WAY_S)]
    await asking.ask(camille.name, mark=1, head=1)
    await company.pool.execute("UPDATE authors SET gap_nonce = $1, gap_to = 3 WHERE author = $2", NONCE, camille.name)
    await asking.ask(camille.name, mark=1, head=3)
    assert len(arrivals.waited) == 2, "who has nothing on its way, or waits for a resend, is answered at once"


async def test_a_new_checkpoint_is_shown_to_continue_the_last_one(
    company: Any, office: Any, camille: Any, asking: Asking
) -> None:
    await company.record(office, BOILER, created())
    await company.record(camille, BOILER, CommentAdded(text="one"))
    old = asking.checkpoint(await asking.ask(camille.name))
    await company.record(camille, BOILER, CommentAdded(text="two"))
    answer = await asking.ask(camille.name, mark=1, checkpoint_size=old.size)
    new = asking.checkpoint(answer)
    merkle.verify_consistency(old.size, new.size, old.root, new.root, answer.consistency)
    assert [receipt.seq for receipt in answer.receipts] == [2]


async def test_rows_that_a_checkpoint_does_not_cover_get_no_receipt_from_it(company: Any, camille: Any) -> None:
    for text in ("one", "two"):
        await company.record(camille, BOILER, CommentAdded(text=text))
    store = company.sync_store()
    for size in (1, 2):
        moment = await store.moment(camille.name, "camille", 0, size, None)
        assert [row.seq for row in moment.rows] == list(range(1, size + 1))


async def test_a_fork_is_receipted_beside_the_event_that_stands(company: Any, camille: Any, asking: Asking) -> None:
    clone = replace(camille, seen={})
    await company.record(camille, BOILER, CommentAdded(text="the first life"))
    await company.record(clone, BOILER, CommentAdded(text="the second life"))
    answer = await asking.ask(camille.name)
    verdicts = {(receipt.seq, receipt.verdict, receipt.code) for receipt in answer.receipts}
    assert verdicts == {(1, Verdict.ADMITTED, None), (1, Verdict.REFUSED, "event.fork")}
    refused = next(receipt for receipt in answer.receipts if receipt.verdict is Verdict.REFUSED)
    assert refused.header_sha256 == clone.prev
    assert refused.message
    assert not refused.retryable


async def test_events_after_a_revocation_are_held_until_a_supervisor_admits_them(
    company: Any, office: Any, camille: Any, asking: Asking
) -> None:
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'lost' WHERE author = $1", camille.name)
    held = await company.record(camille, BOILER, Started(), informed=False)
    await company.project()
    answer = await asking.ask(camille.name)
    assert [(receipt.verdict, receipt.code) for receipt in answer.receipts] == [(Verdict.HELD, "event.held")]
    assert [command.kind for command in answer.commands] == ["wipe"]
    assert answer.scope is None
    assert await company.pool.fetchval("SELECT count(*) FROM states WHERE stream = $1", BOILER) == 0
    admission = EventAdmitted(event=held, author=camille.name, author_seq=1, supervisor="alix", reason="it was stolen later")
    await company.record(office, BOILER, admission)
    await company.project()
    state = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", BOILER))
    assert state["status"] == "in_progress"
    answer = await asking.ask(camille.name)
    assert [receipt.verdict for receipt in answer.receipts] == [Verdict.ADMITTED]


async def test_a_device_cannot_ask_as_another(company: Any, camille: Any, asking: Asking) -> None:
    await company.hire("device-b-1", device="device-b", technician="dominique")
    assert (await asking.ask(camille.name, device="device-b")).refusal == SYNC_WRONG_AUTHOR.code
    assert (await asking.ask("device-b-1")).refusal == SYNC_WRONG_AUTHOR.code
    assert (await asking.ask("nobody-1")).refusal == SYNC_WRONG_AUTHOR.code
    assert (await asking.ask(camille.name, technician="dominique")).refusal == SYNC_WRONG_TECHNICIAN.code
    assert (await asking.ask(camille.name)).refusal is None


async def test_a_claimed_checkpoint_beyond_the_ledger_is_refused_by_name(company: Any, camille: Any, asking: Asking) -> None:
    await company.record(camille, BOILER, CommentAdded(text="one"))
    assert (await asking.ask(camille.name, checkpoint_size=2)).refusal == SYNC_CHECKPOINT_AHEAD.code


async def test_a_malformed_request_is_named_where_it_has_a_nonce_and_counted_where_not(asking: Asking) -> None:
    def packed(value: Any) -> bytes:
        return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(value))

    named = await asking.responder.answer("sync.v1.device-a.camille", packed({"nonce": NONCE, "mark": "many"}))
    assert named is not None
    assert asking.verified(named).refusal == SYNC_MALFORMED.code
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    for data in (b"", b"\x00" * 100, packed(["no", "map"]), packed({"nonce": "short"}), bomb):
        assert await asking.responder.answer("sync.v1.device-a.camille", data) is None
    assert await asking.responder.answer("sync.v1.*.camille", packed({"nonce": NONCE})) is None
    assert asking.responder.counts.unreadable == 7


async def test_a_session_gets_its_scope_and_a_drain_gets_none(company: Any, office: Any, camille: Any, asking: Asking) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    scope = (await asking.ask(camille.name)).scope
    assert scope is not None
    assert (scope.full, scope.count, scope.more) == (True, 1, False)
    document = scope.documents[0]
    assert document.id == BOILER
    assert document.vector == {"office-main": 2}
    assert document.content is not None
    assert canonical.decode(document.content)["assignee"] == "camille"
    again = await asking.ask(camille.name, scope_epoch=scope.epoch, scope_cursor=scope.cursor, scope_count=1)
    assert again.scope is None
    assert (await asking.ask(camille.name, technician=subjects.DRAIN)).scope is None


@pytest.mark.parametrize("lie", [{"scope_epoch": "another"}, {"scope_cursor": 99}, {"scope_count": 7}])
async def test_a_mismatch_of_epoch_cursor_or_count_brings_everything_again(
    company: Any, office: Any, camille: Any, asking: Asking, lie: dict[str, Any]
) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    scope = (await asking.ask(camille.name)).scope
    assert scope is not None
    true = {"scope_epoch": scope.epoch, "scope_cursor": scope.cursor, "scope_count": scope.count}
    again = (await asking.ask(camille.name, **(true | lie))).scope
    assert again is not None
    assert again.full
    assert [document.id for document in again.documents] == [BOILER]


async def test_an_answer_is_cut_to_the_wanted_bytes_and_continued(
    company: Any, office: Any, camille: Any, asking: Asking
) -> None:
    for number in range(40):
        stream = f"intervention:00000000-0000-4000-8000-{number:012x}"
        await company.record(office, stream, created())
        await company.record(office, stream, Assigned(assignee="camille"))
    for number in range(60):
        await company.record(camille, BOILER, CommentAdded(text=f"remark {number}"))
    await company.project()
    held: set[str] = set()
    marks, place, rounds = 0, {"scope_epoch": "", "scope_cursor": 0, "scope_count": 0}, 0
    while True:
        rounds += 1
        answer = await asking.ask(camille.name, mark=marks, bytes_max=16 * 1024, **place)
        marks = max((receipt.seq for receipt in answer.receipts), default=marks)
        if answer.scope is not None:
            held |= {document.id for document in answer.scope.documents}
            place = {
                "scope_epoch": answer.scope.epoch,
                "scope_cursor": answer.scope.cursor,
                "scope_count": len(held),
            }
        if not answer.more:
            break
    assert rounds > 3
    assert marks == 60
    assert len(held) == 40
