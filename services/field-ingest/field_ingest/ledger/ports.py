"""The ledger's write side as admission sees it: what any store of the ledger promises, whatever it stores in.

`ledger.py` keeps these promises on Postgres, the simulation in memory; one conformance suite holds both. What is decided is
domain.py's, what must be known questions.py's, and what a row is appending.py's: a store keeps and finds, it judges nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from field_ingest.admission.domain import Author, Chain, Event, Known
from field_ingest.admission.rejects import Reject
from field_ingest.ledger.appending import Row


class LedgerAway(ConnectionError):
    """The store cannot be reached, or ended the transaction for a reason of its own: no message is at fault.

    Nothing is known to be committed; whoever meant to write delivers everything again.
    """


class LedgerTransaction(Protocol):
    """One transaction, in this order: lock the authors, ask what is known, decide, write."""

    async def lock_authors(self, names: Collection[str]) -> dict[str, Author]:
        """The authors of these names that exist, nobody else's to write until the transaction ends.

        Locked in the order of their names, so that two transactions never wait for each other.
        """

    async def known(self, authors: Mapping[str, Author], events: Sequence[Event]) -> dict[str, Known]:
        """For each of these locked authors what the decision on its events needs of the ledger. Every event is of one of them.

        Complete for its questions (`questions.questions`): what is not in an answer is not in the ledger.
        """

    async def newest_vector(self, author: str, stream: str) -> dict[str, int]:
        """What the author had seen of the stream with its newest event there; empty before its first."""

    async def note_rejects(self, rejects: Sequence[Reject], *, at_ms: int) -> None:
        """Count each message that was set aside, and keep samples within the limits of rejects.py."""

    async def write(self, chains: Iterable[Chain], *, received_at_ms: int) -> list[Row]:
        """Write what the chains of locked authors decided; the rows, in the ledger's order.

        Authors, holds, and last, under the locks of their shards in ascending order, the rows that `appending.grow` makes.
        The store refuses (with any exception but LedgerAway, and the whole transaction) a second chained row of an author's
        number, a second row under an event id that is no refusal, a second stray row of the same author, number and header
        hash, and a position that is taken. Positions are dense from 0 in each shard and become visible in their order.
        """


class Ledger(Protocol):
    """A store of the ledger. Every method may raise LedgerAway."""

    async def read_authors(self, names: Collection[str]) -> dict[str, Author]:
        """The authors of these names that exist, as they are now, unlocked. Key, kind, shard and owner never change."""

    async def read_strays(self, asked: Collection[tuple[str, int, bytes]]) -> frozenset[tuple[str, int, bytes]]:
        """Which of these (author, number, header hash) stand in the ledger beside their author's chain. What does stays there."""

    def transaction(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """A transaction: committed at the end of the block, or not at all when the block raises."""
