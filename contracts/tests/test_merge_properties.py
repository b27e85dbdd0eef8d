"""What holds of every history: order independence, idempotence, incremental = full, nothing lost, totality, speed."""

import time
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.tests.histories import INTERVENTION, Author, device, dice, is_closed, moved, random_history
from contracts.tests.test_merge_story import merged, morning
from zb_contracts import canonical
from zb_contracts.events import EVENT_TYPES, AuthorKind, Opaque, fieldwork, written_body
from zb_contracts.fields import FACT_OF, FIELDS, LINE_OF, REGISTERS_OF, unversioned
from zb_contracts.merge import rules, wording
from zb_contracts.merge.cancellation import TABLE
from zb_contracts.merge.causality import MergeEvent, Write, Writes, knows
from zb_contracts.merge.fold import RULES, StreamFold, fold
from zb_contracts.merge.state import InterventionState, SetAside, read_state, state_bytes, state_hash
from zb_contracts.merge.types_v1 import TYPES_V1
from zb_contracts.merge.types_v2 import TYPES_V2
from zb_contracts.merge.why import explain

histories = st.builds(lambda seed, steps: random_history(dice(seed), steps), st.integers(0, 2**32), st.integers(1, 60))
few = settings(max_examples=60, deadline=None)


@given(histories)
@few
def test_histories_of_the_generator_are_causally_closed(history: list[MergeEvent]) -> None:
    assert is_closed(history)


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_all_permutations_of_a_small_set_give_one_state(seed: int) -> None:
    history = random_history(dice(seed), 6)
    assert len({state_hash(merged(order)) for order in permutations(history)}) == 1


@given(histories, st.randoms(use_true_random=False))
@few
def test_shuffles_with_duplicates_give_one_state(history: list[MergeEvent], shuffler: Any) -> None:
    expected = state_hash(merged(history))
    for _ in range(4):
        arrival = history + [event for event in history if shuffler.random() < 0.5]
        shuffler.shuffle(arrival)
        assert state_hash(merged(arrival)) == expected


@given(histories)
@few
def test_the_incremental_fold_is_the_full_fold_after_every_event(history: list[MergeEvent]) -> None:
    folding = StreamFold(INTERVENTION)
    for count, event in enumerate(history, start=1):
        folding.add(event)
        if count % 7 == 0 or count == len(history):
            assert folding.state() == merged(history[:count])


@given(histories)
@few
def test_lines_never_disappear(history: list[MergeEvent]) -> None:
    state = merged(history)
    kept = {line.origin.event for line in state.lines}
    kept |= {version.origin.event for line in state.lines for version in line.versions}
    assert kept == {event.id for event in history if event.name in LINE_OF}


@given(histories)
@few
def test_every_visit_fact_event_is_in_a_visit_and_its_last_word_in_the_state(history: list[MergeEvent]) -> None:
    state = merged(history)
    assert sum(len(item.events) for item in state.unknown if item.reason == rules.NO_VISIT) == 0
    writers = {(event.header.visit, event.header.actor) for event in history if event.name in FACT_OF}
    assert len(state.visits) == len(writers)


