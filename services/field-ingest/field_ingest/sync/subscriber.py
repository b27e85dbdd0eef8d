"""The sync responder on the broker: a queue-group subscription of core NATS, a bounded number of requests at a time.

Core NATS acknowledges nothing: a request that finds nobody times out at the device, which asks again. What an answer holds
is `sync`'s matter.
"""

import asyncio
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Counter, Histogram

from field_ingest.sync.responder import SyncResponder
from zb_contracts.subjects import SYNC_PATTERN, SYNC_QUEUE

REQUESTS_AT_ONCE_MAX: Final = 1_200
"""Most of them wait for what is on its way (`arrivals.WAITING_MAX`)."""
SESSIONS_MAX: Final = 6
"""Of the database, which they share."""
REQUESTS_WAITING_MAX: Final = 4_096
REQUEST_BYTES_WAITING_MAX: Final = 64 << 20

REQUESTS: Final = Counter("zb_ingest_sync_requests", "Sync requests by what became of them", ["outcome"])
ANSWER_S: Final = Histogram("zb_ingest_sync_answer_seconds", "Time that an answer took")

log: Final = structlog.get_logger(__name__)


class SyncSubscriber:
    """Takes requests from the broker while it is open. A request that fails is logged and left without an answer."""

    def __init__(self, client: Client, responder: SyncResponder, *, at_once: int = REQUESTS_AT_ONCE_MAX) -> None:
        self._client, self._responder = client, responder
        self._free = asyncio.Semaphore(at_once)
        self._at_work: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        self.failed = 0

    async def start(self) -> None:
        """Subscribes. Returns once the broker knows of it."""
        self._subscription = await self._client.subscribe(
            SYNC_PATTERN,
            queue=SYNC_QUEUE,
            cb=self._take,
            pending_msgs_limit=REQUESTS_WAITING_MAX,
            pending_bytes_limit=REQUEST_BYTES_WAITING_MAX,
        )
        await self._client.flush()

    async def stop(self) -> None:
        """Takes no more requests and finishes those at work."""
        if self._subscription is not None:
            await self._subscription.drain()  # type: ignore[no-untyped-call]
        while self._at_work:
            await asyncio.gather(*self._at_work)

    async def _take(self, message: Msg) -> None:
        await self._free.acquire()
        task = asyncio.create_task(self._answer(message))
        self._at_work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        self._free.release()

    async def _answer(self, message: Msg) -> None:
        try:
            with ANSWER_S.time():
                answer = await self._responder.answer(message.subject, message.data)
            REQUESTS.labels("answered" if answer else "unreadable").inc()
            if answer is not None and message.reply:
                await self._client.publish(message.reply, answer)
        except Exception:  # the edge: one request's fault is no reason to stop answering the others
            self.failed += 1
            REQUESTS.labels("failed").inc()
            log.exception("sync request failed", subject=message.subject)
