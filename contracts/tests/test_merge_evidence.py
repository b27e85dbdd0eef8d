"""Why, for whatever can be asked about, in both languages; what each event had seen of the other; what was learned later."""

import msgspec
import pytest

from contracts.tests.histories import INTERVENTION, Author, device, everything, moved, part
from contracts.tests.test_merge_story import Story, merged, morning, ten_o_clock
from zb_contracts.events import AuthorKind, Opaque, fieldwork, office, places
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.evidence import OTHERS_TOLD_MAX, Source, events_of, read_since, with_evidence
from zb_contracts.merge.explanations import Explanation
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import InterventionState
from zb_contracts.merge.why import explain, names_of
from zb_contracts.merge.wording import Language
from zb_contracts.problems import Problem


def sources(events: list[MergeEvent], **opaque: str) -> dict[str, Source]:
    return {event.id: Source(seen=event.header.seen, opaque=opaque.get(event.header.author)) for event in events}


def told(story: Story, field: str, language: Language = "en") -> list[Explanation]:
    return with_evidence(explain(story.state(), field, language), sources(story.events), language)


def a_full_day() -> Story:
    """Everything that a person can ask about happened once."""
    story = morning()
    visit = ten_o_clock(story)
    anna, bureau = story.anna, story.office
    for body in (fieldwork.Paused(reason="lunch"), fieldwork.Resumed(), fieldwork.Diagnosed(diagnosis="seal")):
        anna.write(body, visit=visit)
    state_set = fieldwork.EquipmentStateSet(equipment="lift-1", equipment_state="in_service")
    anna.write(state_set, visit=visit)
    wrong = anna.write(part(), visit=visit)
    right = anna.write(part(quantity="2", replaces=wrong.id), visit=visit)
    comment = anna.write(fieldwork.CommentAdded(text="ring twice"), visit=visit)
    anna.write(fieldwork.LineVoided(line=comment.id, reason="not here"), visit=visit)
    asked = anna.write(office.RequestMade(field="priority", value="high"), visit=visit)
    bureau.learn(anna)
    bureau.write(office.RequestDeclined(request=asked.id, reason="all are"))
    bureau.write(office.RequestMade(field="diagnosis", value="which seal?"))
    anna.at("11:00").write(fieldwork.Done(), visit=visit)
    bureau.learn(anna).at("12:00")
    bureau.write(office.Corrected(visit=visit, field="diagnosis", value="the valve", reason="the photo shows it"))
    bureau.write(office.Reopened(reason="it leaks again"))
    bureau.write(office.Cancelled(reason="the house burnt down"))
    bureau.write(office.EventAdmitted(event=right.id, author="device-a", author_seq=1, supervisor="alix", reason="it was lost"))
    anna.write(Opaque("intervention.dreamt.v1", "no such type"), visit=visit)
    return story


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", names_of(INTERVENTION))
def test_whatever_can_be_asked_about_has_an_answer_in_both_languages(name: str, language: Language) -> None:
    answers = told(a_full_day(), name, language)
    assert answers
    for answer in answers:
        assert answer.field == name
        assert answer.sentence
        assert "{" not in "".join([answer.sentence, *answer.knew])


def test_what_stands_in_a_state_is_explained_whole() -> None:
    state = a_full_day().state()
    assert isinstance(state, InterventionState)
    rules = {(item.field, item.rule) for item in explain(state, None, "en")}
    assert rules >= {
        ("status", "cancelled"),
        ("paused", "visit_fact"),
        ("resumed", "visit_fact"),
        ("diagnosis", "unopposed"),
        ("equipment_state", "unopposed"),
        ("part", "line_changed"),
        ("comment", "line_withdrawn"),
        ("photo", "line_kept"),
        ("request", "declined"),
        ("request", "open"),
        ("correction", "current"),
        ("cancel", "unknown_to_every_plan"),
        ("reopened", "reopened"),
        ("admission", "admitted"),
        ("unknown", "unknown_type"),
    }


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "planned minutes: stands as the office (2026-11-22 08:00 UTC) wrote it; no other write stands against it."),
        ("fr", "durée prévue (min) : tel qu'écrit par le bureau (2026-11-22 08:00 UTC) ; aucune autre écriture ne s'y oppose."),
    ],
)
def test_a_plan_that_was_moved_keeps_what_the_move_did_not_say(language: Language, sentence: str) -> None:
    story = morning()
    ten_o_clock(story)
    (item,) = told(story, "duration_min", language)
    assert item.sentence == sentence


