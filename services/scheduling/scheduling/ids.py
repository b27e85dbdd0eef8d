"""Ids: UUIDv7 for events, made by an injected source; UUIDv5 of agency and reference for things that an import names.

The second kind makes a repeated import the same thing. It keeps no counter: order within a millisecond is no promise.
"""

import os
import uuid
from collections.abc import Callable
from typing import Final

IdSource = Callable[[int], str]
"""A fresh UUIDv7 for a moment in ms since 1970."""

_NAMESPACE: Final = uuid.UUID("6f6b2a52-3d0e-5c1b-9a57-0d6a53c7a9d4")


def random_uuid7(now_ms: int) -> str:
    """The edge: a UUIDv7 with 74 random bits."""
    return uuid7(now_ms, int.from_bytes(os.urandom(10), "big"))


def uuid7(now_ms: int, entropy: int) -> str:
    """The UUIDv7 of a moment and the lowest 74 bits of `entropy`."""
    high = (now_ms & (2**48 - 1)) << 16 | 0x7000 | (entropy >> 62 & 0xFFF)
    low = 0b10 << 62 | entropy & (2**62 - 1)
    return str(uuid.UUID(int=high << 64 | low))


def id_of(kind: str, agency: str, reference: str) -> str:
    """The id of the site, equipment or intervention that has this reference in this agency: always the same."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}\n{agency}\n{reference}"))
