"""What the ledger does after a loss: of the broker's store, or of its own newest rows. In SQL and signed words.

After the first it asks every device again for what it lacks. The second only a person may accept: then the ledger goes on from
what its backup kept, says so in an event and in a signed document for every device, reads FIELD and OFFICE again, and gives out
versions and scopes that nobody can take for older ones. What comes back, comes through admission like everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from nats.js import JetStreamContext

from field_ingest.ledger import tree
from field_ingest.ledger.checkpoints import Checkpoints, Published
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.signing import LedgerAuthor, Statement
from field_ingest.projection import states
from field_ingest.sync.ports import Heal
from zb_chassis.clock import Clock
from zb_chassis.consuming import Subscription
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.retelling import is_another, made
from zb_chassis.streams import drop_consumer
from zb_contracts.events.devices import LedgerHealed
from zb_contracts.healing import Healing, sign_healing
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import Frontier
from zb_contracts.signed import SignedDocument
from zb_contracts.subjects import DEADLETTER, FIELD
from zb_contracts.times import format_time_ms

ADVISORY_LOCK: Final = 0x7A62_6865_616C  # "zbheal"

log: Final = structlog.get_logger(__name__)


class NothingToHeal(RuntimeError):
    """No shard is behind a checkpoint that it published: there is no loss to accept."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A shard as it came back, and the head that it had published."""

    shard: int
    origin: str
    size: int
    published: Published | None

    @property
    def abandoned(self) -> Published | None:
        """The published head beyond what is there."""
        return self.published if self.published is not None and self.published.size > self.size else None


# --- The broker lost its store ---


async def after_lost_streams(pool: Pool, jetstream: JetStreamContext, clock: Clock) -> int:
    """Where FIELD is another stream than before, ask every device for what the ledger lacks; how many were asked.

    Dispositions of dead letters go with the letters that they speak of: their numbers are given again.
    """
    field_made, letters_made = await made(jetstream, FIELD), await made(jetstream, DEADLETTER)
    async with transaction(pool) as connection:
        if await is_another(connection, DEADLETTER, letters_made):
            await connection.execute("DELETE FROM dead_letter_retries")
        if not await is_another(connection, FIELD, field_made):
            return 0
        asked = await _ask_devices(connection, clock())
    log.warning("FIELD was made anew: devices are asked for what the ledger lacks", devices=asked)
    return asked


async def _ask_devices(connection: Connection, at_ms: int) -> int:
    """Each device is given a nonce under which it sends again what is beyond its mark."""
    asked: int = await connection.fetchval(
        """
        WITH asked AS (
            SELECT author FROM authors WHERE kind = 'device' ORDER BY author FOR NO KEY UPDATE
        ), given AS (
            UPDATE authors a SET gap_nonce = replace(gen_random_uuid()::text, '-', ''), gap_at_ms = $1 FROM asked
            WHERE a.author = asked.author RETURNING true
        ) SELECT count(*) FROM given
        """,
        at_ms,
    )
    return asked


# --- The ledger lost rows ---


async def accept_loss(
    pool: Pool, checkpoints: Checkpoints, key: SigningKey, author: LedgerAuthor, clock: Clock, *, reason: str, restored: bool
) -> list[Healing]:
    """Go on from the rows that are there, with a trace; what was said of each shard that is behind.

    `restored`: the database is from a backup, and heads may have been published of which no file tells. NothingToHeal, and
    LedgerBehind where the files are not this ledger's. The services do not run; it may be called again after a crash.
    """
    done: list[Healing] = []
    async with transaction(pool) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
        shards = [
            Returned(row["shard"], row["origin"], row["size"], checkpoints.published(row["shard"], row["origin"]))
            for row in await connection.fetch("SELECT shard, origin, size FROM shards ORDER BY shard")
        ]
        behind = [one for one in shards if restored or one.abandoned]
        for one in behind:
            if not await _is_done(connection, one):
                done.append(await _heal(connection, one, key, author, clock(), reason))
        if done:
            await _begin_anew(connection, clock())
    if not behind:
        raise NothingToHeal("no shard is behind a checkpoint that it published: there is nothing to accept")
    for one in behind:
        if one.abandoned:
            checkpoints.set_aside(one.shard, one.abandoned.size)
    return done


