"""What zb.generate says of schemas that break a promise, and what it takes as released."""

import json
from pathlib import Path
from typing import Any

import pytest

from zb import generate


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Schemas of today and as released, of one event."""
    today, released = tmp_path / "today", tmp_path / "released"
    monkeypatch.setattr(generate, "SCHEMAS", today)
    monkeypatch.setattr(generate, "RELEASED", released)
    for folder in (today, released):
        put(folder, {"text": {"type": "string"}})
    return today, released


def put(folder: Path, properties: dict[str, Any], required: tuple[str, ...] = ()) -> None:
    path = folder / "events" / "shift.noted.v1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "object", "properties": properties, "required": required}))


def test_a_break_is_named_with_its_place_and_the_way_out(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    put(folders[0], {"text": {"type": "string"}}, required=("text",))
    assert generate.verify([]) == 1
    assert capsys.readouterr().err == (
        "shift.noted.v1: $.text: required_added: the field is required now: whoever left it out is refused. "
        "Within a version only additions are possible: make a new one.\n"
    )


def test_an_addition_is_taken_as_released_and_a_break_is_not(folders: tuple[Path, Path]) -> None:
    today, released = folders
    added = {"text": {"type": "string"}, "place": {"type": "string"}}
    put(today, added)
    assert (generate.verify([]), generate.release()) == (0, 0)
    assert generate.schemas_in(released)["shift.noted.v1"]["properties"] == added
    put(today, {"text": {"type": "string"}})
    assert generate.release() == 1
    assert generate.schemas_in(released)["shift.noted.v1"]["properties"] == added


def test_the_corpus_of_the_checkout_lacks_nothing() -> None:
    assert generate._golden() == {}
