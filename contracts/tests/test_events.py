"""Every event type: registered whole, with a golden sample that must parse for ever."""

import json
from pathlib import Path
from typing import Any

import pytest

from zb_contracts import canonical
from zb_contracts.events import EVENT_TYPES, AuthorKind, Opaque, read_body, written_body
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.schemas import event_schemas

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "golden" / "bodies.json").read_text())


def test_every_type_has_a_golden_sample_and_every_sample_a_type() -> None:
    assert set(GOLDEN) == set(EVENT_TYPES)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_golden_sample_is_read_and_written_back_the_same(name: str) -> None:
    data = canonical.encode(GOLDEN[name])
    body = written_body(name, data)
    assert not isinstance(body, Opaque), body
    assert body.canonical_bytes() == data
    assert not isinstance(read_body(name, data), Opaque)


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_an_unknown_key_makes_a_body_opaque_not_lost(name: str) -> None:
    assert isinstance(read_body(name, canonical.encode({**GOLDEN[name], "invented": 1})), Opaque)


def test_an_unknown_type_is_opaque() -> None:
    assert isinstance(read_body("intervention.teleported.v1", b"{}"), Opaque)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 5000, b'{"text":NaN}', b'{"text":"\\ud800"}', b'{"text":"a\\u0000"}']
)
def test_hostile_bytes_are_opaque(data: bytes) -> None:
    assert isinstance(read_body("intervention.comment_added.v1", data), Opaque)


def test_a_text_with_a_nul_is_written_by_nobody() -> None:
    with pytest.raises(ValueError, match="a text has no NUL"):
        CommentAdded(text="read off a barcode\0")


def test_only_devices_write_what_happens_on_site() -> None:
    on_site = {kind.name for kind in EVENT_TYPES.values() if kind.writers == {AuthorKind.DEVICE}}
    assert {"intervention.started.v1", "intervention.done.v1", "intervention.part_used.v1"} <= on_site
    assert all(
        AuthorKind.DEVICE not in EVENT_TYPES[name].writers for name in ("intervention.cancelled.v1", "intervention.assigned.v1")
    )


def test_every_schema_is_one_of_its_dialect() -> None:
    from jsonschema import Draft202012Validator

    for name, schema in event_schemas().items():
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(GOLDEN[name])


def test_a_body_is_canonical_when_composed() -> None:
    assert CommentAdded(text="é").canonical_bytes() == '{"text":"é"}'.encode()
