"""Checkpoints of the shards' logs: signed notes, at most one a size, made when somebody asks for the newest.

Before a checkpoint leaves it is stored and written to a small file beside the database, so that a restored, shorter ledger is
noticed at the next start. Whether one checkpoint continues another is shown by tree.py's proofs.
"""

import asyncio
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

from field_ingest.ledger import tree
from field_ingest.ledger.ledger_keys import LedgerKeys
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool
from zb_contracts.faults import CryptoFault
from zb_contracts.notes import Checkpoint, is_signed_by, sign_checkpoint, verify_checkpoint


class LedgerBehind(RuntimeError):
    """The ledger is shorter than, or another one than, a checkpoint that it once published. It refuses to start."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A published head of one shard's log."""

    shard: int
    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Published:
    """The newest head that ever left, as the file beside the database says."""

    size: int
    root: bytes
    note: str


@dataclass(slots=True)
class _Newest:
    """The newest checkpoint of one shard that was made here, and the public part of the key that signed it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    checkpoint: StoredCheckpoint | None = None
    key: bytes = b""

    def covers(self, size: int, key: bytes) -> bool:
        return self.checkpoint is not None and self.checkpoint.size >= size and self.key == key


class Checkpoints:
    """Makes, stores and remembers checkpoints under the ledger's keys. `folder` holds one small file a shard."""

    def __init__(self, keys: LedgerKeys, folder: Path, clock: Clock) -> None:
        self._keys = keys
        self._folder = folder
        self._clock = clock
        self._written: dict[int, int] = {}
        self._newest: dict[int, _Newest] = {}

    async def current(self, pool: Pool, shard: int) -> StoredCheckpoint | None:
        """The checkpoint of the shard's committed size, signed now where that is due; None for an empty log."""
        size = await pool.fetchval("SELECT size FROM shards WHERE shard = $1", shard)
        return await self.covering(pool, shard, size or 0)

    async def covering(self, pool: Pool, shard: int, size: int) -> StoredCheckpoint | None:
        """A checkpoint over at least `size` rows, which are committed; None for an empty log.

        The newest one serves whoever it covers: one write serves any number of devices, and who asks while one is made waits
        for it and looks whether it will do.
        """
        newest = self._newest.setdefault(shard, _Newest())
        if newest.covers(size, self._keys.signing.public):
            return newest.checkpoint
        async with newest.lock:
            if not newest.covers(size, key := self._keys.signing.public):
                newest.checkpoint, newest.key = await self._made(pool, shard), key
            return newest.checkpoint

    async def _made(self, pool: Pool, shard: int) -> StoredCheckpoint | None:
        row = await pool.fetchrow(
            """
            SELECT s.origin, s.size, s.root, c.note FROM shards s
            LEFT JOIN checkpoints c ON c.shard = s.shard AND c.size = s.size WHERE s.shard = $1
            """,
            shard,
        )
        if row is None or row["size"] == 0:
            return None
        note, signers = row["note"], self._keys.signers(row["origin"])
        if note is None or not is_signed_by(note, signers[0].verifier):
            note = sign_checkpoint(Checkpoint(row["origin"], row["size"], row["root"]), *signers)
            await self._store(pool, shard, row["size"], row["root"], note)
        if self._written.get(shard, 0) < row["size"]:
            await asyncio.to_thread(_remember, self._file(shard), row["size"], note)
            self._written[shard] = row["size"]
        return StoredCheckpoint(shard, row["size"], row["root"], note)

    async def check_start(self, connection: Connection) -> None:
        """Raises LedgerBehind when the ledger does not contain what its files say was published."""
        shards = await connection.fetch("SELECT shard, origin, size FROM shards ORDER BY shard")
        known = {self._file(row["shard"]) for row in shards}
        for file in sorted(set(self._folder.glob("checkpoint-*.note")) - known):
            raise LedgerBehind(f"the database has no ledger for the published checkpoint {file}: restore the database")
        for row in shards:
            file, published = self._file(row["shard"]), self.published(row["shard"], row["origin"])
            if published is None:
                continue
            if row["size"] < published.size:
                raise LedgerBehind(
                    f"the ledger's shard {row['shard']} has {row['size']} rows, but a checkpoint over {published.size} was "
                    "published: restore a newer copy of the database, or go on from what is there with zb heal --accept-loss"
                )
            if await tree.root_at(connection, row["shard"], published.size) != published.root:
                raise LedgerBehind(
                    f"the first {published.size} rows of the ledger's shard {row['shard']} are not those of the published "
                    f"checkpoint: this is another ledger, use the data folder that belongs to it ({file})"
                )

    def published(self, shard: int, origin: str) -> Published | None:
        """The newest head of the shard that left; None where none did. LedgerBehind where the file is not this ledger's."""
        file = self._file(shard)
        if not file.exists():
            return None
        try:
            note = file.read_text("utf-8")
            checkpoint = verify_checkpoint(note, origin, self._keys.verifiers(origin))
        except (CryptoFault, UnicodeDecodeError) as fault:
            raise LedgerBehind(
                f"the published checkpoint in {file} is not this ledger's ({fault}): use the keys and the data folder that "
                "belong together, or move the file away"
            ) from fault
        return Published(checkpoint.size, checkpoint.root, note)

    def set_aside(self, shard: int, size: int) -> None:
        """Keep the file of a head that was given up, under a name that holds up no start."""
        self._file(shard).replace(self._folder / f"abandoned-{shard}-{size}.note")

    async def _store(self, pool: Pool, shard: int, size: int, root: bytes, note: str) -> None:
        # Two who make it at once write the same bytes: Ed25519 signatures are deterministic. What witnesses signed is the
        # text, which other signature lines do not change.
        await pool.execute(
            """
            INSERT INTO checkpoints (shard, size, root, note, made_at_ms) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (shard, size) DO UPDATE SET note = excluded.note
            """,
            shard,
            size,
            root,
            note,
            self._clock(),
        )

    def _file(self, shard: int) -> Path:
        return self._folder / f"checkpoint-{shard}.note"


def _remember(file: Path, size: int, note: str) -> None:
    """Write the note, durable before it returns, unless the file has a larger one. Safe between processes."""
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists() and int(file.read_text("utf-8").split("\n")[1]) >= size:
            return
        draft = file.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as out:
            out.write(note)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
