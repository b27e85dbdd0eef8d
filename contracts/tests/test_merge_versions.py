"""Two versions of the rules over events of two versions: what each reads, and that the second gives old events the old state."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.tests.histories import INTERVENTION, Author, agency, device, dice, photo, planned, random_history
from zb_contracts import canonical
from zb_contracts.events import EVENT_TYPES, AuthorKind, Body, Opaque, earlier, fieldwork, office, read_body, type_of, upcasted
from zb_contracts.events.registry import event, upcast
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import InterventionState, state_hash
from zb_contracts.merge.types_v1 import TYPES_V1

_NEW_KEYS = {"promise", "source", "serials", "lot"}


def as_of_version_1(body: Body) -> Body:
    """The body that a program of version 1 would have written."""
    old = {office.Planned: earlier.PlannedV1, fieldwork.PhotoTaken: earlier.PhotoTakenV1, fieldwork.PartUsed: earlier.PartUsedV1}
    model = old.get(type(body))
    if model is None:
        return body
    values = {name: value for name, value in body.model_dump(exclude_none=True).items() if name not in _NEW_KEYS}
    return model.model_validate(values)


def written_by_version_1(history: list[MergeEvent]) -> list[MergeEvent]:
    """The same history, by programs that knew only the first versions."""
    old = []
    for each in history:
        assert not isinstance(each.body, Opaque)
        body = as_of_version_1(each.body)
        old.append(MergeEvent(msgspec.structs.replace(each.header, type=type_of(body).name), body, each.kind))
    return old


def without_what_version_2_adds(value: Any) -> Any:
    """A state as plain JSON, without the keys that upcasts and rules 2 add."""
    if isinstance(value, dict):
        drop = {"promise", "source", "serials"}
        return {key: without_what_version_2_adds(item) for key, item in value.items() if key not in drop}
    return [without_what_version_2_adds(item) for item in value] if isinstance(value, list) else value


@given(st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_events_of_the_first_versions_give_under_rules_2_the_state_that_rules_1_gave(seed: int, steps: int) -> None:
    history = written_by_version_1(random_history(dice(seed), steps))
    assert {each.header.type for each in history} <= TYPES_V1
    first, second = fold(INTERVENTION, history, 1), fold(INTERVENTION, history, 2)
    assert isinstance(second, InterventionState)
    assert (first.rule_version, second.rule_version) == (1, 2)
    expected = msgspec.to_builtins(first) | {"rule_version": 2}
    if expected["status"] == "cancelled" and not expected["fields"]["cancelled"]["value"]:
        assert second.status in ("draft", "planned", "assigned")  # the one thing that rules 2 judge otherwise
        expected["status"] = second.status
    assert without_what_version_2_adds(msgspec.to_builtins(second)) == expected


@given(st.integers(0, 2**32), st.randoms(use_true_random=False), st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_old_and_new_versions_side_by_side_fold_alike_in_every_order(seed: int, shuffler: Any, version: int) -> None:
    """Half of the devices were updated, the other half not."""
    history = [
        old if shuffler.random() < 0.5 else new for new in random_history(dice(seed), 40) for old in written_by_version_1([new])
    ]
    expected = state_hash(fold(INTERVENTION, history, version))
    arrival = history + [each for each in history if shuffler.random() < 0.5]
    shuffler.shuffle(arrival)
    assert state_hash(fold(INTERVENTION, arrival, version)) == expected


def test_rules_1_keep_and_count_what_a_newer_program_wrote_and_rules_2_read_it() -> None:
    """The way of an event that nobody could read: opaque, kept, and in its field once the rules know its type."""
    bureau, anna = agency(), device("device-a", "anna", 1)
    bureau.write(earlier.PlannedV1.model_validate(as_of_version_1(planned("14:00")).model_dump()))
    visit = anna.learn(bureau).write(fieldwork.Started(), opens=True).id
    anna.write(photo("before"), visit=visit)
    anna.write(fieldwork.PartUsed(part="SEAL-12", quantity="2", serials=("A-1", "A-2"), lot="L-7"), visit=visit)
    bureau.learn(anna).write(office.Planned.model_validate(planned("16:00").model_dump() | {"promise": "window"}))
    history = [*bureau.written, *anna.written]
    first, second = fold(INTERVENTION, history, 1), fold(INTERVENTION, history, 2)
    assert isinstance(first, InterventionState)
    assert isinstance(second, InterventionState)
    assert [(item.type, item.reason) for item in first.unknown] == [
        ("intervention.part_used.v2", "unknown_type"),
        ("intervention.photo_taken.v2", "unknown_type"),
        ("intervention.planned.v2", "unknown_type"),
    ]
    assert (first.lines, "promise" in first.fields, first.fields["planned_start"].value[11:16]) == ([], False, "14:00")
    assert (second.unknown, [line.kind for line in second.lines]) == ([], ["photo", "part"])
    assert second.lines[1].value == {"part": "SEAL-12", "quantity": "2", "serials": ["A-1", "A-2"], "lot": "L-7"}
    assert (second.fields["promise"].value, second.fields["planned_start"].value[11:16]) == ("window", "16:00")
    assert (first.vector, first.events) == (second.vector, second.events)


@pytest.mark.parametrize(
    ("name", "said", "read"),
    [
        (
            "intervention.part_used.v1",
            {"part": "P", "quantity": "1", "serial": "A-1", "stock": "van"},
            {"part": "P", "quantity": "1", "serials": ["A-1"], "stock": "van"},
        ),
        ("intervention.part_used.v1", {"part": "P", "quantity": "1"}, {"part": "P", "quantity": "1", "serials": []}),
        (
            "intervention.photo_taken.v1",
            {"file": {"sha256": "ab" * 32, "length_bytes": 1, "mime": "image/png"}, "label": "before"},
            {"file": {"sha256": "ab" * 32, "length_bytes": 1, "mime": "image/png"}, "label": "before", "source": "unstated"},
        ),
        (
            "intervention.planned.v1",
            {"planned_start": "2026-03-16T13:00:00.000Z", "duration_min": 5, "policy": {"version": 1, "field_may_set": []}},
            {
                "planned_start": "2026-03-16T13:00:00.000Z",
                "duration_min": 5,
                "policy": {"version": 1, "field_may_set": []},
                "promise": "unstated",
            },
        ),
    ],
)
def test_a_body_of_a_first_version_is_read_as_the_second(name: str, said: dict[str, Any], read: dict[str, Any]) -> None:
    body = read_body(name, canonical.encode(said))
    assert not isinstance(body, Opaque)
    assert type_of(body).name == name.replace(".v1", ".v2")
    assert body.model_dump(mode="json", exclude_none=True) == read


def test_a_plan_of_an_earlier_program_does_not_leave_an_earlier_promise_standing() -> None:
    bureau = agency()
    bureau.write(office.Planned.model_validate(planned("14:00").model_dump() | {"promise": "start"}))
    bureau.write(as_of_version_1(planned("16:00")))
    state = fold(INTERVENTION, bureau.written)
    assert isinstance(state, InterventionState)
    assert state.fields["promise"].value == "unstated"


def test_an_event_read_further_than_the_rules_know_is_the_callers_mistake() -> None:
    bureau = agency()
    written = bureau.write(as_of_version_1(planned("14:00")))
    assert not isinstance(written.body, Opaque)
    newer = upcasted(written.body)
    with pytest.raises(ValueError, match=r"rules 1 do not know intervention\.planned\.v2: give events as they were written"):
        fold(INTERVENTION, [MergeEvent(written.header, newer, written.kind)], 1)


def test_there_is_one_way_on_from_a_version_and_one_model_a_name() -> None:
    with pytest.raises(ValueError, match=r"two ways on from intervention\.planned\.v1"):
        upcast("intervention.planned.v1", "intervention.planned.v2")(dict)
    with pytest.raises(ValueError, match="registered twice"):
        event("intervention.planned.v2", "intervention", frozenset({AuthorKind.OFFICE}))(office.Planned)


def test_every_version_but_the_newest_has_a_way_on_and_every_writer_may_write_the_next() -> None:
    by_name: dict[str, list[str]] = {}
    for name in sorted(EVENT_TYPES):
        by_name.setdefault(name.rpartition(".")[0], []).append(name)
    second = {key: names for key, names in by_name.items() if len(names) > 1}
    assert set(second) == {"intervention.part_used", "intervention.photo_taken", "intervention.planned"}
    for old, new in second.values():
        assert EVENT_TYPES[old].writers == EVENT_TYPES[new].writers
        assert EVENT_TYPES[old].stream_kinds <= EVENT_TYPES[new].stream_kinds


def test_an_author_of_today_writes_the_newest_version() -> None:
    pen = Author("device-a", AuthorKind.DEVICE, "anna")
    assert pen.write(photo("x")).header.type == "intervention.photo_taken.v2"
