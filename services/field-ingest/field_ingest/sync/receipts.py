"""Receipts: the ledger's verdict on each event of an author, with its leaf and the proof that the leaf is in the tree.

Pure. They are no table: they are made from the ledger's rows, as of one checkpoint. Whether an event was right to be admitted
was decided before; who may ask is decided in `sync`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from zb_contracts import ledger_leaf, merkle
from zb_contracts.merkle import SubtreeHash
from zb_contracts.problems import HELD
from zb_contracts.sync import Receipt, Verdict

PATH_HASH_BYTES: Final = 34
RECEIPT_BYTES: Final = 320
"""What a receipt costs in an answer beside its leaf and its path."""


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


def cost(row: Row, size: int) -> int:
    """Bytes that the row's receipt takes in an answer, at most."""
    return RECEIPT_BYTES + len(row.facts) + PATH_HASH_BYTES * size.bit_length() + len(row.event_id) + 4 * len(row.signature)


def receipts_of(rows: Sequence[Row], size: int, subtree_hash: SubtreeHash) -> tuple[Receipt, ...]:
    """The receipts of these rows with their proofs in the tree of `size` leaves."""
    paths = merkle.inclusion_proofs([row.position for row in rows], size, subtree_hash)
    return tuple(_receipt(row, tuple(path)) for row, path in zip(rows, paths, strict=True))


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