def set_asides(value: Any) -> Iterator[SetAside]:
    if isinstance(value, SetAside):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from set_asides([getattr(value, name) for name in value.__struct_fields__])
    elif isinstance(value, dict):
        yield from set_asides(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from set_asides(item)


@given(histories)
@few
def test_every_value_set_aside_names_its_rule_and_both_events_which_did_not_know_of_each_other(
    history: list[MergeEvent],
) -> None:
    by_id = {event.id: event for event in history}
    for item in set_asides(merged(history)):
        assert item.rule in rules.RULE_CODES or item.rule in rules.CONFLICT_CODES
        loser, winner = by_id[item.origin.event], by_id[item.against]
        if item.rule != rules.WORKED_ON_CANCELLED:
            assert not knows(loser, winner) or item.rule == rules.CANCELLED_TOO_LATE
            assert not knows(winner, loser) or item.rule == rules.ABANDONED_BUT_CONTINUED


@given(histories)
@few
def test_a_register_is_the_value_of_one_of_its_writes_that_no_other_knew(history: list[MergeEvent]) -> None:
    by_id = {event.id: event for event in history}
    for name, register in merged(history).fields.items():
        if name == "cancelled" or register.origin.side == "field":
            continue
        winner = by_id[register.origin.event]
        assert winner.value[name] == register.value
        writers = {kind for kind, rows in REGISTERS_OF.items() if name in {row.name for row in rows}}
        others = [event for event in history if event.name in writers and event.value.get(name) is not None]
        assert not any(knows(other, winner) for other in others)


@given(histories)
@few
def test_what_is_said_of_a_cancel_never_contradicts_itself(history: list[MergeEvent]) -> None:
    state = merged(history)
    register = state.fields.get("cancelled")
    assert bool(state.cancels) == (register is not None)
    if state.status == "cancelled":
        assert register is not None
        assert register.value is True


@given(histories)
@few
def test_holders_are_at_work_and_were_sent(history: list[MergeEvent]) -> None:
    state = merged(history)
    for technician in state.held_by:
        visits = [visit for visit in state.visits if visit.technician == technician and visit.phase != "ended"]
        assert any("not_assigned" not in visit.flags for visit in visits)
    if state.held_by:
        assert state.status == "in_progress"


@given(histories, st.integers(0, 2**32))
@few
def test_unknown_types_and_unreadable_bodies_change_no_known_field(history: list[MergeEvent], seed: int) -> None:
    stranger = Author("device-z", AuthorKind.DEVICE, actor="tech-z", number=7)
    chance = dice(seed)
    for event in history:
        if chance.random() < 0.3:
            stranger.knowledge[INTERVENTION] = dict(event.header.seen)
            name = chance.choice(("intervention.teleported.v1", "intervention.started.v9", "intervention.done.v1"))
            stranger.write(Opaque(name, "not for these rules"), visit=event.header.visit)
    expected, state = merged(history), merged([*history, *stranger.written])
    odd = {"vector", "events", "unknown"}
    for name in InterventionState.__struct_fields__:
        assert name in odd or getattr(state, name) == getattr(expected, name)
    more = sum(item.count for item in state.unknown) - sum(item.count for item in expected.unknown)
    assert (state.events - expected.events, more) == (len(stranger.written), len(stranger.written))


@given(histories)
@few
def test_a_state_survives_its_bytes_and_its_bytes_are_canonical(history: list[MergeEvent]) -> None:
    state = merged(history)
    data = state_bytes(state)
    assert read_state(INTERVENTION, data) == state
    assert canonical.encode(canonical.decode(data)) == data


@given(histories)
@few
def test_the_vector_covers_every_event_and_all_that_it_knew(history: list[MergeEvent]) -> None:
    vector = merged(history).vector
    for event in history:
        assert vector[event.header.author] >= event.header.seq
        assert all(vector[author] >= seq for author, seq in event.header.seen.items())


def test_the_vector_covers_what_was_known_of_a_refused_event_as_well() -> None:
    story = morning()
    refused = story.boris.write(fieldwork.Started(), opens=True)
    story.office.learn(story.boris)
    story.office.write(moved("16:00"))
    state = merged([event for event in story.events if event is not refused])
    assert state.vector == {"office-lyon": 4, "device-b": 1}


@given(histories)
@few
def test_every_decision_is_explained_in_both_languages(history: list[MergeEvent]) -> None:
    state = merged(history)
    french, english = explain(state, None, "fr"), explain(state, None, "en")
    assert [item.rule for item in french] == [item.rule for item in english]
    assert set(state.fields) <= {item.field for item in french}
    assert all(item.sentence and "{" not in item.sentence for item in (*french, *english))
    assert sum(item.field == "conflict" for item in french) == len(state.conflicts)


vectors = st.dictionaries(st.sampled_from(["device-a", "device-b", "office-1"]), st.integers(1, 40), max_size=3)
bodies = st.dictionaries(
    st.sampled_from(["visit", "line", "request", "replaces", "field", "value", "reason", "part", "quantity", "policy"]),
    st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=5), st.just("0190d000-0000-7000-8000-000000000001")),
    max_size=4,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(EVENT_TYPES)),
            vectors,
            bodies,
            st.sampled_from(list(AuthorKind)),
            st.sampled_from(["device-a", "device-b", "office-1"]),
        ),
        max_size=25,
    ),
    st.randoms(use_true_random=False),
    st.sampled_from([INTERVENTION, "site:x-1", "equipment:x-1", "stock:x-1", "shift:x-1", "device:x-1"]),
    st.sampled_from(sorted(RULES)),
)
@settings(max_examples=300, deadline=None)
def test_the_fold_is_total_and_order_independent_on_hostile_events(
    drawn: list[tuple[str, dict[str, int], dict[str, Any], AuthorKind, str]], shuffler: Any, stream: str, version: int
) -> None:
    """Vectors that are not closed, that form circles, that cover the author's own future; bodies of any shape."""
    authors = {
        name: Author(name, AuthorKind.DEVICE, "tech-a", number)
        for number, name in enumerate(("device-a", "device-b", "office-1"))
    }
    events = []
    for type_name, seen, body, kind, name in drawn:
        author = authors[name]
        author.kind = kind
        author.knowledge[stream] = dict(seen)
        read = written_body(type_name, canonical.encode({key: value for key, value in body.items() if value is not None}))
        events.append(author.write(read, stream=stream, opens=shuffler.random() < 0.3))
    expected = state_hash(fold(stream, events, version))
    shuffler.shuffle(events)
    assert state_hash(fold(stream, events, version)) == expected


