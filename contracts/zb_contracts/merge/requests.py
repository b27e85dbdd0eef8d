"""What one side asks of the other's fields, the answers, and the office's corrections of closed visits.

A field proposal on an office field stands directly, as if the office had written it, where the policy of the `planned`
register in the proposal's causal past names the field and the text reads as a value of it. A correction whose author did not
know the visit's end is no layer over a closed visit: it is a request.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from zb_contracts.events.office import Corrected, RequestAccepted, RequestDeclined, RequestMade
from zb_contracts.fields import FieldClass, field_of
from zb_contracts.merge.causality import MergeEvent, Write, Writes, by_rank, knows_up_to
from zb_contracts.merge.registers import Acknowledgements, decide
from zb_contracts.merge.state import Correction, Request
from zb_contracts.merge.visits import Presence


def standing_proposals(proposals: Iterable[MergeEvent], policies: Writes) -> dict[str, list[Write]]:
    """Field name -> the writes that proposals of the field make directly."""
    found: dict[str, list[Write]] = defaultdict(list)
    for event in proposals:
        write = _direct_write(event, policies)
        if write is not None:
            assert isinstance(event.body, RequestMade)
            found[event.body.field].append(write)
    return found


def _direct_write(event: MergeEvent, policies: Writes) -> Write | None:
    assert isinstance(event.body, RequestMade)
    row = field_of("intervention", event.body.field)
    if event.side != "field" or row is None or row.field_class is not FieldClass.OFFICE or row.from_text is None:
        return None
    known = policies.candidates(known_to=event)
    if not known or row.name not in known[0].value.get("field_may_set", ()):
        return None
    try:
        return Write(event, row.from_text(event.body.value))
    except ValueError:
        return None


def build_requests(
    made: Iterable[MergeEvent],
    answers: Iterable[MergeEvent],
    early: Iterable[MergeEvent],
    direct: Mapping[str, Sequence[Write]],
    acknowledged: Acknowledgements,
) -> tuple[list[Request], list[MergeEvent], list[MergeEvent]]:
    """Every request in order of rank; the answers that name no request; the answers by the side that had asked.

    `early` are corrections that did not know their visit's end.
    """
    asked = {event.id: event for event in (*made, *early)}
    standing = {write.event.id for writes in direct.values() for write in writes}
    answered: dict[str, Writes] = defaultdict(Writes)
    dangling, own = [], []
    for answer in answers:
        assert isinstance(answer.body, RequestAccepted | RequestDeclined)
        request = asked.get(answer.body.request)
        if request is None:
            dangling.append(answer)
        elif request.side == answer.side:
            own.append(answer)
        else:
            answered[request.id].add(Write(answer, _answer_value(answer)))
    return (
        [_request(event, answered.get(event.id), event.id in standing, acknowledged) for event in by_rank(asked.values())],
        dangling,
        own,
    )


def _answer_value(answer: MergeEvent) -> dict[str, str | None]:
    accepted = isinstance(answer.body, RequestAccepted)
    return {"decision": "accepted" if accepted else "declined", "reason": answer.value.get("reason")}


def _request(event: MergeEvent, answers: Writes | None, stands: bool, acknowledged: Acknowledgements) -> Request:
    assert isinstance(event.body, RequestMade | Corrected)
    answer = decide("answer", FieldClass.OFFICE, answers, acknowledged) if answers else None
    return Request(
        id=event.id,
        side=event.side,
        field=event.body.field,
        visit=event.body.visit if isinstance(event.body, Corrected) else event.header.visit,
        value=event.body.value,
        reason=event.body.reason,
        origin=event.origin,
        status="stands" if stands else answer.value["decision"] if answer else "open",
        answer=answer,
    )


def split_corrections(
    corrections: Iterable[MergeEvent], visits: Sequence[Presence]
) -> tuple[list[MergeEvent], list[MergeEvent], list[MergeEvent]]:
    """Corrections of a visit whose end they knew; those that came too early; those that name no visit."""
    ends = {visit.id: visit.facts["ended"].origin if visit.phase == "ended" else None for visit in visits}
    layers, early, dangling = [], [], []
    for event in corrections:
        assert isinstance(event.body, Corrected)
        end = ends.get(event.body.visit)
        if event.body.visit not in ends:
            dangling.append(event)
        elif end is not None and knows_up_to(event, end.author) >= end.seq:
            layers.append(event)
        else:
            early.append(event)
    return layers, early, dangling


def build_corrections(layers: Sequence[MergeEvent]) -> list[Correction]:
    """The layers in order of rank; `current` are those that no other layer on the same fact knew."""
    writes: dict[tuple[str, str], Writes] = defaultdict(Writes)
    for event in layers:
        assert isinstance(event.body, Corrected)
        writes[event.body.visit, event.body.field].add(Write(event, None))
    current = {write.event.id for each in writes.values() for write in each.candidates()}
    return [_correction(event, event.id in current) for event in by_rank(layers)]


def _correction(event: MergeEvent, current: bool) -> Correction:
    assert isinstance(event.body, Corrected)
    return Correction(
        visit=event.body.visit,
        field=event.body.field,
        value=event.body.value,
        reason=event.body.reason,
        origin=event.origin,
        current=current,
    )
