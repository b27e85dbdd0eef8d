"""From ledger rows to a state, stream by stream, with the folds of busy streams kept between batches.

Owns the cache of folds and nothing durable: a fold that is not there is built again from the ledger. What an event means is
`zb_contracts.merge`'s matter. A stream whose fold raises is reported, never raised, so that it stops no other.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from field_ingest.projection.partitions import partition_of
from field_ingest.projection.ports import LedgerRow, Marks, Rest, Taken
from zb_contracts.events import AuthorKind, stored_body, written_body
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import StreamFold
from zb_contracts.merge.headers import merge_header
from zb_contracts.merge.snapshots import SnapshotRefused
from zb_contracts.merge.state import State, state_bytes

KEPT_MAX: Final = 100_000
"""What the folds kept hold together, in events of about 1.4 KB: memory is full long before the ledger is large."""
FOLD_WEIGHT: Final = 4
"""What a fold costs beside its events, in events."""
REASON_MAX: Final = 500
REST_FROM: Final = 500
"""Events from which on a stream's fold is put away now and then."""
REST_GROWTH: Final = 1.25
"""It is put away again when it has so many times the events of the last time: what that costs stays a share of the fold."""
BOOKKEEPING: Final = ("billing.",)
"""Types that do not put off the end of a closed intervention's time in the scopes."""
log: Final = structlog.get_logger(__name__)
_KINDS: Final = {kind.value: kind for kind in AuthorKind}


@dataclass(frozen=True, slots=True)
class Folded:
    """A stream's state after `events` events. `received_ms`: when the ledger received the newest that is not mere bookkeeping.

    `rest` is the fold's snapshot where it is time to put it away.
    """

    state: State
    state_json: bytes
    received_ms: int
    events: int
    rest: bytes | None


class _Kept:
    """A fold, and what it counts against the limit."""

    __slots__ = ("events", "fold", "received_ms", "rested", "weight")

    def __init__(self, fold: StreamFold, events: int = 0, received_ms: int = 0) -> None:
        self.fold = fold
        self.events = self.rested = events
        self.received_ms = received_ms
        self.weight = FOLD_WEIGHT + fold.held()

    def add(self, rows: Sequence[LedgerRow]) -> Folded:
        for row in rows:
            self.fold.add(read_event(row))
        self.events += len(rows)
        self.weight = FOLD_WEIGHT + self.fold.held()
        times = (row.received_ms for row in rows if not row.type.startswith(BOOKKEEPING))
        self.received_ms = max(self.received_ms, max(times, default=0))
        state = self.fold.state()
        return Folded(state, state_bytes(state), self.received_ms, self.events, self._rest())

    def _rest(self) -> bytes | None:
        if self.events < max(REST_FROM, self.rested * REST_GROWTH):
            return None
        self.rested = self.events
        return self.fold.snapshot()


class Folds:
    """The folds of the streams that were touched last, each valid for its partition's marks as this cache saw them last."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._kept_max = kept_max
        self._held = 0
        self._of = 0
        self._at: dict[int, Marks] = {}

    def meet(self, taken: Taken) -> None:
        """Drops what belongs to partitions that another worker took further since."""
        if taken.of != self._of:
            self.forget_all()
            self._of = taken.of
        moved = {partition for partition, marks in taken.marks.items() if self._at.get(partition) != marks}
        if moved:
            self.forget(stream for stream in list(self._kept) if partition_of(stream, self._of) in moved)

    def stand(self, marks: Mapping[int, Marks]) -> None:
        """The folds are those at these marks, which are committed."""
        self._at.update(marks)

    def forget(self, streams: Iterable[str]) -> None:
        """Drops the folds of these streams."""
        for stream in streams:
            kept = self._kept.pop(stream, None)
            if kept is not None:
                self._held -= kept.weight

    def forget_all(self) -> None:
        """Drops every fold: after a transaction that failed."""
        self._kept.clear()
        self._at.clear()
        self._held = 0

    def missing(self, streams: Iterable[str]) -> list[str]:
        """Those of the streams that must be loaded whole."""
        return [stream for stream in streams if stream not in self._kept]

    def resume(self, rests: Iterable[Rest]) -> dict[str, Marks]:
        """Takes up folds that were put away: stream -> the positions from which on its events are missing.

        What older rules or another program put away is left: those streams are folded from their first event.
        """
        found = {}
        for rest in rests:
            try:
                fold = StreamFold.restore(rest.stream, rest.data)
            except SnapshotRefused as fault:
                log.info("fold not taken up", stream=rest.stream, reason=str(fault))
                continue
            self.forget([rest.stream])
            kept = self._kept[rest.stream] = _Kept(fold, rest.events, rest.received_ms)
            self._held += kept.weight
            found[rest.stream] = rest.positions
        return found

    def add(self, rows: Mapping[str, Sequence[LedgerRow]]) -> tuple[dict[str, Folded], dict[str, str]]:
        """Folds the rows into their streams; the states, and the reason for each stream that could not be folded."""
        folded: dict[str, Folded] = {}
        faults: dict[str, str] = {}
        for stream, found in rows.items():
            try:
                kept = self._kept.get(stream) or _Kept(StreamFold(stream))
                self.forget([stream])
                folded[stream] = kept.add(found)
            except Exception as fault:  # a fold is total: whatever it raises is a fault of ours, listed and not hidden
                faults[stream] = f"{type(fault).__name__}: {fault}"[:REASON_MAX]
            else:
                self._kept[stream] = kept
                self._held += kept.weight
        self._shrink()
        return folded, faults

    def _shrink(self) -> None:
        while self._held > self._kept_max:
            self._held -= self._kept.popitem(last=False)[1].weight


def read_event(row: LedgerRow) -> MergeEvent:
    """The fold's view of a ledger row, whose header and body admission has checked."""
    body = written_body(row.type, row.body) if row.opaque else stored_body(row.type, row.body)
    return MergeEvent(merge_header(row.header), body, _KINDS[row.author_kind])


def by_stream(rows: Iterable[LedgerRow]) -> dict[str, list[LedgerRow]]:
    """The rows grouped by stream, in their order."""
    groups: dict[str, list[LedgerRow]] = defaultdict(list)
    for row in rows:
        groups[row.stream].append(row)
    return dict(groups)
