"""Messages from FIELD and OFFICE to admission and back: every message is settled only after its transaction committed.

Put off with a growing pause, ended when given up (the reason is in the rejects, or a gap is asked for), buried after too many
faults. While the ledger is away the batch waits here, so that its absence costs no message its tries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from faststream.nats import NatsBroker, NatsMessage
from nats.aio.msg import Msg
from nats.errors import MsgAlreadyAckdError
from prometheus_client import Counter

from field_ingest.admission.admitting import (
    TRIES_MAX,
    Admission,
    Disposition,
    Done,
    Failed,
    GivenUp,
    Message,
    PutOff,
)
from field_ingest.admission.stored_subjects import as_published
from field_ingest.admission.turns import Turns
from field_ingest.ledger.ports import LedgerAway
from zb_chassis.broker import GRACEFUL_TIMEOUT_S
from zb_chassis.consuming import UNKNOWN_CODE, DeadLetters, Subscription, put_off
from zb_chassis.telemetry import continued
from zb_contracts.problems import SEGMENT_AHEAD
from zb_contracts.segment import MESSAGE_ID_HEADER
from zb_contracts.subjects import DEPOTS

PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DELIVERIES_MAX: Final = 4 * TRIES_MAX
"""Beyond it the process must have ended with this message in hand again and again: it is buried unread."""
BATCHES_AT_ONCE: Final = 2
"""Batches of one reading in hand: while one is written, the next is read and verified."""
GATHER_S: Final = 0.03
"""After a batch with room to spare the next one gathers so long: a transaction costs the same for one message as for twenty."""
LEDGER_PAUSE_S: Final = 0.5
ACK_WAIT_S: Final = 10.0
"""What a killed process had in hand comes back after this: well before the segments behind it are given up, and are asked
for again (the pauses of TRIES_MAX tries take about three times as long)."""

EVENTS: Final = Counter("zb_ingest_events", "Events decided by admission", ["outcome"])
MESSAGES: Final = Counter("zb_ingest_messages", "Messages by what became of them, and why", ["disposition", "code"])

Pause = Callable[[float], Awaitable[Any]]
Noted = Callable[[Sequence[Message]], None]

log: Final = structlog.get_logger(__name__)


class Intake:
    """The subscribers of admission: `readings` are the shards' of this process (routing.py).

    `noted` is told, of each batch once it was decided, what its senders sent (flood.py counts it); `pause` takes seconds.
    """

    def __init__(
        self,
        admission: Admission,
        letters: DeadLetters,
        readings: Sequence[Subscription],
        *,
        noted: Noted = lambda _: None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._admission = admission
        self._letters = letters
        self._readings = tuple(readings)
        self._noted = noted
        self._pause = pause
        self._in_hand: set[asyncio.Task[None]] = set()
        self._is_ending = False

    def subscribe(self, broker: NatsBroker) -> None:
        """Declare the subscribers on a broker that is not started yet. Each reading batches by itself, beside the others."""
        for subscription in self._readings:
            self._subscribe(broker, subscription)

    def _subscribe(self, broker: NatsBroker, subscription: Subscription) -> None:
        # One fetches for all: two that ask the broker at a time are given every other message, and no chain is whole.
        turns, free = Turns(), asyncio.Semaphore(BATCHES_AT_ONCE)

        @subscription.on(broker, together=True)  # type: ignore[untyped-decorator]
        async def take(message: NatsMessage) -> None:
            raw = message.raw_message
            raws = raw if isinstance(raw, list) else [raw]
            await free.acquire()
            if self._is_ending:
                free.release()
                for one in raws:
                    await one.nak()
                return
            task = asyncio.create_task(self._take_or_put_off(raws, turns))
            self._in_hand.add(task)
            task.add_done_callback(self._done)
            task.add_done_callback(lambda _: free.release())
            if len(raws) < subscription.batch_max:
                await self._pause(GATHER_S)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._in_hand.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a batch was left unsettled, it comes again", error=str(fault) or type(fault).__name__)

    async def settle(self) -> None:
        """Take no batch any more, and finish those in hand; what is not finished in time stays unsettled and comes again."""
        self._is_ending = True
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand, timeout=GRACEFUL_TIMEOUT_S)
            for task in late:
                task.cancel()

    async def _take_or_put_off(self, raws: Sequence[Msg], turns: Turns) -> None:
        try:
            await self.take(raws, turns)
        except Exception as fault:
            # Settling itself failed; what was settled before stays so, the rest comes again.
            log.exception("a batch was not settled", messages=len(raws))
            for raw in raws:
                with suppress(MsgAlreadyAckdError):
                    await put_off(raw, _pause_s(raw.metadata.num_delivered), reason=type(fault).__name__)

    async def take(self, raws: Sequence[Msg], turns: Turns | None = None) -> None:
        """Admit a batch and settle each of its messages. Batches of the same `turns` may be in hand at a time."""
        readable = [raw for raw in raws if raw.metadata.num_delivered <= DELIVERIES_MAX]
        for raw in raws:
            if raw.metadata.num_delivered > DELIVERIES_MAX:
                await self._bury(raw, f"the process ended in each of {DELIVERIES_MAX} tries")
        dispositions = await self._admitted(readable, turns)
        for raw, disposition in zip(readable, dispositions, strict=True):
            # A batch is one transaction of many traces: each is continued where its own message is settled.
            with continued("segment settled", raw.headers) as span:
                span.set_attribute("zb.disposition", type(disposition).__name__)
                await self._settle(raw, disposition)

    async def _admitted(self, raws: Sequence[Msg], turns: Turns | None) -> list[Disposition]:
        messages = [_message(raw) for raw in raws]
        while True:
            try:
                dispositions = await self._admission.admit(messages, turns) if messages else []
            except LedgerAway as fault:
                log.warning("the ledger is away, the batch waits", messages=len(messages), error=str(fault))
            else:
                self._noted([one for one, became in zip(messages, dispositions, strict=True) if _is_its_senders(one, became)])
                return dispositions
            for raw in raws:
                await raw.in_progress()
            await self._pause(LEDGER_PAUSE_S)

    async def _settle(self, raw: Msg, disposition: Disposition) -> None:
        MESSAGES.labels(type(disposition).__name__, _code(disposition)).inc()
        match disposition:
            case Done():
                _count(disposition)
                await raw.ack()
                if raw.metadata.num_delivered > 1:
                    log.info("message settled after more than one try", subject=raw.subject, tries=raw.metadata.num_delivered)
            case PutOff(problem=problem, tries=tries):
                await put_off(raw, _pause_s(tries), reason=str(problem), usual=problem.kind is SEGMENT_AHEAD)
            case GivenUp(problem=problem):
                # What is asked for again is no loss, and one sender's flood of it must not fill the log.
                tell = log.debug if problem.kind is SEGMENT_AHEAD else log.warning
                tell("message given up", subject=raw.subject, code=problem.code, reason=str(problem))
                await raw.term()
            case Failed(error=error):
                tries = raw.metadata.num_delivered
                if tries < TRIES_MAX:
                    await put_off(raw, _pause_s(tries), reason=type(error).__name__)
                else:
                    await self._bury(raw, f"{type(error).__name__}: {error}")

    async def _bury(self, raw: Msg, reason: str) -> None:
        try:
            await self._letters.bury(raw, UNKNOWN_CODE, reason)
        except Exception as fault:
            # Without a grave it is not ended: it comes again until the stream takes it.
            log.exception("dead letter not stored", subject=raw.subject)
            await put_off(raw, PAUSES_S[-1], reason=type(fault).__name__)


def _message(raw: Msg) -> Message:
    meta = raw.metadata
    message_id = (raw.headers or {}).get(MESSAGE_ID_HEADER, "")
    relayed = meta.stream == DEPOTS.name
    return Message(as_published(raw.subject), raw.data, meta.num_delivered, message_id, meta.sequence.stream, relayed)


def _is_its_senders(message: Message, became: Disposition) -> bool:
    """Whether the device of the subject sent this. A depot may say anything of a device: only what it newly signed is its own."""
    return not message.is_relayed or (isinstance(became, Done) and became.admitted + became.held + became.refused > 0)


def _pause_s(tries: int) -> float:
    return PAUSES_S[min(tries, len(PAUSES_S)) - 1]


def _code(disposition: Disposition) -> str:
    match disposition:
        case PutOff(problem=problem) | GivenUp(problem=problem):
            return problem.code
        case Failed():
            return UNKNOWN_CODE
        case Done():
            return ""


def _count(done: Done) -> None:
    for outcome in ("admitted", "duplicates", "held", "refused"):
        EVENTS.labels(outcome).inc(getattr(done, outcome))
