"""Admission of messages: many segments a transaction, one disposition a message. Acknowledging is consuming.py's matter.

`admit` reads and verifies in threads, decides under the authors' locks, writes once. If the transaction as a whole fails for
one message's sake, each message gets its own, so that a poison message delays nobody. It knows no broker and no database:
its ledger is any that keeps the promises of ports.py.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from field_ingest.domain import Appended, Author, Chain, Dropped, Duplicate, Waiting, ends_segment
from field_ingest.ports import Ledger, LedgerAway, LedgerTransaction
from field_ingest.rejects import Reject
from field_ingest.verification import Segment, Verifier
from zb_chassis.clock import Clock
from zb_contracts import subjects
from zb_contracts.events import AuthorKind
from zb_contracts.problems import AUTHOR_UNKNOWN, SEGMENT_WRONG_SUBJECT, Problem

TRIES_MAX: Final = 8
"""Deliveries of a message that waits for an earlier one, or for its author's enrolment, before the ledger gives it up."""

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came. `tries` counts its deliveries from 1, `message_id` is its Nats-Msg-Id."""

    subject: str
    data: bytes
    tries: int = 1
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Everything in it is decided and committed: acknowledge."""

    admitted: int = 0
    duplicates: int = 0
    held: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class PutOff:
    """Something before it is missing: deliver again after a delay."""

    problem: Problem
    tries: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It will not be taken in this form: terminate. Counted in the rejects, or asked for again under a nonce."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Failed:
    """An unexpected fault with this message alone: deliver again, and after some tries to the dead letters."""

    error: Exception


Disposition = Done | PutOff | GivenUp | Failed


@dataclass(slots=True)
class _Batch:
    """What one transaction works on: per message a segment or a disposition, and what leaves it sets aside."""

    messages: Sequence[Message]
    segments: dict[int, Segment]
    dispositions: dict[int, Disposition] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


