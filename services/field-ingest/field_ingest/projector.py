"""The projection: ledger rows in order to states, scopes and announcements, in one transaction with the checkpoint.

Always apart from admission: it may be late or stand still, the ledger goes on. One step takes a batch from every shard; a
stream that cannot be folded goes into quarantine and stops no other. What stands is `zb_contracts.merge`'s matter, what a
technician may hold is `scope`'s, waking and hints are `projecting`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from field_ingest import scope_store, states
from field_ingest.announce import announce
from field_ingest.folding import REASON_MAX, Folded, Folds, by_stream
from field_ingest.scope import Member, ScopeLimits, members, shortened
from field_ingest.states import LedgerRow, StateRow
from zb_chassis import outbox
from zb_chassis.clock import Clock
from zb_chassis.database import Connection
from zb_chassis.outbox import Message
from zb_contracts import canonical
from zb_contracts.events import read_body
from zb_contracts.events.office import EventAdmitted
from zb_contracts.merge.state import RULE_VERSION, InterventionState

BATCH_ROWS: Final = 500
log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: rows read, states written, streams quarantined, and whom it concerns."""

    rows: int = 0
    states: int = 0
    announced: int = 0
    quarantined: int = 0
    technicians: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Result:
    """What a batch makes of the streams that it touches, before anything of it is written."""

    rows: list[StateRow] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    members: dict[str, Mapping[str, Member]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)


