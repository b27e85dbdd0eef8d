"""The log: what the device signed, in order, and what became of each event. Nothing leaves it before a receipt covers it.

Each event is kept sealed to the escrow key and to the technician's reader key; in clear stand only the heads and what sending
and receipts need. The store may have been several incarnations: a `Log` writes, sends and settles for one of them and shows the
events of all. It composes no event (`recording`), sends none (`syncing`), and never commits for a caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from zb_contracts import canonical
from zb_contracts.envelope import GENESIS, ParsedEvent
from zb_contracts.problems import FORK, LINK_BROKEN
from zb_contracts.segment import seal_event
from zb_contracts.sync import Receipt, Verdict
from zb_device.database import Connection
from zb_device.logbook import OPEN, Entry, EventState, Logbook, open_bundle
from zb_device.visits import Visit, VisitStatus

KEEP_MS: Final = 7 * 86_400_000
"""Admitted events are kept so long after their receipt, in case a rewound ledger asks again."""
OUTGOING_MAX: Final = 1024
"""Events that one round reads for sending."""

_VERDICTS: Final = {
    Verdict.ADMITTED: EventState.ADMITTED,
    Verdict.DUPLICATE: EventState.ADMITTED,
    Verdict.HELD: EventState.HELD,
    Verdict.REFUSED: EventState.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event: where the chain goes on."""

    seq: int
    prev: str
    at_ms: int
    high_water_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event to send: sealed to escrow as it always is, and sealed to the reader who may open it."""

    seq: int
    header_sha256: str
    for_escrow: bytes
    for_reader: bytes | None
    reader: str | None


@dataclass(frozen=True, slots=True)
class ReaderBox:
    """To whom the technician's events are sealed."""

    technician: str
    public: bytes


