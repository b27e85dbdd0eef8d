"""The bridge as an author of the ledger: `billing.exported.v1`, signed, numbered without a gap, chained, into the outbox.

Numbers and hashes come from one locked row and commit with the batch that they speak of. An event claims to know what the
newest announcement of its stream included, and never less than an earlier one of ours did. It does not publish.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from billing_bridge import store
from zb_chassis import outbox
from zb_chassis.database import Connection
from zb_contracts import subjects
from zb_contracts.envelope import BODY_TYPE, Header, SignedEvent, digest, sign_event
from zb_contracts.events import type_of
from zb_contracts.events.office import BillingExported
from zb_contracts.keys import SigningKey
from zb_contracts.segment import cut_segments, encode_segment, message_id
from zb_contracts.times import format_time_ms

AUTHOR: Final = "billing-bridge"
CONTENT_TYPE: Final = "application/vnd.zoneblanche.segment.v1+msgpack"
IdSource = Callable[[int], str]
"""A fresh UUIDv7 for a moment in ms since 1970."""


class KeyUnusable(Exception):
    """The author's seed is missing or damaged; the message names the file."""


@dataclass(frozen=True, slots=True)
class Export:
    """One event to sign: `seen` is the vector of the state that was billed."""

    id: str
    intervention: str
    body: BillingExported
    seen: Mapping[str, int]

    @property
    def stream(self) -> str:
        return f"intervention:{self.intervention}"


def read_key(keys_dir: Path) -> SigningKey:
    """The bridge's event key from the keys folder. KeyUnusable."""
    path = keys_dir / "authors" / f"{AUTHOR}.seed"
    try:
        return SigningKey.from_seed(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError) as fault:
        raise KeyUnusable(f"{path} is no seed of 32 bytes in hex: restore it from a backup") from fault


def random_uuid7(now_ms: int) -> str:
    """A UUIDv7 with 74 random bits."""
    entropy = int.from_bytes(os.urandom(10), "big")
    high = (now_ms & (2**48 - 1)) << 16 | 0x7000 | (entropy >> 62 & 0xFFF)
    low = 0b10 << 62 | entropy & (2**62 - 1)
    return str(uuid.UUID(int=high << 64 | low))


async def publish_exports(connection: Connection, key: SigningKey, exports: Sequence[Export], now_ms: int) -> list[SignedEvent]:
    """Sign the events in order and put them, in as few segments as the limits allow, into the outbox."""
    head = await store.lock_author(connection, AUTHOR)
    known = await store.load_knowledge(connection, AUTHOR, [export.stream for export in exports])
    signed = []
    for export in exports:
        known[export.stream] = seen = merged(known.get(export.stream, {}), export.seen)
        event = sign_export(key, export, head, seen, now_ms)
        head = store.AuthorHead(head.seq + 1, digest(event.header))
        signed.append(event)
    await store.save_knowledge(connection, AUTHOR, known)
    await store.save_author(connection, AUTHOR, head)
    await outbox.enqueue_all(connection, messages_of(signed))
    return signed


def sign_export(key: SigningKey, export: Export, head: store.AuthorHead, seen: Mapping[str, int], now_ms: int) -> SignedEvent:
    """The export as the bridge's next event after `head`. Pure."""
    body = export.body.canonical_bytes()
    header = Header(
        id=export.id,
        author=AUTHOR,
        seq=head.seq + 1,
        prev=head.hash,
        type=type_of(export.body).name,
        stream=export.stream,
        visit=None,
        actor=None,
        token=None,
        at=format_time_ms(now_ms),
        boot=None,
        elapsed_ms=None,
        anchor=None,
        seen=dict(seen),
        body_sha256=digest(body),
        body_type=BODY_TYPE,
    )
    return sign_event(key, header, body)


def messages_of(events: Sequence[SignedEvent]) -> list[outbox.Message]:
    """Consecutive events of the bridge as messages, in as few segments as the limits allow. Pure."""
    subject, headers = subjects.office(AUTHOR), {"content-type": CONTENT_TYPE}
    return [outbox.Message(message_id(segment), subject, encode_segment(segment), headers) for segment in cut_segments(events)]


def merged(earlier: Mapping[str, int], later: Mapping[str, int]) -> dict[str, int]:
    """The greater number of each author but ourselves: an author always knows its own earlier events."""
    authors = (earlier.keys() | later.keys()) - {AUTHOR}
    return {author: max(earlier.get(author, 0), later.get(author, 0)) for author in sorted(authors)}
