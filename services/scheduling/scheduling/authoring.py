"""The office as an author: gapless numbers and a hash chain from one locked row, signatures, segments into the outbox.

`take_pen` locks the author's row first of all in a transaction, so that an agency's commands go one after the other and never
wait crosswise. Numbers, events, outbox rows and whatever the caller writes commit together or not at all. It decides nothing
and does not publish.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from scheduling import store
from scheduling.keys import Keyring, author_of
from zb_chassis import outbox
from zb_chassis.database import Connection
from zb_contracts import subjects
from zb_contracts.envelope import BODY_TYPE, Header, SignedEvent, digest, sign_event
from zb_contracts.events import Body, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.segment import cut_segments, encode_segment, message_id
from zb_contracts.times import format_time_ms

SEGMENTS_PER_CALL_MAX: Final = 500
CONTENT_TYPE: Final = "application/vnd.zoneblanche.segment.v1+msgpack"


@dataclass(frozen=True)
class Fact:
    """An event to sign: `seen` is what the decision knew of the stream from announcements."""

    id: str
    stream: str
    body: Body
    at_ms: int
    seen: Mapping[str, int] = field(default_factory=dict)


class Pen:
    """The right to write the next events of one office, for the rest of the transaction that took it."""

    def __init__(self, connection: Connection, author: str, key: SigningKey, actor: str | None, head: store.AuthorHead) -> None:
        self.author = author
        self._connection = connection
        self._key = key
        self._actor = actor
        self._head = head

    async def write(self, facts: Sequence[Fact]) -> list[SignedEvent]:
        """Sign the facts in order, as few segments as the limits allow, into the outbox.

        Problems BODY_TOO_LARGE and SEEN_TOO_LARGE; nothing is written then.
        """
        if not facts:
            return []
        known = await store.load_knowledge(self._connection, self.author, [fact.stream for fact in facts])
        signed = []
        for fact in facts:
            # An author always knows its own earlier events: its own entry would say nothing.
            told = {author: seq for author, seq in fact.seen.items() if author != self.author}
            known[fact.stream] = seen = merged(known.get(fact.stream, {}), told)
            signed.append(self._sign(fact, seen))
        await store.save_knowledge(self._connection, self.author, known)
        await store.save_author(self._connection, self.author, self._head)
        await self._enqueue(signed)
        return signed

    def _sign(self, fact: Fact, seen: Mapping[str, int]) -> SignedEvent:
        event = sign_fact(fact, self.author, self._key, self._actor, self._head, seen)
        self._head = store.AuthorHead(self._head.seq + 1, digest(event.header))
        return event

    async def _enqueue(self, events: Sequence[SignedEvent]) -> None:
        messages = messages_of(self.author, events)
        for start in range(0, len(messages), SEGMENTS_PER_CALL_MAX):
            await outbox.enqueue_all(self._connection, messages[start : start + SEGMENTS_PER_CALL_MAX])


def sign_fact(
    fact: Fact, author: str, key: SigningKey, actor: str | None, head: store.AuthorHead, seen: Mapping[str, int]
) -> SignedEvent:
    """The fact as the next event after `head`. Pure. Problems BODY_TOO_LARGE and SEEN_TOO_LARGE."""
    body = fact.body.canonical_bytes()
    header = Header(
        id=fact.id,
        author=author,
        seq=head.seq + 1,
        prev=head.hash,
        type=type_of(fact.body).name,
        stream=fact.stream,
        visit=None,
        actor=actor,
        token=None,
        at=format_time_ms(fact.at_ms),
        boot=None,
        elapsed_ms=None,
        anchor=None,
        seen=dict(seen),
        body_sha256=digest(body),
        body_type=BODY_TYPE,
    )
    return sign_event(key, header, body)


def messages_of(author: str, events: Sequence[SignedEvent]) -> list[outbox.Message]:
    """Consecutive events of an office as messages, in as few segments as the limits allow. Pure."""
    subject = subjects.office(author)
    return [
        outbox.Message(message_id(segment), subject, encode_segment(segment), {"content-type": CONTENT_TYPE})
        for segment in cut_segments(events)
    ]


async def take_pen(connection: Connection, keyring: Keyring, agency: str, actor: str | None) -> Pen:
    """The pen of that agency's office; others wait until this transaction ends. Problem INPUT_NOT_FOUND without a key."""
    key, author = keyring.office(agency), author_of(agency)
    return Pen(connection, author, key, actor, await store.lock_author(connection, author))


def merged(earlier: Mapping[str, int], later: Mapping[str, int]) -> dict[str, int]:
    """The union of two version vectors: the greater number of each author. Of closed vectors it is closed."""
    return {author: max(earlier.get(author, 0), later.get(author, 0)) for author in {**earlier, **later}}
