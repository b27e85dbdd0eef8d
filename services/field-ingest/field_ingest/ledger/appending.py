"""What a decision adds to the ledger: who changed, which rows a shard grows by, and the tree over them.

Pure, and shared by every store of the ledger. Positions and leaves are made here and nowhere else. It stores nothing and
takes no lock: a store hands in the frontier of a shard that it has locked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from field_ingest.admission.domain import Appended, Author, Chain, Event, admission_in
from zb_contracts import ledger_leaf
from zb_contracts.ledger_leaf import RowKind
from zb_contracts.merkle import Frontier, Subtree


class Row(NamedTuple):
    """A row of the ledger, in the order of its columns. Header, body and signature byte for byte as they came."""

    shard: int
    position: int
    kind: RowKind
    event_id: str
    author: str
    seq: int
    stream: str
    type: str
    header: bytes
    header_hash: bytes
    body: bytes
    signature: bytes
    received_at_ms: int
    facts: bytes
    leaf_hash: bytes
    code: str | None
    chained: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """What one append makes of a shard: its new rows, the subtrees that they complete, and the frontier behind them."""

    rows: list[Row]
    complete: list[Subtree]
    frontier: Frontier


@dataclass(frozen=True, slots=True)
class Lift:
    """A supervisor's admission of a held event, by the event that says so. It may have been admitted before."""

    event_id: str
    author: str
    seq: int
    admitted_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the chains of one transaction decided, in the order in which every store writes it.

    `authors` by name; `shards` ascending, each with its rows in the order in which they were decided.
    """

    authors: list[Author]
    shards: dict[int, list[Appended]]

    @property
    def held(self) -> list[Event]:
        """The events that wait for a supervisor from now on."""
        return [row.event for rows in self.shards.values() for row in rows if row.kind == "held"]

    @property
    def lifts(self) -> list[Lift]:
        """The held events that are admitted from now on."""
        return [lift for rows in self.shards.values() for row in rows if (lift := _lift(row)) is not None]


def decision(chains: Iterable[Chain]) -> Decision:
    """What these chains decided."""
    ordered = sorted(chains, key=lambda chain: chain.author.author)
    shards: dict[int, list[Appended]] = {}
    for chain in ordered:
        rows = [outcome for outcome in chain.outcomes if isinstance(outcome, Appended)]
        if rows:
            shards.setdefault(chain.author.shard, []).extend(rows)
    return Decision([chain.author for chain in ordered], dict(sorted(shards.items())))


def grow(shard: int, frontier: Frontier, appended: Sequence[Appended], received_at_ms: int) -> Growth:
    """The shard with these rows behind it. The frontier that was handed in stays as it is."""
    after = frontier.copy()
    rows: list[Row] = []
    complete: list[Subtree] = []
    for one in appended:
        leaf = ledger_leaf.leaf_hash(_leaf(one, received_at_ms))
        rows.append(_row(shard, after.size, one, received_at_ms, leaf))
        complete += after.append(leaf)
    return Growth(rows, complete, after)


def _leaf(row: Appended, received_at_ms: int) -> bytes:
    return ledger_leaf.leaf_bytes(
        kind=row.kind,
        header_hash=row.event.header_hash,
        signature=row.event.signed.signature,
        received_at_ms=received_at_ms,
        facts=row.facts,
    )


def _row(shard: int, position: int, row: Appended, received_at_ms: int, leaf: bytes) -> Row:
    event = row.event
    return Row(
        shard,
        position,
        row.kind,
        event.id,
        event.author,
        event.seq,
        event.stream,
        event.type,
        event.signed.header,
        event.header_hash,
        event.signed.body,
        event.signed.signature,
        received_at_ms,
        row.facts,
        leaf,
        row.problem.code if row.problem else None,
        row.chained,
    )


def _lift(row: Appended) -> Lift | None:
    named = admission_in(row.event) if row.kind == "admitted" else None
    return Lift(named.event, named.author, named.author_seq, row.event.id) if named is not None else None
