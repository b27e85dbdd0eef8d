"""The one publisher of a service: sends the outbox to JetStream in order, holding a lease with a fence token.

One relay at a time holds the lease; a takeover raises the fence. A relay checks its lease by its own clock before every
publish and by the fence when it marks rows as sent, so one that was paused notices at once and steps back. What it may
have sent twice carries the same `Nats-Msg-Id` (a duplicate to the broker, and to every inbox when the broker's window has
passed). A message is published only when the one before it was acknowledged. It never changes a message.
"""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
import msgspec
from nats import errors
from nats.js import errors as js_errors
from prometheus_client import Counter, Gauge

from zb_chassis.database import LOST, Connection, Pool, transaction
from zb_chassis.outbox import CHANNEL

log = logging.getLogger(__name__)

IN_A_ROW = Gauge("zb_relay_failures_in_a_row", "How often in a row the outbox's relay could not go on")
PARKED = Counter("zb_relay_messages_parked", "Messages of the outbox that the broker refused for good")

LEASE_NAME = "outbox"
FENCE_HEADER = "Zb-Relay-Fence"
MESSAGE_ID_HEADER = "Nats-Msg-Id"
REASON_CHARACTERS_MAX = 500

# Retrying cannot help: the message itself is at fault.
REFUSED_FOR_GOOD = (errors.MaxPayloadError, errors.BadSubjectError, errors.BadHeaderError, js_errors.BadRequestError)
TAKE_LEASE = """
INSERT INTO chassis.lease AS held (name, holder, fence, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
    fence = held.fence + (held.holder <> excluded.holder)::integer
    WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp()
RETURNING fence
"""
WAITING = """
SELECT position, message_id, subject, headers::text AS headers, payload, refusals FROM chassis.outbox
WHERE sent_at IS NULL AND parked_at IS NULL ORDER BY position LIMIT $1
"""
LEASE_STILL_MINE = "SELECT true FROM chassis.lease WHERE name = $1 AND holder = $2 AND fence = $3 FOR SHARE"


class LeaseLost(Exception):
    """Another relay has taken over, or the lease ran out while this one was paused: nothing more may be published."""


class NotNow(Exception):
    """The broker does not take the next message now: try again later, in the same order."""


class Publisher(Protocol):
    """What the relay needs of nats-py's JetStream context: an answer means that the stream has stored the message."""

    async def publish(
        self, subject: str, payload: bytes = b"", timeout: float | None = None, *, headers: dict[str, Any] | None = None
    ) -> Any: ...


@dataclass(frozen=True)
class RelayLimits:
    """Every limit of the relay, in seconds and rows."""

    lease_s: float = 15.0
    publish_timeout_s: float = 5.0
    poll_s: float = 2.0
    batch: int = 100
    backoff_s_min: float = 0.1
    backoff_s_max: float = 30.0
    no_stream_refusals_max: int = 20

    def backoff_s(self, failures: int) -> float:
        return min(self.backoff_s_max, self.backoff_s_min * 2.0 ** min(failures - 1, 30))


@dataclass(frozen=True)
class Lease:
    """The right to publish: until `until` of the monotonic clock, under `fence`."""

    fence: int
    until: float


