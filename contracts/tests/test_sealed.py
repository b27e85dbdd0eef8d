"""Sealed personal values: they open in their place with their key, and nowhere else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from zb_contracts import sealed
from zb_contracts.faults import SealBroken, SealMalformed
from zb_contracts.sealed import SealedValue

KEY = b"subject-key".ljust(32, b".")
NONCE = b"nonce-12-byt"
EVENT_ID = "01936d6e-7c00-7000-8000-000000000001"
FIELD = "customer_name"


def a_value(value: str = "Élodie Lefèvre") -> SealedValue:
    return sealed.seal(KEY, "subject-7", EVENT_ID, FIELD, value, NONCE)


@given(st.text(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_opens_again(value: str, event_id: str, field: str) -> None:
    box = sealed.seal(KEY, "subject-7", event_id, field, value, NONCE)
    assert sealed.open_sealed_value(KEY, event_id, field, box) == value
    assert SealedValue.model_validate_json(box.model_dump_json()) == box


def test_the_form_on_the_wire() -> None:
    """Frozen bytes, checked once against Node's crypto: every implementation makes the same from these arguments."""
    assert json.loads(a_value().model_dump_json()) == {
        "sealed": {
            "kid": "subject-7",
            "alg": "A256GCM",
            "nonce": "bm9uY2UtMTItYnl0",
            "ct": "o1ZD8y9oKITH4BSWbHH2x1F2K0EorDfrMIrWRy_mbsw",
        }
    }
    assert a_value().kid == "subject-7"


@pytest.mark.parametrize(
    ("key", "event_id", "field"),
    [
        (b"another-key".ljust(32, b"."), EVENT_ID, FIELD),
        (KEY, EVENT_ID.replace("1", "2"), FIELD),
        (KEY, EVENT_ID, "site_contact"),
        (KEY, EVENT_ID + "c", FIELD[1:]),
    ],
)
def test_it_opens_in_its_place_with_its_key_alone(key: bytes, event_id: str, field: str) -> None:
    with pytest.raises(SealBroken):
        sealed.open_sealed_value(key, event_id, field, a_value())


@given(st.sampled_from(["nonce", "ct"]), st.data())
def test_a_changed_character_is_noticed(part: str, data: st.DataObject) -> None:
    form = a_value().model_dump()
    text = form["sealed"][part]
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCDEFabcdef0189-_").filter(lambda other: other != text[at]))
    form["sealed"][part] = text[:at] + letter + text[at + 1 :]
    try:
        changed = SealedValue.model_validate(form)
    except ValidationError:
        return  # stray bits in the last character: not even a sealed value
    with pytest.raises(SealBroken):
        sealed.open_sealed_value(KEY, EVENT_ID, FIELD, changed)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "A128GCM"},
        {"nonce": "bm9uY2UtMTItYnl"},
        {"nonce": "bm9uY2UtMTItYn=="},
        {"nonce": "bm9uY2UtMTItYn+0"},
        {"ct": ""},
        {"ct": "A" * 21},
        {"ct": "A" * 21 + "B"},
        {"ct": "A" * 25},
        {"ct": "A" * 40_000},
        {"kid": ""},
        {"kid": "k" * 65},
        {"kid": "../etc"},
        {"kid": 7},
        {"iv": "x"},
    ],
)
def test_another_form_is_no_sealed_value(change: dict[str, object]) -> None:
    form = a_value().model_dump()
    form["sealed"].update(change)
    with pytest.raises(ValidationError):
        SealedValue.model_validate(form)


def test_a_plain_value_cannot_stand_where_a_sealed_one_must() -> None:
    class Body(BaseModel):
        customer_name: SealedValue

    for plain in ("Élodie", {"value": "Élodie"}, {"sealed": "Élodie"}, {**a_value().model_dump(), "plain": "Élodie"}):
        with pytest.raises(ValidationError):
            Body.model_validate({"customer_name": plain})
    assert Body.model_validate({"customer_name": a_value().model_dump()}).customer_name == a_value()


def test_a_sealed_value_is_frozen() -> None:
    with pytest.raises(ValidationError):
        a_value().sealed.kid = "subject-8"  # type: ignore[misc]


def test_the_longest_value_is_sealed_and_one_byte_more_is_not() -> None:
    longest = "x" * sealed.SEALED_VALUE_BYTES_MAX
    assert sealed.open_sealed_value(KEY, EVENT_ID, FIELD, a_value(longest)) == longest
    with pytest.raises(SealMalformed, match="the limit is 16384"):
        a_value(longest + "x")


@pytest.mark.parametrize(
    ("key", "kid", "value", "nonce"),
    [
        (KEY[:16], "k", "v", NONCE),
        (KEY, "k", "v", NONCE[:11]),
        (KEY, "k", "v", NONCE + b"!"),
        (KEY, "", "v", NONCE),
        (KEY, "a b", "v", NONCE),
        (KEY, "k\n", "v", NONCE),
        (KEY, "k", "\ud800", NONCE),
    ],
)
def test_bad_arguments_are_refused(key: bytes, kid: str, value: str, nonce: bytes) -> None:
    with pytest.raises(SealMalformed):
        sealed.seal(key, kid, EVENT_ID, FIELD, value, nonce)


def test_a_key_of_another_length_opens_nothing() -> None:
    with pytest.raises(SealMalformed):
        sealed.open_sealed_value(KEY[:31], EVENT_ID, FIELD, a_value())


@given(st.binary(max_size=40))
def test_base64url_goes_both_ways(data: bytes) -> None:
    assert sealed.from_base64url(sealed.to_base64url(data)) == data


def test_fresh_randomness_has_the_right_length_and_differs() -> None:
    assert len(sealed.fresh_nonce()) == sealed.NONCE_BYTES
    assert len(sealed.fresh_subject_key()) == sealed.SUBJECT_KEY_BYTES
    assert sealed.fresh_nonce() != sealed.fresh_nonce()
