"""Messages to publish, as rows written in the transaction that decided them, in one order.

Owns the rows: writing, listing what was parked, sending it again, pruning what was sent. The order is that of the commits,
for a position comes from the locked head row, as an event's does. Publishing is the relay's (`relay.py`); nothing else in
a service may publish to a stream.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from zb_chassis import telemetry
from zb_chassis.database import Connection

CHANNEL = "chassis_outbox"
PAYLOAD_BYTES_MAX = 1_000_000
HEADERS_BYTES_MAX = 16_384
MESSAGES_PER_CALL_MAX = 1_000
MESSAGE_ID_CHARACTERS_MAX = 256
PARKED_PER_PAGE_MAX = 1_000
PRUNE_BATCH_MAX = 10_000
AGAIN_TIMEOUT_S = 600.0
SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# One statement, as for events: every other writer waits from here to the end of the transaction.
INSERT = """
WITH taken AS (
    UPDATE chassis.head SET outbox_position = outbox_position + cardinality($1::text[])
    RETURNING outbox_position - cardinality($1::text[]) AS before
)
INSERT INTO chassis.outbox (position, message_id, subject, headers, payload)
SELECT before + place, message_id, subject, headers::jsonb, payload
FROM taken, unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
    WITH ORDINALITY AS given (message_id, subject, headers, payload, place)
ORDER BY place ON CONFLICT (message_id) DO NOTHING RETURNING message_id, pg_notify($5, '')
"""


class InvalidMessage(ValueError):
    """A message that no broker would take: the message says which part and which limit."""


class MessageIdConflict(Exception):
    """The message id is in the outbox already with another subject or payload."""


@dataclass(frozen=True)
class Message:
    """One message: `message_id` becomes `Nats-Msg-Id`, so the broker stores a repeat once."""

    message_id: str
    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parked:
    """A message that the broker refused for good: kept until a person sends it again."""

    message_id: str
    subject: str
    reason: str
    refusals: int
    age_s: float


@dataclass(frozen=True)
class Backlog:
    """What waits in the outbox: for metrics, readiness and alarms."""

    waiting: int
    oldest_age_s: float
    parked: int


async def enqueue(connection: Connection, subject: str, headers: Mapping[str, str], payload: bytes, message_id: str) -> None:
    """Put one message into the outbox in the caller's transaction; see `enqueue_all`."""
    await enqueue_all(connection, [Message(message_id, subject, payload, headers)])


async def enqueue_all(connection: Connection, messages: Sequence[Message]) -> None:
    """Put messages into the outbox, in this order, in the caller's transaction.

    A message that is there already with the same content is left as it is. The trace under way, if any, goes with it in
    its headers. Raises InvalidMessage and MessageIdConflict; nothing is written then. Locks the head row: enqueue late in
    the transaction.
    """
    if len(messages) > MESSAGES_PER_CALL_MAX:
        raise InvalidMessage(f"{len(messages)} messages in one call: the limit is {MESSAGES_PER_CALL_MAX}")
    for message in messages:
        _check(message)
    if not messages:
        return
    written = await connection.fetch(
        INSERT,
        [message.message_id for message in messages],
        [message.subject for message in messages],
        [msgspec.json.encode(telemetry.inject(dict(message.headers))).decode() for message in messages],
        [message.payload for message in messages],
        CHANNEL,
    )
    if len(written) < len(messages):
        await _refuse_other_content(connection, messages, [row["message_id"] for row in written])