@given(st.lists(st.tuples(st.integers(0, 3), vectors), min_size=1, max_size=12, unique_by=lambda item: id(item)))
@few
def test_no_register_is_without_a_candidate_even_where_vectors_form_a_circle(
    drawn: list[tuple[int, dict[str, int]]],
) -> None:
    names = ("device-a", "device-b", "office-1", "device-c")
    authors = [device(name, "tech-a", number) for number, name in enumerate(names)]
    writes = Writes()
    for index, seen in drawn:
        authors[index].knowledge[INTERVENTION] = dict(seen)
        writes.add(Write(authors[index].write(fieldwork.Started(), opens=True), index))
    assert writes.candidates()


def test_a_lie_about_elapsed_time_makes_no_state_that_cannot_be_read() -> None:
    story = morning()
    event = story.anna.write(fieldwork.Started(), opens=True)
    lie = msgspec.structs.replace(event.header, trusted_ms=2 * canonical.INTEGER_MAX, is_anchored=True)
    state = merged([*story.office.written, MergeEvent(lie, event.body, event.kind)])
    assert canonical.decode(state_bytes(state))
    assert explain(state, "status", "en")[0].sentence


def test_ten_thousand_events_are_folded_in_well_under_a_second() -> None:
    history = random_history(dice(1), 10_000)
    started = time.process_time()
    merged(history)
    assert time.process_time() - started < 2.0  # a shared machine; about 0.4 s where nothing else runs


def test_many_visits_are_not_compared_in_pairs() -> None:
    authors = [device(f"device-{number}", f"tech-{number}", number) for number in range(rules.VISITS_COMPARED_MAX + 1)]
    events = [author.write(fieldwork.Started(), opens=True) for author in authors]
    assert [conflict.code for conflict in merged(events).conflicts] == ["too_many_visits", "two_open_visits"]


def test_an_event_of_another_stream_and_a_rule_version_that_does_not_exist_are_the_callers_mistakes() -> None:
    event = morning().office.written[0]
    with pytest.raises(ValueError, match="in the fold of site:site-1"):
        fold("site:site-1", [event])
    with pytest.raises(ValueError, match="no rules of version 9"):
        fold(INTERVENTION, [event], rule_version=9)
    with pytest.raises(ValueError, match="no rules of version 2"):
        fold("tour:1", [])


def test_each_version_of_the_rules_reads_exactly_the_types_that_there_were() -> None:
    assert (RULES[1].types, RULES[2].types) == (TYPES_V1, TYPES_V2)
    assert set(EVENT_TYPES) == TYPES_V2 > TYPES_V1


@pytest.mark.parametrize("kind", ["intervention", "site", "equipment", "stock", "shift", "device"])
def test_every_kind_of_stream_has_a_state_even_without_events(kind: str) -> None:
    state = fold(f"{kind}:x-1", [])
    assert read_state(f"{kind}:x-1", state_bytes(state)) == state
    assert len(explain(state)) == (1 if kind == "intervention" else 0)


def test_a_state_is_not_read_as_that_of_another_stream() -> None:
    data = state_bytes(fold("site:a", []))
    with pytest.raises(ValueError, match="is not that of"):
        read_state("site:b", data)


def test_every_field_is_written_by_types_that_exist_on_its_stream_and_by_attributes_that_exist() -> None:
    for row in FIELDS.values():
        for name in row.written_by:
            newest = max(version for version in EVENT_TYPES if unversioned(version) == name)
            assert row.stream_kind in EVENT_TYPES[newest].stream_kinds
            if row.is_register and row.name != "cancelled":
                assert row.name in EVENT_TYPES[newest].model.model_fields


def test_every_rule_verdict_flag_and_conflict_has_words() -> None:
    assert set(wording.RULES) >= rules.RULE_CODES
    assert set(wording.CONFLICTS) == rules.CONFLICT_CODES
    assert set(wording.FLAGS) | set(wording.VERDICTS) >= rules.FLAG_CODES
    assert {cell.code for key, cell in TABLE.items() if "none" not in key} <= set(wording.VERDICTS)
    words = [wording.RULES, wording.CONFLICTS, wording.FLAGS, wording.VERDICTS, wording.STATUS]
    assert all(set(sentence) == {"en", "fr"} for table in words for sentence in table.values())
