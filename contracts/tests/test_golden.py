"""The golden corpus holds: every event ever released verifies, is read, and folds to the states that were fixed for ever."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zb_contracts import golden
from zb_contracts.events import EVENT_TYPES, Opaque, upcasted
from zb_contracts.merge.fold import RULES, fold
from zb_contracts.merge.state import state_hash
from zb_contracts.problems import Problem

FOLDER = Path(__file__).resolve().parent.parent / "golden"
BODIES: dict[str, Any] = json.loads((FOLDER / "bodies.json").read_text())
CORPUS: dict[str, Any] = {
    path.relative_to(FOLDER).with_suffix("").as_posix(): json.loads(path.read_text()) for path in sorted(FOLDER.rglob("*/*.json"))
}
FOR_EVER = (
    "\n\n{name}, under rules {version}: {fault}.\n"
    "This state was fixed when rules {version} were released. Ledgers hold events like these, and devices, auditors and stored "
    "states know the hash; with this change each of them would find another truth in the same bytes.\n"
    "Do not edit the corpus. Undo the change for rules {version}; where the new outcome is wanted, it is a new version of the "
    "rules (merge.state.RULE_VERSION, merge.fold.RULES), and `make generate` adds its states beside the old ones."
)


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_every_event_that_was_ever_released_verifies_and_is_read_by_the_newest_rules(name: str) -> None:
    for event in golden.verified(CORPUS[name]):
        assert not isinstance(event.body, Opaque), f"{event.header.type} cannot be read any more: {event.body.reason}"
        assert not isinstance(upcasted(event.body), Opaque)


@pytest.mark.parametrize("version", sorted(RULES))
@pytest.mark.parametrize("name", sorted(CORPUS))
def test_its_state_is_the_one_that_was_fixed_for_ever(name: str, version: int) -> None:
    story = CORPUS[name]
    fixed = story["states"].get(str(version))
    assert fixed, f"{name} has no state under rules {version}: make generate adds it"
    state = fold(story["stream"], golden.verified(story), version)
    fault = next(differences(fixed["state"], msgspec.to_builtins(state)), "the hash of the same content differs")
    assert state_hash(state) == fixed["hash"], FOR_EVER.format(name=name, version=version, fault=fault)


def differences(fixed: Any, now: Any, path: str = "state") -> Iterator[str]:
    """Where two states differ, in words."""
    if isinstance(fixed, dict) and isinstance(now, dict):
        for key in sorted({*fixed, *now}):
            if key not in now or key not in fixed:
                yield f"{path}.{key} was {'there and is gone' if key in fixed else 'not there and is'}"
            else:
                yield from differences(fixed[key], now[key], f"{path}.{key}")
    elif isinstance(fixed, list) and isinstance(now, list) and len(fixed) == len(now):
        for index, (old, new) in enumerate(zip(fixed, now, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif fixed != now:
        yield f"{path} was {fixed!r} and is {now!r}"


def test_every_type_ever_released_is_in_the_corpus_and_nothing_waits_to_be_added() -> None:
    told = {event.header.type for story in CORPUS.values() for event in golden.verified(story)}
    assert told == set(EVENT_TYPES) == set(BODIES)
    assert golden.additions(CORPUS, BODIES) == {}, "make generate adds what is missing"


def test_the_corpus_has_long_stories_of_each_kind_with_both_versions_side_by_side() -> None:
    stories = {name: golden.verified(story) for name, story in CORPUS.items() if not name.startswith(golden.OF_TYPES)}
    assert {story["stream"].partition(":")[0] for story in CORPUS.values()} == set(RULES[2].folds)
    types = {event.header.type for events in stories.values() for event in events}
    assert {"intervention.photo_taken.v1", "intervention.photo_taken.v2", "intervention.planned.v1"} <= types
    assert max(map(len, stories.values())) >= 40


def test_additions_add_and_never_rewrite() -> None:
    """A type that is new, rules that are new, and a state that is wrong: the first two are added, the last stays to be seen."""
    name = "types/intervention.done.v1"
    wrong = {**CORPUS[name], "states": {"1": {"hash": "00", "state": {}}}}
    corpus = {key: story for key, story in CORPUS.items() if key != "types/shift.noted.v1"} | {name: wrong}
    added = golden.additions(corpus, BODIES)
    assert set(added) == {name, "types/shift.noted.v1"}
    assert added["types/shift.noted.v1"] == CORPUS["types/shift.noted.v1"]
    assert added[name]["states"] == {"1": {"hash": "00", "state": {}}, "2": CORPUS[name]["states"]["2"]}
    assert added[name]["events"] == CORPUS[name]["events"]


def test_a_story_that_was_tampered_with_does_not_verify() -> None:
    story = CORPUS["types/intervention.done.v1"]
    forged = {**story, "events": [{**story["events"][0], "body": "{}"}]}
    with pytest.raises(Problem) as refusal:
        golden.verified(forged)
    assert refusal.value.code == "event.body_mismatch"


def test_the_message_of_a_broken_promise_says_what_changed_and_what_to_do() -> None:
    fixed = CORPUS["types/intervention.done.v1"]["states"]["1"]["state"]
    now = {**fixed, "status": "not_done", "lines": [1]}
    assert list(differences(fixed, now)) == ["state.lines was [] and is [1]", "state.status was 'done' and is 'not_done'"]
    assert "Do not edit the corpus" in FOR_EVER
