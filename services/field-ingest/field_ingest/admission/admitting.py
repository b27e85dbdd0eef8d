"""Admission of messages: many segments a transaction, one disposition a message. Acknowledging is consuming.py's matter.

`admit` reads and verifies in threads, decides under the authors' locks, writes once. If the transaction as a whole fails for
one message's sake, each message gets its own, so that a poison message delays nobody. It knows no broker and no database:
its ledger is any that keeps the promises of ports.py.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from field_ingest.admission.domain import Appended, Author, Chain, Dropped, Duplicate, Waiting
from field_ingest.admission.rejects import Reject
from field_ingest.admission.turns import Turn, Turns
from field_ingest.admission.verification import Offer, Segment, Verifier
from field_ingest.admission.waiting import WaitingRoom
from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.ports import Ledger, LedgerAway, LedgerTransaction
from zb_chassis.clock import Clock
from zb_contracts import subjects
from zb_contracts.events import AuthorKind
from zb_contracts.problems import AUTHOR_UNKNOWN, SEGMENT_AHEAD, SEGMENT_WRONG_SUBJECT, Problem

TRIES_MAX: Final = 8
"""Deliveries of a message that waits for an earlier one, or for its author's enrolment, before the ledger gives it up."""

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came.

    `tries` counts its deliveries from 1, `message_id` is its Nats-Msg-Id, `sequence` its place in the stream (0: in none).
    `is_relayed`: its subject is a depot's word, not that of the hub's broker.
    """

    subject: str
    data: bytes
    tries: int = 1
    message_id: str = ""
    sequence: int = 0
    is_relayed: bool = False


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message given up whose events the ledger wants once more, up to `to`."""

    index: int
    author: str
    to: int


@dataclass(slots=True)
class _Batch:
    """What one transaction works on: per message a segment or a disposition, and what leaves it behind."""

    messages: Sequence[Message]
    at_ms: int
    segments: dict[int, Segment] = field(default_factory=dict)
    dispositions: dict[int, Disposition] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    asked: list[_Asked] = field(default_factory=list)