class Projector:
    """One projection of all shards. `announces` is off in a replay into a shadow."""

    def __init__(
        self,
        *,
        limits: ScopeLimits,
        clock: Clock,
        new_epoch: scope_store.EpochSource,
        announces: bool = True,
        batch_rows: int = BATCH_ROWS,
        folds: Folds | None = None,
    ) -> None:
        self._limits, self._clock, self._new_epoch = limits, clock, new_epoch
        self._announces, self._batch_rows = announces, batch_rows
        self._folds = folds or Folds()
        self._retried = False

    async def step(self, connection: Connection, until: Mapping[int, int] | None = None) -> Step:
        """Takes the next batch, whole or not at all. `Step()` when there is nothing, or another projector works.

        `until` (shard -> position) is where a replay ends.
        """
        try:
            async with connection.transaction():
                step, marks = await self._step(connection, until)
        except BaseException:
            self._folds.forget()
            self._folds.at = None
            raise
        if marks is not None:
            self._folds.at = marks
        return step

    async def sweep(self, connection: Connection) -> frozenset[str]:
        """Takes out of the scopes what was closed long enough ago; the technicians concerned."""
        async with connection.transaction():
            gone = await scope_store.expire(connection, self._clock())
            return frozenset(await scope_store.refresh(connection, gone, self._limits, self._new_epoch))

    async def again(self, connection: Connection) -> Step:
        """Folds again what another program left: quarantined streams once, and a batch of states of older rules.

        Call until it says `Step()`; the quarantined ones that still fail stay listed.
        """
        async with connection.transaction():
            marks = await states.lock_marks(connection)
            if marks is None:
                return Step()
            waiting = [] if self._retried else list(await states.quarantined(connection))
            streams = sorted({*waiting, *await states.of_older_rules(connection, RULE_VERSION, self._batch_rows)})
            self._folds.forget(streams)
            step = await self._project(connection, marks, streams, []) if streams else Step()
        self._retried = True
        return step

    async def _step(self, connection: Connection, until: Mapping[int, int] | None) -> tuple[Step, dict[int, int] | None]:
        marks = await states.lock_marks(connection)
        if marks is None:
            return Step(), None
        if marks != self._folds.at:
            self._folds.forget()
        rows = [
            row
            for shard, position in sorted(marks.items())
            for row in await states.ledger_rows(connection, shard, position, self._rows_wanted(shard, position, until))
        ]
        if not rows:
            return Step(), marks
        after = marks | {row.shard: row.position + 1 for row in rows}
        step = await self._project(connection, after, await self._touched(connection, rows), rows)
        await states.move_marks(connection, after)
        return step, after

    def _rows_wanted(self, shard: int, position: int, until: Mapping[int, int] | None) -> int:
        return self._batch_rows if until is None else max(0, min(self._batch_rows, until.get(shard, 0) - position))

    async def _touched(self, connection: Connection, rows: Sequence[LedgerRow]) -> list[str]:
        """The streams whose set of events this batch changes."""
        admissions = [
            (body.event, body.author, body.author_seq, row.shard, row.position)
            for row in rows
            if row.kind == "admitted" and row.type == "event.admitted.v1"
            for body in [read_body(row.type, row.body)]
            if isinstance(body, EventAdmitted)
        ]
        await states.lift(connection, admissions)
        held = [row.event_id for row in rows if row.kind == "held"]
        lifted = await states.lifted_streams(connection, [*held, *(admission[0] for admission in admissions)])
        # A lifted event stands before the cached fold's end: the stream is folded again, whole.
        self._folds.forget(lifted)
        return sorted({row.stream for row in rows if row.kind == "admitted"} | lifted)

    async def _project(
        self, connection: Connection, marks: dict[int, int], streams: Sequence[str], rows: Sequence[LedgerRow]
    ) -> Step:
        missing = set(self._folds.missing(streams))
        fresh = by_stream(await states.stream_rows(connection, sorted(missing), marks)) if missing else {}
        known = by_stream(row for row in rows if row.kind == "admitted" and row.stream not in missing)
        folded, faults = self._folds.add(fresh | known)
        before = await states.versions(connection, streams)
        result = _Result(faults=faults)
        for stream, one in folded.items():
            self._take(result, stream, one, marks, before.get(stream))
        technicians = await self._write(connection, result)
        return Step(
            rows=len(rows),
            states=len(result.rows),
            announced=len(result.messages),
            quarantined=len(result.faults),
            technicians=frozenset(technicians),
            authors=frozenset(row.author for row in rows),
        )

    def _take(self, result: _Result, stream: str, one: Folded, marks: dict[int, int], before: tuple[int, bytes] | None) -> None:
        try:
            row = state_row(stream, one, marks, version=(before[0] if before else 0) + 1, now_ms=self._clock())
            found = None
            if isinstance(one.state, InterventionState):
                found = members(one.state, one.received_ms, self._clock(), self._limits)
        except Exception as fault:  # as with the fold: listed, and the next stream goes on
            result.faults[stream] = f"{type(fault).__name__}: {fault}"
            return
        result.whole.append(stream)
        if found is not None:
            result.members[stream] = found
        changed = before is None or before[1] != row.state_hash
        if changed:
            result.rows.append(row)
        if self._announces and isinstance(one.state, InterventionState):
            try:
                message = announcement_of(one.state, row, marks)
            except Exception as fault:  # the state stands, listed as untold: too large, or on a stream whose id is no UUID
                result.faults[stream] = f"{type(fault).__name__}: {fault}"[:REASON_MAX]
            else:
                result.messages += [message] if changed else []

    async def _write(self, connection: Connection, result: _Result) -> set[str]:
        now_ms = self._clock()
        for stream, reason in result.faults.items():
            log.error("stream quarantined", stream=stream, reason=reason)
        await states.quarantine(connection, result.faults, now_ms)
        await states.release(connection, [stream for stream in result.whole if stream not in result.faults])
        await states.write_states(connection, result.rows)
        technicians = await scope_store.replace_members(connection, result.members)
        technicians |= await scope_store.concerned(connection, [row.stream for row in result.rows])
        moved = await scope_store.refresh(connection, technicians, self._limits, self._new_epoch)
        for first in range(0, len(result.messages), outbox.MESSAGES_PER_CALL_MAX):
            await outbox.enqueue_all(connection, result.messages[first : first + outbox.MESSAGES_PER_CALL_MAX])
        return moved


def state_row(stream: str, one: Folded, marks: Mapping[int, int], *, version: int, now_ms: int) -> StateRow:
    """The row of a folded stream after the ledger positions `marks`."""
    return StateRow(
        stream=stream,
        kind=stream.partition(":")[0],
        rule_version=RULE_VERSION,
        state=one.state_json,
        document=shortened(one.state),
        state_hash=states.hash_of(one.state_json),
        vector=canonical.encode(one.state.vector),
        positions=canonical.encode({str(shard): position for shard, position in marks.items()}),
        version=version,
        changed_ms=now_ms,
    )


def announcement_of(state: InterventionState, row: StateRow, marks: Mapping[int, int]) -> Message:
    """The announcement of a state that `row` stores."""
    return announce(state, row.state, row.state_hash.hex(), dict(marks), row.version, row.changed_ms)
