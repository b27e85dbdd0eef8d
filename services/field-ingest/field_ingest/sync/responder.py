"""The sync responder: what a device lacks (receipts, proofs, scope), in one answer signed by the ledger's key.

Device and technician come from the subject, which the broker guards; the body may only name an incarnation of that device.
What changes in an answer is all of one moment of the store (`ports`). It knows neither SQL nor transport: see `store`
and `subscriber`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec
import structlog

from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.checkpoints import StoredCheckpoint
from field_ingest.ledger.ledger_keys import LedgerKeys
from field_ingest.sync import receipts
from field_ingest.sync.arrivals import Arrivals
from field_ingest.sync.ports import Asker, Glance, Heal, Moment, Since, SyncStore
from field_ingest.sync.scope_delta import Room, fitting_catalogues, scope_delta, since
from zb_chassis.clock import Clock
from zb_contracts import merkle
from zb_contracts.envelope import Anchor
from zb_contracts.healing import Healed
from zb_contracts.keys import KeyCertificate, SigningKey
from zb_contracts.problems import (
    SYNC_CHECKPOINT_AHEAD,
    SYNC_REPLACED,
    SYNC_STORE_BEHIND,
    SYNC_WRONG_AUTHOR,
    SYNC_WRONG_TECHNICIAN,
    Problem,
)
from zb_contracts.signed import sign_document
from zb_contracts.subjects import DRAIN, ID_PATTERN
from zb_contracts.sync import (
    ANSWER_TYPE,
    CERTIFICATES_MAX,
    RECEIPTS_MAX,
    REQUEST_BYTES_MAX,
    Catalogue,
    Command,
    Gap,
    Nonce,
    Receipt,
    ScopeDelta,
    SyncAnswer,
    SyncRequest,
    Verdict,
    answer_payload,
    inflated,
    pack,
    unpack_request,
)

OVERHEAD_BYTES: Final = 8 * 1024
"""Anchor, checkpoint, proof, certificates, omitted names and signature: what every answer carries beside its content."""
SESSION_NOTED_EVERY_MS: Final = 60_000
ON_THE_WAY_S: Final = 1.0
"""So long at most an answer waits for what the device has sent and the ledger lacks: admission takes less to write it."""
WIPED: Final = frozenset({"lost", "stolen"})
REPLACED: Final = "replaced"

log: Final = structlog.get_logger(__name__)


@dataclass(slots=True)
class SyncCounts:
    """What the responder did since its start."""

    answered: int = 0
    refused: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _News:
    """What an answer says beside the asker's own row: nothing, unless it was looked for."""

    asker: Asker
    head: StoredCheckpoint | None = None
    receipts: tuple[Receipt, ...] = ()
    consistency: tuple[bytes, ...] = ()
    healed: Healed | None = None
    is_cut: bool = False
    scope: ScopeDelta | None = None
    catalogues: tuple[Catalogue, ...] = ()
    scope_waits: bool = False


class _Salvage(msgspec.Struct, frozen=True):
    """What a refusal needs of a request that cannot be read as a whole."""

    nonce: Nonce
    author: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")] = "unknown"


_salvage = msgspec.msgpack.Decoder(_Salvage)


