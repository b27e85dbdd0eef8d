"""Canonical JSON: the subset of RFC 8785 (JCS) that headers, bodies and states are written in.

UTF-8, no spaces, keys sorted, integers within 2^53, no floats (a decimal is a string), at most NESTING_MAX levels. One value
has one spelling, so duplicate keys, NaN, odd escapes and lone surrogates are refused by one comparison, and a hash of a
state means the same on every machine. It does not know what the values mean.
"""

from typing import Any, Final

import msgspec

INTEGER_MAX: Final = 2**53 - 1
NESTING_MAX: Final = 16

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder(order="sorted")


class NotCanonical(ValueError):
    """The bytes are not the one spelling of a value that we allow; the message says why."""


def encode(value: Any) -> bytes:
    """The canonical bytes of a value made of dict, list, str, int, bool, None and msgspec structs."""
    return _encoder.encode(value)


def decode(data: bytes) -> Any:
    """The value of canonical bytes; NotCanonical for all others."""
    try:
        value = _decoder.decode(data)
    except RecursionError as fault:
        raise NotCanonical("nested too deeply") from fault
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise NotCanonical(str(fault)[:200]) from fault
    _check(value, NESTING_MAX)
    if _encoder.encode(value) != data:
        raise NotCanonical("the same value has a shorter or differently ordered spelling")
    return value


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise NotCanonical(f"an integer beyond 2^53-1: {value}")
        return
    if levels == 0:
        raise NotCanonical(f"nested deeper than {NESTING_MAX} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not key.isascii():
                raise NotCanonical("a key with characters beyond ASCII")
            _check(item, levels - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, levels - 1)
    else:
        raise NotCanonical("a floating-point number: decimals are written as strings")
