"""How a message from JetStream is handled: bounded tries, a delay between them, and the dead-letter stream at the end.

A poison message delays nobody (it is put off, the next ones go on) and disappears nowhere (it is buried with its reason, and
ended only after that). Owns FastStream's subscriptions with their acknowledgement policy. It knows no message's meaning.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from prometheus_client import Counter

from zb_chassis.broker import inbox_prefix
from zb_chassis.streams import ACK_WAIT_S, ACKS_PENDING_MAX, consumer_config, ensure_consumer
from zb_contracts import subjects
from zb_contracts.problems import Problem
from zb_contracts.subjects import StreamSpec

if TYPE_CHECKING:
    from faststream.nats import NatsBroker

PULL_TIMEOUT_S: Final = 0.1
"""A batch waits this long for more; FastStream's own 5 s would be the latency of every message (measured)."""
BATCH_MAX: Final = 256
DEAD_BODY_BYTES_MAX: Final = 900_000
"""Larger bodies stay in their stream only; the headers say where."""
REASON_CHARACTERS_MAX: Final = 1_000
OURS: Final = ("Nats-", "Zb-Dead-")
"""Headers of a dead letter that the broker or we write: a message's own are not carried over."""
UNKNOWN_CODE: Final = "system.internal"
PUBLISH_TIMEOUT_S: Final = 10.0

BURIED: Final = Counter("zb_dead_letters_buried", "Messages that went to the dead letters", ["service", "code"])

log: Final = structlog.get_logger(__name__)
Handler = Callable[[Msg], Awaitable[None]]


class Outcome(Enum):
    """What became of a message."""

    DONE = "done"
    PUT_OFF = "put off"
    BURIED = "buried"


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a message is tried, and the pause after each failure (the last one repeats), in seconds."""

    tries_max: int = 8
    pauses_s: tuple[float, ...] = (0.5, 1, 2, 5, 10, 30)

    def pause_after(self, tries: int) -> float:
        return self.pauses_s[min(tries, len(self.pauses_s)) - 1]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The service's place in the DEADLETTER stream."""

    jetstream: JetStreamContext
    service: str

    async def bury(self, message: Msg, code: str, reason: str) -> None:
        """Stores the message with its reason, then ends it. Raises, with the message unended, when it cannot be stored."""
        meta = message.metadata
        headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith(OURS)}
        headers |= {
            "Nats-Msg-Id": f"{self.service}:{meta.stream}:{meta.sequence.stream}",
            "Zb-Dead-Stream": meta.stream,
            "Zb-Dead-Sequence": str(meta.sequence.stream),
            "Zb-Dead-Subject": message.subject,
            "Zb-Dead-Tries": str(meta.num_delivered),
            "Zb-Dead-Code": code,
            "Zb-Dead-Reason": _one_line(reason),
        }
        body = message.data
        if len(body) > DEAD_BODY_BYTES_MAX:
            headers["Zb-Dead-Body-Bytes"] = str(len(body))
            body = b""
        await self.jetstream.publish(subjects.deadletter(self.service), body, headers=headers, timeout=PUBLISH_TIMEOUT_S)
        await message.term()
        BURIED.labels(self.service, code).inc()
        log.error("message buried", subject=message.subject, code=code, reason=_one_line(reason))


async def handle_bounded(message: Msg, handle: Handler, letters: DeadLetters, tries: Tries | None = None) -> Outcome:
    """Handles a message and settles it: ack, delayed nak, or the dead-letter stream. Never raises for the message's fault.

    A Problem that no retry can help is buried at once; anything else after `tries_max` tries, counting those in which the
    process died. A cancelled handler leaves the message unsettled: it comes again.
    """
    tries = tries or Tries()
    delivered = message.metadata.num_delivered
    if delivered > tries.tries_max:
        return await _bury(message, letters, UNKNOWN_CODE, f"the process ended in each of {tries.tries_max} tries", tries)
    try:
        await handle(message)
    except Problem as problem:
        if not problem.retryable or delivered >= tries.tries_max:
            return await _bury(message, letters, problem.code, str(problem), tries)
        return await put_off(message, tries.pause_after(delivered), reason=str(problem))
    except Exception as fault:
        log.exception("message not handled", subject=message.subject, tries=delivered)
        if delivered >= tries.tries_max:
            return await _bury(message, letters, UNKNOWN_CODE, f"{type(fault).__name__}: {fault}", tries)
        return await put_off(message, tries.pause_after(delivered), reason=type(fault).__name__)
    await message.ack()
    return Outcome.DONE


