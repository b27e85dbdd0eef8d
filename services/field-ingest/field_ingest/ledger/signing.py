"""The ledger's own author: statements of field-ingest (enrolled, revoked, admitted), signed and appended in one transaction.

They take the same way as everybody's events: read, decided by domain.py, written by the ledger; seq and prev come from the
author's locked row. A statement that the domain would not admit is a bug and fails the transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from field_ingest.admission.domain import Appended, Author, Chain, Event
from field_ingest.admission.verification import read_event
from field_ingest.ids import NewId, uuid7
from field_ingest.ledger.appending import Row
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.ports import LedgerTransaction
from zb_chassis.clock import Clock
from zb_contracts import envelope
from zb_contracts.envelope import Header, digest, sign_event
from zb_contracts.events import Body, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.times import format_time_ms


class StatementRefused(RuntimeError):
    """Our own statement would not be admitted: a bug, named with the refusal's message."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What the ledger's author says on a stream. `seen` is merged with what it had seen there before."""

    stream: str
    body: Body
    seen: Mapping[str, int] = field(default_factory=dict)
    actor: str | None = None


class LedgerAuthor:
    """Signs as `ingest`."""

    def __init__(self, key: SigningKey, clock: Clock, new_id: NewId = uuid7) -> None:
        self._key = key
        self._clock = clock
        self._new_id = new_id

    async def state(self, transaction: LedgerTransaction, statements: Sequence[Statement]) -> list[Row]:
        """Sign the statements and append them in the caller's transaction. Locks the author's row, the shard's last."""
        author = (await transaction.lock_authors([INGEST]))[INGEST]
        at_ms = self._clock()
        events = await self._signed(transaction, author, statements, at_ms)
        known = await transaction.known({INGEST: author}, events)
        chain = Chain(author, known[INGEST], received_at_ms=at_ms)
        for event in events:
            outcome = chain.take(event)
            if not isinstance(outcome, Appended) or outcome.kind != "admitted":
                raise StatementRefused(f"{event.type} of {INGEST} would not be admitted: {outcome}")
        return await transaction.write([chain], received_at_ms=at_ms)

    async def _signed(
        self, transaction: LedgerTransaction, author: Author, statements: Sequence[Statement], at_ms: int
    ) -> list[Event]:
        seq, prev = author.mark, author.head_hash
        vectors: dict[str, dict[str, int]] = {}
        events = []
        for statement in statements:
            if statement.stream not in vectors:
                vectors[statement.stream] = await transaction.newest_vector(INGEST, statement.stream)
            seen = vectors[statement.stream] = _merged(vectors[statement.stream], statement.seen)
            seq += 1
            event = self._event(statement, seq, prev, seen, at_ms)
            prev = event.header_hash
            events.append(event)
        return events

    def _event(self, statement: Statement, seq: int, prev: bytes, seen: dict[str, int], at_ms: int) -> Event:
        body = statement.body.canonical_bytes()
        header = Header(
            id=self._new_id(at_ms),
            author=INGEST,
            seq=seq,
            prev=prev.hex(),
            type=type_of(statement.body).name,
            stream=statement.stream,
            visit=None,
            actor=statement.actor,
            token=None,
            at=format_time_ms(at_ms),
            boot=None,
            elapsed_ms=None,
            anchor=None,
            seen=seen,
            body_sha256=digest(body),
            body_type=envelope.BODY_TYPE,
        )
        return read_event(sign_event(self._key, header, body))


def _merged(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    names = (set(one) | set(other)) - {INGEST}
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted(names)}
