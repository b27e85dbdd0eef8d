"""A segment: up to 64 consecutive events of one author in one message, as MessagePack `[[header, body, signature], ...]`.

Decoding checks shape and limits only and never allocates more than the limits allow; signatures, links and marks are
admission's matter. The message id names content, so that a resend after a gap needs the gap answer's nonce.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from zb_contracts.envelope import BODY_BYTES_MAX, HEADER_BYTES_MAX, SIGNATURE_BYTES, SignedEvent, digest, parse_header
from zb_contracts.problems import SEGMENT_MALFORMED, SEGMENT_TOO_LARGE, SEGMENT_TOO_LONG, Problem

SEGMENT_EVENTS_MAX: Final = 64
SEGMENT_BYTES_MAX: Final = 256 * 1024
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"

_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, bytes]])
_encoder = msgspec.msgpack.Encoder()


def encode_segment(events: Sequence[SignedEvent]) -> bytes:
    """The bytes of a segment. Problem SEGMENT_TOO_LONG or SEGMENT_TOO_LARGE beyond the limits."""
    if not 1 <= len(events) <= SEGMENT_EVENTS_MAX:
        raise Problem(SEGMENT_TOO_LONG, count=len(events), limit=SEGMENT_EVENTS_MAX)
    data = _encoder.encode([tuple(event) for event in events])
    if len(data) > SEGMENT_BYTES_MAX:
        raise Problem(SEGMENT_TOO_LARGE, size=len(data), limit=SEGMENT_BYTES_MAX)
    return data


def decode_segment(data: bytes) -> list[SignedEvent]:
    """The events of a segment, unverified. A Problem of the area `segment` for everything else."""
    if len(data) > SEGMENT_BYTES_MAX:
        raise Problem(SEGMENT_TOO_LARGE, size=len(data), limit=SEGMENT_BYTES_MAX)
    try:
        rows = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise Problem(SEGMENT_MALFORMED, reason=str(fault)[:200]) from fault
    if not rows:
        raise Problem(SEGMENT_MALFORMED, reason="no event")
    if len(rows) > SEGMENT_EVENTS_MAX:
        raise Problem(SEGMENT_TOO_LONG, count=len(rows), limit=SEGMENT_EVENTS_MAX)
    for header, body, signature in rows:
        if len(header) > HEADER_BYTES_MAX or len(body) > BODY_BYTES_MAX or len(signature) != SIGNATURE_BYTES:
            raise Problem(SEGMENT_MALFORMED, reason="a header, body or signature has an impossible length")
    return [SignedEvent(*row) for row in rows]


def message_id(events: Sequence[SignedEvent], nonce: str | None = None) -> str:
    """`<author>:<first>-<last>:<hash of last header>`, and `:<nonce>` of the gap answer for a resend."""
    first, last = parse_header(events[0].header), parse_header(events[-1].header)
    name = f"{last.author}:{first.seq}-{last.seq}:{digest(events[-1].header)[:32]}"
    return f"{name}:{nonce}" if nonce else name


def cut_segments(events: Sequence[SignedEvent]) -> list[list[SignedEvent]]:
    """Consecutive events in as few segments as the limits allow, in order."""
    segments: list[list[SignedEvent]] = []
    size = SEGMENT_BYTES_MAX
    for event in events:
        cost = sum(map(len, event)) + 16
        if size + cost > SEGMENT_BYTES_MAX - 64 or len(segments[-1]) == SEGMENT_EVENTS_MAX:
            segments.append([])
            size = 0
        segments[-1].append(event)
        size += cost
    return segments