async def _is_done(connection: Connection, shard: Returned) -> bool:
    """Whether this very head was abandoned already, by a call that died before it moved the file."""
    if shard.abandoned is None:
        return False
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM heals WHERE shard = $1 AND abandoned_note = $2)", shard.shard, shard.abandoned.note
    )
    return found


async def _heal(
    connection: Connection, shard: Returned, key: SigningKey, author: LedgerAuthor, at_ms: int, reason: str
) -> Healing:
    before = await newest(connection, shard.shard)
    healing = word_on(shard, before.healing if before else None, await _root(connection, shard, before), at_ms)
    abandoned = shard.abandoned
    body = LedgerHealed(
        shard=shard.shard,
        kept=healing.kept,
        kept_root=healing.kept_root,
        abandoned=abandoned.size if abandoned else None,
        abandoned_root=healing.abandoned_root,
        abandoned_note=abandoned.note if abandoned else None,
        reason=reason,
    )
    await author.state(PostgresTransaction(connection), [Statement(f"device:{INGEST}", body)])
    document = sign_healing(healing, key)
    await connection.execute(
        "INSERT INTO heals (shard, number, kept, abandoned_note, document, kid, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        shard.shard,
        healing.number,
        healing.kept,
        abandoned.note if abandoned else None,
        document.payload,
        document.kid,
        document.signature,
    )
    return healing


async def _root(connection: Connection, shard: Returned, before: Heal | None) -> bytes:
    kept = min(shard.size, before.healing.kept if before else shard.size)
    return await tree.root_at(connection, shard.shard, kept) if kept else Frontier().root()


def word_on(shard: Returned, before: Healing | None, kept_root: bytes, at_ms: int) -> Healing:
    """The word about this loss; it covers those before it: a device may have missed any of them. Pure."""
    sizes = [shard.abandoned.size if shard.abandoned else None, *([before.abandoned] if before else [])]
    known = [size for size in sizes if size is not None]
    return Healing(
        number=before.number + 1 if before else 1,
        origin=shard.origin,
        kept=min(shard.size, before.kept) if before else shard.size,
        kept_root=kept_root.hex(),
        abandoned=max(known) if len(known) == len(sizes) else None,
        abandoned_root=shard.abandoned.root.hex() if shard.abandoned else None,
        at=format_time_ms(at_ms),
    )


async def _begin_anew(connection: Connection, at_ms: int) -> None:
    """Devices are asked again; every state is folded and announced anew; scopes begin at their beginning."""
    await _ask_devices(connection, at_ms)
    await states.begin_anew(connection)
    await connection.execute("UPDATE scope_technician SET epoch = replace(gen_random_uuid()::text, '-', '')")


async def newest(connection: Connection | Pool, shard: int) -> Heal | None:
    """The newest loss of the shard; None where it never lost anything."""
    row = await connection.fetchrow(
        "SELECT document, kid, signature FROM heals WHERE shard = $1 ORDER BY number DESC LIMIT 1", shard
    )
    if row is None:
        return None
    document = SignedDocument(row["kid"], row["document"], row["signature"])
    return Heal(msgspec.json.decode(document.payload, type=Healing), document)


async def rewind(pool: Pool, jetstream: JetStreamContext, readings: Sequence[Subscription]) -> bool:
    """After a loss, once: read FIELD and OFFICE again from their beginning. What the ledger has is a duplicate to it.

    From the beginning, not from the backup's time: what was put off or undecided when the backup was made is older than it.
    """
    async with transaction(pool) as connection:
        waiting = await connection.fetch("SELECT shard FROM heals WHERE NOT rewound FOR UPDATE")
        if not waiting:
            return False
        for reading in readings:
            await drop_consumer(jetstream, reading.stream.name, reading.durable)
            await reading.prepare(jetstream)
        await connection.execute("UPDATE heals SET rewound = true WHERE NOT rewound")
    log.warning("FIELD and OFFICE are read again from their beginning")
    return True
