"""What the log shows of its events, of all incarnations of the store: states, entries, and the events that a reader may open.

`log` writes, sends and settles. Nothing here opens an event but for the reader to whom it was sealed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from zb_contracts.envelope import SignedEvent, parse_event
from zb_contracts.keys import WrapKey
from zb_contracts.problems import Problem
from zb_contracts.segment import open_event
from zb_device.database import Connection
from zb_device.faults import StoreDamaged


class EventState(StrEnum):
    """`received`: the broker has it, the ledger has not answered yet. Only the last three are the ledger's word."""

    QUEUED = "queued"
    RECEIVED = "received"
    ADMITTED = "admitted"
    HELD = "held"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that wait in one state, with the server's reason or without; `oldest_ms` is when the first was recorded."""

    state: EventState
    has_reason: bool
    count: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Newest:
    """How far one incarnation's kept events of a technician go on a stream. `is_admitted`: the ledger has let in all of them."""

    incarnation: int
    seq: int
    is_admitted: bool


OPEN: Final = "state <> 'admitted'"
"""As the index `log_open` says it: what waits or has to be seen is found without reading years of work that is done."""
_ENTRY: Final = (
    "seq, id, state, recorded_ms, settled_ms, position, code, message, dealt_with, clock_went_back, incarnation, stream"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the log shows of one event without opening it."""

    seq: int
    id: str
    state: EventState
    recorded_ms: int
    settled_ms: int | None
    position: int | None
    code: str | None
    message: str | None
    dealt_with: bool
    clock_went_back: bool
    incarnation: int
    stream: str | None
    """None where a store of version 1 has not been unlocked since."""


class Logbook:
    """The table `log`, to look at."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def counts(self) -> dict[str, int]:
        """How many events are in each state."""
        found = dict(self._db.execute(f"select state, count(*) from log where {OPEN} group by state").fetchall())  # noqa: S608
        # Numbers have no gap and no row ever goes: what is not open is admitted.
        (recorded,) = self._db.execute("select coalesce(sum(seq), 0) from head").fetchone()
        found[EventState.ADMITTED] = int(recorded) - sum(found.values())
        return {state.value: int(found.get(state.value, 0)) for state in EventState}

    def entries(self, *, open_only: bool, limit: int) -> list[Entry]:
        """The newest events, oldest first; `open_only`: those without the ledger's word, or that a person must see."""
        seen = "state in ('queued', 'received') or dealt_with = 0"
        where = f"{OPEN} and ({seen})" if open_only else "1"
        rows = self._db.execute(
            f"select {_ENTRY} from log where {where} order by incarnation desc, seq desc limit ?",  # noqa: S608
            (limit,),
        ).fetchall()
        return [_entry(*row) for row in reversed(rows)]

    def entries_of(self, event_ids: Iterable[str]) -> list[Entry]:
        """These events, oldest first."""
        rows = self._db.execute(
            f"select {_ENTRY} from log where id in (select value from json_each(?)) order by incarnation, seq",  # noqa: S608
            (json.dumps(list(event_ids)),),
        )
        return [_entry(*row) for row in rows]

    def waiting(self) -> list[Waiting]:
        """All that waits for the ledger or, held, for a supervisor whom nobody has dealt with yet."""
        rows = self._db.execute(
            f"select state, code is not null, count(*), min(recorded_ms) from log where {OPEN}"  # noqa: S608
            " and (state in ('queued', 'received') or (state = 'held' and dealt_with = 0)) group by 1, 2 order by 1, 2"
        )
        return [Waiting(EventState(state), bool(has_reason), count, oldest_ms) for state, has_reason, count, oldest_ms in rows]

    def state_of(self, event_id: str) -> EventState:
        (state,) = self._db.execute("select state from log where id = ?", (event_id,)).fetchone()
        return EventState(state)

    def opened(self, reader: WrapKey, technician: str, stream: str | None = None) -> list[SignedEvent]:
        """Every kept event of this technician (on one stream), in order. StoreDamaged where one does not open."""
        which = "" if stream is None else "stream = :stream and "
        rows = self._db.execute(
            f"select for_reader from log where {which}reader = :technician and for_reader is not null"  # noqa: S608
            " order by incarnation, seq",
            {"stream": stream, "technician": technician},
        )
        return [open_bundle(reader, row[0]) for row in rows]

    def newest(self, technician: str, kind: str) -> dict[str, list[Newest]]:
        """By stream of one kind, how far this technician's kept events go there; refused ones count for nothing."""
        rows = self._db.execute(
            "select stream, incarnation, max(seq), min(state = 'admitted') from log"
            " where stream > ? and stream < ? and reader = ? and for_reader is not null and state <> 'refused'"
            " group by stream, incarnation",
            (f"{kind}:", f"{kind};", technician),
        )
        found: dict[str, list[Newest]] = {}
        for stream, incarnation, seq, is_admitted in rows:
            found.setdefault(stream, []).append(Newest(incarnation, seq, bool(is_admitted)))
        return found

    def name_streams(self, reader: WrapKey, technician: str) -> None:
        """A store of version 1 did not note which event is on which stream: opened once, it is noted."""
        rows = self._db.execute(
            "select incarnation, seq, for_reader from log where stream is null and reader = ? and for_reader is not null",
            (technician,),
        ).fetchall()
        for incarnation, seq, box in rows:
            stream = parse_event(open_bundle(reader, box)).header.stream
            self._db.execute("update log set stream = ? where incarnation = ? and seq = ?", (stream, incarnation, seq))


def _entry(seq: int, event_id: str, state: str, recorded_ms: int, settled_ms: int | None, *rest: Any) -> Entry:
    position, code, message, dealt_with, went_back, incarnation, stream = rest
    facts = (position, code, message, bool(dealt_with), bool(went_back), incarnation, stream)
    return Entry(seq, event_id, EventState(state), recorded_ms, settled_ms, *facts)


def open_bundle(reader: WrapKey, box: bytes) -> SignedEvent:
    """The three byte strings in a box sealed to this reader."""
    try:
        return open_event(reader.private, box)
    except (ValueError, Problem) as fault:
        raise StoreDamaged(f"a stored event does not open: {fault}") from fault
