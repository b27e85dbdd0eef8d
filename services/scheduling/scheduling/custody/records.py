"""What custody knows of keys and subjects, as plain values: opened keys, their records and uses, what may be handed to a device.

A representation never shows a key. It reads nothing and decides nothing.
"""

from dataclasses import dataclass, field

from scheduling.custody.journal import Cause
from scheduling.custody.policy import Purpose


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """An opened key. It is never written down."""

    kid: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Use:
    """Where a value under a key stands: the field of an event."""

    stream: str
    event: str
    field: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What may be told of a key. `uses` are where values under it stand."""

    kid: str
    purpose: Purpose
    period: str
    made_at_ms: int
    expires_at_ms: int | None
    destroyed_at_ms: int | None
    uses: tuple[Use, ...]

    @property
    def lives(self) -> bool:
        return self.destroyed_at_ms is None


@dataclass(frozen=True, slots=True)
class Subject:
    """A data subject: an id, whose it is, and the keys there ever were."""

    id: str
    agency: str
    hold_case: str | None
    held_since_ms: int | None
    keys: tuple[KeyRecord, ...]


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that the device `made_by` made at `at_ms`."""

    kid: str
    key: bytes = field(repr=False)
    subject: str
    agency: str
    purpose: Purpose
    at_ms: int
    made_by: str


@dataclass(frozen=True, slots=True)
class Entitled:
    """A living key that a technician may have. `is_own`: custody made it."""

    kid: str
    subject: str
    purpose: Purpose
    period: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Untold:
    """Destroyed keys of a subject, of which the ledger has no word yet."""

    subject: str
    agency: str
    cause: Cause
    kids: tuple[str, ...]
