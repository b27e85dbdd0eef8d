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
    Line,
    Request,
    ShiftState,
    SiteState,
    State,
    Status,
    StockState,
    Visit,
    read_state,
)
from zb_device.log import merged_vector
from zb_device.reading import Document


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
        visits = _visits(state.visits, mine.visits)
        return msgspec.structs.replace(
            state,
            vector=vector,
            status=_status(state.status, visits),
            visits=visits,
            lines=_lines(state.lines, mine.lines),
            requests=_requests(state.requests, mine.requests),
        )
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


def _visits(theirs: Sequence[Visit], mine: Sequence[Visit]) -> list[Visit]:
    """Own visits as the device knows them; what only the server can say about them (the cancel's verdict) is kept."""
    known = {visit.id: visit for visit in theirs}
    for visit in mine:
        held = known.get(visit.id)
        if held:
            flags = sorted({*held.flags, *visit.flags})
            visit = msgspec.structs.replace(visit, cancel_verdict=held.cancel_verdict, flags=flags)
        known[visit.id] = visit
    return list(known.values())


def _lines(theirs: Sequence[Line], mine: Sequence[Line]) -> list[Line]:
    """Lines never disappear: the union, own ones as the device knows them."""
    known = {line.id: line for line in theirs}
    return list((known | {line.id: line for line in mine}).values())


def _requests(theirs: Sequence[Request], mine: Sequence[Request]) -> list[Request]:
    known = {request.id for request in theirs}
    return [*theirs, *(request for request in mine if request.id not in known)]


def _status(theirs: Status, visits: Sequence[Visit]) -> Status:
    outcomes = {visit.outcome for visit in visits}
    if any(visit.phase != "ended" for visit in visits):
        return "in_progress"
    if "done" in outcomes:
        return "done"
    return "not_done" if "not_done" in outcomes else theirs
