"""The merged state of a stream: what devices, console, bridge and auditors read. Key names are stable.

Every struct is frozen and JSON-serialisable by `canonical.encode` (no floats), so that `state_hash` means the same on every
machine. Lists are in one order: (trusted time or wall clock, author, seq). A reader ignores keys that it does not know.
This module decides nothing.
"""

import hashlib
from typing import Any, Final, Literal

import msgspec

from zb_contracts import canonical

RULE_VERSION: Final = 2
"""The rules that write states today; `fold.RULES` has the older ones too."""

Side = Literal["field", "office", "service"]
Status = Literal["draft", "planned", "assigned", "cancelled", "in_progress", "done", "not_done"]
Phase = Literal["travelling", "begun", "ended"]
Outcome = Literal["done", "not_done", "left", "released", "abandoned"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value comes from. `trusted_ms` is null without an anchor: a reader shows an interval, not a point."""

    event: str
    author: str
    seq: int
    type: str
    actor: str | None
    visit: str | None
    at: str
    trusted_ms: int | None
    side: Side


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A value that does not stand, with the rule and the event that it lost to. `acknowledged`: who has read it."""

    field: str
    value: Any
    origin: Origin
    rule: str
    against: str
    acknowledged: list[Origin] = []


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """One field's value. `rule` says why this write stands; see `rules.RULE_CODES`."""

    value: Any
    origin: Origin
    rule: str
    set_aside: list[SetAside] = []


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """From `paused` until `resumed` (null: until the visit's end, or still)."""

    paused: Origin
    resumed: Origin | None
    reason: str | None


class CancelVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the cancel table says about one visit. `ask`: whose turn it is, where somebody has to act."""

    code: str
    row: str
    column: str
    cancels: list[str]
    """Event ids of the cancels that were weighed."""
    cancel: Literal["stands", "set_aside"]
    ask: Literal["dispatcher", "technician"] | None


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One technician's presence. `facts` by field name: travel_started, travel_ended, arrived, started, ended, diagnosis;
    the value of a fact is the body of its event. `equipment` holds the state set per equipment id."""

    id: str
    technician: str | None
    author: str
    opening: Origin
    phase: Phase
    outcome: Outcome | None
    facts: dict[str, Register]
    equipment: dict[str, Register]
    pauses: list[Pause]
    flags: list[str]
    cancel_verdict: CancelVerdict | None


class LineVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a line that is not the current one: older, or written without knowing the current."""

    value: dict[str, Any]
    origin: Origin


class Void(msgspec.Struct, frozen=True, kw_only=True):
    """The line is withdrawn; it stays in the list."""

    reason: str
    origin: Origin


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A part, photo, answer, payment ... `id` is the id of its first event, `kind` a field name of class `line`."""

    id: str
    kind: str
    visit: str | None
    value: dict[str, Any]
    origin: Origin
    versions: list[LineVersion]
    void: Void | None
    set_aside: list[SetAside]
    """Voids that did not know a version which still stands."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One side asks the other for a value of the other's field. `stands`: the plan's policy let it write directly."""

    id: str
    side: Side
    field: str
    visit: str | None
    value: Any
    reason: str | None
    origin: Origin
    status: Literal["open", "accepted", "declined", "stands"]
    answer: Register | None


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A signed layer over a closed visit's fact, shown beside it. `current`: no later correction knows this one."""

    visit: str
    field: str
    value: str
    reason: str
    origin: Origin
    current: bool


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person of the office has to look at; `code` is one of `rules.CONFLICT_CODES`."""

    code: str
    visits: list[str]
    events: list[str]
    origin: Origin
    acknowledged: list[Origin] = []


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """A cancel that no plan and no reopening knew."""

    reason: str
    origin: Origin


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen batch holds this intervention. `later`: ids of line events that the export did not know, on the last export
    of each profile; empty on the others."""

    profile: str
    batch: int
    kind: Literal["invoice", "adjustment"]
    lines_sha256: str
    origin: Origin
    later: list[str]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A held event was let in by a supervisor."""

    event: str
    author: str
    author_seq: int
    supervisor: str
    reason: str
    origin: Origin


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Events that these rules keep and count but do not read into any field, by type and reason."""

    type: str
    reason: str
    count: int
    events: list[str]


class _Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What every state has. `vector` is the whole knowledge of the stream: repeat it as `seen` of the next event.

    `admissions`: held events that were let in. States of rule version 1 have the key on interventions only.
    """

    stream: str
    rule_version: int
    vector: dict[str, int]
    events: int
    unknown: list[Unknown]
    admissions: list[Admission] | msgspec.UnsetType = msgspec.UNSET


class InterventionState(_Stream, frozen=True, kw_only=True):
    """The merged state of `intervention:<id>`."""

    status: Status
    fields: dict[str, Register]
    assignee: str | None
    held_by: list[str]
    visits: list[Visit]
    lines: list[Line]
    requests: list[Request]
    corrections: list[Correction]
    conflicts: list[Conflict]
    cancels: list[Cancel]
    reopened: Origin | None
    exports: list[Export]
    admissions: list[Admission]


class SiteState(_Stream, frozen=True, kw_only=True):
    """The merged state of `site:<id>`."""

    fields: dict[str, Register]


class EquipmentState(_Stream, frozen=True, kw_only=True):
    """The merged state of `equipment:<id>`."""

    fields: dict[str, Register]


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of stock; quantities are exact decimal text."""

    part: str
    quantity: str
    cause: str
    line: str | None
    counterpart: str | None
    origin: Origin


class StockState(_Stream, frozen=True, kw_only=True):
    """The merged state of `stock:<id>`: per part the exact sum of all movements, as decimal text.

    `movements` are the newest of them, `movement_count` how many there are. Rule version 1 has no count and lists them all.
    """

    quantities: dict[str, str]
    movements: list[Movement]
    movement_count: int | msgspec.UnsetType = msgspec.UNSET


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A remark on a working day."""

    text: str
    origin: Origin


class ShiftState(_Stream, frozen=True, kw_only=True):
    """The merged state of `shift:<id>`. The value of `started` and `ended` is the body of the event."""

    started: Register | None
    ended: Register | None
    notes: list[Note]


class DeviceState(_Stream, frozen=True, kw_only=True):
    """`device:<id>` holds keys and revocations, which are read one by one: nothing is merged."""


State = InterventionState | SiteState | EquipmentState | StockState | ShiftState | DeviceState

_KINDS: Final[dict[str, type[Any]]] = {
    "intervention": InterventionState,
    "site": SiteState,
    "equipment": EquipmentState,
    "stock": StockState,
    "shift": ShiftState,
    "device": DeviceState,
}
_DECODERS: Final = {kind: msgspec.json.Decoder(struct) for kind, struct in _KINDS.items()}


def state_bytes(state: State) -> bytes:
    """The canonical bytes of a state: what is hashed, stored and sent."""
    return canonical.encode(state)


def state_hash(state: State) -> str:
    """SHA-256 of the canonical bytes, hex."""
    return hashlib.sha256(state_bytes(state)).hexdigest()


def read_state(stream: str, data: bytes) -> State:
    """The state of `stream` from its bytes. ValueError where the stream's kind or the bytes are not readable."""
    decoder = _DECODERS.get(stream.partition(":")[0])
    if decoder is None:
        raise ValueError(f"no state for streams like {stream}")
    state: State = decoder.decode(data)
    if state.stream != stream:
        raise ValueError(f"the state of {state.stream} is not that of {stream}")
    return state
