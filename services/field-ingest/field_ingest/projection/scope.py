"""What a technician's devices may hold: which interventions, and with them which sites, equipment and stock.

Pure: who is a member of an intervention, what of it fits the budget, and which numbers the changes take in the technician's
order. The rows are in `scope_store`; nothing here reads a clock, and nothing is sent from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from zb_contracts.merge.state import InterventionState, State, StockState, state_bytes
from zb_contracts.times import parse_time_ms

CLOSED: Final = frozenset({"done", "not_done", "cancelled"})
NOBODY: Final = "none"
MOVEMENTS_GIVEN_MAX: Final = 20
"""Newest movements of a stock that its document shows; the quantities are always whole."""
OMITTED_LISTED_MAX: Final = 32
"""Documents that the budget left out and that a device is told by name; beyond it, it is told how many there are."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class ScopeLimits:
    """The budget of one technician's scope, and how long a closed intervention stays in it."""

    documents_max: int = 400
    bytes_max: int = 4 << 20
    document_bytes_max: int = 256 << 10
    keep_days: int = 3

    @property
    def keep_ms(self) -> int:
        return self.keep_days * _DAY_MS


@dataclass(frozen=True, slots=True)
class Member:
    """One intervention of one technician. Streams by their names; times in ms since 1970."""

    technician: str
    intervention: str
    site: str | None
    equipment: str | None
    held: bool
    planned_ms: int | None
    expires_ms: int | None

    @property
    def documents(self) -> tuple[str, ...]:
        """The streams that come with it."""
        return tuple(stream for stream in (self.intervention, self.site, self.equipment) if stream)


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a scope fits its budget. Both sorted; `omitted` is listed to the device by name."""

    documents: tuple[str, ...]
    omitted: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document that exists: its size in bytes as scopes give it out, hash and vector (canonical JSON) of its state."""

    size: int
    state_hash: bytes
    vector: bytes


@dataclass(frozen=True, slots=True)
class Given:
    """A document that changes in a technician's order, under the number `change`; `document` is None for a tombstone."""

    stream: str
    change: int
    document: Document | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A technician's order after its changes: the last number given, what is alive, and what the budget leaves out."""

    technician: str
    change: int
    given: tuple[Given, ...]
    documents: int
    size: int
    omitted: tuple[str, ...]
    omitted_count: int


def stock_of(technician: str) -> str:
    """The stream of a technician's van."""
    return f"stock:van-{technician}"


def members(state: InterventionState, received_ms: int, now_ms: int, limits: ScopeLimits) -> dict[str, Member]:
    """The technicians who may hold this intervention.

    The assignee, whoever holds it with an open visit and, once it is closed, whoever has visited it; all of them until
    `keep_days` after `received_ms`, when the ledger received what closed it. Device clocks have no say in that.
    """
    technicians = {name for name in (state.assignee, *state.held_by) if name and name != NOBODY}
    expires_ms = None
    if state.status in CLOSED:
        technicians |= {visit.technician for visit in state.visits if visit.technician}
        expires_ms = received_ms + limits.keep_ms
        if expires_ms <= now_ms:
            return {}
    held = set(state.held_by)
    return {
        name: Member(
            name,
            state.stream,
            _stream(state, "site"),
            _stream(state, "equipment"),
            name in held,
            _planned_ms(state),
            expires_ms,
        )
        for name in technicians
    }


def shortened(state: State) -> bytes | None:
    """What a scope gives out of a state, where it leaves history out; None where it gives the whole. Never without a
    current or a set-aside value, and always with the whole vector."""
    if isinstance(state, StockState) and len(state.movements) > MOVEMENTS_GIVEN_MAX:
        return state_bytes(msgspec.structs.replace(state, movements=state.movements[-MOVEMENTS_GIVEN_MAX:]))
    return None


def select(technician: str, found: Iterable[Member], sizes: Mapping[str, int], limits: ScopeLimits) -> Selection:
    """What fits: the van's stock, then interventions as wholes with their site and equipment, the held ones first, then
    the soonest planned. `sizes` has the bytes of every document that exists; one that does not is no part of it."""
    taken: dict[str, int] = {}
    refused: set[str] = set()
    groups = [(stock_of(technician),), *(member.documents for member in sorted(found, key=_rank))]
    used = 0
    for group in groups:
        new = {stream: sizes[stream] for stream in group if stream in sizes and stream not in taken}
        cost = sum(new.values())
        too_large = any(size > limits.document_bytes_max for size in new.values())
        if too_large or len(taken) + len(new) > limits.documents_max or used + cost > limits.bytes_max:
            refused |= new.keys()
            continue
        taken |= new
        used += cost
    return Selection(tuple(sorted(taken)), tuple(sorted(refused - taken.keys())), used)


def moved(technician: str, change: int, alive: Mapping[str, bytes], found: Selection, documents: Mapping[str, Document]) -> Moved:
    """What the technician's order becomes after the change numbered `change`: tombstones first, then what is new or other.

    `alive` has the state hash of every document as it was last given out. Nothing takes a number that did not change.
    """
    gone = sorted(alive.keys() - set(found.documents))
    other = [stream for stream in found.documents if alive.get(stream) != documents[stream].state_hash]
    given = tuple(
        Given(stream, number, None if place < len(gone) else documents[stream])
        for place, (number, stream) in enumerate(enumerate([*gone, *other], change + 1))
    )
    return Moved(
        technician,
        change + len(given),
        given,
        len(found.documents),
        found.bytes,
        found.omitted[:OMITTED_LISTED_MAX],
        len(found.omitted),
    )


def _rank(member: Member) -> tuple[bool, bool, int, str]:
    return not member.held, member.planned_ms is None, member.planned_ms or 0, member.intervention


def _value(state: InterventionState, name: str) -> Any:
    register = state.fields.get(name)
    return register.value if register else None


def _stream(state: InterventionState, name: str) -> str | None:
    value = _value(state, name)
    return f"{name}:{value}" if isinstance(value, str) else None


def _planned_ms(state: InterventionState) -> int | None:
    value = _value(state, "planned_start")
    return parse_time_ms(value) if isinstance(value, str) else None