class Admission:
    """The ledger's door. `nonce` gives 32 random hex digits."""

    def __init__(
        self, ledger: Ledger, verifier: Verifier, clock: Clock, *, nonce: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self._ledger = ledger
        self._verifier = verifier
        self._clock = clock
        self._nonce = nonce

    async def admit(self, messages: Sequence[Message]) -> list[Disposition]:
        """One disposition for each message, in their order, after everything is committed.

        Raises LedgerAway: then nothing is known to be committed, and all must be delivered again.
        """
        try:
            return await self._admit(messages)
        except LedgerAway:
            raise
        except Exception as error:
            if len(messages) == 1:
                log.exception("a message failed", subject=messages[0].subject, tries=messages[0].tries)
                return [Failed(error)]
            log.warning("a batch failed, each message alone", messages=len(messages), error=str(error))
            return [disposition for message in messages for disposition in await self.admit([message])]

    async def _admit(self, messages: Sequence[Message]) -> list[Disposition]:
        batch = await self._read(messages)
        at_ms = self._clock()
        async with self._ledger.transaction() as transaction:
            chains = await self._decide(transaction, batch, at_ms)
            await transaction.note_rejects(batch.rejects, at_ms=at_ms)
            await transaction.write(chains, received_at_ms=at_ms)
        return [batch.dispositions[index] for index in range(len(messages))]

    async def _read(self, messages: Sequence[Message]) -> _Batch:
        """Segments cut to what their authors signed; the rest has its disposition already."""
        batch = _Batch(messages, {})
        for index, read in enumerate(await self._verifier.read([message.data for message in messages])):
            if isinstance(read, Problem):
                self._reject(batch, index, read, None)
            else:
                batch.segments[index] = read
        authors = await self._authors(batch)
        for index, segment in list(batch.segments.items()):
            problem = _wrong_sender(messages[index].subject, segment.author, authors.get(segment.author))
            if problem is not None:
                del batch.segments[index]
                self._refuse_sender(batch, index, problem, segment.author)
        indexes = list(batch.segments)
        work = [(authors[batch.segments[index].author].event_key, batch.segments[index]) for index in indexes]
        for index, segment in zip(indexes, await self._verifier.verified(work), strict=True):
            batch.segments[index] = segment
        return batch

    async def _authors(self, batch: _Batch) -> dict[str, Author]:
        names = {segment.author for segment in batch.segments.values()}
        return await self._ledger.read_authors(names) if names else {}

    async def _decide(self, transaction: LedgerTransaction, batch: _Batch, at_ms: int) -> list[Chain]:
        if not batch.segments:
            return []
        authors = await transaction.lock_authors({segment.author for segment in batch.segments.values()})
        events = [event for segment in batch.segments.values() for event in segment.events]
        known = await transaction.known(authors, events)
        chains = {name: Chain(author, known[name], received_at_ms=at_ms) for name, author in authors.items()}
        # In the order of their numbers: segments of one author that overtook each other find their places.
        for index in sorted(batch.segments, key=lambda at: _first(batch.segments[at])):
            segment = batch.segments[index]
            self._take(batch, index, segment, chains[segment.author])
        return list(chains.values())

    def _take(self, batch: _Batch, index: int, segment: Segment, chain: Chain) -> None:
        """Decide one segment, and what becomes of its message."""
        message = batch.messages[index]
        count = dict.fromkeys(("admitted", "duplicates", "held", "refused"), 0)
        for event in segment.events:
            outcome = chain.take(event)
            match outcome:
                case Duplicate():
                    count["duplicates"] += 1
                case Appended(kind=kind):
                    count["refused" if kind == "refusal" else kind] += 1
                case Waiting(problem=problem):
                    self._wait(batch, index, chain, problem)
                    return
                case Dropped(problem=problem):
                    self._reject(batch, index, problem, segment.author)
                    return
            if ends_segment(outcome):
                break
        else:
            if segment.fault is not None:
                # The good prefix is in; the rest is asked for again, because the honest device has the true bytes.
                chain.ask_again(self._nonce(), used=_carries(message, chain.author))
                self._reject(batch, index, segment.fault, segment.author)
                return
        batch.dispositions[index] = Done(**count)

    def _wait(self, batch: _Batch, index: int, chain: Chain, problem: Problem) -> None:
        message = batch.messages[index]
        if message.tries < TRIES_MAX:
            batch.dispositions[index] = PutOff(problem, message.tries)
            return
        chain.ask_again(self._nonce(), used=_carries(message, chain.author))
        batch.dispositions[index] = GivenUp(problem)

    def _refuse_sender(self, batch: _Batch, index: int, problem: Problem, author: str) -> None:
        message = batch.messages[index]
        if problem.retryable and message.tries < TRIES_MAX:
            batch.dispositions[index] = PutOff(problem, message.tries)
        else:
            self._reject(batch, index, problem, author)

    def _reject(self, batch: _Batch, index: int, problem: Problem, author: str | None) -> None:
        message = batch.messages[index]
        batch.rejects.append(Reject(message.subject, author, problem, message.data))
        batch.dispositions[index] = GivenUp(problem)


def _wrong_sender(subject: str, name: str, author: Author | None) -> Problem | None:
    """An author that nobody knows (yet), or one whose events came on somebody else's subject."""
    if author is None:
        return Problem(AUTHOR_UNKNOWN, author=name)
    own = subjects.field(author.device or name) if author.kind is AuthorKind.DEVICE else subjects.office(name)
    return None if subject == own else Problem(SEGMENT_WRONG_SUBJECT, author=name, subject=subject)


def _carries(message: Message, author: Author) -> bool:
    """Whether the message is the resend that the author's gap asked for."""
    return author.gap_nonce is not None and message.message_id.endswith(f":{author.gap_nonce}")


def _first(segment: Segment) -> int:
    return segment.first if segment.events else 0
