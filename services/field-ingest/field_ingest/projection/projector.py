"""The projection: ledger rows in order to states, members and announcements, in one transaction with the marks.

Always apart from admission: it may be late or stand still, the ledger goes on. One step takes a span of every shard for the
partitions that it got; a stream that cannot be folded goes into quarantine and stops no other. What stands is
`zb_contracts.merge`'s matter, scopes follow in `scoping`, waking and hints are `projecting`'s.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from field_ingest.projection import causal_cut
from field_ingest.projection.announce import announce
from field_ingest.projection.folding import REASON_MAX, Folded, Folds, by_stream
from field_ingest.projection.partitions import partition_of
from field_ingest.projection.ports import Batch, LedgerRow, Lift, Marks, ProjectionTransaction, ReadStore, Rest, StateRow, Taken
from field_ingest.projection.scope import ScopeLimits, members, shortened
from field_ingest.projection.states import hash_of
from zb_chassis.clock import Clock
from zb_chassis.outbox import Message
from zb_contracts import canonical
from zb_contracts.events import read_body
from zb_contracts.events.office import EventAdmitted
from zb_contracts.merge.state import RULE_VERSION, InterventionState

BATCH_ROWS: Final = 1_000
"""Rows of its partitions that a step takes of each shard, about; the span that it reads for them is fixed."""
ADMISSION: Final = "event.admitted.v1"
log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: positions passed, rows folded, states written, streams quarantined, and whose rows they were.

    `vector_authors_max`: how many authors the widest vector among these states names.
    """

    passed: int = 0
    rows: int = 0
    states: int = 0
    announced: int = 0
    quarantined: int = 0
    authors: frozenset[str] = frozenset()
    vector_authors_max: int = 0


_Stepped = tuple[Step, Mapping[int, Marks]]
"""A step, and the marks after it of the partitions that it held."""
_Work = Callable[[ProjectionTransaction], Awaitable[_Stepped]]


