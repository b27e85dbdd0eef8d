"""What is sent: runs of consecutive events as segments, in the clear where the reader key is open, else sealed to escrow.

A locked device can always send: it hands over the boxes that it keeps for escrow. Pure apart from opening boxes; the transport
and the marking of what was sent are `syncing`'s matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from zb_contracts.envelope import SignedEvent
from zb_contracts.keys import WrapKey
from zb_contracts.segment import (
    SEGMENT_BYTES_MAX,
    SEGMENT_EVENTS_MAX,
    cut_segments,
    encode_sealed_segment,
    encode_segment,
    message_id,
)
from zb_device.log import Outgoing, open_bundle

SEALED_OVERHEAD_BYTES: Final = 64
BOX_OVERHEAD_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class OutgoingSegment:
    """The bytes of one message, its id, and which events it carries."""

    data: bytes
    message_id: str
    first: int
    last: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class OpenReader:
    """The reader key of the technician who is unlocked now."""

    technician: str
    key: WrapKey


def segments_of(
    author: str, events: Sequence[Outgoing], reader: OpenReader | None, nonce: str | None = None
) -> list[OutgoingSegment]:
    """Every event in order, in as few messages as the limits allow. `nonce` is that of a gap answer, for a resend."""
    segments: list[OutgoingSegment] = []
    for run in _runs(events, reader):
        if reader is not None and _readable(run[0], reader):
            segments += _clear(run, reader, nonce)
        else:
            segments += _sealed(author, run, nonce)
    return segments


def _readable(event: Outgoing, reader: OpenReader | None) -> bool:
    return reader is not None and event.for_reader is not None and event.reader == reader.technician


def _runs(events: Sequence[Outgoing], reader: OpenReader | None) -> Iterator[list[Outgoing]]:
    """Consecutive sequence numbers that are sent in the same way."""
    run: list[Outgoing] = []
    for event in events:
        if run and (event.seq != run[-1].seq + 1 or _readable(event, reader) != _readable(run[0], reader)):
            yield run
            run = []
        run.append(event)
    if run:
        yield run


def _clear(run: Sequence[Outgoing], reader: OpenReader, nonce: str | None) -> Iterator[OutgoingSegment]:
    first = run[0].seq
    signed: list[SignedEvent] = [open_bundle(reader.key, event.for_reader) for event in run if event.for_reader]
    for part in cut_segments(signed):
        yield OutgoingSegment(encode_segment(part), message_id(part, nonce), first, first + len(part) - 1, sealed=False)
        first += len(part)


def _sealed(author: str, run: Sequence[Outgoing], nonce: str | None) -> Iterator[OutgoingSegment]:
    part: list[Outgoing] = []
    size = SEALED_OVERHEAD_BYTES
    for event in run:
        cost = len(event.for_escrow) + BOX_OVERHEAD_BYTES
        if part and (size + cost > SEGMENT_BYTES_MAX or len(part) == SEGMENT_EVENTS_MAX):
            yield _sealed_segment(author, part, nonce)
            part, size = [], SEALED_OVERHEAD_BYTES
        part.append(event)
        size += cost
    yield _sealed_segment(author, part, nonce)


def _sealed_segment(author: str, part: Sequence[Outgoing], nonce: str | None) -> OutgoingSegment:
    first, last = part[0].seq, part[-1].seq
    name = f"{author}:{first}-{last}:{part[-1].header_sha256[:32]}"
    data = encode_sealed_segment([event.for_escrow for event in part])
    # An id of its own: once unlocked, the same events in the clear must not pass for a repetition of the sealed ones.
    return OutgoingSegment(data, f"{name}:sealed" + (f":{nonce}" if nonce else ""), first, last, sealed=True)
