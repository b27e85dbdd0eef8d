"""Receipts: the ledger's verdict on each event of an author, with its leaf and the proof that the leaf is in the tree.

They are no table: they are read from the ledger's rows and the author's row, as of one checkpoint. Whether an event was
right to be admitted was decided before; who may ask is decided in `sync`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from field_ingest import tree
from zb_chassis.database import Connection
from zb_contracts import ledger_leaf
from zb_contracts.problems import HELD
from zb_contracts.sync import RECEIPTS_MAX, Receipt, Verdict

PATH_HASH_BYTES: Final = 34
RECEIPT_BYTES: Final = 320
"""What a receipt costs in an answer beside its leaf and its path."""


_COLUMNS: Final = "position, kind, event_id, author, seq, header_hash, signature, received_at_ms, facts, code"


@dataclass(frozen=True, slots=True)
class Row:
    """What a receipt needs of a ledger row. `lifted`: held, and let in since."""

    position: int
    kind: str
    event_id: str
    seq: int
    header_hash: bytes
    signature: bytes
    received_ms: int
    facts: bytes
    code: str | None
    lifted: bool

    def leaf(self) -> bytes:
        """The bytes whose hash is in the tree."""
        return ledger_leaf.leaf_bytes(
            kind=self.kind,
            header_hash=self.header_hash,
            signature=self.signature,
            received_at_ms=self.received_ms,
            facts=self.facts,
        )


class _Facts(msgspec.Struct, frozen=True):
    message: str | None = None


_facts = msgspec.json.Decoder(_Facts)


async def rows_after(connection: Connection, author: str, mark: int, size: int, limit: int = RECEIPTS_MAX) -> list[Row]:
    """The author's rows beyond `mark` that a checkpoint of `size` covers, by number, one more than `limit` at most."""
    rows = await connection.fetch(
        f"""
        SELECT r.position, r.kind, r.event_id, r.seq, r.header_hash, r.signature, r.received_at_ms, r.facts, r.code,
            r.kind = 'held' AND EXISTS (
                SELECT 1 FROM lifted f WHERE f.event_id = r.event_id AND f.author = r.author AND f.seq = r.seq) AS lifted
        FROM (
            (SELECT {_COLUMNS} FROM ledger WHERE author = $1 AND seq > $2 AND chained AND position < $3 ORDER BY seq LIMIT $4)
            UNION ALL
            (SELECT {_COLUMNS} FROM ledger WHERE author = $1 AND seq > $2 AND NOT chained AND position < $3 ORDER BY seq LIMIT $4)
        ) r ORDER BY r.seq, r.position LIMIT $4
        """,  # noqa: S608 a constant of this module
        author,
        mark,
        size,
        limit + 1,
    )
    return [Row(*row) for row in rows]


def cost(row: Row, size: int) -> int:
    """Bytes that the row's receipt takes in an answer, at most."""
    return RECEIPT_BYTES + len(row.facts) + PATH_HASH_BYTES * size.bit_length() + len(row.event_id) + 4 * len(row.signature)


async def receipts_of(connection: Connection, shard: int, rows: Sequence[Row], size: int) -> tuple[Receipt, ...]:
    """The receipts of these rows with their proofs in the tree of `size` leaves."""
    if not rows:
        return ()
    paths = await tree.inclusion_proofs(connection, shard, [row.position for row in rows], size)
    return tuple(_receipt(row, path) for row, path in zip(rows, paths, strict=True))


def _receipt(row: Row, path: tuple[bytes, ...]) -> Receipt:
    return Receipt(
        seq=row.seq,
        id=row.event_id,
        verdict=_verdict(row),
        position=row.position,
        code=HELD.code if row.kind == "held" and not row.lifted else row.code,
        message=_facts.decode(row.facts).message if row.kind == "refusal" else None,
        header_sha256=row.header_hash.hex(),
        inclusion=path,
        leaf=row.leaf(),
    )


def _verdict(row: Row) -> Verdict:
    if row.kind == "refusal":
        return Verdict.REFUSED
    return Verdict.HELD if row.kind == "held" and not row.lifted else Verdict.ADMITTED
