"""Ledger rows to states, whole streams at a time and nothing kept between them: what a replay does, and a look into the past.

It trusts what admission has checked and the caller to give every row of a stream that counts; it reads and writes no table.
The projector folds the same rows batch by batch; that both come to the same states is what a replay proves.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from field_ingest.audit.moments import Moment, MomentUnreadable
from field_ingest.projection.folding import BOOKKEEPING, Folded
from field_ingest.projection.partitions import partition_of
from field_ingest.projection.ports import Lift, Marks
from zb_contracts.envelope import PAYLOAD_TYPE, digest, stored_header
from zb_contracts.events import AuthorKind, read_body, stored_body, written_body
from zb_contracts.events.office import EventAdmitted
from zb_contracts.keys import dsse_pae, verify
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import ADMISSION, RULES, StreamFold
from zb_contracts.merge.headers import merge_header
from zb_contracts.merge.state import state_bytes


class Row(NamedTuple):
    """A ledger row that is no refusal. `opaque`: admission could not read its body. `signature` is empty where it was not
    asked for."""

    stream: str
    type: str
    author: str
    header: bytes
    body: bytes
    opaque: bool
    held: bool
    shard: int
    position: int
    received_ms: int
    signature: bytes


class Author(NamedTuple):
    """What the ledger's registry says of an author."""

    kind: AuthorKind
    event_key: bytes


class SignatureBad(Exception):
    """A row is not what its author signed; the message names it."""


class Cut(msgspec.Struct, frozen=True):
    """Which rows count. `marks`: partition of `of` -> shard -> first position that does not count."""

    of: int
    marks: dict[int, dict[int, int]]
    rules: int
    received_ms: int | None = None
    occurred_ms: int | None = None

    @property
    def ends(self) -> dict[int, int]:
        """Shard -> the first position that counts in no partition."""
        furthest: dict[int, int] = {}
        for one in self.marks.values():
            for shard, position in one.items():
                furthest[shard] = max(position, furthest.get(shard, 0))
        return furthest

    @property
    def is_even(self) -> bool:
        """Whether every partition ends at the same positions: then no row needs to be looked at."""
        return all(one == self.ends for one in self.marks.values())

    def marks_of(self, stream: str) -> Marks:
        """Where the stream's partition ends."""
        return self.marks[partition_of(stream, self.of)]

    def of_stream(self, rows: Sequence[Row]) -> list[Row]:
        """Those of a stream's rows that count."""
        if not rows:
            return []
        marks = self.marks_of(rows[0].stream)
        latest = self.received_ms
        return [row for row in rows if row.position < marks.get(row.shard, 0) and (latest is None or row.received_ms <= latest)]


def cut_at(moment: Moment, sizes: Marks) -> Cut:
    """The rows of a moment. MomentUnreadable, also for rules that do not exist."""
    if moment.rules not in RULES:
        known = ", ".join(map(str, sorted(RULES)))
        raise MomentUnreadable(f"there are no rules of version {moment.rules}: there are {known}")
    return Cut(1, {0: moment.ends(sizes)}, moment.rules, moment.received_ms, moment.occurred_ms)


def refold(stream: str, rows: Sequence[Row], cut: Cut, authors: Mapping[str, Author]) -> Folded | None:
    """The state from a stream's rows, which all count; None where no event stands."""
    fold = StreamFold(stream, cut.rules)
    counting = standing(rows)
    events = events_of(counting, authors, cut.occurred_ms)
    if not events:
        return None
    for event in events:
        fold.add(event)
    state = fold.state()
    received_ms = max((row.received_ms for row in counting if not row.type.startswith(BOOKKEEPING)), default=0)
    return Folded(state, state_bytes(state), received_ms, len(events), None)


def events_of(rows: Iterable[Row], authors: Mapping[str, Author], occurred_ms: int | None = None) -> list[MergeEvent]:
    """Rows that stand, as the fold reads them; with `occurred_ms` only what happened by then."""
    events = [_event(row, authors[row.author].kind) for row in rows]
    if occurred_ms is None:
        return events
    return [event for event in events if event.header.trusted_ms <= occurred_ms]


def _event(row: Row, kind: AuthorKind) -> MergeEvent:
    body = written_body(row.type, row.body) if row.opaque else stored_body(row.type, row.body)
    return MergeEvent(merge_header(row.header), body, kind)


def standing(rows: Sequence[Row]) -> Sequence[Row]:
    """What is admitted, and what of the held was let in by one of the rows: also by one that happened later."""
    if not any(row.held for row in rows):
        return rows
    let_in = {(lift.event_id, lift.author, lift.seq) for lift in lifts_of(rows)}
    return [row for row in rows if not row.held or _name(row) in let_in]


def lifts_of(rows: Iterable[Row]) -> list[Lift]:
    """Which held events these rows let in."""
    found = []
    for row in rows:
        body = read_body(row.type, row.body) if row.type == ADMISSION and not row.held else None
        if isinstance(body, EventAdmitted):
            found.append(Lift(body.event, body.author, body.author_seq, row.stream, row.shard, row.position))
    return found


def _name(row: Row) -> tuple[str, str, int]:
    header = merge_header(row.header)
    return header.id, header.author, header.seq


def check_signatures(rows: Iterable[Row], authors: Mapping[str, Author]) -> None:
    """SignatureBad for the first row whose header its author did not sign, or whose body is another one."""
    for row in rows:
        if not verify(authors[row.author].event_key, dsse_pae(PAYLOAD_TYPE, row.header), row.signature):
            raise SignatureBad(f"the signature of {row.author} at shard {row.shard}, position {row.position} is not good")
        if stored_header(row.header).body_sha256 != digest(row.body):
            raise SignatureBad(f"the body at shard {row.shard}, position {row.position} is not the one that was signed")
