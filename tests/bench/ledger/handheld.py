"""A device of the measured latency: a session of its own, the SDK's timer, the SDK's distrust; no store and no screen.

It publishes on its beat, asks at once, asks again on a hint and by the timer, and counts a receipt only when answer, checkpoint
and proof verify. What a store on a phone costs is not the server's.
"""

import asyncio
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg

from tests.bench.ledger.corpus import Device
from tests.bench.ledger.workload import Segment
from zb_chassis.claims import Credentials
from zb_contracts import subjects
from zb_contracts.segment import MESSAGE_ID_HEADER
from zb_contracts.sync import SyncAnswer, SyncRequest, Verdict, pack, unpack_document
from zb_device.background import Background
from zb_device.settings import LedgerView, Pinned
from zb_device.trust import check_receipt, next_view, open_answer

REQUEST_S: Final = 10.0
RECEIPTED_S: Final = 30.0


@dataclass
class Times:
    """Seconds from the call to publish: until the broker had stored the segment, until its receipts were verified."""

    stored: list[float] = field(default_factory=list)
    receipted: list[float] = field(default_factory=list)
    asked: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Handheld:
    """One device. `waiting` are the segments that it will record, in order."""

    device: Device
    pinned: Pinned
    keys: dict[str, bytes]
    waiting: deque[Segment]
    times: Times
    client: Client = field(default_factory=Client)
    view: LedgerView = field(default_factory=LedgerView)
    mark: int = 0
    sent: int = 0
    recorded: deque[tuple[Segment, int, float]] = field(default_factory=deque)
    """Segments to publish, with their last number and when they were recorded."""
    on_the_way: deque[tuple[int, float]] = field(default_factory=deque)
    scope: tuple[str, int, int] = ("", 0, 0)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self, url: str, credentials: Credentials) -> None:
        """Opens the session and learns its scope, as after a login."""
        prefix = f"_INBOX.{self.device.device}".encode()
        await self.client.connect(url, user_credentials=RawCredentials(credentials.text()), inbox_prefix=prefix)
        await self._ask()

    async def live(self, every_s: float, first_s: float, until_s: float) -> None:
        """Records a segment on each beat until the time (monotonic) is over, then waits for the last receipt."""
        background = Background(self._round)

        async def hinted(_: Msg) -> None:
            background.wake()

        await self.client.subscribe(subjects.hint(self.device.device), cb=hinted)
        beat = first_s
        await asyncio.sleep(max(0.0, beat - time.monotonic()))
        background.start()
        try:
            while beat < until_s and self.waiting:
                self._record(self.waiting.popleft())
                background.recorded()
                beat += every_s
                await asyncio.sleep(max(0.0, beat - time.monotonic()))
            async with asyncio.timeout(RECEIPTED_S):
                await self.settled.wait()
        except TimeoutError:
            # Not receipted in all that time: it counts with the time that we waited, and is told apart.
            self.times.faults.append(f"{self.device.author}: {background.last_fault or 'no receipt'}")
            self.times.receipted += [time.monotonic() - at for _, at in (*self.on_the_way, *(one[1:] for one in self.recorded))]
        finally:
            await background.stop()
            await self.client.close()

    def _record(self, segment: Segment) -> None:
        self.sent += segment.events
        self.recorded.append((segment, self.sent, time.monotonic()))
        self.settled.clear()

    async def _round(self) -> bool:
        """The SDK's round: send what waits, ask until nothing more comes; whether something is still on its way."""
        while self.recorded:
            segment, last, at = self.recorded.popleft()
            headers = {MESSAGE_ID_HEADER: segment.message_id}
            stored = await self.client.request(segment.subject, segment.data, timeout=REQUEST_S, headers=headers)
            if b'"error"' in stored.data:
                raise RuntimeError(stored.data.decode())
            self.times.stored.append(time.monotonic() - at)
            self.on_the_way.append((last, at))
        await self._ask()
        return bool(self.on_the_way)

    async def _ask(self) -> None:
        more = True
        while more:
            answer = await self._answer()
            self.view = next_view(self.view, answer, self.keys, self.pinned.log_origin)
            for receipt in answer.receipts:
                check_receipt(receipt, self.view)
                if receipt.verdict is not Verdict.ADMITTED:
                    raise RuntimeError(f"not admitted: {receipt}")
                self.mark = max(self.mark, receipt.seq)
            if answer.scope is not None:
                self.scope = (answer.scope.epoch, answer.scope.cursor, answer.scope.count)
            more = answer.more
        now = time.monotonic()
        while self.on_the_way and self.on_the_way[0][0] <= self.mark:
            self.times.receipted.append(now - self.on_the_way.popleft()[1])
        if not self.on_the_way and not self.recorded:
            self.settled.set()

    async def _answer(self) -> SyncAnswer:
        epoch, cursor, count = self.scope
        request = SyncRequest(
            nonce=secrets.token_hex(16),
            author=self.device.author,
            mark=self.mark,
            head=self.sent,
            checkpoint_size=self.view.size,
            scope_epoch=epoch,
            scope_cursor=cursor,
            scope_count=count,
        )
        subject = subjects.sync(self.device.device, self.device.technician)
        self.times.asked += 1
        message: Msg = await self.client.request(subject, pack(request), timeout=REQUEST_S)
        return open_answer(unpack_document(message.data), self.keys, nonce=request.nonce, pinned=self.pinned)