class Admission:
    """The ledger's door. `nonce` gives 32 random hex digits; without `anchors` no fact says whose an anchor is."""

    def __init__(
        self,
        ledger: Ledger,
        verifier: Verifier,
        clock: Clock,
        *,
        anchors: Anchors | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._vouches = anchors.vouches if anchors is not None else None
        self._waiting = WaitingRoom()
        self._ledger = ledger
        self._verifier = verifier
        self._clock = clock
        self._nonce = nonce

    async def admit(self, messages: Sequence[Message], turns: Turns | None = None) -> list[Disposition]:
        """One disposition for each message, in their order, after everything is committed.

        Batches with the same `turns` may be given side by side: they are decided in the order in which they were given.
        Raises LedgerAway: then nothing is known to be committed, and all must be delivered again.
        """
        turn = (turns or Turns()).next()
        try:
            return await self._admit(messages, turn)
        except LedgerAway:
            raise
        except Exception as error:
            if len(messages) == 1:
                log.exception("a message failed", subject=messages[0].subject, tries=messages[0].tries)
                return [Failed(error)]
            log.warning("a batch failed, each message alone", messages=len(messages), error=str(error))
            return [disposition for message in messages for disposition in await self.admit([message])]
        finally:
            turn.end()

    async def _admit(self, messages: Sequence[Message], turn: Turn) -> list[Disposition]:
        batch = _Batch(messages, self._clock())
        await self._read(batch, turn)
        await turn.to_decide()
        async with self._ledger.transaction() as transaction:
            chains = await self._decide(transaction, batch)
            await transaction.note_rejects(batch.rejects, at_ms=batch.at_ms)
            await transaction.write(chains, received_at_ms=batch.at_ms)
        for index, disposition in batch.dispositions.items():
            if not isinstance(disposition, PutOff):
                self._waiting.leave(messages[index].subject, messages[index].sequence)
        return [batch.dispositions[index] for index in range(len(messages))]

    async def _read(self, batch: _Batch, turn: Turn) -> None:
        """Segments that can be placed, cut to what their authors signed; every other message has its disposition."""
        offers: dict[int, Offer] = {}
        for index, offer in enumerate(await self._verifier.offers([message.data for message in batch.messages])):
            if isinstance(offer, Problem):
                self._reject(batch, index, offer, None)
            else:
                offers[index] = offer
        authors = await self._ledger.read_authors({offer.author for offer in offers.values()}) if offers else {}
        for index, offer in list(offers.items()):
            problem = _wrong_sender(batch.messages[index].subject, offer.author, authors.get(offer.author))
            if problem is not None:
                del offers[index]
                self._refuse_sender(batch, index, problem, offer.author)
        before = await turn.to_place()
        ahead, reach = _ahead(offers, authors, before)
        turn.place(reach, before)
        for index in await self._beside(ahead, offers, authors):
            del ahead[index]
        for index, problem in ahead.items():
            # Before its signatures cost anything: what one device sends ahead of its mark keeps nobody else waiting.
            self._wait(batch, index, problem, offers.pop(index))
        work = [(authors[offer.author].event_key, offer) for offer in offers.values()]
        batch.segments = dict(zip(offers, await self._verifier.segments(work), strict=True))

    async def _beside(
        self, ahead: Mapping[int, Problem], offers: Mapping[int, Offer], authors: Mapping[str, Author]
    ) -> list[int]:
        """Those ahead that go on from a row beside the chain: a fork's tail, which no event that is still to come leads to."""
        parents = {index: offers[index].parent for index in ahead if authors[offers[index].author].stray_refusals}
        strays = await self._ledger.read_strays(set(parents.values())) if parents else frozenset()
        return [index for index, parent in parents.items() if parent in strays]

    async def _decide(self, transaction: LedgerTransaction, batch: _Batch) -> list[Chain]:
        names = {segment.author for segment in batch.segments.values()} | {asked.author for asked in batch.asked}
        if not names:
            return []
        authors = await transaction.lock_authors(names)
        events = [event for segment in batch.segments.values() for event in segment.events]
        known = await transaction.known(authors, events)
        chains = {
            name: Chain(author, known[name], received_at_ms=batch.at_ms, vouches=self._vouches)
            for name, author in authors.items()
        }
        # In the order of their numbers: segments of one author that overtook each other find their places.
        for index in sorted(batch.segments, key=lambda at: batch.segments[at].first):
            segment = batch.segments[index]
            self._take(batch, index, segment, chains[segment.author])
        for asked in batch.asked:
            chain = chains[asked.author]
            chain.ask_again(self._nonce(), to=asked.to, used=_carries(batch.messages[asked.index], authors[asked.author]))
        return list(chains.values())

    def _take(self, batch: _Batch, index: int, segment: Segment, chain: Chain) -> None:
        """Decide one segment, and what becomes of its message."""
        count = dict.fromkeys(("admitted", "duplicates", "held", "refused"), 0)
        for event in segment.events:
            outcome = chain.take(event)
            match outcome:
                case Duplicate():
                    count["duplicates"] += 1
                case Appended(kind=kind):
                    count["refused" if kind == "refusal" else kind] += 1
                case Waiting(problem=problem):
                    self._wait(batch, index, problem, segment)
                    return
                case Dropped(problem=problem):
                    self._reject(batch, index, problem, segment.author)
                    return
        if segment.fault is not None:
            # The good prefix is in; the rest is asked for again, because the honest device has the true bytes.
            batch.asked.append(_Asked(index, segment.author, segment.last + 1))
            self._reject(batch, index, segment.fault, segment.author)
            return
        batch.dispositions[index] = Done(**count)

    def _wait(self, batch: _Batch, index: int, problem: Problem, what: Offer | Segment) -> None:
        """Put the message off while it has tries and its sender a place to wait, else give it up and ask for its events."""
        if self._may_wait(batch, index):
            batch.dispositions[index] = PutOff(problem, batch.messages[index].tries)
        else:
            batch.asked.append(_Asked(index, what.author, what.last))
            batch.dispositions[index] = GivenUp(problem)

    def _refuse_sender(self, batch: _Batch, index: int, problem: Problem, author: str) -> None:
        if problem.retryable and self._may_wait(batch, index):
            batch.dispositions[index] = PutOff(problem, batch.messages[index].tries)
        else:
            self._reject(batch, index, problem, author)

    def _may_wait(self, batch: _Batch, index: int) -> bool:
        message = batch.messages[index]
        return message.tries < TRIES_MAX and self._waiting.enter(message.subject, message.sequence, batch.at_ms)

    def _reject(self, batch: _Batch, index: int, problem: Problem, author: str | None) -> None:
        message = batch.messages[index]
        batch.rejects.append(Reject(message.subject, author, problem, message.data))
        batch.dispositions[index] = GivenUp(problem)


def _ahead(
    offers: Mapping[int, Offer], authors: Mapping[str, Author], before: Mapping[str, int]
) -> tuple[dict[int, Problem], dict[str, int]]:
    """The offers that begin beyond all that the ledger has of their author and the batches in hand may add.

    `before` is how far the batches before this one may go; with this one's offers, how far this one may.
    """
    reach = {name: max(author.mark, before.get(name, 0)) for name, author in authors.items()}
    ahead: dict[int, Problem] = {}
    for index, offer in sorted(offers.items(), key=lambda item: item[1].first):
        if offer.first <= reach[offer.author] + 1:
            reach[offer.author] = max(reach[offer.author], offer.last)
        else:
            ahead[index] = Problem(SEGMENT_AHEAD, first=offer.first, mark=authors[offer.author].mark)
    return ahead, reach


def _wrong_sender(subject: str, name: str, author: Author | None) -> Problem | None:
    """An author that nobody knows (yet), or one whose events came on somebody else's subject."""
    if author is None:
        return Problem(AUTHOR_UNKNOWN, author=name)
    own = subjects.field(author.device or name) if author.kind is AuthorKind.DEVICE else subjects.office(name)
    return None if subject == own else Problem(SEGMENT_WRONG_SUBJECT, author=name, subject=subject)


def _carries(message: Message, author: Author) -> bool:
    """Whether the message is the resend that the author's gap asked for."""
    return author.gap_nonce is not None and message.message_id.endswith(f":{author.gap_nonce}")