def test_both_events_of_a_decision_say_what_they_had_seen_of_each_other() -> None:
    story = morning()
    story.office.at("10:00").write(office.Cancelled(reason="the customer called"))
    start = story.anna.at("10:05").write(fieldwork.Started(), opens=True)
    cancel = story.office.written[-1]
    item = told(story, "cancelled")[0]
    seen = start.header.seen["office-lyon"]
    assert item.knew == [
        f"the field device-a no. 1 (intervention.started.v1, event {start.id}) had seen office-lyon up to no. {seen}, "
        f"so it did not know no. {cancel.header.seq}.",
        f"the office office-lyon no. {cancel.header.seq} (intervention.cancelled.v1, event {cancel.id}) had seen nothing of "
        "device-a, so it did not know no. 1.",
    ]
    french = told(story, "cancelled", "fr")[0]
    assert french.knew[0].endswith(f"connaissait office-lyon jusqu'au n° {seen}, donc pas le n° {cancel.header.seq}.")
    assert french.knew[1].endswith("ne connaissait rien de device-a, donc pas le n° 1.")


def test_a_cancel_that_was_known_says_that_it_was() -> None:
    story = morning()
    story.office.write(office.Cancelled(reason="the customer called"))
    story.anna.learn(story.office).write(fieldwork.Started(), opens=True)
    item = told(story, "cancelled")[0]
    assert (item.rule, item.knowledge) == ("worked_on_cancelled", "field_knew_office")
    assert "so it knew no." in item.knew[0]


def test_versions_of_one_author_say_which_came_first() -> None:
    (item,) = told(a_full_day(), "part")
    assert [line.rpartition("was written by ")[2] for line in item.knew] == [
        "the same author after no. 8, so it knew it.",
        "the same author before no. 9.",
    ]


def test_a_value_that_nothing_opposes_says_what_its_event_had_seen() -> None:
    story = morning()
    story.anna.write(fieldwork.Started(), opens=True)
    (title,) = told(story, "title")
    assert title.knew[0].endswith("had seen nothing of others.")
    (started,) = told(story, "started")
    assert started.knew[0].endswith(f"had seen office-lyon up to no. {story.office.seq}.")
    (bare,) = with_evidence(explain(story.state(), "started", "en"), {}, "en")
    assert bare.knew == [f"the field device-a no. 1 (intervention.started.v1, event {story.anna.written[0].id})."]


def test_long_lists_are_cut_and_counted() -> None:
    story = morning()
    start = story.anna.write(fieldwork.Started(), opens=True)
    crowd = {f"device-{number:02}": 1 for number in range(OTHERS_TOLD_MAX + 3)}
    (item,) = with_evidence(explain(story.state(), "started", "en"), {start.id: Source(seen=crowd)}, "en")
    assert item.knew[0].endswith("device-07 up to no. 1, and of further authors: 3.")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "could not be read when it was received (the type is unknown to these rules); it is read since version 2"),
        ("fr", "n'était pas lisible à sa réception (the type is unknown to these rules) ; il est lu depuis la version 2"),
    ],
)
def test_what_was_opaque_on_arrival_and_is_read_by_now_says_since_when(language: Language, words: str) -> None:
    story = morning()
    visit = story.anna.write(fieldwork.Started(), opens=True).id
    story.anna.write(part(), visit=visit)
    assert story.anna.written[-1].header.type == "intervention.part_used.v2"
    known = sources(story.anna.written[-1:], **{"device-a": "the type is unknown to these rules"})
    (item,) = with_evidence(explain(story.state(), "part", language), known, language)
    assert words in item.knew[-1]
    assert (read_since("intervention.part_used.v1"), read_since("intervention.dreamt.v1")) == (1, None)


