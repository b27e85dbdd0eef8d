"""The dead-letter list: what no bounded number of tries could handle, of every service, read from the stream DEADLETTER.

Listing, exporting and settling is for all services; trying again is for field-ingest's own messages, which go through admission
once more. What was done about a letter is noted in the database, because nothing is ever taken out of the stream.
"""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from field_ingest.admission.admitting import TRIES_MAX, Admission, Disposition, Done, Failed, GivenUp, Message, PutOff
from field_ingest.admission.stored_subjects import as_published
from field_ingest.config import SERVICE
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_contracts import subjects
from zb_contracts.subjects import DEADLETTER, FIELD, OFFICE
from zb_contracts.times import format_time_ms

TRIES_DIGITS_MAX: Final = 9
"""Whoever wrote the letter wrote the number: a list shows every letter that there is."""
LIST_MAX: Final = 10_000
REASON_MAX: Final = 1_000
SETTLED: Final = "Settled"
DEALT_WITH: Final = (Done.__name__, SETTLED)
"""What became of a letter that is open no more."""


class NoSuchLetter(LookupError):
    """There is no dead letter of this number, or it is not ours to try again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `number` is its place in the stream, `at_ms` when it was buried (0: the broker does not say)."""

    number: int
    service: str
    at_ms: int
    headers: dict[str, str] = field(repr=False)
    data: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """One of the Zb-Dead-* headers without its prefix."""
        return self.headers.get(f"Zb-Dead-{name}", "")

    @property
    def code(self) -> str:
        return self.header("Code")

    def summary(self, now_ms: int) -> dict[str, Any]:
        """What a list shows."""
        tries = self.header("Tries")
        return {
            "number": self.number,
            "service": self.service,
            "at": format_time_ms(self.at_ms),
            "age_s": max(0, now_ms - self.at_ms) // 1000,
            "subject": self.header("Subject"),
            "code": self.code,
            "reason": self.header("Reason"),
            "tries": int(tries[:TRIES_DIGITS_MAX]) if tries.isdecimal() else 0,
            "bytes": len(self.data),
        }

    def whole(self, now_ms: int) -> dict[str, Any]:
        """Everything, for an export; the body as base64."""
        return self.summary(now_ms) | {"headers": self.headers, "data": base64.b64encode(self.data).decode()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: of a service, with a code, behind a number, only those that nobody has dealt with."""

    service: str | None = None
    code: str | None = None
    after: int = 0
    only_open: bool = False


async def letters(
    jetstream: JetStreamContext, wanted: Wanted, became: Mapping[int, str] | None = None, *, limit: int | None = LIST_MAX
) -> AsyncIterator[Letter]:
    """The wanted dead letters, oldest first; `became` as `dealt_with` gives it."""
    subject = subjects.deadletter(wanted.service) if wanted.service else DEADLETTER.subjects[0]
    number, left = wanted.after + 1, limit
    while left is None or left > 0:
        try:
            found = _letter(await jetstream.get_msg(DEADLETTER.name, seq=number, subject=subject, next=True))
        except NotFoundError:
            return
        number = found.number + 1
        is_open = (became or {}).get(found.number) not in DEALT_WITH
        if wanted.code in (None, found.code) and (is_open or not wanted.only_open):
            yield found
            left = None if left is None else left - 1


async def letter(jetstream: JetStreamContext, number: int) -> Letter:
    """One dead letter. NoSuchLetter."""
    try:
        return _letter(await jetstream.get_msg(DEADLETTER.name, seq=number))
    except NotFoundError as fault:
        raise NoSuchLetter(f"there is no dead letter {number}") from fault


async def retry(pool: Pool, admission: Admission, found: Letter, clock: Clock) -> Disposition:
    """Give one of our dead letters to admission again; what became of it. NoSuchLetter for another service's.

    It has had its tries: what must wait is given up, and asked for again from its author.
    """
    if found.service != SERVICE or found.header("Stream") not in (FIELD.name, OFFICE.name):
        raise NoSuchLetter(f"the dead letter {found.number} is {found.service}'s: try it again there, then settle it")
    if not found.data and found.header("Body-Bytes"):
        raise NoSuchLetter(f"the body of the dead letter {found.number} was too large to keep: it is in {found.header('Stream')}")
    message = Message(as_published(found.header("Subject")), found.data, TRIES_MAX)
    [disposition] = await admission.admit([message])
    await _note(pool, found.number, type(disposition).__name__, told(disposition)["detail"], clock())
    return disposition


async def settle(pool: Pool, found: Letter, reason: str, at_ms: int) -> None:
    """Note that somebody dealt with a letter of any service by hand."""
    await _note(pool, found.number, SETTLED, reason, at_ms)


async def dealt_with(pool: Pool) -> dict[int, str]:
    """Number -> what became of it the last time that somebody did something about it."""
    rows = await pool.fetch("SELECT number, disposition FROM dead_letter_retries")
    return {row["number"]: row["disposition"] for row in rows}


def told(disposition: Disposition) -> dict[str, str]:
    """A disposition in words: what it became, and why."""
    match disposition:
        case Done():
            counts = (f"{getattr(disposition, name)} {name}" for name in ("admitted", "duplicates", "held", "refused"))
            detail = ", ".join(counts)
        case PutOff(problem=problem) | GivenUp(problem=problem):
            detail = f"{problem.code}: {problem}"
        case Failed(error=error):
            detail = f"{type(error).__name__}: {error}"
    return {"became": type(disposition).__name__, "detail": detail}


async def _note(pool: Pool, number: int, disposition: str, reason: str, at_ms: int) -> None:
    await pool.execute(
        """
        INSERT INTO dead_letter_retries (number, at_ms, disposition, reason) VALUES ($1, $2, $3, $4)
        ON CONFLICT (number) DO UPDATE SET at_ms = $2, disposition = $3, reason = $4
        """,
        number,
        at_ms,
        disposition,
        reason[:REASON_MAX],
    )


def _letter(found: RawStreamMsg) -> Letter:
    assert found.seq is not None
    at_ms = round(found.time.timestamp() * 1000) if found.time is not None else 0
    return Letter(found.seq, str(found.subject).rpartition(".")[2], at_ms, dict(found.headers or {}), found.data or b"")
