"""Ids that field-ingest makes: UUIDv7 for its own events. The clock and the randomness are arguments."""

import secrets
import uuid
from collections.abc import Callable

NewId = Callable[[int], str]
"""Milliseconds since 1970 -> a new id."""


def uuid7(now_ms: int) -> str:
    """A UUIDv7 of this moment (RFC 9562, 5.7), from the system's randomness."""
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