class SyncResponder:
    """Answers requests. `new_id` makes the ids of anchors; `clock` is the service's, which a story may shift.

    `arrivals`: who waits for what a device has just sent; without it nothing is waited for.
    """

    def __init__(
        self, store: SyncStore, keys: LedgerKeys, *, clock: Clock, new_id: Callable[[], str], arrivals: Arrivals | None = None
    ) -> None:
        self._store, self._keys, self._clock, self._new_id, self._arrivals = store, keys, clock, new_id, arrivals
        self._anchors = Anchors(keys)
        self.counts = SyncCounts()

    async def answer(self, subject: str, data: bytes) -> bytes | None:
        """The packed, signed answer to a request on `sync.v1.<device>.<technician>`; None where not even a nonce can be
        read, or the subject is none."""
        device, technician = session_of(subject)
        if device is None or technician is None:
            self.counts.unreadable += 1
            return None
        try:
            request = unpack_request(data)
        except Problem as fault:
            return self._refusal_to_unreadable(device, data, fault)
        # Before the checkpoint: a key that is taken up meanwhile signs the next answer, whose checkpoint it has signed as well.
        key = self._keys.signing
        try:
            answer = await self._answer(request, device, technician)
        except Problem as fault:
            self.counts.refused += 1
            log.warning("sync refused", device=device, technician=technician, author=request.author, code=fault.code)
            return _signed(self._refusal(request.nonce, request.author, fault.code), key)
        self.counts.answered += 1
        return _signed(answer, key)

    async def _answer(self, request: SyncRequest, device: str, technician: str) -> SyncAnswer:
        glance = await self._glance(request, device, technician)
        if glance is None:
            raise Problem(SYNC_WRONG_AUTHOR, author=request.author, device=device)
        asker = _checked(glance.asker, request.author, device, technician)
        await self._note_session(glance, device, technician)
        if request.about is not None:
            # Before the answer: a device that gets one need not tell this again.
            await self._store.note_about(request.author, request.about, request.head, self._clock())
        heal = await self._healing(glance, request.checkpoint_size)
        proves = heal is not None or request.wants_checkpoint or glance.has_rows
        news = _News(asker)
        if proves or (_may_read(asker, technician) and _wants_news(request, glance)):
            news = await self._news(request, glance, technician, heal, proves=proves)
        return SyncAnswer(
            nonce=request.nonce,
            author=request.author,
            anchor=self._anchor(),
            shard=news.asker.shard,
            mark=news.asker.mark,
            receipts=news.receipts if news.is_cut else news.receipts + _stopped(news.asker, request.mark),
            checkpoint=news.head.note if news.head else None,
            consistency=news.consistency,
            gap=_gap(news.asker, request.head),
            commands=_commands(news.asker, request.head),
            scope=news.scope,
            catalogues=news.catalogues,
            more=news.is_cut or news.scope_waits,
            healed=news.healed,
            certificates=self._lacking(request.certificates),
        )

    async def _glance(self, request: SyncRequest, device: str, technician: str) -> Glance | None:
        """What is new for the asker. What it has just sent is given a moment to arrive: else it would ask again for it."""
        if self._arrivals is None or request.head <= request.mark:
            return await self._store.glance(request.author, technician, request.mark)
        with self._arrivals.expected(request.author, request.head) as arrival:
            glance = await self._store.glance(request.author, technician, request.mark)
            if arrival is None or glance is None or not _is_on_the_way(request, glance.asker, device):
                return glance
            size = await arrival.wait(ON_THE_WAY_S)
            if size is None:
                return await self._store.glance(request.author, technician, request.mark)
            return replace(glance, size=size, has_rows=True)

    async def _note_session(self, glance: Glance, device: str, technician: str) -> None:
        """Hints about the scope reach the device on which its technician asked last."""
        now_ms = self._clock()
        if glance.asked is None or glance.asked[0] != technician or glance.asked[1] < now_ms - SESSION_NOTED_EVERY_MS:
            await self._store.note_session(device, technician, now_ms)

    async def _healing(self, glance: Glance, claimed: int) -> Heal | None:
        """The ledger's word on a loss that may concern the head that the device verified."""
        heal = await self._store.heal(glance.asker.shard) if glance.has_lost else None
        if heal is not None and heal.healing.abandons(claimed):
            return heal
        if claimed > glance.size:
            raise Problem(SYNC_CHECKPOINT_AHEAD, claimed=claimed, size=glance.size)
        return None

    async def _news(self, request: SyncRequest, glance: Glance, technician: str, heal: Heal | None, *, proves: bool) -> "_News":
        """Receipts, proofs and scope. The checkpoint is made before they are read, so every row below it is there."""
        shard = glance.asker.shard
        head = await self._store.checkpoint(shard, glance.size) if proves else None
        wants_scope = request.wants_scope and _may_read(glance.asker, technician)
        moment, wanted = await self._moment(request, glance, technician, head.size if head else 0, wants_scope=wants_scope)
        room = Room(request.bytes_max - OVERHEAD_BYTES)
        news = _News(moment.asker)
        if head is not None:
            await self._prove(news, moment, head, request, heal, room)
        if wants_scope and _may_read(moment.asker, technician):
            news.scope, news.scope_waits = scope_delta(moment, wanted, room)
            if request.catalogues and not news.scope_waits:
                found = await self._store.catalogues(technician, request.catalogues)
                news.catalogues, news.scope_waits = fitting_catalogues(found, room)
        return news

    async def _moment(
        self, request: SyncRequest, glance: Glance, technician: str, size: int, *, wants_scope: bool
    ) -> tuple[Moment, Since | None]:
        """What the answer tells, and from where on it tells of the scope."""
        wanted = since(request, glance.counter) if wants_scope else None
        while True:
            moment = await self._store.moment(request.author, technician, request.mark, size, wanted)
            _checked(moment.asker if moment else None, request.author, glance.asker.device, technician)
            assert moment is not None
            if wanted is None or (now := since(request, moment.counter)) == wanted:
                return moment, wanted
            # The technician's order was made anew after the glance.
            wanted = now

    async def _prove(
        self, news: "_News", moment: Moment, head: StoredCheckpoint, request: SyncRequest, heal: Heal | None, room: Room
    ) -> None:
        rows, shard, size = moment.rows, head.shard, head.size
        taken = rows[: room.fitting([receipts.cost(row, size) for row in rows[:RECEIPTS_MAX]])]
        news.head, news.is_cut = head, len(taken) < len(rows)
        news.receipts, news.consistency = await self._proven(shard, taken, _provable(request.checkpoint_size, size), size)
        if heal is not None:
            _, consistency = await self._proven(shard, (), heal.healing.kept, size)
            news.healed = Healed(document=heal.document, consistency=consistency)

    async def _proven(
        self, shard: int, rows: Sequence[receipts.Row], old_size: int, size: int
    ) -> tuple[tuple[Receipt, ...], tuple[bytes, ...]]:
        """The receipts of these rows with their proofs, and the proof that the log at `size` only adds to that at `old_size`."""
        nodes = merkle.nodes_for_inclusion([row.position for row in rows], size) if rows else set()
        if old_size:
            nodes |= merkle.nodes_for_consistency(old_size, size)
        hashes = await self._store.subtrees(shard, nodes)
        consistency = merkle.consistency_proof(old_size, size, hashes) if old_size else ()
        return receipts.receipts_of(rows, size, hashes), tuple(consistency)

    def _lacking(self, known: Sequence[str] = ()) -> tuple[KeyCertificate, ...]:
        """The root's word on ledger keys that the device has not heard; to a device of which nothing is known, all of it."""
        return tuple(one for one in self._keys.certificates[:CERTIFICATES_MAX] if one.name not in known)

    def _anchor(self) -> Anchor:
        return self._anchors.anchor(self._new_id(), self._clock())

    def _refusal(self, nonce: str, author: str, code: str) -> SyncAnswer:
        return SyncAnswer(
            nonce=nonce, author=author, anchor=self._anchor(), shard=0, mark=0, refusal=code, certificates=self._lacking()
        )

    def _refusal_to_unreadable(self, device: str, data: bytes, fault: Problem) -> bytes | None:
        self.counts.unreadable += 1
        log.warning("sync request unreadable", device=device, reason=str(fault))
        try:
            found = _salvage.decode(inflated(data, REQUEST_BYTES_MAX))
        except (Problem, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        return _signed(self._refusal(found.nonce, found.author, fault.code), self._keys.signing)


def _signed(answer: SyncAnswer, key: SigningKey) -> bytes:
    return pack(sign_document(ANSWER_TYPE, answer_payload(answer), key))


def session_of(subject: str) -> tuple[str | None, str | None]:
    """Device and technician of a sync subject; None for each that is not an id."""
    parts = subject.split(".")
    if len(parts) != 4 or parts[:2] != ["sync", "v1"] or not all(map(ID_PATTERN.fullmatch, parts[2:])):
        return None, None
    return parts[2], parts[3]


def _checked(asker: Asker | None, author: str, device: str | None, technician: str) -> Asker:
    """The author, if it is an incarnation of the device and the technician has had a session there."""
    if asker is None or asker.device != device:
        raise Problem(SYNC_WRONG_AUTHOR, author=author, device=device)
    if technician != DRAIN and not asker.has_session:
        raise Problem(SYNC_WRONG_TECHNICIAN, device=device, technician=technician)
    return asker


def _is_on_the_way(request: SyncRequest, asker: Asker, device: str) -> bool:
    """The device has sent more than the ledger has of this author, which is its own, and nothing holds it up."""
    return asker.device == device and request.head > asker.mark and asker.stopped_seq is None and asker.gap_nonce is None


def _wants_news(request: SyncRequest, glance: Glance) -> bool:
    """The device has not all of its scope, or lacks a catalogue."""
    return request.wants_scope and (bool(request.catalogues) or since(request, glance.counter) is not None)


def _may_read(asker: Asker, technician: str) -> bool:
    """A drain session, and a device that is revoked, suspended or to be wiped, get receipts and no scope."""
    return technician != DRAIN and asker.revoked_at_ms is None and asker.suspended is None and asker.wipe_order is None


def _provable(old_size: int, size: int) -> int:
    """From where a log of this size can be shown to continue; 0 for a head that it never had."""
    return old_size if old_size <= size else 0


def _gap(asker: Asker, head: int) -> Gap | None:
    """What the ledger asks for once more; nothing of a device that has nothing beyond its mark."""
    return Gap(first=asker.mark + 1, nonce=asker.gap_nonce) if asker.gap_nonce and head > asker.mark else None


def _stopped(asker: Asker, mark: int) -> tuple[Receipt, ...]:
    """The refusal at which the author's chain waits: it has no row, because trying again may help."""
    if asker.stopped_seq is None or asker.stopped_seq <= mark:
        return ()
    return (
        Receipt(
            seq=asker.stopped_seq,
            id="",
            verdict=Verdict.REFUSED,
            code=asker.stopped_code,
            retryable=True,
            message=asker.stopped_message,
        ),
    )


def _commands(asker: Asker, head: int) -> tuple[Command, ...]:
    cause = asker.revoked_cause
    wiped = () if asker.wipe_order is None else (_wipe(asker),)
    if asker.revoked_at_ms is not None and not (cause == REPLACED and asker.can_renew):
        return wiped or (Command(kind="wipe" if cause in WIPED else "suspend", argument=cause),)
    suspended = wiped or (() if asker.suspended is None else (Command(kind="suspend", argument=asker.suspended),))
    if asker.revoked_at_ms is not None:
        return (*suspended, Command(kind="new_incarnation", argument=SYNC_REPLACED.code))
    if head < asker.mark:
        return (*suspended, Command(kind="new_incarnation", argument=SYNC_STORE_BEHIND.code))
    return suspended


def _wipe(asker: Asker) -> Command:
    return Command(kind="wipe", argument=asker.revoked_cause, order=asker.wipe_order, at_once=asker.wipe_at_once)
