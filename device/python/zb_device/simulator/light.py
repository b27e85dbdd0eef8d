"""A device without a store: it sends, asks, and believes nothing that is not signed, as the SDK does; its log is a `Chain`.

It fetches the catalogues of its scope and tells of itself as the SDK does, and keeps of both what it needs to do so once. Whoever
runs it opens and closes the transport and says when there is a network. It asks when it has sent, then after a hint or by its
own timer, and stops when every event of its log has its receipt.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

import msgspec

from zb_contracts.catalogues import PREFIX, read_reference, unpacked
from zb_contracts.envelope import Anchor, SignedEvent
from zb_contracts.keys import KeyPurpose
from zb_contracts.segment import cut_segments, encode_segment, message_id
from zb_contracts.sync import (
    CATALOGUES_ASKED_MAX,
    About,
    Catalogue,
    Receipt,
    ScopeDelta,
    SyncAnswer,
    SyncRequest,
    Verdict,
    pack,
    unpack_document,
)
from zb_device.about import BATTERY_STEP_PERCENT
from zb_device.faults import Refused
from zb_device.keys import DeviceKeys
from zb_device.settings import LedgerView, Pinned, Session
from zb_device.simulator.chain import Chain, Pen
from zb_device.simulator.tally import Tally
from zb_device.transport import NatsTransport, Transport
from zb_device.trust import check_receipt, ledger_keys, next_view, open_answer

HEARD_S: Final = 1.0
"""How long it waits for a hint before it asks again by itself; doubles up to HEARD_S_MAX."""
HEARD_S_MAX: Final = 15.0
ROUNDS_MAX: Final = 64
MODEL: Final = "simulated"


@dataclass
class LightDevice:
    """One device of a fleet. `pen` signs what it records; a log that was signed elsewhere is adopted by `chain`."""

    pinned: Pinned
    keys: DeviceKeys
    session: Session
    tally: Tally
    chain: Chain = field(default_factory=Chain)
    boot: str = field(default_factory=lambda: secrets.token_hex(8))
    wall_error_ms: int = 0
    view: LedgerView = field(default_factory=LedgerView)
    mark: int = 0
    sent: int = 0
    interventions: deque[str] = field(default_factory=deque)
    """What the scope brought and nobody has visited yet, oldest first."""
    battery_percent: int | None = None
    waiting_files: int = 0
    """What its user would say of it: whoever runs it keeps both."""
    hinted: asyncio.Event = field(default_factory=asyncio.Event)
    ledger: dict[str, bytes] = field(default_factory=dict)
    """The ledger keys in force; empty: those that the pinned root certifies, verified once."""
    _scope: tuple[str, int] = ("", 0)
    _documents: set[str] = field(default_factory=set)
    _references: dict[str, str] = field(default_factory=dict)
    """Of the scope's catalogues: document -> the hash of its bytes."""
    _catalogues: set[str] = field(default_factory=set)
    """Hashes of the catalogues that came."""
    _told: About | None = None
    """What the platform was told last, and answered."""
    _telling: int = 0
    _published: deque[tuple[int, float]] = field(default_factory=deque)
    """Of each segment without a receipt: its last number, and when it was first published."""
    _anchor: tuple[Anchor, float] | None = None
    """The newest one, and when it came, by the monotonic clock."""

    # --- Recording ---

    @property
    def pen(self) -> Pen:
        """Signs as this device, now."""
        anchor, at = self._anchor or (None, 0.0)
        return Pen(
            author=self.pinned.author,
            key=self.keys.event,
            actor=self.session.technician or "",
            token=self.session.token_id,
            boot=self.boot,
            wall_error_ms=self.wall_error_ms,
            anchor=anchor,
            anchored_s=at,
        )

    @property
    def is_settled(self) -> bool:
        """Every event has its receipt."""
        return self.mark == self.chain.head

    def crash(self) -> None:
        """The process dies: what only memory knew is gone. It knows no more what the broker took, nor the time of an anchor."""
        self.boot, self._anchor = secrets.token_hex(8), None
        self.sent = self.mark
        self.hinted.clear()

    # --- One contact ---

    async def contact(self, transport: Transport, patience_s: float) -> bool:
        """Send what waits and ask until every event has its receipt; False where that took longer than `patience_s`.

        Unreachable without a network, a Problem for an answer that cannot be believed.
        """
        until, pause_s, answered, offered = time.monotonic() + patience_s, HEARD_S, set[str](), set[str]()
        await self.send(transport)
        for _ in range(ROUNDS_MAX):
            lacking = self._lacking(offered)
            answer = await self._asked(transport, lacking)
            if answer.gap is not None and answer.gap.nonce not in answered:
                answered.add(answer.gap.nonce)
                await self._publish(transport, self.chain.after(answer.gap.first - 1), answer.gap.nonce)
            if answer.more:
                continue
            # What this answer did not bring, the next one would not either: once a contact for each.
            offered |= set(lacking)
            if self._lacking(offered):
                continue
            if self.is_settled or time.monotonic() > until:
                break
            await self._heard(pause_s)
            pause_s = min(HEARD_S_MAX, pause_s * 2)
        return self.is_settled

    async def send(self, transport: Transport) -> None:
        """Publish what waits, and ask for nothing."""
        if waiting := self.chain.after(self.sent):
            await self._publish(transport, waiting, None)

    async def _publish(self, transport: Transport, events: Sequence[SignedEvent], nonce: str | None) -> None:
        for part in cut_segments(events):
            data, began = encode_segment(part), time.monotonic()
            await transport.publish(data, message_id(part, nonce))
            self.tally.published += len(part)
            self.tally.bytes_up += len(data)
            if nonce is None:
                self.sent += len(part)
            if not self._published or self.sent > self._published[-1][0]:
                self._published.append((self.sent, began))

    async def _heard(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self.hinted.wait()
        except TimeoutError:
            return
        self.hinted.clear()

    # --- Asking ---

    async def _asked(self, transport: Transport, lacking: tuple[str, ...]) -> SyncAnswer:
        """One question, its answer verified and applied."""
        (epoch, cursor), news = self._scope, self._news()
        request = SyncRequest(
            nonce=secrets.token_hex(16),
            author=self.pinned.author,
            mark=self.mark,
            head=self.chain.head,
            checkpoint_size=self.view.size,
            scope_epoch=epoch,
            scope_cursor=cursor,
            scope_count=len(self._documents),
            wants_scope=self.session.technician is not None,
            wants_checkpoint=not self.view.size,
            certificates=tuple(one.name for one in self.pinned.certificates if one.purpose == KeyPurpose.LEDGER),
            catalogues=lacking,
            about=news,
        )
        question = pack(request)
        data = await transport.ask(question)
        self.tally.asked += 1
        self.tally.bytes_up += len(question)
        self.tally.bytes_down += len(data)
        answer = open_answer(unpack_document(data), self._ledger_keys(), nonce=request.nonce, pinned=self.pinned)
        if answer.refusal is not None:
            raise Refused(f"the server refused to sync: {answer.refusal}", problem=answer.refusal)
        self._apply(answer)
        self._keep(answer.catalogues, lacking)
        self._told = news or self._told
        return answer

    def _lacking(self, offered: set[str]) -> tuple[str, ...]:
        """Catalogues to ask for: of the scope, not here, and not asked for in vain."""
        wanted = set(self._references.values()) - self._catalogues - offered
        return tuple(sorted(wanted)[:CATALOGUES_ASKED_MAX])

    def _keep(self, came: Sequence[Catalogue], asked: Sequence[str]) -> None:
        """The hashes of what came, verified. Bytes that nobody asked for are no catalogue of its."""
        for one in came:
            unpacked(one)
            if one.sha256 in asked:
                self._catalogues.add(one.sha256)
                self.tally.catalogues += 1

    def _news(self) -> About | None:
        """What it tells of itself, where that is not what was answered already."""
        before, charge = self._told or About(number=0, at_ms=0), self.battery_percent
        now = About(
            number=before.number,
            at_ms=before.at_ms,
            model=MODEL,
            app=f"zb-device {version('zb-device')}",
            battery_percent=None if charge is None else charge - charge % BATTERY_STEP_PERCENT,
            waiting_events=self.chain.head - self.mark,
            oldest_waiting_ms=self.chain.oldest_ms,
            waiting_files=self.waiting_files,
        )
        if now == before:
            return None
        self._telling += 1
        return msgspec.structs.replace(now, number=self._telling, at_ms=time.time_ns() // 1_000_000 + self.wall_error_ms)

    def _ledger_keys(self) -> dict[str, bytes]:
        # Once a device: the root's signature on a key does not change while a fleet runs.
        if not self.ledger:
            self.ledger = ledger_keys(self.pinned, time.time_ns() // 1_000_000)
        return self.ledger

    def _apply(self, answer: SyncAnswer) -> None:
        view = next_view(self.view, answer, self._ledger_keys(), self.pinned.log_origin)
        for receipt in answer.receipts:
            check_receipt(receipt, view)
        self.view, self._anchor = view, (answer.anchor, time.monotonic())
        for receipt in answer.receipts:
            self._take(receipt)
        now = time.monotonic()
        while self._published and self._published[0][0] <= self.mark:
            self.tally.to_receipt_ms.append(round((now - self._published.popleft()[1]) * 1000))
        self.sent = max(self.sent, self.mark)
        self.chain.settle(self.mark)
        if answer.scope is not None:
            self._learn(answer.scope)

    def _take(self, receipt: Receipt) -> None:
        """Count a receipt of the next event; what comes again, or may still change, counts nothing."""
        if receipt.retryable or receipt.seq != self.mark + 1:
            return
        if receipt.header_sha256 != self.chain.header_sha256(receipt.seq):
            self.tally.foreign += 1
            return
        self.mark = receipt.seq
        if receipt.verdict is Verdict.REFUSED:
            self.tally.refused[receipt.code or "unnamed"] += 1
        elif receipt.verdict is Verdict.HELD:
            self.tally.held += 1
        else:
            self.tally.admitted += 1

    def _learn(self, delta: ScopeDelta) -> None:
        """The names of the documents, what their vectors know, the new interventions, and which catalogues are referred to."""
        if delta.full:
            self._documents.clear()
            self._references.clear()
        for document in delta.documents:
            self.tally.documents += 1
            if document.content is None:
                self._documents.discard(document.id)
                self._references.pop(document.id, None)
                continue
            if document.id.startswith(PREFIX):
                self._references[document.id] = read_reference(document.id, document.content).sha256
            if document.id not in self._documents and document.id.startswith("intervention:"):
                self.interventions.append(document.id)
            self._documents.add(document.id)
            self.chain.know(document.id, document.vector)
        self._scope = (delta.epoch, delta.cursor)


def nats_transport(device: LightDevice) -> NatsTransport:
    """The SDK's own connection, under the device's session."""
    return NatsTransport(device.pinned, device.keys, lambda: device.session, device.hinted.set)
