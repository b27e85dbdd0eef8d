"""Segments: first what a message says of itself, then, where it can be placed, what its author really signed.

An `Offer` costs no cryptography, so that a message which must wait costs next to nothing however often it comes. A `Segment` is
the longest prefix with good digests and signatures, with the fault that ended it. Signatures are verified in threads (PyNaCl
releases the interpreter's lock). Marks and links are the chain's matter (domain.py).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeVar

import msgspec

from field_ingest.admission.domain import Event
from zb_contracts.envelope import PAYLOAD_TYPE, Header, SignedEvent, digest, parse_header
from zb_contracts.faults import BoxUnopened
from zb_contracts.keys import WrapKey, dsse_pae, verify
from zb_contracts.problems import (
    BODY_MISMATCH,
    HEADER_MALFORMED,
    SEGMENT_MALFORMED,
    SEGMENT_NOT_CONSECUTIVE,
    SIGNATURE_INVALID,
    Problem,
)
from zb_contracts.segment import open_event, unpack_segment

THREADS: Final = 2
LABEL_MAX: Final = 100

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Offer:
    """A message's events as they came, and what the first of them claims to be. Nothing of it is verified.

    `rows` are events, or the unopened boxes of a locked device.
    """

    author: str
    first: int
    rows: Sequence[SignedEvent | bytes]
    prev: bytes = b""

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def parent(self) -> tuple[str, int, bytes]:
        """What the first event goes on from: author, number, header hash."""
        return self.author, self.first - 1, self.prev


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive events from `first` on that their author signed. `fault` says why they end where they do, None: all good."""

    author: str
    first: int
    events: tuple[Event, ...]
    fault: Problem | None = None

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


class _Skeleton(msgspec.Struct, frozen=True):
    """What a header must show, whatever else is wrong with it, to be refused in its place in the chain."""

    author: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")]
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    prev: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    body_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    id: str = ""
    stream: str = ""
    type: str = ""


_skeletons = msgspec.json.Decoder(_Skeleton)


class Verifier:
    """Threads that read and verify; `escrow` opens what a locked device sends. Close it when the process ends.

    Without threads (0) the caller's own does the work: for a simulation, whose steps must not depend on a scheduler.
    """

    def __init__(self, escrow: WrapKey, threads: int = THREADS) -> None:
        self._escrow = escrow
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="verify") if threads else None

    async def offers(self, messages: Sequence[bytes]) -> list[Offer | Problem]:
        """What each message offers, or the problem of one in which not even an author can be read."""
        return await self._spread(list(messages), self._read_all)

    async def segments(self, work: Sequence[tuple[bytes, Offer]]) -> list[Segment]:
        """Of each offer what the public key beside it signed."""
        return await self._spread(list(work), self._verify_all)

    async def _spread(self, items: list[T], call: Callable[[list[T]], list[R]]) -> list[R]:
        if self._pool is None:
            return call(items)
        loop = asyncio.get_running_loop()
        size = max(1, -(-len(items) // self._threads))
        parts = [items[at : at + size] for at in range(0, len(items), size)]
        done = await asyncio.gather(*(loop.run_in_executor(self._pool, call, part) for part in parts))
        return [one for part in done for one in part]

    def _read_all(self, messages: list[bytes]) -> list[Offer | Problem]:
        return [self._read_or_problem(data) for data in messages]

    def _read_or_problem(self, data: bytes) -> Offer | Problem:
        try:
            return read_offer(data, self._escrow)
        except Problem as fault:
            return fault

    def _verify_all(self, work: list[tuple[bytes, Offer]]) -> list[Segment]:
        return [read_segment(key, offer, self._escrow) for key, offer in work]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_offer(data: bytes, escrow: WrapKey) -> Offer:
    """What a message offers. A Problem when not even its first event can be placed."""
    rows = unpack_segment(data)
    skeleton = _skeleton(_opened(rows[0], escrow).header)
    return Offer(skeleton.author, skeleton.seq, rows, bytes.fromhex(skeleton.prev))


def read_segment(public_key: bytes, offer: Offer, escrow: WrapKey) -> Segment:
    """The offer's events up to the first that is not the author's next one, whole, and signed with the key."""
    events: list[Event] = []
    for index, row in enumerate(offer.rows):
        try:
            event = read_event(_opened(row, escrow))
            if event.author != offer.author or event.seq != offer.first + index:
                raise Problem(SEGMENT_NOT_CONSECUTIVE, index=index)
            _check_signature(public_key, event)
        except Problem as fault:
            return Segment(offer.author, offer.first, tuple(events), fault)
        events.append(event)
    return Segment(offer.author, offer.first, tuple(events))


def _opened(row: SignedEvent | bytes, escrow: WrapKey) -> SignedEvent:
    if isinstance(row, SignedEvent):
        return row
    try:
        return open_event(escrow.private, row)
    except BoxUnopened as fault:
        raise Problem(SEGMENT_MALFORMED, reason=str(fault)) from fault


def read_event(signed: SignedEvent) -> Event:
    """One event with its body's digest checked. A Problem when it cannot even be refused in its place."""
    header_hash = hashlib.sha256(signed.header).digest()
    try:
        header = parse_header(signed.header)
    except Problem as fault:
        return _unreadable(signed, header_hash, fault)
    _check_digest(header, signed.body)
    prev = bytes.fromhex(header.prev)
    return Event(header.author, header.seq, prev, header.id, header.stream, header.type, header_hash, signed, header)


def _unreadable(signed: SignedEvent, header_hash: bytes, fault: Problem) -> Event:
    seen = _skeleton(signed.header)
    _check_digest(seen, signed.body)
    labels = (_label(seen.id), _label(seen.stream), _label(seen.type))
    return Event(seen.author, seen.seq, bytes.fromhex(seen.prev), *labels, header_hash, signed, None, fault)


def _skeleton(header: bytes) -> _Skeleton:
    try:
        return _skeletons.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Problem(HEADER_MALFORMED, reason=str(fault)[:200]) from fault


def _check_signature(public_key: bytes, event: Event) -> None:
    if not verify(public_key, dsse_pae(PAYLOAD_TYPE, event.signed.header), event.signed.signature):
        raise Problem(SIGNATURE_INVALID, seq=event.seq)


def _check_digest(header: Header | _Skeleton, body: bytes) -> None:
    if digest(body) != header.body_sha256:
        raise Problem(BODY_MISMATCH, seq=header.seq)


def _label(value: str) -> str:
    """What may stand in a text column for a value that nobody checked."""
    return value if value.isprintable() and len(value) <= LABEL_MAX else ""
