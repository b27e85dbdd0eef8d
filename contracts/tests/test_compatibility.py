"""Within a version a message changes by additions only: each kind of break has its name, and the released schemas hold."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zb_contracts import schemas
from zb_contracts.compatibility import CODES, breaks

RELEASED = Path(__file__).resolve().parent.parent / "released"

SCHEMA: dict[str, Any] = {
    "$defs": {
        "File": {
            "type": "object",
            "properties": {
                "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "length": {"type": "integer", "maximum": 9},
            },
            "required": ["sha256", "length"],
            "additionalProperties": False,
        },
        "Tree": {"type": "object", "properties": {"leaf": {"$ref": "#/$defs/Tree"}, "name": {"type": "string"}}},
    },
    "type": "object",
    "properties": {
        "file": {"$ref": "#/$defs/File"},
        "label": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 200}, {"type": "null"}], "default": None},
        "method": {"type": "string", "enum": ["cash", "card"]},
        "parts": {"type": "array", "maxItems": 50, "items": {"type": "string"}},
        "amounts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "required": ["file", "method"],
    "additionalProperties": False,
    "x-writers": ["device", "office"],
    "x-streams": ["intervention"],
}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    schema = copy.deepcopy(SCHEMA)
    change(schema)
    return schema


def told(change: Callable[[dict[str, Any]], object], *, written: bool = False) -> list[str]:
    found = breaks({"m": SCHEMA}, {"m": changed(change)}, {"m"} if written else frozenset())
    return [f"{each.code} {each.where} {each.detail}".strip() for each in found]


def test_a_schema_is_compatible_with_itself() -> None:
    assert told(lambda schema: None) == told(lambda schema: None, written=True) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema["properties"].update(remark={"type": "string"}),
        lambda schema: schema["properties"]["method"]["enum"].append("cheque"),
        lambda schema: schema["required"].remove("method"),
        lambda schema: schema["properties"]["label"]["anyOf"][0].update(maxLength=400),
        lambda schema: schema["properties"]["label"]["anyOf"].append({"type": "integer"}),
        lambda schema: schema["properties"]["method"].pop("enum"),
        lambda schema: schema["properties"].update(amounts={"type": "object", "additionalProperties": {"type": "number"}}),
        lambda schema: schema["properties"].update(tree={}),
        lambda schema: schema["$defs"]["File"]["properties"]["length"].pop("maximum"),
        lambda schema: schema.pop("additionalProperties"),
        lambda schema: schema["x-writers"].append("service"),
        lambda schema: schema.update(title="Another name", description="Other words."),
    ],
)
def test_what_takes_more_than_before_is_an_addition(change: Callable[[dict[str, Any]], object]) -> None:
    assert told(change) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schema: schema["properties"].pop("label"), "field_removed $.label"),
        (lambda schema: schema["$defs"]["File"]["properties"].pop("length"), "field_removed $.file.length"),
        (lambda schema: schema["required"].append("label"), "required_added $.label"),
        (
            lambda schema: (schema["properties"].update(lot={"type": "string"}), schema["required"].append("lot")),
            "required_added $.lot",
        ),
        (lambda schema: schema["properties"]["label"]["anyOf"].pop(), "type_narrowed $.label null"),
        (lambda schema: schema["properties"]["parts"]["items"].update(type="integer"), "type_narrowed $.parts[] string"),
        (lambda schema: schema["properties"].update(label={"const": "x"}), "type_narrowed $.label only listed values"),
        (lambda schema: schema["properties"]["method"]["enum"].remove("cash"), "enum_value_removed $.method 'cash'"),
        (
            lambda schema: schema["properties"]["label"]["anyOf"][0].update(maxLength=20),
            "limit_tightened $.label maxLength 20",
        ),
        (lambda schema: schema["properties"]["parts"].update(minItems=1), "limit_tightened $.parts minItems 1"),
        (
            lambda schema: schema["$defs"]["File"]["properties"]["sha256"].update(pattern="^x$"),
            "pattern_changed $.file.sha256 pattern ^x$",
        ),
        (
            lambda schema: schema["$defs"]["Tree"].update(additionalProperties=False),
            "extras_refused $.tree",
        ),
        (lambda schema: schema["$defs"]["Tree"]["properties"].pop("name"), "field_removed $.tree.name"),
        (
            lambda schema: schema["properties"]["amounts"]["additionalProperties"].update(type="string"),
            "type_narrowed $.amounts.* integer",
        ),
        (lambda schema: schema["x-writers"].remove("office"), "writer_removed x-writers office"),
        (lambda schema: schema["x-streams"].clear(), "stream_removed x-streams intervention"),
    ],
)
def test_each_break_of_what_is_read_has_a_name_and_a_place(change: Callable[[dict[str, Any]], object], said: str) -> None:
    assert said in told(change)
    assert len({line.split()[0] for line in told(change)}) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schema: schema["properties"].pop("label"), "field_removed $.label"),
        (lambda schema: schema["required"].remove("method"), "required_removed $.method"),
        (lambda schema: schema["properties"]["method"]["enum"].append("cheque"), "enum_value_added $.method 'cheque'"),
        (lambda schema: schema["properties"]["label"]["anyOf"].append({"type": "integer"}), "type_widened $.label integer"),
        (lambda schema: schema["properties"]["method"].pop("enum"), "type_widened $.method only listed values"),
    ],
)
def test_each_break_of_what_is_written_has_a_name_and_a_place(change: Callable[[dict[str, Any]], object], said: str) -> None:
    assert told(change, written=True) == [said]


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema["properties"].update(remark={"type": "string"}),
        lambda schema: schema["properties"]["label"]["anyOf"].pop(),
        lambda schema: schema["required"].append("label"),
        lambda schema: schema["properties"]["parts"].update(maxItems=500),
    ],
)
def test_readers_bear_more_keys_fewer_alternatives_and_other_limits(change: Callable[[dict[str, Any]], object]) -> None:
    assert told(change, written=True) == []


def test_a_message_that_is_gone_is_a_break_and_a_new_one_is_not() -> None:
    (gone,) = breaks({"m": SCHEMA}, {"other": SCHEMA})
    assert str(gone) == "m: m: schema_removed: the message is gone"
    assert breaks({}, {"m": SCHEMA}) == []


def test_every_break_has_words() -> None:
    found = breaks({"m": SCHEMA}, {"m": changed(lambda schema: schema["properties"]["method"]["enum"].remove("cash"))})
    assert [str(each) for each in found] == ["m: $.method: enum_value_removed: this value is no longer taken ('cash')"]
    assert all(CODES.values())


def test_the_schemas_of_today_keep_every_promise_that_was_released() -> None:
    """Where this fails: undo the change, or put it into a new version of the message beside the old one."""
    released = {path.stem: json.loads(path.read_text()) for path in RELEASED.rglob("*.json")}
    today = {**schemas.event_schemas(), **schemas.message_schemas()}
    assert len(released) >= 60
    assert [str(each) for each in breaks(released, today, schemas.WRITTEN)] == []
    assert set(today) >= schemas.WRITTEN
