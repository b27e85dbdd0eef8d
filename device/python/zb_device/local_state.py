"""What the technician sees of a stream: the server's merged state with the device's own newest events laid over it.

The same fold as the server's runs over the device's own events of the stream; where the document does not cover one of them
yet, the visits and lines that it made stand beside, or in place of, the document's. Once the document covers all, it is shown as
it is. Pure: no store, no clock.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import cast

import msgspec

from zb_contracts.envelope import ParsedEvent
from zb_contracts.events import AuthorKind
from zb_contracts.merge.causality import merge_event
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import (
    EquipmentState,
    InterventionState,
    ShiftState,
    SiteState,
    State,
    Status,
    StockState,
    Visit,
    read_state,
)
from zb_device.log import merged_vector
from zb_device.overlay import lines_over, readers_of, requests_over, with_readers
from zb_device.reading import Document
from zb_device.visits import is_of_a_visit


@dataclass(frozen=True, slots=True)
class LocalState:
    """The state to show, and the own events that the server's document does not cover yet."""

    stream: str
    state: State
    pending: tuple[ParsedEvent, ...]
    change: int | None
    """The document's place in the scope's order; None where the server has sent none."""


def local_state(
    stream: str, document: Document | None, own: Sequence[ParsedEvent], unanswered: Container[str] = frozenset()
) -> LocalState | None:
    """`own` are all kept events of this device on the stream, in order. None where nobody knows the stream.

    A document covers what its vector names of each incarnation, but for the ids in `unanswered`: what the ledger has under
    their numbers may be another event.
    """
    covered = document.vector if document else {}
    pending = tuple(
        event for event in own if event.header.seq > covered.get(event.header.author, 0) or event.header.id in unanswered
    )
    if document is None:
        return LocalState(stream, _folded(stream, own), pending, None) if own else None
    state = read_state(stream, document.content)
    if pending:
        state = _overlaid(state, stream, own, pending)
    return LocalState(stream, state, pending, document.change)


def _overlaid(state: State, stream: str, own: Sequence[ParsedEvent], pending: Sequence[ParsedEvent]) -> State:
    vector = merged_vector(state.vector, *({event.header.author: event.header.seq} for event in pending))
    if isinstance(state, InterventionState):
        mine = cast(InterventionState, _folded(stream, own))
        news = [merge_event(event, AuthorKind.DEVICE) for event in pending]
        steps = {event.header.visit for event in pending if is_of_a_visit(event.header.type)}
        visits = _visits(state.visits, mine.visits, steps)
        overlaid = msgspec.structs.replace(
            state,
            vector=vector,
            status=_status(state.status, visits),
            visits=visits,
            lines=lines_over(state.lines, mine.lines, news),
            requests=requests_over(state.requests, mine.requests, news),
        )
        readers = readers_of(news)
        return cast(State, with_readers(overlaid, readers)) if readers else overlaid
    newest = _folded(stream, pending)
    if isinstance(state, StockState) and isinstance(newest, StockState):
        quantities = dict(state.quantities)
        for part, quantity in newest.quantities.items():
            quantities[part] = _sum(quantities.get(part, "0"), quantity)
        return msgspec.structs.replace(
            state,
            vector=vector,
            quantities=quantities,
            movements=[*state.movements, *newest.movements],
            movement_count=(state.movement_count or len(state.movements)) + len(newest.movements),
        )
    if isinstance(newest, SiteState | EquipmentState) and isinstance(state, SiteState | EquipmentState):
        # Own writes know the document, so they stand until somebody writes who knows them.
        return msgspec.structs.replace(state, vector=vector, fields={**state.fields, **newest.fields})
    if isinstance(newest, ShiftState) and isinstance(state, ShiftState):
        return msgspec.structs.replace(
            state,
            vector=vector,
            started=newest.started or state.started,
            ended=newest.ended or state.ended,
            notes=[*state.notes, *newest.notes],
        )
    return msgspec.structs.replace(state, vector=vector)


def _sum(first: str, second: str) -> str:
    """Exact decimal text, without an exponent or idle zeros, as the merge writes it."""
    with localcontext() as context:
        context.prec = 40
        total = (Decimal(first) + Decimal(second)).normalize()
        return f"{total + 0:f}"


def _folded(stream: str, events: Iterable[ParsedEvent]) -> State:
    return fold(stream, (merge_event(event, AuthorKind.DEVICE) for event in events))


def _visits(theirs: Sequence[Visit], mine: Sequence[Visit], touched: Container[str | None]) -> list[Visit]:
    """Own visits that pending events touch as the device knows them, all others as the server does, which may know more. What
    takes the office's events to judge (flags, the cancel's verdict) only the server can say."""
    known = {visit.id: visit for visit in theirs}
    for visit in mine:
        held = known.get(visit.id)
        if held is None:
            known[visit.id] = msgspec.structs.replace(visit, flags=[])
        elif visit.id in touched:
            known[visit.id] = msgspec.structs.replace(visit, cancel_verdict=held.cancel_verdict, flags=held.flags)
    return list(known.values())


def _status(theirs: Status, visits: Sequence[Visit]) -> Status:
    outcomes = {visit.outcome for visit in visits}
    if any(visit.phase != "ended" for visit in visits):
        return "in_progress"
    if "done" in outcomes:
        return "done"
    return "not_done" if "not_done" in outcomes else theirs
