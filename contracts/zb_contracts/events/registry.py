"""The register of event types: name, version, body model, who may write it, and on which kind of stream.

`written_body` is the only way from stored bytes to a typed body; what it cannot read is Opaque, kept and counted, and becomes
readable when a later version of this package knows it. Upcasts from released versions to newer ones hang on the register;
how far a reader follows them is the reader's choice, so that old rules go on reading what they read.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

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
        return canonical.encode(plain(self))


@dataclass(frozen=True, slots=True)
class EventType:
    """One released version of one type. `stream_kinds` are the kinds of stream it may stand on."""

    name: str
    model: type[Body]
    writers: frozenset[AuthorKind]
    stream_kinds: frozenset[str]

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
Convert = Callable[[dict[str, Any]], dict[str, Any]]
_UPCASTS: Final[dict[str, tuple[str, Convert]]] = {}

REASON_MAX: Final = 200

B = TypeVar("B", bound=type[Body])

DEVICE: Final = frozenset({AuthorKind.DEVICE})
OFFICE: Final = frozenset({AuthorKind.OFFICE})
SERVICE: Final = frozenset({AuthorKind.SERVICE})
ANYONE: Final = frozenset(AuthorKind)


def event(name: str, stream_kinds: str | Set[str], writers: frozenset[AuthorKind]) -> Callable[[B], B]:
    """Register a body model under `name` (with its version), e.g. `intervention.started.v1`."""
    kinds = frozenset({stream_kinds} if isinstance(stream_kinds, str) else stream_kinds)

    def register(model: B) -> B:
        if name in EVENT_TYPES:
            raise ValueError(f"event type registered twice: {name}")
        EVENT_TYPES[name] = _BY_MODEL[model] = EventType(name, model, writers, kinds)
        return model

    return register


def upcast(old: str, new: str) -> Callable[[Convert], Convert]:
    """Register how a body of the released type `old` becomes one of `new`. Pure: plain JSON in, plain JSON out."""

    def register(convert: Convert) -> Convert:
        if old in _UPCASTS:
            raise ValueError(f"two ways on from {old}")
        _UPCASTS[old] = (new, convert)
        return convert

    return register


def type_of(body: Body) -> EventType:
    """The registered type of a body object."""
    return _BY_MODEL[type(body)]


def read_body(type_name: str, data: bytes) -> Body | Opaque:
    """The typed body of stored bytes, upcast to the newest version. Never raises: what cannot be read is Opaque."""
    body = written_body(type_name, data)
    return body if isinstance(body, Opaque) else upcasted(body)


def written_body(type_name: str, data: bytes) -> Body | Opaque:
    """The typed body of stored bytes in the version that its author wrote. Never raises: what cannot be read is Opaque."""
    kind = EVENT_TYPES.get(type_name)
    if kind is None:
        return Opaque(type_name, "the type is unknown to these rules")
    try:
        return kind.model.model_validate_json(data)
    except ValidationError as fault:
        return Opaque(type_name, _reason(fault))
    except (ValueError, RecursionError) as fault:
        return Opaque(type_name, f"{type(fault).__name__}: {fault}"[:REASON_MAX])


def upcasted(body: Body, known: Set[str] | None = None) -> Body | Opaque:
    """The body in the newest version, or in the newest that is among the types `known`. Opaque where an upcast fails."""
    name = _BY_MODEL[type(body)].name
    while (step := _UPCASTS.get(name)) is not None and (known is None or step[0] in known):
        name, convert = step
        try:
            body = EVENT_TYPES[name].model.model_validate_json(canonical.encode(convert(plain(body))))
        except ValidationError as fault:
            return Opaque(name, _reason(fault))
    return body


def plain(body: Body) -> dict[str, Any]:
    """The body as plain JSON without its nulls; sealed values stay sealed."""
    # What `model_dump` does, without its own arguments' passage: this is called for every event of a fold.
    found: dict[str, Any] = body.__pydantic_serializer__.to_python(body, mode="json", exclude_none=True)
    return found


def _reason(fault: ValidationError) -> str:
    first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:REASON_MAX]
