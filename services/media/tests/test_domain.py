"""What evidence a state demands, and when it is complete: as sentences."""

from typing import Any

import pytest
from pydantic import ValidationError

from media.domain import assess, demands


def test_every_photo_and_signature_that_is_not_void_is_demanded(story: Any) -> None:
    state = story.state(
        story.line(1, b"boiler"),
        story.line(2, b"blurred", void=True),
        story.line(3, b"pen", "signature"),
        story.line(4, b"x", "part"),
    )
    assert [(demand.kind, demand.sha256) for demand in demands(state)] == [
        ("photo", story.sha256(b"boiler")),
        ("signature", story.sha256(b"pen")),
    ]


def test_an_intervention_that_demands_nothing_is_complete(story: Any) -> None:
    assert assess(demands(story.state()), {}).complete


def test_one_absent_photo_makes_the_evidence_incomplete(story: Any) -> None:
    wanted = demands(story.state(story.line(1, b"boiler"), story.line(2, b"tap")))
    evidence = assess(wanted, {story.sha256(b"boiler"): 6})
    assert [item.stored for item in evidence.items] == [True, False]
    assert not evidence.complete


def test_bytes_of_another_length_than_the_event_says_do_not_count(story: Any) -> None:
    wanted = demands(story.state(story.line(1, b"boiler", length=7)))
    assert not assess(wanted, {story.sha256(b"boiler"): 6}).complete


def test_the_same_photo_on_two_lines_meets_both(story: Any) -> None:
    wanted = demands(story.state(story.line(1, b"boiler"), story.line(2, b"boiler")))
    assert assess(wanted, {story.sha256(b"boiler"): 6}).complete


def test_a_photo_line_without_a_readable_file_is_an_error_and_never_nothing(story: Any) -> None:
    broken = story.line(1, b"boiler")
    broken.value.pop("file")
    with pytest.raises(ValidationError):
        demands(story.state(broken))
