"""A stream that lost what it held is told again: whoever publishes remembers with which stream it last worked.

A stream of the same name that was made later is another one: the broker's store was lost, or the database came from a backup.
What the outbox sent there and still keeps waits to be sent once more; readers ignore what is not newer. It makes no stream and
publishes nothing itself: the relay does.
"""

from collections.abc import Iterable
from typing import Final

import structlog
from nats.js import JetStreamContext

from zb_chassis import outbox
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.subjects import StreamSpec

log: Final = structlog.get_logger(__name__)


async def tell_again(pool: Pool, jetstream: JetStreamContext, streams: Iterable[StreamSpec]) -> int:
    """How many messages wait once more, because their stream is another one than before. The streams exist."""
    count = 0
    for spec in streams:
        made_at = await made(jetstream, spec)
        async with transaction(pool) as connection:
            if await is_another(connection, spec, made_at):
                # What the stream would have forgotten by itself, nobody misses there.
                again = await outbox.send_all_again(connection, spec.subjects, newer_than_s=spec.max_age_s)
                log.warning("a stream was made anew: what it held is told again", stream=spec.name, messages=again)
                count += again
    return count


async def made(jetstream: JetStreamContext, spec: StreamSpec) -> str:
    """When the broker made the stream."""
    info = await jetstream.stream_info(spec.name)
    return info.created.isoformat() if info.created else ""


async def is_another(connection: Connection, spec: StreamSpec, made_at: str) -> bool:
    """Whether this database worked with another stream of that name; from this transaction on, with this one.

    False for the first stream of that name. Of several who ask at once, one is told.
    """
    before: str | None = await connection.fetchval(
        """
        INSERT INTO chassis.known_stream (stream, made_at) VALUES ($1, $2) ON CONFLICT (stream) DO UPDATE
            SET made_at = chassis.known_stream.made_at RETURNING made_at
        """,
        spec.name,
        made_at,
    )
    if before == made_at:
        return False
    await connection.execute("UPDATE chassis.known_stream SET made_at = $2 WHERE stream = $1", spec.name, made_at)
    return True
