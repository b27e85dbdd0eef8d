"""A device with keys of its own and software of its own, and a responder that lies although it holds the ledger's key.

The device sends what an honest one never would: changed signatures, forks, holes, vectors that are not closed, other people's
events. Whatever it sends must be told from the honest, refused by name, and delay nobody.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from field_ingest.ledger.appending import Row
from tests.simulation.broker import Broker
from tests.simulation.ingest import Ingest
from tests.simulation.keys import LEDGER, key_of
from tests.simulation.world import World
from zb_contracts import ledger_leaf, subjects
from zb_contracts.envelope import BODY_TYPE, GENESIS, Header, SignedEvent, digest, parse_header, sign_event
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint
from zb_contracts.problems import Problem
from zb_contracts.segment import decode_segment, encode_segment
from zb_contracts.signed import sign_document
from zb_contracts.sync import (
    ANSWER_TYPE,
    Receipt,
    SyncAnswer,
    Verdict,
    answer_payload,
    pack,
    read_answer,
    unpack_document,
    unpack_request,
)

DEVICE: Final = "device-x"
TECHNICIAN: Final = "tech-x"
AUTHOR: Final = f"{DEVICE}-i1"
STREAMS: Final = 3


class Hostile:
    """The device. It keeps a chain like any other, and spoils what it sends of it."""

    def __init__(self, world: World, broker: Broker, ingest: Ingest) -> None:
        self.world, self._broker, self._ingest = world, broker, ingest
        self._chain: list[SignedEvent] = []
        self._sent = 0

    def act(self) -> None:
        """One message."""
        spoil = self.world.dice.choice(_TRICKS)
        self.world.note("hostile", spoil.__name__)
        self._send(spoil(self))

    # --- Tricks ---

    def honest(self) -> bytes:
        return encode_segment([self.write(seen=self._knowledge())])

    def garbage(self) -> bytes:
        return b"\x93" + self.world.dice.randbytes(30)

    def false_signature(self) -> bytes:
        event = self.write(seen=self._knowledge())
        return encode_segment([event._replace(signature=bytes(64))])

    def false_body(self) -> bytes:
        event = self.write(seen=self._knowledge())
        return encode_segment([event._replace(body=b'{"text":"never signed"}')])

    def fork(self) -> bytes:
        """Another event under a number that is taken; what comes after it goes on from the first."""
        self.write()
        head, first = self._chain[-1], self._chain[:-1]
        self._chain = first
        other = self.write(text="the other past")
        self._chain = [*first, head]
        return (
            encode_segment([self.world.dice.choice((head, other))]) if self.world.dice.random() < 0.5 else self._both(head, other)
        )

    def broken_link(self) -> bytes:
        return encode_segment([self.write(keep=False, prev="f" * 64)])

    def hole(self) -> bytes:
        self.write()
        return encode_segment([self.write()])

    def ahead(self) -> bytes:
        """It claims to know what the ledger does not have yet."""
        known = self._knowledge()
        for author in sorted(known):
            if author != AUTHOR:
                known[author] = self._ingest.ledger.authors[author].mark + self.world.dice.randint(1, 2)
        return encode_segment([self.write(seen=known)])

    def open_vector(self) -> bytes:
        """It claims an event of somebody, and not what that one had seen."""
        known = self._knowledge()
        one = self.world.dice.choice(sorted(known) or [AUTHOR])
        return encode_segment([self.write(seen={one: known[one]} if one != AUTHOR else {})])

    def shrunk(self) -> bytes:
        first, second = self.write(seen=self._knowledge()), self.write(seen={})
        return encode_segment([first, second])

    def taken_id(self) -> bytes:
        rows = self._ingest.ledger.rows()
        if not rows:
            return self.honest()  # nobody has said anything yet
        return encode_segment([self.write(id=self.world.dice.choice(rows).event_id)])

    def somebody_else_s(self) -> bytes:
        """Another author's true bytes, on this device's subject."""
        rows = [row for row in self._ingest.ledger.rows() if row.author != AUTHOR]
        if not rows:
            return self.honest()  # nobody else has said anything yet
        row: Row = self.world.dice.choice(rows)
        return encode_segment([SignedEvent(row.header, row.body, row.signature)])

    def in_another_s_name(self) -> bytes:
        names = [name for name in sorted(self._ingest.ledger.authors) if name != AUTHOR]
        name = self.world.dice.choice(names)
        mark, head = self._ingest.ledger.authors[name].mark, self._ingest.ledger.authors[name].head_hash
        return encode_segment([self.write(keep=False, author=name, seq=mark + 1, prev=head.hex())])

    def as_another_person(self) -> bytes:
        return encode_segment([self.write(seen=self._knowledge(), actor="tech-a")])

    def opaque(self) -> bytes:
        return encode_segment([self.write(seen=self._knowledge(), body=b'{"nonsense":1}')])

    def as_the_office(self) -> bytes:
        body = b'{"reason":"no technician wants to go there"}'
        return encode_segment([self.write(seen=self._knowledge(), type="intervention.cancelled.v1", body=body)])

    def not_canonical(self) -> bytes:
        return encode_segment([self.write(seen=self._knowledge(), body=b'{"text": "two spaces"}')])

    # --- Its pen ---

    def write(self, *, keep: bool = True, text: str = "", body: bytes | None = None, **header: Any) -> SignedEvent:
        """The next event of its chain, or beside it; `header` overrides."""
        data = body or msgspec.json.encode({"text": text or "let me in"})
        values: dict[str, Any] = {
            "id": self.world.uuid7(self.world.now_ms),
            "author": AUTHOR,
            "seq": len(self._chain) + 1,
            "prev": digest(self._chain[-1].header) if self._chain else GENESIS,
            "type": "intervention.comment_added.v1",
            "stream": self._stream(),
            "visit": None,
            "actor": TECHNICIAN,
            "token": None,
            "at": "2026-11-23T07:00:00.000Z",
            "boot": None,
            "elapsed_ms": None,
            "anchor": None,
            "seen": {},
            "body_sha256": digest(data),
            "body_type": BODY_TYPE,
        }
        values |= header
        values["seen"] = {name: seq for name, seq in values["seen"].items() if name != AUTHOR}
        event = sign_event(key_of(AUTHOR), Header(**values), data)
        if keep:
            self._chain.append(event)
        return event

    def _stream(self) -> str:
        return f"intervention:00000000-0000-4000-8000-{1 + self.world.steps % STREAMS:012x}"

    def _knowledge(self) -> dict[str, int]:
        """All that the ledger has of the stream on which it writes next."""
        rows = self._ingest.ledger.on_stream
        return {author: found[-1].seq for (stream, author), found in rows.items() if stream == self._stream() and found}

    def _both(self, head: SignedEvent, other: SignedEvent) -> bytes:
        self._send(encode_segment([head]))
        return encode_segment([other])

    def _send(self, data: bytes) -> None:
        self._sent += 1
        self._broker.store(subjects.field(DEVICE), data, f"{AUTHOR}:{self._sent}", {"Nats-Msg-Id": f"{AUTHOR}:{self._sent}"})


Trick = Callable[[Hostile], bytes]
_TRICKS: Final[tuple[Trick, ...]] = (
    Hostile.honest,
    Hostile.honest,
    Hostile.garbage,
    Hostile.false_signature,
    Hostile.false_body,
    Hostile.fork,
    Hostile.broken_link,
    Hostile.hole,
    Hostile.ahead,
    Hostile.open_vector,
    Hostile.shrunk,
    Hostile.taken_id,
    Hostile.somebody_else_s,
    Hostile.in_another_s_name,
    Hostile.as_another_person,
    Hostile.opaque,
    Hostile.as_the_office,
    Hostile.not_canonical,
)


def false_receipts(broker: Broker, request: bytes, honest: bytes) -> bytes:
    """An answer, truly signed, that receipts everything which the device ever published, whatever the ledger has."""
    asked, answer = unpack_request(request), _read(honest)
    receipts = []
    for stored in broker.published("FIELD"):
        for event in _readable(stored.data):
            header = _header(event)
            if header is not None and header.author == asked.author and header.seq > answer.mark:
                receipts.append(_receipt(event, header))
    return _signed(msgspec.structs.replace(answer, receipts=(*answer.receipts, *receipts)))


def another_log(origin: str, request: bytes, honest: bytes) -> bytes:
    """An answer, truly signed, with the head of another log in place of the one that the device has seen grow."""
    asked, answer = unpack_request(request), _read(honest)
    if not asked.checkpoint_size or answer.checkpoint is None:
        return honest  # a device that has seen nothing yet could not know
    size = int(answer.checkpoint.split("\n")[1])
    note = sign_checkpoint(Checkpoint(origin, size, bytes(32)), NoteSigner(origin, LEDGER))
    return _signed(msgspec.structs.replace(answer, checkpoint=note, receipts=()))


def _receipt(event: SignedEvent, header: Header) -> Receipt:
    leaf = ledger_leaf.leaf_bytes(
        kind="admitted",
        header_hash=bytes.fromhex(digest(event.header)),
        signature=event.signature,
        received_at_ms=0,
        facts=b"{}",
    )
    return Receipt(
        seq=header.seq, id=header.id, verdict=Verdict.ADMITTED, position=0, header_sha256=digest(event.header), leaf=leaf
    )


def _read(data: bytes) -> SyncAnswer:
    return read_answer(unpack_document(data).payload)


def _signed(answer: SyncAnswer) -> bytes:
    return pack(sign_document(ANSWER_TYPE, answer_payload(answer), LEDGER))


def _readable(data: bytes) -> list[SignedEvent]:
    try:
        return decode_segment(data)
    except Problem:
        return []


def _header(event: SignedEvent) -> Header | None:
    try:
        return parse_header(event.header)
    except Problem:
        return None
