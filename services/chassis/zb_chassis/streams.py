"""JetStream streams and consumers as the contracts describe them: made or brought up to date, and waited for.

A service creates the streams that it owns and waits for the others, so that services start in any order. Names and limits
come from zb_contracts.subjects; this module adds what every stream has: file storage and `discard: new`.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError, ServiceUnavailableError

from zb_contracts.subjects import StreamSpec

WAIT_STREAM_S: Final = 120.0
POLL_S: Final = 0.1
ACK_WAIT_S: Final = 30.0
ACKS_PENDING_MAX: Final = 2_000

_NOT_YET: Final = (NotFoundError, ServiceUnavailableError, NoRespondersError, NoAnswer)


class StreamMissing(RuntimeError):
    """A stream of another service did not appear in time; the message names both."""


def stream_config(spec: StreamSpec, *, replicas: int = 1, transform: api.SubjectTransform | None = None) -> api.StreamConfig:
    """The configuration of a stream. A full stream refuses new messages, it never forgets old ones.

    `transform` changes the subject under which a message is stored; quotas and filters then speak of that one.
    """
    quota = spec.messages_per_subject_max
    return api.StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        discard_new_per_subject=quota > 0,
        max_msgs_per_subject=quota,
        max_age=float(spec.max_age_s),
        max_bytes=spec.bytes_max,
        max_msg_size=spec.message_bytes_max,
        duplicate_window=float(spec.duplicate_window_s),
        num_replicas=replicas,
        allow_direct=True,
        subject_transform=transform,
    )


async def ensure_streams(
    jetstream: JetStreamContext,
    specs: Iterable[StreamSpec],
    *,
    replicas: int = 1,
    transforms: Mapping[str, api.SubjectTransform] | None = None,
) -> None:
    """Creates each stream, or brings it up to date; what it holds stays. Raises nats errors for an impossible change.

    `transforms`: stream name -> under which subject its messages are stored.
    """
    for spec in specs:
        config = stream_config(spec, replicas=replicas, transform=(transforms or {}).get(spec.name))
        try:
            await jetstream.stream_info(spec.name)
        except NotFoundError:
            await jetstream.add_stream(config)
        else:
            await jetstream.update_stream(config)


async def wait_for_streams(jetstream: JetStreamContext, specs: Iterable[StreamSpec], *, timeout_s: float = WAIT_STREAM_S) -> None:
    """Returns once every stream exists, whoever creates it. Raises StreamMissing."""
    deadline = time.monotonic() + timeout_s
    for spec in specs:
        while not await _exists(jetstream, spec.name):
            if time.monotonic() >= deadline:
                raise StreamMissing(f"stream {spec.name} is not there after {timeout_s:.0f} s: is {spec.owner} running?")
            await asyncio.sleep(POLL_S)


def consumer_config(
    durable: str,
    *,
    subjects: Sequence[str],
    ack_wait_s: float = ACK_WAIT_S,
    acks_pending_max: int = ACKS_PENDING_MAX,
) -> api.ConsumerConfig:
    """A durable pull consumer with explicit acks, of messages that are stored under one of the subjects.

    The broker's own `max_deliver` stays off: reaching it, JetStream stops delivering and tells nobody. The number of tries
    is bounded by consuming.py, which buries the message with its reason.
    """
    return api.ConsumerConfig(
        name=durable,
        durable_name=durable,
        deliver_policy=api.DeliverPolicy.ALL,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_deliver=-1,
        max_ack_pending=acks_pending_max,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=list(subjects) if len(subjects) > 1 else None,
    )


async def ensure_consumer(jetstream: JetStreamContext, stream: str, config: api.ConsumerConfig) -> None:
    """Creates the consumer or brings it up to date; its position stays."""
    await jetstream.add_consumer(stream, config)


async def drop_consumer(jetstream: JetStreamContext, stream: str, durable: str) -> None:
    """Removes a consumer that nobody reads any more, where there is one."""
    with suppress(NotFoundError):
        await jetstream.delete_consumer(stream, durable)


async def _exists(jetstream: JetStreamContext, stream: str) -> bool:
    try:
        await jetstream.stream_info(stream)
    except _NOT_YET:
        return False
    return True
