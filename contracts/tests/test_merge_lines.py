"""Lines never disappear: versions, voids, and what happens when they did not know of each other."""

from contracts.tests.histories import device, everything, part, payment, photo, service, uuid7
from contracts.tests.test_merge_story import Story, merged, morning
from zb_contracts.events import fieldwork
from zb_contracts.events.office import BillingExported
from zb_contracts.merge.causality import MergeEvent


def at_work() -> tuple[Story, str]:
    story = morning()
    return story, story.anna.at("10:05").write(fieldwork.Started(), opens=True).id


def void(line: MergeEvent) -> fieldwork.LineVoided:
    return fieldwork.LineVoided(line=line.id, reason="wrong part")


def test_a_change_is_a_new_version_and_the_old_one_is_kept() -> None:
    story, visit = at_work()
    first = story.anna.write(part(quantity="1"), visit=visit)
    second = story.anna.write(part(quantity="2", replaces=first.id), visit=visit)
    third = story.anna.write(part(quantity="3", replaces=second.id), visit=visit)
    (line,) = story.state().lines
    assert (line.id, line.value["quantity"], line.origin.event) == (first.id, "3", third.id)
    assert [version.value["quantity"] for version in line.versions] == ["1", "2"]


def test_a_removal_keeps_the_line_with_its_reason() -> None:
    story, visit = at_work()
    line = story.anna.write(part(), visit=visit)
    story.anna.write(void(line), visit=visit)
    (kept,) = story.state().lines
    assert kept.void is not None
    assert (kept.void.reason, kept.value["part"]) == ("wrong part", "VALVE-15")


def test_a_version_written_after_the_removal_brings_the_line_back() -> None:
    story, visit = at_work()
    line = story.anna.write(part(), visit=visit)
    story.anna.write(void(line), visit=visit)
    story.anna.write(part(quantity="2", replaces=line.id), visit=visit)
    assert story.state().lines[0].void is None


def test_a_removal_that_did_not_know_a_version_is_set_aside() -> None:
    story, visit = at_work()
    line = story.anna.write(part(), visit=visit)
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    removal = tablet.write(void(line), visit=visit)
    version = story.anna.write(part(quantity="2", replaces=line.id), visit=visit)
    (kept,) = merged([*story.events, *tablet.written]).lines
    assert kept.void is None
    assert [(item.field, item.rule, item.origin.event, item.against) for item in kept.set_aside] == [
        ("void", "version_unknown_to_void", removal.id, version.id)
    ]


def test_versions_that_did_not_know_of_each_other_are_both_kept() -> None:
    story, visit = at_work()
    line = story.anna.write(part(), visit=visit)
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    story.anna.at("10:30").write(part(quantity="2", replaces=line.id), visit=visit)
    tablet.at("10:31").write(part(quantity="3", replaces=line.id), visit=visit)
    (kept,) = merged([*story.events, *tablet.written]).lines
    assert kept.value["quantity"] == "3"
    assert [version.value["quantity"] for version in kept.versions] == ["1", "2"]


def test_a_version_of_another_kind_or_of_nothing_is_a_line_of_its_own() -> None:
    story, visit = at_work()
    paid = story.anna.write(payment(), visit=visit)
    story.anna.write(part(replaces=paid.id), visit=visit)
    story.anna.write(part(replaces=uuid7(77)), visit=visit)
    assert [line.kind for line in story.state().lines] == ["payment", "part", "part"]


def test_versions_that_name_each_other_in_a_circle_are_one_line() -> None:
    story, visit = at_work()
    following = uuid7(story.anna.number * 1_000_000 + story.anna.seq + 2)
    first = story.anna.write(part(quantity="1", replaces=following), visit=visit)
    second = story.anna.write(part(quantity="2", replaces=first.id), visit=visit)
    assert second.id == following
    (line,) = story.state().lines
    assert (line.value["quantity"], len(line.versions)) == ("2", 1)


def test_a_removal_of_nothing_is_counted_and_changes_nothing() -> None:
    story, visit = at_work()
    story.anna.write(fieldwork.LineVoided(line=uuid7(77), reason="mistake"), visit=visit)
    (unknown,) = story.state().unknown
    assert (unknown.type, unknown.reason, unknown.count) == ("intervention.line_voided.v1", "names_nothing_here", 1)


def test_an_export_names_the_lines_that_it_did_not_know() -> None:
    story, visit = at_work()
    story.anna.write(part(), visit=visit)
    bridge = service().learn(story.anna)
    bridge.write(BillingExported(profile="erp", batch=1, kind="invoice", lines_sha256="0" * 64))
    late = story.anna.write(photo("late"), visit=visit)
    (export,) = merged(everything(story.office, story.anna, bridge)).exports
    assert (export.batch, export.later) == (1, [late.id])


def test_the_version_that_stands_is_one_that_no_removal_knew() -> None:
    story, visit = at_work()
    line = story.anna.at("10:10").write(part(quantity="1"), visit=visit)
    tablet = device("device-a2", "anna", 3).learn(story.anna)
    story.anna.at("10:20").write(part(quantity="2", replaces=line.id), visit=visit)
    tablet.at("10:40").write(part(quantity="3", replaces=line.id), visit=visit)
    tablet.write(void(line), visit=visit)
    (kept,) = merged([*story.events, *tablet.written]).lines
    assert (kept.void, kept.value["quantity"]) == (None, "2")
