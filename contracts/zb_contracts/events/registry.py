"""The register of event types: name, version, body model, who may write it, and on which kind of stream.

`read_body` is the only way from stored bytes to a typed body; what it cannot read is Opaque, kept and counted, and becomes
readable when a later version of this package knows it. Upcasts from released versions to the newest hang on the register.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from zb_contracts import canonical


class AuthorKind(StrEnum):
    """Who can sign: a device's incarnation, an agency's office, a service."""

    DEVICE = "device"
    OFFICE = "office"
    SERVICE = "service"


class Body(BaseModel):
    """Base of every event body: frozen, strict, no unknown keys. A key that is None is left out of the bytes."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def canonical_bytes(self) -> bytes:
        """The bytes that are signed: canonical JSON of the keys that were given."""
        return canonical.encode(self.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True, slots=True)
class EventType:
    """One released version of one type. `stream_kind` is the kind of stream it may stand on."""

    name: str
    model: type[Body]
    writers: frozenset[AuthorKind]
    stream_kind: str

    @property
    def summary(self) -> str:
        return (self.model.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A body that was signed but cannot be read by these rules: outside every field, never lost."""

    type: str
    reason: str


EVENT_TYPES: Final[dict[str, EventType]] = {}
_BY_MODEL: Final[dict[type[Body], EventType]] = {}
_UPCASTS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {}

B = TypeVar("B", bound=type[Body])

DEVICE: Final = frozenset({AuthorKind.DEVICE})
OFFICE: Final = frozenset({AuthorKind.OFFICE})
SERVICE: Final = frozenset({AuthorKind.SERVICE})
ANYONE: Final = frozenset(AuthorKind)


def event(name: str, stream_kind: str, writers: frozenset[AuthorKind]) -> Callable[[B], B]:
    """Register a body model under `name` (with its version), e.g. `intervention.started.v1`."""

    def register(model: B) -> B:
        if name in EVENT_TYPES:
            raise ValueError(f"event type registered twice: {name}")
        EVENT_TYPES[name] = _BY_MODEL[model] = EventType(name, model, writers, stream_kind)
        return model

    return register


def upcast(
    old: str, new: str
) -> Callable[[Callable[[dict[str, Any]], dict[str, Any]]], Callable[[dict[str, Any]], dict[str, Any]]]:
    """Register how a body of the released type `old` becomes one of `new`. Pure: dict in, dict out."""

    def register(convert: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        _UPCASTS[old] = (new, convert)
        return convert

    return register


def type_of(body: Body) -> EventType:
    """The registered type of a body object."""
    return _BY_MODEL[type(body)]


def read_body(type_name: str, data: bytes) -> Body | Opaque:
    """The typed body of stored bytes, upcast to the newest version. Never raises: what cannot be read is Opaque."""
    kind = EVENT_TYPES.get(type_name)
    if kind is None:
        return Opaque(type_name, "the type is unknown to these rules")
    try:
        if type_name not in _UPCASTS:
            return kind.model.model_validate_json(data)
        value: dict[str, Any] = msgspec.json.decode(data)
        while type_name in _UPCASTS:
            type_name, convert = _UPCASTS[type_name]
            value = convert(value)
        return EVENT_TYPES[type_name].model.model_validate_json(canonical.encode(value))
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
        return Opaque(type_name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200])
    except (KeyError, TypeError, ValueError, RecursionError) as fault:
        return Opaque(type_name, f"{type(fault).__name__}: {fault}"[:200])