def test_what_no_rule_reads_yet_is_told_with_its_reason_and_count() -> None:
    story = morning()
    for _ in range(2):
        story.anna.write(Opaque("intervention.dreamt.v1", "no such type"))
    (item,) = told(story, "unknown")
    assert item.sentence == ("intervention.dreamt.v1 (events: 2): kept, but version 2 of the rules does not know this type.")


def test_who_holds_an_intervention_and_why() -> None:
    story = morning()
    (nobody,) = told(story, "held_by")
    assert (nobody.rule, nobody.sentence) == ("unwritten", "held by: nothing stands here; no event has written it.")
    start = story.anna.write(fieldwork.Started(), opens=True)
    (item,) = told(story, "held_by", "fr")
    assert item.winner is not None
    assert (item.winner.event, item.sentence.startswith("Tenue par anna : la visite (le terrain, ")) == (start.id, True)


def test_a_name_that_is_no_field_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(Problem) as refusal:
        explain(morning().state(), "colour")
    assert refusal.value.code == "input.field_unknown"
    assert "colour is no field of intervention:" in str(refusal.value)
    assert all(name in str(refusal.value) for name in ("planned_start", "held_by", "diagnosis", "correction"))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_streams_beside_the_interventions_explain_themselves_as_well(language: Language) -> None:
    anna = device("device-a", "anna", 1)
    for number in (4, -1):
        anna.write(places.StockMoved(part="SEAL-12", quantity=str(number), cause="counted"), stream="stock:van-1")
    for body in (places.ShiftStarted(), places.ShiftNoted(text="rain"), places.ShiftEnded()):
        anna.write(body, stream="shift:day-1")
    anna.write(places.SiteChanged(notes="dog"), stream="site:site-1")
    for stream, fields in (
        ("stock:van-1", ["quantity"]),
        ("shift:day-1", ["started", "ended", "note"]),
        ("site:site-1", ["notes"]),
    ):
        state = fold(stream, [event for event in anna.written if event.header.stream == stream])
        decisions = with_evidence(explain(state, None, language), sources(anna.written), language)
        assert [item.field for item in decisions] == fields
        assert set(fields) <= set(names_of(stream))
        assert all(item.sentence and item.knew for item in decisions)
    (quantity,) = explain(fold("stock:van-1", anna.written[:2]), "quantity", "en")
    assert quantity.sentence == "SEAL-12: 3, the exact sum of its movements; movements of this stock: 2."


def test_a_time_is_told_as_an_interval_where_the_clocks_differ() -> None:
    story = morning()
    story.anna.wrong_clock_ms = 3_600_000
    story.anna.at("10:05").write(fieldwork.Started(), opens=True)
    (item,) = told(story, "started", "fr")
    assert "entre 2026-11-22 10:05 et 2026-11-22 11:05 UTC, car son horloge diffère" in item.sentence


def test_only_the_events_of_the_decisions_are_asked_for() -> None:
    story = morning()
    night = Author(name="office-night", kind=AuthorKind.OFFICE, number=901).learn(story.office)
    story.office.at("10:00").write(moved("16:00"))
    night.at("10:01").write(moved("17:00"))
    state = merged(everything(story.office, night))
    assert events_of(explain(state, "planned_start")) == [night.written[0].id, story.office.written[-1].id]
    assert msgspec.json.decode(msgspec.json.encode(explain(state, "planned_start")[0]))["knew"] == []