class Relay:
    """Runs beside a service: `await relay.run(stop)`. Several may run; one of them publishes."""

    def __init__(
        self,
        pool: Pool,
        publisher: Publisher,
        *,
        limits: RelayLimits | None = None,
        holder: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic` gives seconds and never goes back: the relay judges its lease by it."""
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.failures = 0
        """How often in a row the relay could not go on: for readiness and alarms."""
        self._pool = pool
        self._publisher = publisher
        self._monotonic = monotonic
        self._limits = limits or RelayLimits()
        self._lease: Lease | None = None
        self._wake = asyncio.Event()
        self._listener: Any = None

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set: the message under way is finished and marked, then the lease is given back."""
        stopping = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                if await self._turn_or_trouble(stop):
                    continue
                delay_s = self._limits.backoff_s(self.failures) if self.failures else self._limits.poll_s
                with suppress(TimeoutError):
                    # In trouble a new message is no reason to hurry: only the end of the delay or `stop` is.
                    await asyncio.wait_for((stop if self.failures else self._wake).wait(), delay_s)
        finally:
            stopping.cancel()
            await self._leave()

    async def turn(self, stop: asyncio.Event | None = None) -> int:
        """Take or renew the lease and send one batch; returns how many were sent, 0 also when another relay holds it.

        Raises LeaseLost and NotNow, after marking what was sent before.
        """
        lease = await self._hold()
        if lease is None:
            return 0
        rows = await self._pool.fetch(WAITING, self._limits.batch)
        sent: list[int] = []
        handled = 0
        try:
            for row in rows:
                if (stop is not None and stop.is_set()) or self._renewal_due(lease):
                    break
                if await self._send(row, lease):
                    sent.append(row["position"])
                handled += 1
        finally:
            if sent:
                await self._mark(sent, lease)
        return handled

    async def _turn_or_trouble(self, stop: asyncio.Event) -> bool:
        """True when there was something to do and all went well."""
        try:
            self._wake.clear()
            await self._listen()
            handled = await self.turn(stop)
        except LeaseLost as lost:
            log.warning("relay %s: %s", self.holder, lost)
            self._lease = None
            return False
        except (NotNow, *LOST, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.failures += 1
            IN_A_ROW.set(self.failures)
            log.warning("relay %s cannot go on (%d): %s", self.holder, self.failures, error or type(error).__name__)
            return False
        self.failures = 0
        IN_A_ROW.set(0)
        return handled > 0

    async def _hold(self) -> Lease | None:
        if self._lease is not None and not self._renewal_due(self._lease):
            return self._lease
        asked = self._monotonic()  # before the question: our clock must run out before the database's does
        fence = await self._pool.fetchval(TAKE_LEASE, LEASE_NAME, self.holder, self._limits.lease_s)
        self._lease = None if fence is None else Lease(fence, asked + self._limits.lease_s)
        return self._lease

    def _renewal_due(self, lease: Lease) -> bool:
        return self._monotonic() > lease.until - self._limits.lease_s / 2

    async def _send(self, row: Any, lease: Lease) -> bool:
        """True when the stream has the message, False when it was parked."""
        headers: dict[str, Any] = msgspec.json.decode(row["headers"])
        headers |= {MESSAGE_ID_HEADER: row["message_id"], FENCE_HEADER: str(lease.fence)}
        if self._monotonic() >= lease.until:
            raise LeaseLost(f"the lease of fence {lease.fence} ran out before {row['message_id']} was published")
        try:
            timeout_s = self._limits.publish_timeout_s
            await self._publisher.publish(row["subject"], row["payload"], timeout_s, headers=headers)
        except REFUSED_FOR_GOOD as error:
            await self._park(row, lease, error)
            return False
        except js_errors.NoStreamResponseError as error:
            await self._count_refusal(row, lease, error)
            return False
        except (errors.Error, OSError, TimeoutError) as error:
            raise NotNow(f"{row['message_id']} on {row['subject']}: {error or type(error).__name__}") from error
        return True

    async def _mark(self, positions: list[int], lease: Lease) -> None:
        async with transaction(self._pool) as connection:
            await self._prove(connection, lease)
            await connection.execute(
                "UPDATE chassis.outbox SET sent_at = now() WHERE position = ANY ($1) AND sent_at IS NULL", positions
            )

    async def _count_refusal(self, row: Any, lease: Lease, error: Exception) -> None:
        """No stream takes the subject: it may not have been made yet, so wait; but not for ever before all others."""
        if row["refusals"] + 1 >= self._limits.no_stream_refusals_max:
            await self._park(row, lease, error)
            return
        async with transaction(self._pool) as connection:
            await self._prove(connection, lease)
            await connection.execute("UPDATE chassis.outbox SET refusals = refusals + 1 WHERE position = $1", row["position"])
        raise NotNow(f"no stream takes {row['subject']} yet") from error

    async def _park(self, row: Any, lease: Lease, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        async with transaction(self._pool) as connection:
            await self._prove(connection, lease)
            await connection.execute(
                "UPDATE chassis.outbox SET parked_at = now(), parked_reason = $2, refusals = refusals + 1 WHERE position = $1",
                row["position"],
                reason[:REASON_CHARACTERS_MAX],
            )
        PARKED.inc()
        log.error("message %s on %s is parked: %s", row["message_id"], row["subject"], reason)

    async def _prove(self, connection: Connection, lease: Lease) -> None:
        if not await connection.fetchval(LEASE_STILL_MINE, LEASE_NAME, self.holder, lease.fence):
            raise LeaseLost(f"another relay has taken over from fence {lease.fence}")

    async def _listen(self) -> None:
        if self._listener is None:
            listener = await self._pool.acquire()
            listener.add_termination_listener(self._deafened)
            self._listener = listener
            await listener.add_listener(CHANNEL, self._heard)

    def _deafened(self, *_: object) -> None:
        self._listener = None  # its session was cut, and the pool has taken it back already

    def _heard(self, *_: object) -> None:
        self._wake.set()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _unlisten(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.remove_termination_listener(self._deafened)
        try:
            await listener.remove_listener(CHANNEL, self._heard)
        finally:
            await self._pool.release(listener)

    async def _leave(self) -> None:
        """Give the lease back, so that the next relay need not wait for its end; a lost database keeps it until then."""
        try:
            await self._unlisten()
            if self._lease is not None:
                await self._pool.execute(
                    "UPDATE chassis.lease SET expires_at = '-infinity' WHERE name = $1 AND holder = $2 AND fence = $3",
                    LEASE_NAME,
                    self.holder,
                    self._lease.fence,
                )
        except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("relay %s could not give its lease back: %s", self.holder, error)
        self._lease = None
