"""Bodies that the ledger says could be read: the same values as the model gives, for every type, however they are spelt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zb_contracts import canonical
from zb_contracts.events import Body, Opaque, Plain, plain, stored_body, written_body

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "golden" / "bodies.json").read_text())
POSITION = {"accuracy_m": 4, "latitude_e7": 488_000_000, "longitude_e7": 23_000_000, "mock": False, "source": "gnss"}
SEALED = {"sealed": {"alg": "A256GCM", "ct": "A" * 24, "kid": "site-59", "nonce": "A" * 16}}
PLACED = ("intervention.travel_started.v1", "intervention.done.v1", "intervention.photo_taken.v2")


def value_of(body: Plain | Body | Opaque) -> Any:
    if isinstance(body, Plain):
        return body.value
    return body.reason if isinstance(body, Opaque) else plain(body)


def with_one_key_less(value: Any) -> Iterator[Any]:
    """The value without one of its keys, at any depth, each in turn."""
    if isinstance(value, dict):
        for key, part in value.items():
            rest = {name: item for name, item in value.items() if name != key}
            yield rest
            yield from ({**rest, key: less} for less in with_one_key_less(part))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from ([*value[:place], less, *value[place + 1 :]] for less in with_one_key_less(part))


def bodies_of(name: str) -> list[dict[str, Any]]:
    more = [{**GOLDEN[name], "position": position} for position in (POSITION, SEALED)] if name in PLACED else []
    return [GOLDEN[name], *more]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_sample_has_the_value_of_its_model_without_the_model(name: str) -> None:
    for sample in bodies_of(name):
        data = canonical.encode(sample)
        assert stored_body(name, data) == Plain(name, plain(written_body(name, data)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_what_an_author_left_out_is_what_the_model_says_of_it(name: str) -> None:
    for sample in bodies_of(name):
        for less in with_one_key_less(sample):
            data = canonical.encode(less)
            if not isinstance(read := written_body(name, data), Opaque):
                assert value_of(stored_body(name, data)) == plain(read)


@pytest.mark.parametrize("name", PLACED)
def test_a_position_without_its_defaults_is_left_to_the_model(name: str) -> None:
    bare = {key: item for key, item in POSITION.items() if key != "mock"}
    data = canonical.encode({**GOLDEN[name], "position": bare})
    assert not isinstance(stored_body(name, data), Plain)
    assert value_of(stored_body(name, data))["position"]["mock"] is False


COMMENT, MEASURED = "intervention.comment_added.v1", "intervention.measured.v1"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (COMMENT, b'{"text":"first","text":"second"}'),
        (COMMENT, b'{"text": "spaced"}'),
        (COMMENT, b'{"text":"\\u0041"}'),
        (MEASURED, b'{"quantity":"pressure","replaces":null,"unit":"bar","value":"1.64"}'),
    ],
)
def test_another_spelling_is_left_to_the_model(name: str, data: bytes) -> None:
    body = stored_body(name, data)
    assert isinstance(body, Body)
    assert body == written_body(name, data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 5000, b'{"text":"\\ud800"}'])
def test_bytes_that_no_model_reads_are_opaque_even_where_the_ledger_says_otherwise(data: bytes) -> None:
    assert isinstance(stored_body(COMMENT, data), Opaque)


def test_a_type_that_this_program_does_not_know_is_opaque_although_another_could_read_it() -> None:
    assert isinstance(stored_body("intervention.teleported.v1", b"{}"), Opaque)
