"""The part of an event's header that the merge reads, as small as it can be held: folds keep very many of them in memory.

What it leaves out (chain, digests, token, boot) was checked before an event came here. Names that many events share are one
string in memory.
"""

from sys import intern
from typing import Final

import msgspec

from zb_contracts.envelope import Anchor, Header, trusted_ms


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What is taken as `envelope.Header` has it."""

    id: str
    author: str
    seq: int
    type: str
    stream: str
    visit: str | None
    actor: str | None
    at: str
    seen: dict[str, int]


class MergeHeader(_Told, frozen=True, gc=False):
    """`is_anchored`: its trusted time is the ledger's, not the author's wall clock."""

    trusted_ms: int
    is_anchored: bool

    @property
    def stream_kind(self) -> str:
        return self.stream.partition(":")[0]


class _Stored(_Told, frozen=True, gc=False):
    """What is read of a stored header's bytes."""

    elapsed_ms: int | None
    anchor: Anchor | None


_decoder: Final = msgspec.json.Decoder(_Stored)


def merge_header(data: bytes) -> MergeHeader:
    """The header of a ledger row, or of other bytes that `parse_header` took before; msgspec.DecodeError for others' shapes."""
    return narrowed(_decoder.decode(data))


def narrowed(header: Header | _Stored) -> MergeHeader:
    """What the merge reads of a header."""
    visit, actor = header.visit, header.actor
    return MergeHeader(
        header.id,
        intern(header.author),
        header.seq,
        intern(header.type),
        intern(header.stream),
        None if visit is None else intern(visit),
        None if actor is None else intern(actor),
        header.at,
        header.seen,
        trusted_ms(header.at, header.anchor, header.elapsed_ms),
        header.anchor is not None and header.elapsed_ms is not None,
    )
