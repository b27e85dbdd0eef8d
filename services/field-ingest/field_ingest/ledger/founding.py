"""What a first start founds and every later start checks: the shards, and the server-side authors with their keys.

The ledger's first event registers the ledger's own author; the others of authors.json follow, each once. The number of shards
and an author's key never change: a start with others is refused by name.
"""

from collections.abc import Sequence
from typing import Final

from field_ingest.ledger.keyring import INGEST, ServerAuthor
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.shards import shard_of
from field_ingest.ledger.signing import LedgerAuthor, Statement
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.envelope import GENESIS
from zb_contracts.events.devices import AuthorRegistered
from zb_contracts.merkle import Frontier
from zb_contracts.sealed import from_base64url

ADVISORY_LOCK: Final = 0x7A62_666F_756E  # "zbfoun"


class ShardCountDiffers(RuntimeError):
    """The ledger was founded with another number of shards, which can never change."""


class AuthorKeyDiffers(RuntimeError):
    """An author of authors.json is registered with another key: an author has one key for life."""


async def found(
    pool: Pool, *, shards: int, log_name: str, authors: Sequence[ServerAuthor], signer: LedgerAuthor, clock: Clock
) -> None:
    """Found what is missing, in one transaction; one starter at a time. Raises ShardCountDiffers, AuthorKeyDiffers."""
    async with transaction(pool) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
        await _shards(connection, shards, log_name)
        own_first = sorted(authors, key=lambda author: (author.author != INGEST, author.author))
        new = [author for author in own_first if not await _is_registered(connection, author)]
        for author in new:
            await _insert(connection, author, shards, clock())
        if new:
            await signer.state(PostgresTransaction(connection), [_registered(author, shards) for author in new])


async def _shards(connection: Connection, shards: int, log_name: str) -> None:
    have = await connection.fetchval("SELECT count(*) FROM shards")
    if have == 0:
        empty = Frontier()
        await connection.executemany(
            "INSERT INTO shards (shard, origin, root, frontier) VALUES ($1, $2, $3, $4)",
            [(shard, f"{log_name}/{shard}", empty.root(), empty.to_bytes()) for shard in range(shards)],
        )
    elif have != shards:
        raise ShardCountDiffers(
            f"the ledger was founded with {have} shards and the settings say {shards}: set the number back to {have}"
        )


async def _is_registered(connection: Connection, author: ServerAuthor) -> bool:
    key = await connection.fetchval("SELECT event_key FROM authors WHERE author = $1", author.author)
    if key is not None and key != from_base64url(author.event_key):
        raise AuthorKeyDiffers(
            f"the author {author.author} is registered with another key than authors.json has: restore its key, or give the "
            "new key another author's name"
        )
    return key is not None


async def _insert(connection: Connection, author: ServerAuthor, shards: int, at_ms: int) -> None:
    await connection.execute(
        """
        INSERT INTO authors (author, kind, agency, event_key, shard, head_hash, registered_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        author.author,
        author.kind,
        author.agency,
        from_base64url(author.event_key),
        shard_of(author.author, shards),
        bytes.fromhex(GENESIS),
        at_ms,
    )


def _registered(author: ServerAuthor, shards: int) -> Statement:
    body = AuthorRegistered(
        author=author.author,
        kind=author.kind,
        agency=author.agency,
        event_key=author.event_key,
        shard=shard_of(author.author, shards),
    )
    return Statement(f"device:{author.author}", body)
