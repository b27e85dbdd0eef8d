"""Lines of a list: what a screen shows of a document without opening it, in the order of the plan.

The read model keeps one beside each document; where the device's own newest events are not in the document yet, `opened` makes
it of the merged local state instead. Pure.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from zb_contracts.catalogues import PREFIX, read_reference
from zb_contracts.problems import SYNC_MALFORMED, Problem
from zb_contracts.times import parse_time_ms

LISTED_MAX: Final = 10_000
"""Lines of one list: all that a scope may hold."""
_TITLES: Final = {"intervention": "title", "site": "name", "equipment": "label"}
"""By kind of document, the field that names it to people."""


class Listed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a list; None where the document does not say it. `planned_ms` since 1970."""

    stream: str
    planned_ms: int | None = None
    status: str | None = None
    title: str | None = None
    reference: str | None = None
    kind: str | None = None
    site: str | None = None
    equipment: str | None = None
    priority: str | None = None
    pending: bool = False
    """The platform has not confirmed all that was recorded here yet: the line shows it all the same."""

    @property
    def id(self) -> str:
        """As the methods of a device take it: the stream without its kind."""
        return self.stream.partition(":")[2]

    @property
    def order(self) -> tuple[bool, int, str]:
        """By planned time, those without one last."""
        return self.planned_ms is None, self.planned_ms or 0, self.stream


_SAID: Final = ("reference", "kind", "site", "equipment", "priority")
"""Fields of a state that a line has under the same name."""


@dataclass(frozen=True, slots=True)
class Which:
    """Lines of a list: in a status, planned from `from_ms` (included) until `until_ms` (not), e.g. a technician's day."""

    status: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None
    limit: int = LISTED_MAX

    def holds(self, line: Listed) -> bool:
        """Whether the line is one of these, whatever the limit."""
        planned_ms = line.planned_ms
        return (
            self.status in (None, line.status)
            and (self.from_ms is None or (planned_ms is not None and planned_ms >= self.from_ms))
            and (self.until_ms is None or (planned_ms is not None and planned_ms < self.until_ms))
        )


ALL: Final = Which()
read_line: Final = msgspec.json.Decoder(Listed).decode


class _Value(msgspec.Struct):
    value: Any = None


class _Indexed(msgspec.Struct):
    """What a line takes of a state."""

    status: str | None = None
    fields: dict[str, _Value] = {}

    def text(self, name: str) -> str | None:
        value = self.fields.get(name, _Value()).value
        return value if isinstance(value, str) else None


_indexed: Final = msgspec.json.Decoder(_Indexed)


def line_of(stream: str, content: bytes, *, pending: bool = False) -> Listed:
    """The line of a document or state. SYNC_MALFORMED where it is no state, SYNC_CATALOGUE_INVALID where it is no reference to
    a catalogue."""
    if stream.startswith(PREFIX):
        read_reference(stream, content)
    title = _TITLES.get(stream.partition(":")[0])
    if title is None:
        return Listed(stream=stream, pending=pending)
    try:
        state = _indexed.decode(content)
        planned = state.text("planned_start")
        planned_ms = parse_time_ms(planned) if planned else None
    except (msgspec.DecodeError, ValueError) as fault:
        raise Problem(SYNC_MALFORMED, reason=f"the document {stream[:80]} cannot be read: {str(fault)[:100]}") from fault
    said = {name: state.text(name) for name in _SAID}
    return Listed(stream=stream, planned_ms=planned_ms, status=state.status, title=state.text(title), pending=pending, **said)
