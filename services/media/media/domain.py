"""What evidence an intervention must have, and whether it has it. Pure.

A merged state demands the files of its photo and signature lines that are not void. A demand is met only by verified bytes
of the same hash *and* length; everything else, and silence, is "not stored". It knows no disk, no upload and no clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from zb_contracts.announcements import EvidenceItem
from zb_contracts.events.values import File
from zb_contracts.merge.state import InterventionState, Line

Kind = Literal["photo", "signature"]
KINDS: Final[Mapping[str, Kind]] = {"photo": "photo", "signature": "signature"}


@dataclass(frozen=True, slots=True)
class Demand:
    """One file that the merged state names. `line` is the id of the line that names it."""

    line: str
    kind: Kind
    sha256: str
    length_bytes: int
    mime: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one intervention: each demand, and whether the store holds it, verified."""

    items: tuple[EvidenceItem, ...]

    @property
    def complete(self) -> bool:
        """True only when every demanded file is stored; an intervention that demands none is complete."""
        return all(item.stored for item in self.items)


def demands(state: InterventionState) -> tuple[Demand, ...]:
    """The files that the state's lines name, in the order of the lines; one demand a line.

    pydantic's ValidationError for a line whose file cannot be read: it must not pass as "nothing demanded".
    """
    return tuple(_demand(line, KINDS[line.kind]) for line in state.lines if line.kind in KINDS and line.void is None)


def assess(wanted: Iterable[Demand], stored: Mapping[str, int]) -> Evidence:
    """The evidence, given the verified files of the store (hash -> length in bytes)."""
    return Evidence(
        tuple(
            EvidenceItem(
                sha256=demand.sha256,
                length_bytes=demand.length_bytes,
                mime=demand.mime,
                line=demand.line,
                kind=demand.kind,
                stored=stored.get(demand.sha256) == demand.length_bytes,
            )
            for demand in wanted
        )
    )


def _demand(line: Line, kind: Kind) -> Demand:
    file = File.model_validate(line.value.get("file"))
    return Demand(line.id, kind, file.sha256, file.length_bytes, file.mime)
