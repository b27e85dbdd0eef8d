"""What a technician's devices may hold: which interventions, and with them which sites, equipment and stock.

Pure: who is a member of an intervention, what of it fits the budget, and which numbers the changes take in the technician's
order. The rows are in `scope_store`; nothing here reads a clock, and nothing is sent from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from zb_contracts import catalogues
from zb_contracts.merge.rules import NOT_ASSIGNED
from zb_contracts.merge.state import InterventionState, State, StockState, state_bytes
from zb_contracts.times import parse_time_ms

CLOSED: Final = frozenset({"done", "not_done", "cancelled"})
NOBODY: Final = "none"
MOVEMENTS_GIVEN_MAX: Final = 20
"""Newest movements of a stock that its document shows; the quantities are always whole."""
OMITTED_LISTED_MAX: Final = 32
"""Documents that the budget left out and that a device is told by name; beyond it, it is told how many there are."""
SHARED_KINDS: Final = ("parts", "reasons")
"""Kinds of catalogues that an agency has one of; the others are named by an intervention."""
_DAY_MS: Final = 86_400_000
_LAST_MS: Final = 253_402_000_000_000
"""In the year 9999, two days before its end: no zone's midnight lies beyond what a calendar holds."""


@dataclass(frozen=True, slots=True)
class ScopeLimits:
    """The budget of one technician's scope, and how long a closed intervention stays in it."""

    documents_max: int = 400
    bytes_max: int = 4 << 20
    document_bytes_max: int = 256 << 10
    keep_days: int = 3
    zone: str = "Europe/Paris"
    """By whose midnight a day begins: that of the technicians, as their devices' policies have it."""

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
    catalogues: tuple[str, ...] = ()

    @property
    def documents(self) -> tuple[str, ...]:
        """The streams that come with it, and the references to catalogues."""
        return tuple(stream for stream in (self.intervention, self.site, self.equipment, *self.catalogues) if stream)


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
class Order:
    """A technician's order before its changes: the last number given, and what the budget left out."""

    change: int
    omitted: tuple[str, ...] = ()
    omitted_count: int = 0


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
    moves: bool = True
    """Whether there is anything new for a device."""


def stock_of(technician: str) -> str:
    """The stream of a technician's van."""
    return f"stock:van-{technician}"


def members(state: InterventionState, received_ms: int, now_ms: int, limits: ScopeLimits) -> dict[str, Member]:
    """The technicians who may hold this intervention.

    The assignee, whoever holds it with an open visit and, once it is closed, whoever was sent and has visited it; all of them
    until `keep_days` after `received_ms`, when the ledger received what closed it. Device clocks have no say in that. Who only
    says that he was there gets nothing: with a modified program anybody can record a visit of whatever id he can guess.
    """
    technicians = {name for name in (state.assignee, *state.held_by) if name and name != NOBODY}
    expires_ms = None
    if state.status in CLOSED:
        technicians |= {visit.technician for visit in state.visits if visit.technician and NOT_ASSIGNED not in visit.flags}
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
            _catalogues(state),
        )
        for name in technicians
    }


def shortened(state: State) -> bytes | None:
    """What a scope gives out of a state, where it leaves history out; None where it gives the whole. Never without a
    current or a set-aside value, and always with the whole vector."""
    if isinstance(state, StockState) and len(state.movements) > MOVEMENTS_GIVEN_MAX:
        return state_bytes(msgspec.structs.replace(state, movements=state.movements[-MOVEMENTS_GIVEN_MAX:]))
    return None


def select(technician: str, found: Iterable[Member], sizes: Mapping[str, int], limits: ScopeLimits, now_ms: int = 0) -> Selection:
    """What fits: the van's stock, then interventions as wholes with what comes with them, the held ones first, then those of
    the nearest day in the technicians' zone.

    `sizes` has the bytes of every document that exists; one that does not is no part of it.
    """
    taken: dict[str, int] = {}
    refused: set[str] = set()
    groups = [
        (stock_of(technician),),
        *(member.documents for member in sorted(found, key=lambda one: _rank(one, now_ms, limits.zone))),
    ]
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


def moved(
    technician: str, before: Order, alive: Mapping[str, bytes], found: Selection, documents: Mapping[str, Document]
) -> Moved:
    """What the technician's order becomes: tombstones first, then what is new or other.

    `alive` has the state hash of every document as it was last given out. Nothing takes a number that did not change; that
    something else is left out takes one, too, else no device would be told.
    """
    gone = sorted(alive.keys() - set(found.documents))
    other = [stream for stream in found.documents if alive.get(stream) != documents[stream].state_hash]
    given = tuple(
        Given(stream, number, None if place < len(gone) else documents[stream])
        for place, (number, stream) in enumerate(enumerate([*gone, *other], before.change + 1))
    )
    omitted, omitted_count = found.omitted[:OMITTED_LISTED_MAX], len(found.omitted)
    is_news = not given and (omitted, omitted_count) != (before.omitted, before.omitted_count)
    change = before.change + len(given) + is_news
    return Moved(
        technician, change, given, len(found.documents), found.bytes, omitted, omitted_count, moves=bool(given) or is_news
    )


def day_of(ms: int, zone: str) -> int:
    """The number of the day in this zone. What lies before 1970, or beyond the calendar, counts as its first or last."""
    return datetime.fromtimestamp(min(max(ms, 0), _LAST_MS) / 1000, ZoneInfo(zone)).toordinal()


def _rank(member: Member, now_ms: int, zone: str) -> tuple[bool, bool, int, int, str]:
    planned_ms = now_ms if member.planned_ms is None else member.planned_ms
    days_off = abs(day_of(planned_ms, zone) - day_of(now_ms, zone))
    return not member.held, member.planned_ms is None, days_off, planned_ms, member.intervention


def _catalogues(state: InterventionState) -> tuple[str, ...]:
    """The checklist that it names, and what its agency's technicians share."""
    checklist, agency = _value(state, "checklist"), _value(state, "agency")
    named = [catalogues.document_of("checklist", checklist)] if isinstance(checklist, str) else []
    shared = [catalogues.document_of(kind, agency) for kind in SHARED_KINDS] if isinstance(agency, str) else []
    return (*named, *shared)


def _value(state: InterventionState, name: str) -> Any:
    register = state.fields.get(name)
    return register.value if register else None


def _stream(state: InterventionState, name: str) -> str | None:
    value = _value(state, name)
    return f"{name}:{value}" if isinstance(value, str) else None


def _planned_ms(state: InterventionState) -> int | None:
    value = _value(state, "planned_start")
    return parse_time_ms(value) if isinstance(value, str) else None