async def parked(connection: Connection, *, limit: int = PARKED_PER_PAGE_MAX) -> list[Parked]:
    """The messages that were refused for good, oldest first."""
    rows = await connection.fetch(
        "SELECT message_id, subject, parked_reason, refusals, extract(epoch FROM now() - enqueued_at)::float8"
        " FROM chassis.outbox WHERE parked_at IS NOT NULL ORDER BY position LIMIT $1",
        min(limit, PARKED_PER_PAGE_MAX),
    )
    return [Parked(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def send_again(connection: Connection, message_id: str) -> bool:
    """Let the relay try a parked message again; False when no such message is parked."""
    found = await connection.fetchval(
        "UPDATE chassis.outbox SET parked_at = NULL, parked_reason = NULL, refusals = 0"
        " WHERE message_id = $1 AND parked_at IS NOT NULL RETURNING true",
        message_id,
    )
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return found is True


async def send_all_again(connection: Connection, patterns: Sequence[str], *, newer_than_s: float) -> int:
    """Let the relay publish once more, in their order, what was sent on these subjects since; returns how many.

    A pattern's last token may be `*`. The ids stay: a broker that still knows them stores nothing twice.
    """
    subjects = [f"^{re.escape(pattern.removesuffix('*'))}{'[^.]+' if pattern.endswith('*') else ''}$" for pattern in patterns]
    count: int = await connection.fetchval(
        """
        WITH again AS (
            UPDATE chassis.outbox SET sent_at = NULL
            WHERE sent_at >= now() - make_interval(secs => $2) AND subject ~ ANY ($1::text[]) RETURNING true
        ) SELECT count(*) FROM again
        """,
        subjects,
        newer_than_s,
        timeout=AGAIN_TIMEOUT_S,
    )
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return count


async def backlog(connection: Connection) -> Backlog:
    """How many messages wait, how old the oldest is, how many are parked."""
    row = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE parked_at IS NULL),"
        " coalesce(extract(epoch FROM now() - min(enqueued_at) FILTER (WHERE parked_at IS NULL)), 0)::float8,"
        " count(*) FILTER (WHERE parked_at IS NOT NULL) FROM chassis.outbox WHERE sent_at IS NULL"
    )
    assert row is not None
    return Backlog(row[0], row[1], row[2])


async def prune(connection: Connection, *, older_than_s: float, batch_max: int = PRUNE_BATCH_MAX) -> int:
    """Forget messages sent longer ago than `older_than_s`; returns how many. What waits or is parked is never pruned."""
    gone = await connection.fetch(
        "DELETE FROM chassis.outbox WHERE position IN ("
        "SELECT position FROM chassis.outbox WHERE sent_at < now() - make_interval(secs => $1)"
        " ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING true",
        older_than_s,
        batch_max,
    )
    return len(gone)


async def _refuse_other_content(connection: Connection, messages: Sequence[Message], written: Sequence[str]) -> None:
    rows = await connection.fetch(
        "SELECT message_id, subject, payload FROM chassis.outbox WHERE message_id = ANY ($1)",
        [message.message_id for message in messages],
    )
    stored = {row["message_id"]: (row["subject"], row["payload"]) for row in rows}
    for message in messages:
        if stored[message.message_id] != (message.subject, message.payload):
            await connection.execute("DELETE FROM chassis.outbox WHERE message_id = ANY ($1)", written)
            raise MessageIdConflict(f"{message.message_id} is in the outbox already with other content")


def _check(message: Message) -> None:
    if not 0 < len(message.message_id) <= MESSAGE_ID_CHARACTERS_MAX or not message.message_id.isprintable():
        raise InvalidMessage(f"a message id has 1 to {MESSAGE_ID_CHARACTERS_MAX} printable characters")
    if not SUBJECT.fullmatch(message.subject):
        raise InvalidMessage(f"{message.subject!r} is no subject to publish on")
    if len(message.payload) > PAYLOAD_BYTES_MAX:
        raise InvalidMessage(f"{message.message_id}: {len(message.payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    for name, value in message.headers.items():
        if not HEADER_NAME.fullmatch(name) or "\r" in value or "\n" in value:
            raise InvalidMessage(f"{message.message_id}: the header {name!r} cannot be sent")
    if sum(len(name) + len(value.encode()) for name, value in message.headers.items()) > HEADERS_BYTES_MAX:
        raise InvalidMessage(f"{message.message_id}: the headers exceed {HEADERS_BYTES_MAX} bytes")
