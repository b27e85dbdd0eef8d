"""The "why" of each decided field: the rule, who stands, who was set aside, who knew of whom, in words."""

from contracts.tests.histories import Author, device, everything, moved, part
from contracts.tests.test_merge_story import Story, merged, morning, ten_o_clock
from zb_contracts.events import AuthorKind, fieldwork, office, places
from zb_contracts.merge.fold import fold
from zb_contracts.merge.why import explain


def cancelled_too_late() -> Story:
    story = morning()
    story.office.at("10:00").write(office.Cancelled(reason="the customer called"))
    story.anna.at("10:05").write(fieldwork.Started(), opens=True)
    return story


def test_an_unopposed_value_says_who_wrote_it_and_when() -> None:
    story = morning()
    ten_o_clock(story)
    (item,) = explain(story.state(), "planned_start", "en")
    assert (item.rule, item.losers, item.knowledge) == ("unopposed", [], "winner_knew_all")
    assert item.sentence.startswith("planned start: stands as the office (2026-11-22 10:00 UTC) wrote it")


def test_a_tie_names_both_sides_and_that_neither_knew() -> None:
    story = morning()
    night = Author(name="office-night", kind=AuthorKind.OFFICE, number=901).learn(story.office)
    story.office.at("10:00").write(moved("16:00"))
    night.at("10:01").write(moved("17:00"))
    (item,) = explain(merged([*story.events, *night.written]), "planned_start", "fr")
    assert (item.rule, item.knowledge, len(item.losers)) == ("latest_clock", "neither_knew", 1)
    assert "le bureau (2026-11-22 10:01 UTC) l'emporte" in item.sentence
    assert "(2026-11-22 10:00 UTC) ne la connaissait pas" in item.sentence


def test_a_cancel_set_aside_is_told_on_the_field_on_the_visit_and_as_a_conflict() -> None:
    state = cancelled_too_late().state()
    register, verdict = explain(state, "cancelled", "en")
    assert (register.subject, register.rule, register.knowledge) == (None, "cancelled_too_late", "neither_knew")
    assert (verdict.subject, verdict.rule) == (state.visits[0].id, "cancelled_too_late")
    assert [origin.type for origin in verdict.losers] == ["intervention.cancelled.v1"]
    (conflict,) = explain(state, "conflict", "en")
    assert conflict.sentence.endswith("The dispatcher is asked.")


def test_a_stop_request_says_that_the_office_knew() -> None:
    story = morning()
    story.anna.write(fieldwork.Started(), opens=True)
    story.office.learn(story.anna)
    cancel = story.office.write(office.Cancelled(reason="the customer called"))
    verdict = explain(story.state(), "cancelled", "fr")[-1]
    assert (verdict.rule, verdict.knowledge) == ("stop_request", "office_knew_field")
    assert verdict.winner is not None
    assert verdict.winner.event == cancel.id
    assert "prié d'arrêter" in verdict.sentence


def test_the_status_names_the_event_that_it_rests_on() -> None:
    story = morning()
    visit = ten_o_clock(story)
    done = story.anna.at("11:00").write(fieldwork.Done(), visit=visit)
    (item,) = explain(story.state(), "status", "fr")
    assert item.winner is not None
    assert (item.rule, item.winner.event) == ("done", done.id)
    assert item.sentence == "Terminée : une visite l'a conclue (le terrain, 2026-11-22 11:00 UTC)."


def test_two_holders_are_told_as_a_conflict() -> None:
    story = morning()
    story.office.write(office.Assigned(assignee="boris"))
    story.boris.learn(story.office)
    for author in (story.anna, story.boris):
        author.write(fieldwork.Started(), opens=True)
    (item,) = explain(story.state(), "conflict", "en")
    assert (item.rule, item.subject) == ("two_holders", None)


def test_a_flagged_visit_is_told() -> None:
    story = morning()
    story.boris.write(fieldwork.Started(), opens=True)
    (item,) = explain(story.state(), "visit", "en")
    assert (item.rule, item.subject) == ("not_assigned", story.boris.written[0].id)


def test_a_removal_that_did_not_know_a_version_is_told_on_its_line() -> None:
    story = morning()
    visit = story.anna.write(fieldwork.Started(), opens=True).id
    line = story.anna.write(part(), visit=visit)
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    tablet.write(fieldwork.LineVoided(line=line.id, reason="wrong part"), visit=visit)
    story.anna.write(part(quantity="2", replaces=line.id), visit=visit)
    (item,) = explain(merged(everything(story.office, story.anna, tablet)), "part", "en")
    assert (item.subject, item.rule) == (line.id, "version_unknown_to_void")


def test_a_shared_field_of_a_site_is_explained_as_well() -> None:
    anna = device("device-a", "anna", 1)
    bureau = Author(name="office-lyon", kind=AuthorKind.OFFICE, number=900)
    for author, notes in ((anna, "dog"), (bureau, "no dog")):
        author.write(places.SiteChanged(notes=notes), stream="site:site-1")
    (item,) = explain(fold("site:site-1", everything(anna, bureau)), "notes", "en")
    assert (item.rule, item.knowledge) == ("field_over_office", "neither_knew")
