"""New bad inputs from good ones: one value exchanged, left out, doubled or wrapped, or a few bytes changed.

Structure first, because random bytes die at the first byte of a parser and never reach what checks the values. Randomness is
an argument, so that a finding can be found again.
"""

import copy
import json
from collections.abc import Iterator
from enum import Enum
from random import Random
from typing import Any, Final

import msgspec

from tests.fuzz.bombs import VALUES

BYTE_CHANGES_MAX: Final = 8

Place = tuple[Any, ...]
"""The keys and indexes that lead to a value."""


class Form(Enum):
    """How a target's samples are written."""

    JSON = "json"
    PACKED = "packed"
    BYTES = "bytes"


def mutated(data: bytes, form: Form, random: Random) -> bytes:
    """Something like `data`, wrong in one to three places."""
    if form is Form.BYTES or random.random() < 0.3:
        return _bytes_changed(data, random)
    value = _decoded(data, form)
    if value is None:
        return _bytes_changed(data, random)
    for _ in range(random.randint(1, 3)):
        value = _changed(value, random)
    data = _encoded(value, form, random)
    return _bytes_changed(data, random) if random.random() < 0.1 else data


def exchanged(data: bytes, form: Form) -> Iterator[tuple[str, bytes]]:
    """Every value of a sample exchanged for every one of VALUES, and left out: (what was done, the bytes)."""
    sample = _decoded(data, form)
    for place in _places(sample):
        if place:
            yield f"without {place}", _encoded(_without(sample, place), form)
        for name, value in VALUES.items():
            yield f"{name} at {place}", _encoded(_with(sample, place, value), form)


def _changed(value: Any, random: Random) -> Any:
    place = random.choice(list(_places(value)))
    match random.randrange(5):
        case 0 if place:
            return _without(value, place)
        case 1:
            return _with(value, place, [_at(value, place)])
        case 2:
            return _with(value, place, _at(value, random.choice(list(_places(value)))))
        case 3 if isinstance(at := _at(value, place), list) and at:
            return _with(value, place, [*at, *at])
        case _:
            return _with(value, place, copy.deepcopy(random.choice(list(VALUES.values()))))


def _places(value: Any, here: Place = ()) -> Iterator[Place]:
    yield here
    if len(here) == 4:
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from _places(item, (*here, key))


def _at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return copy.deepcopy(value)


def _with(value: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    value = copy.copy(value)
    value[place[0]] = _with(value[place[0]], place[1:], new)
    return value


def _without(value: Any, place: Place) -> Any:
    value = copy.copy(value)
    if len(place) == 1:
        del value[place[0]]
    else:
        value[place[0]] = _without(value[place[0]], place[1:])
    return value


def _decoded(data: bytes, form: Form) -> Any:
    try:
        return json.loads(data) if form is Form.JSON else msgspec.msgpack.decode(data)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None


def _encoded(value: Any, form: Form, random: Random | None = None) -> bytes:
    if form is Form.PACKED:
        try:
            return msgspec.msgpack.encode(value)
        except (OverflowError, ValueError, TypeError):
            return b"\xc1"
    spaced = random is not None and random.random() < 0.1
    return json.dumps(value, sort_keys=True, separators=None if spaced else (",", ":"), ensure_ascii=spaced, default=repr).encode(
        "utf-8", "surrogatepass"
    )


def _bytes_changed(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, BYTE_CHANGES_MAX)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(5):
            case 0:
                del changed[at : at + random.randint(1, 16)]
            case 1:
                changed[at:at] = random.randbytes(random.randint(1, 8))
            case 2:
                changed[at:at] = changed[at : at + random.randint(1, 64)]
            case 3:
                changed[at : at + 1] = bytes([random.choice(b'\x00\xff\x7f\x80"{}[],:0-\\')])
            case _ if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)
