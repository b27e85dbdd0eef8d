"""Bodies that were read before: the same values as their model gives, without making the model again.

For readers of the ledger, which knows of each row whether its body could be read when it was admitted, and for folds that
were put away; never for what comes from outside. It checks no value: only that the bytes say all that the model would say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, get_args

import msgspec
from pydantic import BaseModel

from zb_contracts import canonical
from zb_contracts.events.registry import EVENT_TYPES, Body, Opaque, written_body


class Plain(NamedTuple):
    """A body of a registered type as plain JSON, as `registry.plain` gives it."""

    type: str
    value: dict[str, Any]


_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def stored_body(type_name: str, data: bytes) -> Plain | Body | Opaque:
    """The body of bytes that `written_body` could read before, as a ledger row says of its own.

    Plain where the bytes are canonical and leave out none of the model's defaults, as those of every author of ours are; for
    all others what `written_body` says. Never raises.
    """
    kind = EVENT_TYPES.get(type_name)
    if kind is None or b"null" in data:
        return written_body(type_name, data)
    try:
        value = _decoder.decode(data)
        whole = canonical.encode(value) == data and _says_all(_shape(kind.model), value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        whole = False
    return Plain(type_name, value) if whole else written_body(type_name, data)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The keys that bytes of a model must have to say all that it would: its required ones and those with a default.

    `nested`: the shapes of the models that may lie under a key, where one of them can leave something out.
    """

    keys: frozenset[str]
    nested: Mapping[str, tuple["_Shape", ...]]
    leaves_out: bool


def _says_all(shape: _Shape, value: Mapping[str, Any]) -> bool:
    if not shape.leaves_out:
        return True
    if not shape.keys <= value.keys():
        return False
    for key, shapes in shape.nested.items():
        for part in _objects(value.get(key)):
            if not any(one.keys <= part.keys() and _says_all(one, part) for one in shapes):
                return False
    return True


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects that lie here: a nested body, or each of a list of them."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)


@cache
def _shape(model: type[BaseModel]) -> _Shape:
    fields = model.model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    defaults = {name for name, field in fields.items() if not field.is_required() and field.default is not None}
    below = {name: tuple(map(_shape, _models(field.annotation))) for name, field in fields.items()}
    nested = {name: shapes for name, shapes in below.items() if any(shape.leaves_out for shape in shapes)}
    return _Shape(frozenset(required | defaults), nested, bool(defaults or nested))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
