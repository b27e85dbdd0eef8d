"""Which messages a service has handled already: one mark a message, written in the transaction that handles it.

Owns the marks and their pruning by age. A broker delivers at least once; the mark makes the effect once. It neither
receives nor acknowledges messages, and a message older than the marks that are kept is not recognised: keep them longer
than the broker keeps messages.
"""

from zb_chassis.database import Connection

PRUNE_BATCH_MAX = 10_000
ID_CHARACTERS_MAX = 512


class MessageIdTooLong(ValueError):
    """A message id longer than ID_CHARACTERS_MAX cannot be remembered."""


async def first_time(connection: Connection, source: str, message_id: str) -> bool:
    """Mark the message as handled; False when it was before, and then the caller changes nothing.

    Waits while another transaction handles the same message: if that one fails, this is the first time.
    """
    if len(message_id) > ID_CHARACTERS_MAX:
        raise MessageIdTooLong(f"a message id of {len(message_id)} characters; the limit is {ID_CHARACTERS_MAX}")
    marked = await connection.fetchval(
        "INSERT INTO chassis.inbox (source, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        source,
        message_id,
    )
    return marked is True


async def prune(connection: Connection, *, older_than_s: float, batch_max: int = PRUNE_BATCH_MAX) -> int:
    """Forget marks older than `older_than_s`, `batch_max` at a time; returns how many, so 0 means that none is left."""
    forgotten = await connection.fetch(
        "DELETE FROM chassis.inbox WHERE (source, message_id) IN ("
        "SELECT source, message_id FROM chassis.inbox WHERE seen_at < now() - make_interval(secs => $1)"
        " ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING true",
        older_than_s,
        batch_max,
    )
    return len(forgotten)
