"""Cancel meets visit: the whole table as data, evaluated per visit over the cancels that no plan and no reopening knew.

Column: what the field knew at the visit's opening, or the office at the cancel (known before informed before concurrent).
Row: how far the visit came, from the whole set of events. The status follows from the visits, not from this table.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from zb_contracts.merge import rules
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank, knows
from zb_contracts.merge.registers import Acknowledgements
from zb_contracts.merge.state import Cancel, CancelVerdict, Register, SetAside
from zb_contracts.merge.visits import Presence

COLUMNS: Final = ("none", "known", "informed", "concurrent")
ROWS: Final = ("none", "travelling", "turned_back", "begun", "ended")
"""`turned_back`: a visit that ended before work had begun."""


class Cell(NamedTuple):
    """`cancel`: does it stand or is it set aside; `ask`: whose turn it is; `flag`: on the visit."""

    code: str
    cancel: Literal["stands", "set_aside"] = "stands"
    ask: Literal["dispatcher", "technician"] | None = None
    flag: str | None = None


NO_CANCEL: Final = Cell("no_cancel")
_CANCELLED: Final = Cell("cancelled")
_RECALL: Final = Cell("recall", ask="technician")
_TURNED_BACK: Final = Cell("turned_back")
_TOO_LATE: Final = Cell(rules.CANCELLED_TOO_LATE, "set_aside", "dispatcher")
_WORKED: Final = Cell(rules.WORKED_ON_CANCELLED, "set_aside", "dispatcher", rules.WORKED_ON_CANCELLED)
_TRAVELLED: Final = Cell(rules.TRAVELLED_ON_CANCELLED, ask="dispatcher", flag=rules.TRAVELLED_ON_CANCELLED)
_STOP: Final = Cell("stop_request", ask="technician")
_AFTER: Final = Cell("cancelled_after_visit")

TABLE: Final[dict[tuple[str, str], Cell]] = {
    # (column, row)
    ("none", "none"): NO_CANCEL,
    ("none", "travelling"): NO_CANCEL,
    ("none", "turned_back"): NO_CANCEL,
    ("none", "begun"): NO_CANCEL,
    ("none", "ended"): NO_CANCEL,
    ("known", "none"): _CANCELLED,
    ("known", "travelling"): _TRAVELLED,
    ("known", "turned_back"): _TRAVELLED,
    ("known", "begun"): _WORKED,
    ("known", "ended"): _WORKED,
    ("informed", "none"): _CANCELLED,
    ("informed", "travelling"): _RECALL,
    ("informed", "turned_back"): _TURNED_BACK,
    ("informed", "begun"): _STOP,
    ("informed", "ended"): _AFTER,
    ("concurrent", "none"): _CANCELLED,
    ("concurrent", "travelling"): _RECALL,
    ("concurrent", "turned_back"): _TURNED_BACK,
    ("concurrent", "begun"): _TOO_LATE,
    ("concurrent", "ended"): _TOO_LATE,
}

_STOPPING: Final = frozenset(
    {
        "intervention.travel_ended",
        "intervention.paused",
        "intervention.left",
        "intervention.released",
        "intervention.not_done",
    }
)
"""What a technician does who obeys: knowing the cancel, these are no going on."""


def standing_cancels(cancels: Sequence[MergeEvent], overtaking: Sequence[MergeEvent]) -> list[MergeEvent]:
    """The cancels that no plan and no reopening knew, in order of rank."""
    # Of each author only the last plan or reopening matters: it knew what the earlier ones knew.
    last: dict[str, MergeEvent] = {}
    for event in overtaking:
        known = last.get(event.header.author)
        if known is None or known.header.seq < event.header.seq:
            last[event.header.author] = event
    return [cancel for cancel in by_rank(cancels) if not any(knows(event, cancel) for event in last.values())]


def judge(visit: Presence, cancels: Sequence[MergeEvent]) -> None:
    """Write the verdict, and the flags that go with it, on the visit."""
    if not cancels:
        return
    column = min((column_of(visit.opening, cancel) for cancel in cancels), key=COLUMNS.index)
    cell = TABLE[column, row_of(visit)]
    visit.verdict = CancelVerdict(
        code=cell.code,
        row=row_of(visit),
        column=column,
        cancels=[cancel.id for cancel in cancels],
        cancel=cell.cancel,
        ask=cell.ask,
    )
    if cell.flag:
        visit.flags.add(cell.flag)
    if _went_on(visit, cancels):
        visit.flags.add(rules.CONTINUED_AFTER_CANCEL)


def column_of(opening: MergeEvent, cancel: MergeEvent) -> str:
    """Which of the two knew the other."""
    if knows(opening, cancel):
        return "known"
    return "informed" if knows(cancel, opening) else "concurrent"


def row_of(visit: Presence) -> str:
    """How far the visit came."""
    if visit.phase != "ended":
        return visit.phase
    return "ended" if visit.begun or visit.outcome in ("done", "not_done") else "turned_back"


def _went_on(visit: Presence, cancels: Sequence[MergeEvent]) -> bool:
    # Of each author the first cancel is the one that is known soonest.
    first: dict[str, MergeEvent] = {}
    for cancel in cancels:
        other = first.get(cancel.header.author)
        if other is None or cancel.header.seq < other.header.seq:
            first[cancel.header.author] = cancel
    later = (event for event in visit.touched if event is not visit.opening and event.name not in _STOPPING)
    return any(knows(event, cancel) for event in later for cancel in first.values())


def cancelled_register(
    cancels: Sequence[MergeEvent], visits: Sequence[Presence], acknowledged: Acknowledgements
) -> Register | None:
    """The field `cancelled`: true while the cancels stand; false, by the visit's verdict, where one set them aside."""
    if not cancels:
        return None
    against = next((visit for visit in visits if visit.verdict and visit.verdict.cancel == "set_aside"), None)
    if against is None or against.verdict is None:
        winner = Writes(Write(cancel, None) for cancel in cancels).candidates()[0].event
        return Register(value=True, origin=winner.origin, rule=rules.UNOPPOSED)
    code = against.verdict.code
    return Register(
        value=False,
        origin=against.opening.origin,
        rule=code,
        set_aside=[
            SetAside(
                field="cancelled",
                value=cancel.value["reason"],
                origin=cancel.origin,
                rule=code,
                against=against.opening.id,
                acknowledged=list(acknowledged.get((cancel.id, "cancelled"), ())),
            )
            for cancel in cancels
        ],
    )


def to_state(cancels: Sequence[MergeEvent]) -> list[Cancel]:
    """The standing cancels as they are in the state."""
    return [Cancel(reason=cancel.value["reason"], origin=cancel.origin) for cancel in cancels]
