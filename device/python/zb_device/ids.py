"""Ids made on the device: UUIDv7, so that they sort by the time at which the device thought it was."""

import secrets
import uuid


def uuid7(now_ms: int) -> str:
    """A UUIDv7 of that moment (milliseconds since 1970); a wall clock before 1970 counts as 1970."""
    time = max(now_ms, 0) & ((1 << 48) - 1)
    value = time << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
