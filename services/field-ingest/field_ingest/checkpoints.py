"""Checkpoints of the shards' logs: signed notes, at most one a size, made when somebody asks for the newest.

Before a checkpoint leaves it is stored and written to a small file beside the database, so that a restored, shorter ledger is
noticed at the next start. Whether one checkpoint continues another is shown by tree.py's proofs.
"""

import asyncio
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from field_ingest import tree
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import SigningKey
from zb_contracts.notes import Checkpoint, NoteSigner, NoteVerifier, sign_checkpoint, verify_checkpoint


class LedgerBehind(RuntimeError):
    """The ledger is shorter than, or another one than, a checkpoint that it once published. It refuses to start."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A published head of one shard's log."""

    shard: int
    size: int
    root: bytes
    note: str


class Checkpoints:
    """Makes, stores and remembers checkpoints under the ledger key. `folder` holds one small file a shard."""

    def __init__(self, key: SigningKey, folder: Path, clock: Clock) -> None:
        self._key = key
        self._folder = folder
        self._clock = clock
        self._written: dict[int, int] = {}

    async def current(self, pool: Pool, shard: int) -> StoredCheckpoint | None:
        """The checkpoint of the shard's committed size, made now where there is none; None for an empty log."""
        row = await pool.fetchrow(
            """
            SELECT s.origin, s.size, s.root, c.note FROM shards s
            LEFT JOIN checkpoints c ON c.shard = s.shard AND c.size = s.size WHERE s.shard = $1
            """,
            shard,
        )
        if row is None or row["size"] == 0:
            return None
        note = row["note"] or await self._make(pool, shard, Checkpoint(row["origin"], row["size"], row["root"]))
        if self._written.get(shard, 0) < row["size"]:
            await asyncio.to_thread(_remember, self._file(shard), row["size"], note)
            self._written[shard] = row["size"]
        return StoredCheckpoint(shard, row["size"], row["root"], note)

    async def check_start(self, connection: Connection) -> None:
        """Raises LedgerBehind when the ledger does not contain what its files say was published."""
        shards = await connection.fetch("SELECT shard, origin, size FROM shards ORDER BY shard")
        known = {self._file(row["shard"]) for row in shards}
        for file in sorted(set(self._folder.glob("checkpoint-*.note")) - known):
            raise LedgerBehind(
                f"the database has no ledger for the published checkpoint {file}: restore the database, or move the file away "
                "to accept the loss"
            )
        for row in shards:
            file = self._file(row["shard"])
            if not file.exists():
                continue
            verifier = NoteVerifier(row["origin"], self._key.public)
            try:
                published = verify_checkpoint(file.read_text("utf-8"), row["origin"], [verifier])
            except (CryptoFault, UnicodeDecodeError) as fault:
                raise LedgerBehind(
                    f"the published checkpoint in {file} is not this ledger's ({fault}): use the keys and the data folder that "
                    "belong together, or move the file away"
                ) from fault
            if row["size"] < published.size:
                raise LedgerBehind(
                    f"the ledger's shard {row['shard']} has {row['size']} rows, but a checkpoint over {published.size} was "
                    f"published: restore a newer copy of the database, or move {file} away to accept the loss"
                )
            if await tree.root_at(connection, row["shard"], published.size) != published.root:
                raise LedgerBehind(
                    f"the first {published.size} rows of the ledger's shard {row['shard']} are not those of the published "
                    f"checkpoint: this is another ledger, use the data folder that belongs to it ({file})"
                )

    async def _make(self, pool: Pool, shard: int, checkpoint: Checkpoint) -> str:
        note = sign_checkpoint(checkpoint, NoteSigner(checkpoint.origin, self._key))
        # Two who make it at once write the same bytes: Ed25519 signatures are deterministic.
        await pool.execute(
            """
            INSERT INTO checkpoints (shard, size, root, note, made_at_ms) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (shard, size) DO NOTHING
            """,
            shard,
            checkpoint.size,
            checkpoint.root,
            note,
            self._clock(),
        )
        return note

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
