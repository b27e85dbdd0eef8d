"""A light device's log: signed events in a chain, kept in memory from the first without a receipt on.

It signs and numbers as `recording` does, and forgets what is settled. No disk, no escrow, no read model: whoever loses the
process loses the log, which is why it is no store of a device.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from zb_contracts.envelope import BODY_TYPE, GENESIS, Anchor, Header, SignedEvent, digest, is_summed, parse_header, sign_event
from zb_contracts.events import Body, type_of
from zb_contracts.keys import SigningKey
from zb_contracts.times import format_time_ms, parse_time_ms
from zb_device.ids import uuid7

OPENING: Final = frozenset({"intervention.travel_started.v1"})


@dataclass(frozen=True, slots=True)
class Pen:
    """Who writes, and what the device's clocks say. `wall_error_ms` makes the wall clock wrong, and nothing else."""

    author: str
    key: SigningKey
    actor: str
    token: str
    boot: str
    wall_error_ms: int = 0
    anchor: Anchor | None = None
    anchored_s: float = 0.0
    """When the anchor came, by the monotonic clock."""

    def elapsed_ms(self) -> int | None:
        return round((time.monotonic() - self.anchored_s) * 1000) if self.anchor else None


@dataclass
class Chain:
    """The events from `first` on. `head` and `prev` are those of the newest."""

    head: int = 0
    prev: str = GENESIS
    first: int = 1
    kept: deque[SignedEvent] = field(default_factory=deque)
    vectors: dict[str, dict[str, int]] = field(default_factory=dict)
    """What the author knows of each stream; it never shrinks."""

    @property
    def oldest_ms(self) -> int | None:
        """When the first event without a receipt was recorded, by the device's wall clock; None where there is none."""
        return parse_time_ms(parse_header(self.kept[0].header).at) if self.kept else None

    def write(self, pen: Pen, body: Body, stream: str, visit: str | None) -> str:
        """One more event, signed; its id. `visit` None: the event opens one where its type does."""
        now_ms = time.time_ns() // 1_000_000 + pen.wall_error_ms
        event_id, type_name, data = uuid7(now_ms), type_of(body).name, body.canonical_bytes()
        header = Header(
            id=event_id,
            author=pen.author,
            seq=self.head + 1,
            prev=self.prev,
            type=type_name,
            stream=stream,
            visit=visit or (event_id if type_name in OPENING else None),
            actor=pen.actor,
            token=pen.token,
            at=format_time_ms(now_ms),
            boot=pen.boot,
            elapsed_ms=pen.elapsed_ms(),
            anchor=pen.anchor,
            seen=dict(self.vectors.get(stream, {})),
            body_sha256=digest(data),
            body_type=BODY_TYPE,
        )
        self.adopt([sign_event(pen.key, header, data)])
        return event_id

    def adopt(self, events: Iterable[SignedEvent]) -> None:
        """Events that were signed elsewhere, the chain's next ones."""
        for event in events:
            self.kept.append(event)
            self.head, self.prev = self.head + 1, digest(event.header)

    def know(self, stream: str, vector: Mapping[str, int]) -> None:
        """What a document of the scope showed. Of a sum nobody knows an order."""
        if not is_summed(stream):
            known = self.vectors.setdefault(stream, {})
            known.update({author: max(seq, known.get(author, 0)) for author, seq in vector.items()})

    def after(self, number: int) -> Sequence[SignedEvent]:
        """The kept events behind this number, in order."""
        return list(self.kept)[max(0, number + 1 - self.first) :]

    def header_sha256(self, number: int) -> str | None:
        """Of a kept event; None for one that is settled or was never written."""
        at = number - self.first
        return digest(self.kept[at].header) if 0 <= at < len(self.kept) else None

    def settle(self, number: int) -> None:
        """Receipts cover everything up to this number: the bytes go."""
        while self.first <= number and self.kept:
            self.kept.popleft()
            self.first += 1
