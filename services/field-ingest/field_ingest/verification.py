"""Segments: read, and verified by signature and digest, in threads (PyNaCl releases the interpreter's lock).

What comes out is the longest prefix that its author really signed, with the fault that ended it. It knows neither marks nor
links: those are the chain's matter (domain.py).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Final, Self, TypeVar

import msgspec

from field_ingest.domain import Event
from zb_contracts.envelope import PAYLOAD_TYPE, Header, SignedEvent, digest, parse_header
from zb_contracts.keys import WrapKey, dsse_pae, verify
from zb_contracts.problems import BODY_MISMATCH, SEGMENT_NOT_CONSECUTIVE, SIGNATURE_INVALID, Problem
from zb_contracts.segment import decode_segment

THREADS: Final = 2
LABEL_MAX: Final = 100

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive events of one author. `fault` says why it ends where it does, None when it is whole."""

    author: str
    events: tuple[Event, ...]
    fault: Problem | None = None

    @property
    def first(self) -> int:
        return self.events[0].seq


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

    async def read(self, messages: Sequence[bytes]) -> list[Segment | Problem]:
        """Each message as a segment, unverified, or the problem of one in which not even an author can be read."""
        return await self._spread(list(messages), self._read_all)

    async def verified(self, work: Sequence[tuple[bytes, Segment]]) -> list[Segment]:
        """Each segment cut to what the public key beside it signed."""
        return await self._spread(list(work), _verify_all)

    async def _spread(self, items: list[T], call: Callable[[list[T]], list[R]]) -> list[R]:
        if self._pool is None:
            return call(items)
        loop = asyncio.get_running_loop()
        size = max(1, -(-len(items) // self._threads))
        parts = [items[at : at + size] for at in range(0, len(items), size)]
        done = await asyncio.gather(*(loop.run_in_executor(self._pool, call, part) for part in parts))
        return [one for part in done for one in part]

    def _read_all(self, messages: list[bytes]) -> list[Segment | Problem]:
        return [self._read_or_problem(data) for data in messages]

    def _read_or_problem(self, data: bytes) -> Segment | Problem:
        try:
            return read_segment(data, self._escrow)
        except Problem as fault:
            return fault

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_segment(data: bytes, escrow: WrapKey) -> Segment:
    """The segment in a message, opened where it is sealed, unverified. A Problem when not even its first event can be placed."""
    events: list[Event] = []
    for index, signed in enumerate(decode_segment(data, escrow.private)):
        try:
            event = read_event(signed)
            if events and (event.author != events[0].author or event.seq != events[-1].seq + 1):
                raise Problem(SEGMENT_NOT_CONSECUTIVE, index=index)
        except Problem as fault:
            if not events:
                raise
            return Segment(events[0].author, tuple(events), fault)
        events.append(event)
    return Segment(events[0].author, tuple(events))


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


def verify_segment(public_key: bytes, segment: Segment) -> Segment:
    """The segment up to the first event that the key did not sign."""
    for index, event in enumerate(segment.events):
        if not verify(public_key, dsse_pae(PAYLOAD_TYPE, event.signed.header), event.signed.signature):
            fault = Problem(SIGNATURE_INVALID, seq=event.seq)
            return replace(segment, events=segment.events[:index], fault=fault)
    return segment


def _unreadable(signed: SignedEvent, header_hash: bytes, fault: Problem) -> Event:
    try:
        seen = _skeletons.decode(signed.header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as deeper:
        raise fault from deeper
    _check_digest(seen, signed.body)
    labels = (_label(seen.id), _label(seen.stream), _label(seen.type))
    return Event(seen.author, seen.seq, bytes.fromhex(seen.prev), *labels, header_hash, signed, None, fault)


def _check_digest(header: Header | _Skeleton, body: bytes) -> None:
    if digest(body) != header.body_sha256:
        raise Problem(BODY_MISMATCH, seq=header.seq)


def _label(value: str) -> str:
    """What may stand in a text column for a value that nobody checked."""
    return value if value.isprintable() and len(value) <= LABEL_MAX else ""


def _verify_all(work: list[tuple[bytes, Segment]]) -> list[Segment]:
    return [verify_segment(key, segment) for key, segment in work]
