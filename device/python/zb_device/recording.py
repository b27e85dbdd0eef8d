"""Recording: a typed body becomes a signed event at the end of the chain, durable before anybody is told.

It builds the header (id, seq, prev, visit, seen, clocks), signs and appends; several drafts commit together, so that a part used
and its stock movement, or a photo and its queue row, are never apart. It sends nothing and reads no merged state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from zb_contracts.envelope import BODY_TYPE, Header, ParsedEvent, digest, is_summed, parse_event, sign_event
from zb_contracts.events import AuthorKind, Body, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.problems import Problem
from zb_contracts.subject_keys import Purpose
from zb_contracts.subjects import ID_PATTERN
from zb_contracts.times import format_time_ms
from zb_device.clock import AnchorMark, Clock, elapsed_since, trusted_time
from zb_device.database import Connection, transaction
from zb_device.faults import RecordInvalid
from zb_device.ids import uuid7
from zb_device.log import EventState, Head, Log, ReaderBox, merged_vector
from zb_device.settings import Session, Settings
from zb_device.visits import Visit, visit_after

DRAFTS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A subject's key that was made for an event, and what it seals there: it is in no event, custody gets it. `file`: the hash
    of a picture that shows the same person."""

    kid: str
    key: bytes = field(repr=False)
    purpose: Purpose
    fields: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """One event to be. `id` is made beforehand where another draft or a sealed value has to name it."""

    stream: str
    body: Body
    id: str = ""
    keys: tuple[MadeKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the screen may confirm: the event is signed and on disk."""

    id: str
    seq: int
    type: str
    stream: str
    visit: str | None
    at: str
    state: EventState
    sha256: str | None = None
    """Of the bytes that the event names, for a photo or a signature."""


def recorded(event: ParsedEvent) -> Recorded:
    """What is confirmed of an event."""
    header = event.header
    return Recorded(header.id, header.seq, header.type, header.stream, header.visit, header.at, EventState.QUEUED)


@dataclass(frozen=True, slots=True)
class Recorder:
    """One incarnation's pen. `known` gives what the read model knows of a stream (empty while locked)."""

    connection: Connection
    log: Log
    settings: Settings
    key: SigningKey
    author: str
    clock: Clock

    def record(
        self,
        drafts: Sequence[Draft],
        *,
        actor: str | None,
        reader: ReaderBox | None,
        known: Callable[[str], dict[str, int]],
        also: Callable[[], None] | None = None,
    ) -> list[ParsedEvent]:
        """The events, signed and on disk, in the order of the drafts; `also` writes in the same transaction. `actor` None: the
        device speaks for itself.

        RecordInvalid, VisitRefused, DiskFull or a Problem of the envelope: then nothing was recorded.
        """
        if not 1 <= len(drafts) <= DRAFTS_MAX:
            raise RecordInvalid(f"{len(drafts)} events at once, 1 to {DRAFTS_MAX} are possible")
        for draft in drafts:
            _check(draft)
        mark, head = self.settings.get(AnchorMark), self.log.head()
        session = self.settings.get(Session)
        trusted = trusted_time(mark, head.high_water_ms, self.clock)
        events: list[ParsedEvent] = []
        with transaction(self.connection):
            for draft in drafts:
                event = self._signed(draft, actor, session, mark, head, known(draft.stream))
                events.append(event)
                head = Head(event.header.seq, event.header_hash.hex(), event.header.at_ms, head.high_water_ms)
            self.log.append(events, reader, trusted.earliest_ms)
            if also:
                also()
        return events

    def _signed(
        self, draft: Draft, actor: str | None, session: Session | None, mark: AnchorMark | None, head: Head, known: dict[str, int]
    ) -> ParsedEvent:
        body, now_ms = draft.body.canonical_bytes(), self.clock.wall_ms()
        event_id, type_name = draft.id or uuid7(now_ms), type_of(draft.body).name
        visit = self._visit(draft.stream, type_name, event_id, actor)
        seen = merged_vector(self.log.vector(draft.stream), {} if is_summed(draft.stream) else known)
        header = Header(
            id=event_id,
            author=self.author,
            seq=head.seq + 1,
            prev=head.prev,
            type=type_name,
            stream=draft.stream,
            visit=visit.visit if visit else None,
            actor=actor,
            token=session.token_id if session and actor and session.technician == actor else None,
            at=format_time_ms(now_ms),
            boot=self.clock.boot,
            elapsed_ms=elapsed_since(mark, self.clock),
            anchor=mark.anchor if mark else None,
            seen=seen,
            body_sha256=digest(body),
            body_type=BODY_TYPE,
        )
        event = _sealed_off(self.key, header, body)
        self.log.raise_vector(draft.stream, seen | {self.author: header.seq})
        if visit and actor:
            self.log.put_visit(draft.stream, actor, visit)
        return event

    def _visit(self, stream: str, type_name: str, event_id: str, actor: str | None) -> Visit | None:
        if actor is None or not stream.startswith("intervention:"):
            return None
        return visit_after(type_name, event_id, self.log.visit(stream, actor))


def _sealed_off(key: SigningKey, header: Header, body: bytes) -> ParsedEvent:
    try:
        return parse_event(sign_event(key, header, body))
    except Problem as fault:
        raise RecordInvalid(f"{header.type} cannot be recorded: {fault}") from fault


def _check(draft: Draft) -> None:
    kind = type_of(draft.body)
    if AuthorKind.DEVICE not in kind.writers:
        raise RecordInvalid(f"a device may not write {kind.name}")
    stream_kind, _, stream_id = draft.stream.partition(":")
    if stream_kind not in kind.stream_kinds or not ID_PATTERN.fullmatch(stream_id):
        raise RecordInvalid(f"{kind.name} belongs on {'/'.join(sorted(kind.stream_kinds))}:<id>, not on {draft.stream!r}")
