"""What the device's own newest events make of what others wrote: a line that is corrected or withdrawn, a request that is
answered, a value aside or a conflict that somebody has read.

Such an event stands alone in a fold of the device's own; here it is laid over the platform's state, as the merge will. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zb_contracts.events.fieldwork import LineVoided
from zb_contracts.events.office import RequestAccepted, RequestDeclined, SetAsideAcknowledged
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.rules import UNOPPOSED
from zb_contracts.merge.state import Conflict, Line, LineVersion, Origin, Register, Request, SetAside, Void

Readers = Mapping[tuple[str, str], Origin]
"""Event and field (or a conflict's code) of what somebody has read -> who."""


def lines_over(theirs: Sequence[Line], mine: Sequence[Line], pending: Sequence[MergeEvent]) -> list[Line]:
    """Lines never disappear: the platform's, those that were made here, and what pending events change of either."""
    known = {line.id: line for line in theirs}
    versions = {origin.event: line.id for line in theirs for origin in _origins(line)}
    news = {event.id for event in pending}
    for line in mine:
        if line.id in versions and versions[line.id] == line.id and news.isdisjoint(_touching(line)):
            continue
        known[line.id] = line
    for event in pending:
        changed = known.get(versions.get(_named(event), ""))
        if changed is None or changed.id in {line.id for line in mine}:
            continue
        known.pop(event.id, None)
        known[changed.id] = _changed(changed, event)
        versions[event.id] = changed.id
    return list(known.values())


def _origins(line: Line) -> list[Origin]:
    return [line.origin, *(version.origin for version in line.versions)]


def _touching(line: Line) -> set[str]:
    """Events that made this line what it is."""
    void = [line.void.origin.event] if line.void else []
    return {line.id, *(origin.event for origin in _origins(line)), *void}


def _named(event: MergeEvent) -> str:
    """The version of a line that this event corrects or withdraws; empty where it does neither."""
    return event.body.line if isinstance(event.body, LineVoided) else event.value.get("replaces") or ""


def _changed(line: Line, event: MergeEvent) -> Line:
    if isinstance(event.body, LineVoided):
        return msgspec.structs.replace(line, void=Void(reason=event.body.reason, origin=event.origin))
    before = LineVersion(value=line.value, origin=line.origin)
    return msgspec.structs.replace(line, value=event.value, origin=event.origin, versions=[*line.versions, before], void=None)


def requests_over(theirs: Sequence[Request], mine: Sequence[Request], pending: Sequence[MergeEvent]) -> list[Request]:
    """Every request, those of the office with the technician's answer."""
    answers = {event.body.request: event for event in pending if isinstance(event.body, RequestAccepted | RequestDeclined)}
    known = {request.id for request in theirs}
    asked = [*theirs, *(request for request in mine if request.id not in known)]
    return [_answered(one, answers.get(one.id)) for one in asked]


def _answered(request: Request, answer: MergeEvent | None) -> Request:
    if answer is None or answer.side == request.side:
        return request
    decision = "accepted" if isinstance(answer.body, RequestAccepted) else "declined"
    value = {"decision": decision, "reason": answer.value.get("reason")}
    register = Register(value=value, origin=answer.origin, rule=UNOPPOSED)
    status = request.status if request.status == "stands" else decision
    return msgspec.structs.replace(request, status=status, answer=register)


def readers_of(pending: Sequence[MergeEvent]) -> Readers:
    """What the technician has read, by what pending events say."""
    return {(one.body.event, one.body.field): one.origin for one in pending if isinstance(one.body, SetAsideAcknowledged)}


def with_readers(value: Any, readers: Readers) -> Any:
    """The same state, each value aside and each conflict with those who have read it."""
    if isinstance(value, SetAside):
        return _read(value, readers.get((value.origin.event, value.field)))
    if isinstance(value, Conflict):
        return _read(value, next((readers[event, value.code] for event in value.events if (event, value.code) in readers), None))
    if isinstance(value, msgspec.Struct):
        inner = {name: with_readers(getattr(value, name), readers) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **inner)
    if isinstance(value, dict):
        return {name: with_readers(one, readers) for name, one in value.items()}
    return [with_readers(one, readers) for one in value] if isinstance(value, list) else value


def _read(value: Any, reader: Origin | None) -> Any:
    return msgspec.structs.replace(value, acknowledged=[*value.acknowledged, reader]) if reader else value
