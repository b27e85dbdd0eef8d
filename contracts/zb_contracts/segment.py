"""A segment: up to 64 consecutive events of one author in one message, as MessagePack `[[header, body, signature], ...]`.

A locked device, which cannot read its own log, sends `{"sealed": [box, ...]}`: the same events, each sealed to the escrow key.
Decoding checks shape and limits only and never allocates more than the limits allow; signatures, links and marks are
admission's matter. The message id names content, so that a resend after a gap needs the gap answer's nonce.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from zb_contracts.envelope import BODY_BYTES_MAX, HEADER_BYTES_MAX, SIGNATURE_BYTES, SignedEvent, digest, parse_header
from zb_contracts.faults import BoxUnopened
from zb_contracts.keys import open_sealed, seal_to
from zb_contracts.problems import SEGMENT_MALFORMED, SEGMENT_TOO_LARGE, SEGMENT_TOO_LONG, Problem

SEGMENT_EVENTS_MAX: Final = 64
SEGMENT_BYTES_MAX: Final = 256 * 1024
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sealed: list[bytes]


_event_decoder = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes])
_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, bytes]] | _Sealed)
_encoder = msgspec.msgpack.Encoder()


def encode_segment(events: Sequence[SignedEvent]) -> bytes:
    """The bytes of a segment. Problem SEGMENT_TOO_LONG or SEGMENT_TOO_LARGE beyond the limits."""
    if not 1 <= len(events) <= SEGMENT_EVENTS_MAX:
        raise Problem(SEGMENT_TOO_LONG, count=len(events), limit=SEGMENT_EVENTS_MAX)
    data = _encoder.encode([tuple(event) for event in events])
    if len(data) > SEGMENT_BYTES_MAX:
        raise Problem(SEGMENT_TOO_LARGE, size=len(data), limit=SEGMENT_BYTES_MAX)
    return data


def encode_sealed_segment(boxes: Sequence[bytes]) -> bytes:
    """The bytes of a segment of sealed events (see `seal_event`). The same Problems as `encode_segment`."""
    if not 1 <= len(boxes) <= SEGMENT_EVENTS_MAX:
        raise Problem(SEGMENT_TOO_LONG, count=len(boxes), limit=SEGMENT_EVENTS_MAX)
    data = _encoder.encode(_Sealed(list(boxes)))
    if len(data) > SEGMENT_BYTES_MAX:
        raise Problem(SEGMENT_TOO_LARGE, size=len(data), limit=SEGMENT_BYTES_MAX)
    return data


def seal_event(public: bytes, event: SignedEvent) -> bytes:
    """An event in a box that only the holder of the X25519 key `public` opens."""
    return seal_to(public, _encoder.encode(tuple(event)))


def open_event(private: bytes, box: bytes) -> SignedEvent:
    """The event in a box, unverified. BoxUnopened for another key, Problem SEGMENT_MALFORMED for what is no event."""
    try:
        return _checked(SignedEvent(*_event_decoder.decode(open_sealed(private, box))))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Problem(SEGMENT_MALFORMED, reason=f"a box holds no event: {str(fault)[:160]}") from fault


def decode_segment(data: bytes, escrow_private: bytes | None = None) -> list[SignedEvent]:
    """The events of a segment, unverified; sealed ones are opened with the escrow key where it is given.

    A Problem of the area `segment` for everything else.
    """
    return [_opened(one, escrow_private) if isinstance(one, bytes) else one for one in unpack_segment(data)]


def unpack_segment(data: bytes) -> list[SignedEvent] | list[bytes]:
    """A segment's events, unverified, or the boxes of a locked device, unopened (`open_event`). Costs no cryptography.

    A Problem of the area `segment` for everything else.
    """
    if len(data) > SEGMENT_BYTES_MAX:
        raise Problem(SEGMENT_TOO_LARGE, size=len(data), limit=SEGMENT_BYTES_MAX)
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Problem(SEGMENT_MALFORMED, reason=str(fault)[:200]) from fault
    rows = message.sealed if isinstance(message, _Sealed) else message
    if not rows:
        raise Problem(SEGMENT_MALFORMED, reason="no event")
    if len(rows) > SEGMENT_EVENTS_MAX:
        raise Problem(SEGMENT_TOO_LONG, count=len(rows), limit=SEGMENT_EVENTS_MAX)
    return message.sealed if isinstance(message, _Sealed) else [_checked(SignedEvent(*row)) for row in message]


def _checked(event: SignedEvent) -> SignedEvent:
    if len(event.header) > HEADER_BYTES_MAX or len(event.body) > BODY_BYTES_MAX or len(event.signature) != SIGNATURE_BYTES:
        raise Problem(SEGMENT_MALFORMED, reason="a header, body or signature has an impossible length")
    return event


def _opened(box: bytes, escrow_private: bytes | None) -> SignedEvent:
    if escrow_private is None:
        raise Problem(SEGMENT_MALFORMED, reason="sealed to a key that is not here")
    try:
        return open_event(escrow_private, box)
    except BoxUnopened as fault:
        raise Problem(SEGMENT_MALFORMED, reason=str(fault)) from fault


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