class Projector:
    """One worker of the projection. `announces` is off in a replay into a shadow."""

    def __init__(
        self,
        store: ReadStore,
        *,
        limits: ScopeLimits,
        clock: Clock,
        announces: bool = True,
        batch_rows: int = BATCH_ROWS,
        folds: Folds | None = None,
    ) -> None:
        self._store, self._limits, self._clock = store, limits, clock
        self._announces, self._batch_rows = announces, batch_rows
        self._folds = folds or Folds()

    async def step(self, partitions: Sequence[int] | None = None, until: Mapping[int, Marks] | None = None) -> Step:
        """Takes the next span for those of these partitions (None: of all) that nobody else works on.

        Whole or not at all. `Step()` when there is nothing. `until` (partition -> marks) is where a replay ends.
        """
        return await self._whole(lambda transaction: self._forward(transaction, partitions, until))

    async def again(self, partitions: Sequence[int] | None = None) -> Step:
        """Folds again what another program left: streams in quarantine whose pause is over, and states of older rules.

        A batch of them at a time: call until it says `Step()`. Those that still fail stay listed, with a longer pause.
        """
        return await self._whole(lambda transaction: self._repeat(transaction, partitions))

    async def _whole(self, work: _Work) -> Step:
        try:
            async with self._store.projection() as transaction:
                step, after = await work(transaction)
        except BaseException:
            self._folds.forget_all()
            raise
        self._folds.stand(after)
        return step

    async def _forward(
        self, transaction: ProjectionTransaction, partitions: Sequence[int] | None, until: Mapping[int, Marks] | None
    ) -> _Stepped:
        taken = await transaction.take(partitions)
        self._folds.meet(taken)
        spans = _spans(taken, until, self._batch_rows * taken.of // max(1, len(taken.marks)))
        if not spans:
            return Step(), taken.marks
        after = {partition: _moved(partition, marks, spans, until) for partition, marks in taken.marks.items()}
        rows = []
        for shard, (begin, end) in spans.items():
            for row in await transaction.ledger_rows(shard, begin, end, sorted(taken.marks), taken.of):
                partition = partition_of(row.stream, taken.of)
                if taken.marks[partition][shard] <= row.position < after[partition][shard]:
                    rows.append(row)
        if len(taken.sizes) > 1 and any(marks != taken.sizes for marks in after.values()):
            # Not all that was committed at one moment: one shard may be read ahead of what its events had seen in another.
            spans = await _closed(transaction, taken, spans, rows)
            after = {partition: _moved(partition, marks, spans, until) for partition, marks in taken.marks.items()}
            rows = [row for row in rows if row.position < after[partition_of(row.stream, taken.of)][row.shard]]
        streams = await self._touched(transaction, rows)
        passed = sum(end - begin for begin, end in spans.values())
        step = await self._project(transaction, Taken(taken.of, after, taken.sizes), streams, rows, passed)
        await transaction.move(after)
        return step, after

    async def _repeat(self, transaction: ProjectionTransaction, partitions: Sequence[int] | None) -> _Stepped:
        taken = await transaction.take(partitions)
        if not taken.marks:
            return Step(), {}
        held = sorted(taken.marks)
        waiting = await transaction.to_retry(held, taken.of, self._clock(), self._batch_rows)
        old = await transaction.of_older_rules(held, taken.of, RULE_VERSION, self._batch_rows)
        streams = sorted({*waiting, *old})
        self._folds.meet(taken)
        self._folds.forget(streams)
        step = await self._project(transaction, taken, streams, []) if streams else Step()
        return step, taken.marks

    async def _touched(self, transaction: ProjectionTransaction, rows: Sequence[LedgerRow]) -> list[str]:
        """The streams whose set of events this batch changes."""
        lifts = [lift for row in rows for lift in _lift_of(row)]
        held = [row for row in rows if row.kind == "held"]
        lifted: set[str] = set()
        if lifts or held:
            await transaction.lift(lifts)
            # An event may have been named long ago on another stream: only what this batch has is this worker's matter.
            named = {row.stream for row in held} | {lift.stream for lift in lifts}
            ids = {row.event_id for row in held} | {lift.event_id for lift in lifts}
            lifted = named & await transaction.lifted_streams(sorted(ids))
            # A lifted event stands before the cached fold's end: the stream is folded again, whole.
            self._folds.forget(lifted)
            if lifted:
                await transaction.forget_rests(sorted(lifted))
        return sorted({row.stream for row in rows if row.kind == "admitted"} | lifted)

    async def _project(
        self,
        transaction: ProjectionTransaction,
        at: Taken,
        streams: Sequence[str],
        rows: Sequence[LedgerRow],
        passed: int = 0,
    ) -> Step:
        missing = set(self._folds.missing(streams))
        fresh = await self._loaded(transaction, at, sorted(missing)) if missing else {}
        known = by_stream(row for row in rows if row.kind == "admitted" and row.stream not in missing)
        folded, faults = self._folds.add(fresh | known)
        before = await transaction.stored(streams) if streams else {}
        batch = Batch(faults=faults)
        for stream, one in folded.items():
            self._take(batch, stream, one, at.marks[partition_of(stream, at.of)], before.get(stream))
        for stream, reason in batch.faults.items():
            log.error("stream quarantined", stream=stream, reason=reason)
        if streams:
            await transaction.write(batch, self._clock())
        return Step(
            passed=passed,
            rows=len(rows),
            states=len(batch.states),
            announced=len(batch.messages),
            quarantined=len(batch.faults),
            authors=frozenset(row.author for row in rows),
            vector_authors_max=max((len(one.state.vector) for one in folded.values()), default=0),
        )

    async def _loaded(self, transaction: ProjectionTransaction, at: Taken, streams: Sequence[str]) -> dict[str, list[LedgerRow]]:
        """The rows of streams that are not in the cache: all, or what a fold that was put away lacks."""
        resumed = self._folds.resume(await transaction.rests(streams))
        rows = by_stream(await transaction.stream_rows(streams, at.marks, at.of, resumed))
        return {stream: rows.get(stream, []) for stream in sorted({*resumed, *rows})}

    def _take(self, batch: Batch, stream: str, one: Folded, marks: Marks, before: tuple[int, bytes] | None) -> None:
        now_ms = self._clock()
        try:
            row = state_row(stream, one, marks, version=(before[0] if before else 0) + 1, now_ms=now_ms)
            found = None
            if isinstance(one.state, InterventionState):
                found = members(one.state, one.received_ms, now_ms, self._limits)
        except Exception as fault:  # as with the fold: listed, and the next stream goes on
            batch.faults[stream] = f"{type(fault).__name__}: {fault}"[:REASON_MAX]
            return
        batch.whole.append(stream)
        if one.rest is not None:
            batch.rests.append(Rest(stream, RULE_VERSION, one.events, one.received_ms, marks, one.rest))
        if found is not None:
            batch.members[stream] = found
        changed = before is None or before[1] != row.state_hash
        if changed:
            batch.states.append(row)
        if self._announces and isinstance(one.state, InterventionState):
            try:
                message = announcement_of(one.state, row, marks)
            except Exception as fault:  # the state stands, listed as untold: too large, or on a stream whose id is no UUID
                batch.faults[stream] = f"{type(fault).__name__}: {fault}"[:REASON_MAX]
            else:
                batch.messages += [message] if changed else []


def _spans(taken: Taken, until: Mapping[int, Marks] | None, span: int) -> dict[int, tuple[int, int]]:
    """Shard -> the positions [begin, end) to read: from the partition that is furthest behind, where there is something."""
    found = {}
    for shard, size in taken.sizes.items():
        ends = {
            partition: size if until is None else min(size, until.get(partition, {}).get(shard, 0)) for partition in taken.marks
        }
        behind = [marks[shard] for partition, marks in taken.marks.items() if marks[shard] < ends[partition]]
        if behind:
            found[shard] = (min(behind), min(min(behind) + span, max(ends.values())))
    return found


async def _closed(
    transaction: ProjectionTransaction, taken: Taken, spans: Mapping[int, tuple[int, int]], rows: Sequence[LedgerRow]
) -> dict[int, tuple[int, int]]:
    """The spans, shortened to a causally closed cut: what a row in it had seen is read with it or was before."""
    made = causal_cut.claims(rows)
    places = await transaction.places(sorted({claim for _, claim in made})) if made else {}
    unread = {
        claim: place
        for claim, place in places.items()
        if place.position >= taken.marks[partition_of(claim.stream, taken.of)][place.shard]
    }
    ends = causal_cut.closed({shard: end for shard, (_, end) in spans.items()}, made, unread)
    return {shard: (begin, ends[shard]) for shard, (begin, _) in spans.items() if begin < ends[shard]}


def _moved(
    partition: int, marks: Marks, spans: Mapping[int, tuple[int, int]], until: Mapping[int, Marks] | None
) -> dict[int, int]:
    """The partition's marks after these spans."""
    ends = {shard: end for shard, (_, end) in spans.items()}
    if until is not None:
        ends = {shard: min(end, until.get(partition, {}).get(shard, 0)) for shard, end in ends.items()}
    return {shard: max(position, ends.get(shard, 0)) for shard, position in marks.items()}


def state_row(stream: str, one: Folded, marks: Marks, *, version: int, now_ms: int) -> StateRow:
    """The row of a folded stream after the ledger positions `marks`."""
    return StateRow(
        stream=stream,
        kind=stream.partition(":")[0],
        rule_version=RULE_VERSION,
        state=one.state_json,
        document=shortened(one.state),
        state_hash=hash_of(one.state_json),
        vector=canonical.encode(one.state.vector),
        positions=canonical.encode({str(shard): position for shard, position in marks.items()}),
        version=version,
        changed_ms=now_ms,
    )


def announcement_of(state: InterventionState, row: StateRow, marks: Marks) -> Message:
    """The announcement of a state that `row` stores."""
    return announce(state, row.state, row.state_hash.hex(), dict(marks), row.version, row.changed_ms)


def _lift_of(row: LedgerRow) -> list[Lift]:
    if row.kind != "admitted" or row.type != ADMISSION:
        return []
    body = read_body(row.type, row.body)
    if not isinstance(body, EventAdmitted):
        return []
    return [Lift(body.event, body.author, body.author_seq, row.stream, row.shard, row.position)]