class Log(Logbook):
    """The tables `head`, `log`, `streams` and `visits` of device.db, for one of the store's incarnations (1, 2 ...)."""

    def __init__(self, connection: Connection, escrow_public: bytes, incarnation: int = 1) -> None:
        super().__init__(connection)
        self._escrow = escrow_public
        self.incarnation = incarnation

    def head(self) -> Head:
        row = self._db.execute(
            "select seq, prev, at_ms, high_water_ms from head where incarnation = ?", (self.incarnation,)
        ).fetchone()
        return Head(*row) if row else Head(0, GENESIS, 0, 0)

    def begin(self, head: Head) -> None:
        """The empty log of a new incarnation: its clocks go on where those of the one before stood."""
        self._db.execute(
            "insert into head (incarnation, seq, prev, at_ms, high_water_ms) values (?, 0, ?, ?, ?)",
            (self.incarnation, GENESIS, head.at_ms, head.high_water_ms),
        )

    def append(self, events: Sequence[ParsedEvent], reader: ReaderBox | None, high_water_ms: int) -> None:
        """Consecutive events after the head, and the new head. One whose wall clock is behind the one before is marked."""
        before_ms = self.head().at_ms
        for event in events:
            self._db.execute(
                "insert into log (incarnation, seq, id, stream, header_sha256, reader, for_escrow, for_reader,"
                " state, recorded_ms, clock_went_back) values (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)",
                (
                    self.incarnation,
                    event.header.seq,
                    event.header.id,
                    event.header.stream,
                    event.header_hash.hex(),
                    reader.technician if reader else None,
                    seal_event(self._escrow, event.signed),
                    seal_event(reader.public, event.signed) if reader else None,
                    event.header.at_ms,
                    event.header.at_ms < before_ms,
                ),
            )
            before_ms = event.header.at_ms
        last = events[-1]
        self._db.execute(
            "insert into head (incarnation, seq, prev, at_ms, high_water_ms) values (?, ?, ?, ?, ?)"
            " on conflict (incarnation) do update set seq = excluded.seq, prev = excluded.prev, at_ms = excluded.at_ms,"
            " high_water_ms = max(high_water_ms, excluded.high_water_ms)",
            (self.incarnation, last.header.seq, last.header_hash.hex(), last.header.at_ms, high_water_ms),
        )

    def raise_high_water(self, trusted_ms: int) -> None:
        """The trusted clock never goes below what it once showed."""
        self._db.execute(
            "insert into head (incarnation, seq, prev, at_ms, high_water_ms) values (?, 0, ?, 0, ?)"
            " on conflict (incarnation) do update set high_water_ms = max(high_water_ms, excluded.high_water_ms)",
            (self.incarnation, GENESIS, trusted_ms),
        )

    # --- What the author knows of a stream, and where the technician is with it ---

    def vector(self, stream: str) -> dict[str, int]:
        row = self._db.execute("select vector from streams where stream = ?", (stream,)).fetchone()
        return dict(canonical.decode(row[0].encode())) if row else {}

    def raise_vector(self, stream: str, vector: dict[str, int]) -> None:
        """Knowledge only grows: the pointwise maximum of what stands there and `vector`."""
        merged = merged_vector(self.vector(stream), vector)
        self._db.execute(
            "insert into streams (stream, vector) values (?, ?) on conflict (stream) do update set vector = excluded.vector",
            (stream, canonical.encode(merged).decode()),
        )

    def forget_beyond(self, author: str, known: int) -> None:
        """This incarnation, as `author`, ends, and the ledger has its events up to `known`: no vector names a later one.

        A later one was a fork: who named it would claim to know what the ledger has under the same number.
        """
        for stream, text in self._db.execute("select stream, vector from streams").fetchall():
            vector = dict(canonical.decode(text.encode()))
            if vector.get(author, 0) <= known:
                continue
            (last,) = self._db.execute(
                "select coalesce(max(seq), 0) from log where incarnation = ? and stream = ? and seq <= ? and state <> 'refused'",
                (self.incarnation, stream, known),
            ).fetchone()
            kept = {other: seq for other, seq in vector.items() if other != author} | ({author: int(last)} if last else {})
            self._db.execute("update streams set vector = ? where stream = ?", (canonical.encode(kept).decode(), stream))

    def visit(self, stream: str, technician: str) -> Visit | None:
        row = self._db.execute(
            "select visit, status from visits where stream = ? and technician = ?", (stream, technician)
        ).fetchone()
        return Visit(row[0], VisitStatus(row[1])) if row else None

    def put_visit(self, stream: str, technician: str, visit: Visit) -> None:
        self._db.execute(
            "insert into visits (stream, technician, visit, status) values (?, ?, ?, ?)"
            " on conflict (stream, technician) do update set visit = excluded.visit, status = excluded.status",
            (stream, technician, visit.visit, visit.status.value),
        )

    # --- Sending ---

    def outgoing(self, first: int | None = None) -> list[Outgoing]:
        """What waits to be sent, in order: queued events, or after a gap answer everything from `first` on."""
        where = f"{OPEN} and state = 'queued'" if first is None else "seq >= :first and for_escrow is not null"
        rows = self._db.execute(
            "select seq, header_sha256, for_escrow, for_reader, reader from log"  # noqa: S608
            f" where incarnation = :incarnation and {where} order by seq limit :limit",
            {"incarnation": self.incarnation, "first": first, "limit": OUTGOING_MAX},
        )
        return [Outgoing(*row) for row in rows]

    def mark_received(self, first: int, last: int) -> None:
        """The broker has these; the ledger has not said anything yet."""
        self._db.execute(
            "update log set state = 'received' where incarnation = ? and seq between ? and ? and state = 'queued'",
            (self.incarnation, first, last),
        )

    def is_unanswered(self) -> bool:
        """Whether the broker took something on which the ledger has not said a word.

        The ledger's mark does not tell: what an old copy of a store wrote lies at numbers below it, and may be lost as well.
        """
        return self._first("'received'") is not None

    def note_ledger_mark(self, ledger_mark: int, server_ms: int) -> int:
        """The ledger's mark, and since when (server time) it has stood still although the broker has more; 0: it has not."""
        row = self._db.execute(
            "select ledger_mark, stalled_since_ms from head where incarnation = ?", (self.incarnation,)
        ).fetchone()
        before_mark, before_ms = row or (0, 0)
        since_ms = 0
        if self.is_unanswered():
            since_ms = server_ms if ledger_mark != before_mark or not before_ms else before_ms
        self._put_progress(ledger_mark, since_ms)
        return int(since_ms)

    def send_again(self, ledger_mark: int) -> None:
        """What the broker took, and the ledger never answered, waits to be sent once more."""
        self._db.execute(
            f"update log set state = 'queued' where incarnation = ? and {OPEN} and state = 'received'",  # noqa: S608
            (self.incarnation,),
        )
        self._put_progress(ledger_mark, 0)

    def _put_progress(self, ledger_mark: int, stalled_since_ms: int) -> None:
        self._db.execute(
            "update head set ledger_mark = ?, stalled_since_ms = ? where incarnation = ?",
            (ledger_mark, stalled_since_ms, self.incarnation),
        )

    def ledger_mark(self) -> int:
        """The ledger's own mark when it was asked last: it may be ahead of the receipts that came."""
        row = self._db.execute("select ledger_mark from head where incarnation = ?", (self.incarnation,)).fetchone()
        return int(row[0]) if row else 0

    def is_settled(self) -> bool:
        """Whether the ledger's last word on every event is known: none waits for it, or for a supervisor."""
        return self._first("'queued', 'received', 'held'") is None

    def agreed(self) -> int:
        """Up to here, contiguous, the ledger has the same events: its receipts said so, and none of them was a fork."""
        (first,) = self._db.execute(
            f"select min(seq) from log where incarnation = ? and {OPEN}"  # noqa: S608
            " and (state in ('queued', 'received') or (state = 'refused' and code in (?, ?)))",
            (self.incarnation, FORK.code, LINK_BROKEN.code),
        ).fetchone()
        return int(first) - 1 if first is not None else self.head().seq

    def mark(self) -> int:
        """Up to here, contiguous, every event has the ledger's word and its bytes may go when they are old enough."""
        return self._before_first("'queued', 'received'")

    def asking_mark(self) -> int:
        """Receipts are wanted from here on: also again those of held events, which a supervisor may have let in."""
        return self._before_first("'queued', 'received', 'held'")

    def _before_first(self, states: str) -> int:
        waiting = self._first(states)
        return waiting - 1 if waiting is not None else self.head().seq

    def _first(self, states: str) -> int | None:
        """The lowest number in one of these states."""
        row = self._db.execute(
            f"select seq from log where incarnation = ? and {OPEN} and state in ({states}) order by seq limit 1",  # noqa: S608
            (self.incarnation,),
        ).fetchone()
        return int(row[0]) if row else None

    # --- Receipts ---

    def settle(self, receipt: Receipt, settled_ms: int) -> bool:
        """Note the ledger's word on one event; whether it is about an event of this log. An admitted event stays admitted."""
        row = self._db.execute(
            "select id, header_sha256, state from log where incarnation = ? and seq = ?", (self.incarnation, receipt.seq)
        ).fetchone()
        if row is None or row[0] != receipt.id or row[1] != receipt.header_sha256:
            return False
        if row[2] != EventState.ADMITTED:
            self._db.execute(
                "update log set state = ?, settled_ms = ?, position = ?, code = ?, message = ? where id = ?",
                (_VERDICTS[receipt.verdict], settled_ms, receipt.position, receipt.code, receipt.message, receipt.id),
            )
        return True

    def reopen(self, kept: int, ledger_mark: int) -> tuple[int, int]:
        """The ledger lost its rows from position `kept` on: their receipts are void, of every incarnation of this store.

        What is still held waits to be sent again, but for what the ledger has of this author (up to its mark) already. How many
        these are; and of how many the bytes are gone.
        """
        (gone,) = self._db.execute("select count(*) from log where position >= ? and for_escrow is null", (kept,)).fetchone()
        cursor = self._db.execute(
            "update log set state = case when incarnation = ? and seq <= ? then 'received' else 'queued' end,"
            " settled_ms = null, position = null, code = null, message = null"
            " where position >= ? and for_escrow is not null",
            (self.incarnation, ledger_mark, kept),
        )
        return int(cursor.rowcount), int(gone)

    def note_waiting(self, receipt: Receipt) -> None:
        """The chain waits at this event and a retry can help: it stays in the outbox, with the reason."""
        self._db.execute(
            "update log set code = ?, message = ? where incarnation = ? and seq = ? and state in ('queued', 'received')",
            (receipt.code, receipt.message, self.incarnation, receipt.seq),
        )

    def prune(self, trusted_ms: int) -> int:
        """Drop the bytes of events admitted more than KEEP_MS ago, up to the mark; how many. Refused and held ones stay."""
        cursor = self._db.execute(
            "update log set for_escrow = null, for_reader = null"
            " where incarnation = ? and state = 'admitted' and settled_ms < ? and seq <= ? and for_escrow is not null",
            (self.incarnation, trusted_ms - KEEP_MS, self.mark()),
        )
        return int(cursor.rowcount)

    def deal_with(self, event_id: str) -> bool:
        """A person has read what became of a held or refused event; whether there was one."""
        cursor = self._db.execute("update log set dealt_with = 1 where id = ? and state in ('held', 'refused')", (event_id,))
        return bool(cursor.rowcount)


def merged_vector(*vectors: dict[str, int]) -> dict[str, int]:
    """The pointwise maximum."""
    merged: dict[str, int] = {}
    for vector in vectors:
        for author, seq in vector.items():
            merged[author] = max(seq, merged.get(author, 0))
    return merged


__all__ = ["KEEP_MS", "Entry", "EventState", "Head", "Log", "Outgoing", "ReaderBox", "merged_vector", "open_bundle"]