async def put_off(message: Msg, pause_s: float, *, reason: str, usual: bool = False) -> Outcome:
    """The message comes again after the pause; those behind it do not wait. `usual`: nothing that a reader of logs looks for."""
    (log.debug if usual else log.info)("message put off", subject=message.subject, pause_s=pause_s, reason=reason)
    await message.nak(delay=pause_s)
    return Outcome.PUT_OFF


async def _bury(message: Msg, letters: DeadLetters, code: str, reason: str, tries: Tries) -> Outcome:
    try:
        await letters.bury(message, code, reason)
    except Exception as fault:
        # Without a grave it is not ended: it comes again until the stream takes it.
        log.exception("dead letter not stored", subject=message.subject, code=code)
        return await put_off(message, tries.pauses_s[-1], reason=type(fault).__name__)
    return Outcome.BURIED


@dataclass(frozen=True, slots=True)
class Subscription:
    """One durable reading of a stream.

    The durable carries the service's name; only the one reader of a stream may choose others there (its permissions say so).
    `subjects`: under which the messages are stored, all of the stream's own where nothing else is said.
    """

    stream: StreamSpec
    service: str
    durable: str = ""
    subjects: tuple[str, ...] = ()
    batch_max: int = 1
    ack_wait_s: float = ACK_WAIT_S
    acks_pending_max: int = ACKS_PENDING_MAX

    async def prepare(self, jetstream: JetStreamContext) -> None:
        """Creates or updates the consumer; FastStream alone would keep an old configuration for ever."""
        await ensure_consumer(jetstream, self.stream.name, self._config())

    def _config(self) -> Any:
        return consumer_config(
            self.durable or self.service,
            subjects=self.subjects or self.stream.subjects,
            ack_wait_s=self.ack_wait_s,
            acks_pending_max=self.acks_pending_max,
        )

    def on(self, broker: "NatsBroker", *, together: bool = False) -> Any:
        """FastStream's decorator, with acknowledgement by hand. The handler takes a NatsMessage.

        `together`: its `raw_message` is a list of up to `batch_max` messages; else it is called once a message, up to
        `batch_max` at the same time. Each raw message is settled by `handle_bounded`, `put_off` or `DeadLetters.bury`.
        """
        # Imported late, as all of FastStream: it takes longer than what a program that only buries or retries does.
        from faststream.middlewares import AckPolicy
        from faststream.nats import JStream, PullSub

        if not 1 <= self.batch_max <= BATCH_MAX:
            raise ValueError(f"a batch has 1 to {BATCH_MAX} messages, not {self.batch_max}")
        return broker.subscriber(
            (self.subjects or self.stream.subjects)[0],
            stream=JStream(self.stream.name, declare=False),
            durable=self.durable or self.service,
            config=self._config(),
            pull_sub=PullSub(batch_size=self.batch_max, timeout=PULL_TIMEOUT_S, batch=together),
            inbox_prefix=f"{inbox_prefix(self.service)}.".encode(),
            ack_policy=AckPolicy.MANUAL,
        )


def unsafe_subscribers(broker: "NatsBroker") -> list[str]:
    """What is wrong with a broker's subscriptions, one sentence each; empty when all are safe. Each service tests its own."""
    found: list[str] = []
    for subscriber in broker.subscribers:
        if getattr(subscriber, "stream", None) is None:
            continue  # core NATS has no acknowledgements
        found += [f"{_name(subscriber)}: {fault}" for fault in _faults(subscriber)]
    return found


def _faults(subscriber: Any) -> list[str]:
    from faststream.middlewares import AckPolicy

    faults: list[str] = []
    policy = subscriber.ack_policy
    if policy not in (AckPolicy.MANUAL, AckPolicy.NACK_ON_ERROR):
        faults.append(f"ack policy {policy.value} loses a message at the first fault")
    pull = getattr(subscriber, "pull_sub", None)
    if pull is None:
        faults.append("it is pushed: nothing bounds what is in flight")
    elif pull.timeout is None or pull.timeout > PULL_TIMEOUT_S:
        faults.append(f"its pull waits {pull.timeout} s, more than {PULL_TIMEOUT_S} s")
    if not subscriber.config.durable_name and not subscriber.extra_options.get("durable"):
        faults.append("it is not durable: a restart forgets its place")
    if (subscriber.config.max_deliver or -1) > 0:
        faults.append("max_deliver is set: JetStream would drop a message without a word")
    return faults


def _name(subscriber: Any) -> str:
    return f"{subscriber.stream.name} {subscriber.subject.broker_address}"


def _one_line(reason: str) -> str:
    # A header takes neither line ends nor anything beyond ASCII.
    flat = re.sub(r"\s+", " ", reason)[:REASON_CHARACTERS_MAX]
    return flat.encode("ascii", "backslashreplace").decode()
