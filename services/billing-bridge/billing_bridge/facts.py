"""What billing needs of a merged state, and nothing else: parts, times, contract, evidence lines, knowledge. Pure.

No name, no place and no picture comes into the bridge's database. Durations come from one clock: trusted times where both ends
have one, else the device's wall clock for both. It prices nothing.
"""

from typing import Final

import msgspec

from zb_contracts.merge.state import InterventionState, Line, Origin, Visit
from zb_contracts.times import parse_time_ms

CLOSED: Final = frozenset({"done", "not_done"})
_EVIDENCE: Final = frozenset({"photo", "signature"})


class UsedPart(msgspec.Struct, frozen=True):
    """A part used and not withdrawn; `quantity` is exact decimal text."""

    line: str
    part: str
    quantity: str


class Presence(msgspec.Struct, frozen=True):
    """A visit that began to work: milliseconds at work, pauses taken out. 0 where no field event ended it."""

    visit: str
    worked_ms: int


class Proof(msgspec.Struct, frozen=True):
    """A line that names a file of evidence."""

    line: str
    sha256: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What one version of an intervention's state says to billing. `ended_ms`: the last end of a visit, by its clock."""

    status: str
    reference: str
    agency: str | None
    contract: str | None
    price_list: str | None
    parts: list[UsedPart]
    visits: list[Presence]
    ended_ms: int
    proofs: list[Proof]
    seen: dict[str, int]

    @property
    def closed(self) -> bool:
        return self.status in CLOSED


def facts_of(state: InterventionState) -> Facts:
    """The billed facts of a merged state. KeyError or TypeError for lines that have no meaning under the contract."""
    lines = [line for line in state.lines if line.void is None]
    ends = [visit.facts["ended"].origin for visit in state.visits if "ended" in visit.facts]
    return Facts(
        status=state.status,
        reference=str(_register(state, "reference") or state.stream.partition(":")[2]),
        agency=_register(state, "agency"),
        contract=_register(state, "contract"),
        price_list=_register(state, "price_list"),
        parts=[UsedPart(line.id, line.value["part"], line.value["quantity"]) for line in lines if line.kind == "part"],
        visits=[Presence(visit.id, _worked_ms(visit)) for visit in state.visits if visit.phase != "travelling" and _begun(visit)],
        ended_ms=max((_moment_ms(end) for end in ends), default=0),
        proofs=[_proof(line) for line in lines if line.kind in _EVIDENCE],
        seen=dict(state.vector),
    )


def _register(state: InterventionState, name: str) -> str | None:
    register = state.fields.get(name)
    return None if register is None else register.value


def _proof(line: Line) -> Proof:
    return Proof(line.id, line.value["file"]["sha256"])


def _begun(visit: Visit) -> bool:
    return "started" in visit.facts


def _worked_ms(visit: Visit) -> int:
    start, end = visit.facts["started"].origin, visit.facts["ended"].origin if "ended" in visit.facts else None
    if end is None or end.side != "field":
        # The office's clock says when it gave the visit up, not when the work ended.
        return 0
    paused = sum(_between_ms(pause.paused, pause.resumed or end) for pause in visit.pauses)
    return max(0, _between_ms(start, end) - paused)


def _between_ms(start: Origin, end: Origin) -> int:
    if start.trusted_ms is not None and end.trusted_ms is not None:
        return max(0, end.trusted_ms - start.trusted_ms)
    return max(0, parse_time_ms(end.at) - parse_time_ms(start.at))


def _moment_ms(origin: Origin) -> int:
    return parse_time_ms(origin.at) if origin.trusted_ms is None else origin.trusted_ms
