"""What lies in a store's logs when its device ends: what each incarnation still has, and what a person's end takes from it.

It reads and narrows the table that `log` writes; it adds no event and settles none.
"""

from dataclasses import dataclass

from zb_device.database import Connection
from zb_device.log import EventState


@dataclass(frozen=True, slots=True)
class Left:
    """One incarnation's log: its last number, and how many events wait to be sent or for the ledger's word."""

    head: int
    unsent: int
    unreceipted: int


@dataclass(frozen=True, slots=True)
class Leavings:
    """Of all incarnations of one store."""

    connection: Connection

    def of(self, incarnation: int) -> Left:
        """What this incarnation's log holds."""
        head = self.connection.execute("select seq from head where incarnation = ?", (incarnation,)).fetchone()
        unsent, unreceipted = self.connection.execute(
            "select count(*) filter (where state = 'queued'), count(*) filter (where state = 'received')"
            " from log where incarnation = ? and state <> 'admitted'",
            (incarnation,),
        ).fetchone()
        return Left(int(head[0]) if head else 0, int(unsent), int(unreceipted))

    def are_settled(self) -> bool:
        """Whether the ledger has said a word on every event of every incarnation."""
        row = self.connection.execute(
            "select 1 from log where state <> 'admitted' and state in ('queued', 'received') limit 1"
        ).fetchone()
        return row is None

    def state_of(self, incarnation: int, seq: int) -> EventState | None:
        """What became of one event."""
        row = self.connection.execute("select state from log where incarnation = ? and seq = ?", (incarnation, seq)).fetchone()
        return EventState(row[0]) if row else None

    def drop_held(self) -> int:
        """In the caller's transaction: drop the bytes of held events, of which the device has receipts; how many.

        Only where nobody reads here again: the ledger has them, and nobody is left to show them to.
        """
        cursor = self.connection.execute(
            "update log set for_escrow = null where state <> 'admitted' and state = 'held' and for_escrow is not null"
        )
        return int(cursor.rowcount)
