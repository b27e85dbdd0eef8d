"""The dead-letter list: what no bounded number of tries could handle, of every service, read from the stream DEADLETTER.

Listing and exporting is for all services; trying again is for field-ingest's own messages, which go through admission once
more. What was tried again is noted in the database, because nothing is ever taken out of the stream.
"""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from field_ingest.admission import Admission, Disposition, Message
from field_ingest.config import SERVICE
from field_ingest.routing import as_published
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_contracts import subjects
from zb_contracts.subjects import DEADLETTER, FIELD, OFFICE

LIST_MAX: Final = 10_000


class NoSuchLetter(LookupError):
    """There is no dead letter of this number, or it is not ours to try again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `number` is its place in the stream."""

    number: int
    service: str
    at: str
    headers: dict[str, str]
    data: bytes

    def header(self, name: str) -> str:
        """One of the Zb-Dead-* headers without its prefix."""
        return self.headers.get(f"Zb-Dead-{name}", "")

    @property
    def tries(self) -> int:
        """How often it was tried; 0 where its writer says no number: a list shows every letter that there is."""
        said = self.header("Tries")
        return int(said) if said.isascii() and said.isdecimal() and len(said) < 10 else 0

    def summary(self) -> dict[str, Any]:
        """What a list shows."""
        return {
            "number": self.number,
            "service": self.service,
            "at": self.at,
            "subject": self.header("Subject"),
            "code": self.header("Code"),
            "reason": self.header("Reason"),
            "tries": self.tries,
            "bytes": len(self.data),
        }

    def whole(self) -> dict[str, Any]:
        """Everything, for an export; the body as base64."""
        return self.summary() | {"headers": self.headers, "data": base64.b64encode(self.data).decode()}


async def letters(jetstream: JetStreamContext, *, service: str | None = None, limit: int = LIST_MAX) -> AsyncIterator[Letter]:
    """The dead letters, oldest first."""
    subject = subjects.deadletter(service) if service else DEADLETTER.subjects[0]
    number = 1
    for _ in range(limit):
        try:
            found = await jetstream.get_msg(DEADLETTER.name, seq=number, subject=subject, next=True)
        except NotFoundError:
            return
        assert found.seq is not None
        yield _letter(found)
        number = found.seq + 1


async def letter(jetstream: JetStreamContext, number: int) -> Letter:
    """One dead letter. NoSuchLetter."""
    try:
        return _letter(await jetstream.get_msg(DEADLETTER.name, seq=number))
    except NotFoundError as fault:
        raise NoSuchLetter(f"there is no dead letter {number}") from fault


async def retry(pool: Pool, admission: Admission, found: Letter, clock: Clock) -> Disposition:
    """Give one of our dead letters to admission again; what became of it. NoSuchLetter for another service's."""
    if found.service != SERVICE or found.header("Stream") not in (FIELD.name, OFFICE.name):
        raise NoSuchLetter(f"the dead letter {found.number} is {found.service}'s: try it again there")
    [disposition] = await admission.admit([Message(as_published(found.header("Subject")), found.data)])
    await pool.execute(
        """
        INSERT INTO dead_letter_retries (number, at_ms, disposition) VALUES ($1, $2, $3)
        ON CONFLICT (number) DO UPDATE SET at_ms = $2, disposition = $3
        """,
        found.number,
        clock(),
        type(disposition).__name__,
    )
    return disposition


async def retried(pool: Pool) -> dict[int, str]:
    """Number -> what became of the last new try."""
    rows = await pool.fetch("SELECT number, disposition FROM dead_letter_retries")
    return {row["number"]: row["disposition"] for row in rows}


def _letter(found: Any) -> Letter:
    headers = dict(found.headers or {})
    return Letter(found.seq, str(found.subject).rpartition(".")[2], str(found.time or ""), headers, found.data or b"")
