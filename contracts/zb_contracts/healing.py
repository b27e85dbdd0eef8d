"""The ledger's own word that it lost rows: a signed statement, without which a shorter history is a split view.

A ledger that came back from a backup goes on from the rows that it kept. The statement names them by size and root, and the head
that it had published before and abandons. It says nothing of why; it is one document a loss, and covers earlier losses too.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from zb_contracts import canonical
from zb_contracts.faults import DocumentMalformed
from zb_contracts.keys import SigningKey
from zb_contracts.signed import SignedDocument, sign_document, verify_document

HEALING_TYPE: Final = "application/vnd.zoneblanche.ledger-healed.v1+json"

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Root = Annotated[str, msgspec.Meta(pattern="^[a-f0-9]{64}$")]


class Healing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows of one log were kept, and which published head is abandoned."""

    v: int = 1
    number: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    """1, 2, 3 ...: which loss of this log it was."""
    origin: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    kept: Count
    """The first so many rows are those of before, also before earlier losses."""
    kept_root: Root
    """The root over them."""
    abandoned: Count | None
    """The largest size that was ever published of what is abandoned; null where nobody knows it any more."""
    abandoned_root: Root | None
    """The root of the head that this loss abandoned."""
    at: str

    def abandons(self, size: int) -> bool:
        """Whether a head of this size may be one of the abandoned history."""
        return size > self.kept and (self.abandoned is None or size <= self.abandoned)


class Healed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A statement, and the RFC 6962 proof from the rows that were kept to the answer's checkpoint (empty from 0)."""

    document: SignedDocument
    consistency: tuple[bytes, ...] = ()


_decoder = msgspec.json.Decoder(Healing)


def sign_healing(healing: Healing, key: SigningKey) -> SignedDocument:
    """The statement, signed by a ledger key."""
    return sign_document(HEALING_TYPE, canonical.encode(msgspec.to_builtins(healing)), key)


def read_healing(document: SignedDocument, keys: Mapping[str, bytes], origin: str) -> Healing:
    """The statement about this log, if one of these ledger keys signed it. CryptoFault else."""
    try:
        healing = _decoder.decode(verify_document(HEALING_TYPE, document, keys))
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise DocumentMalformed(f"no statement of a healed ledger: {str(fault)[:200]}") from fault
    if healing.v != 1 or healing.origin != origin:
        raise DocumentMalformed(f"a statement about another log, {healing.origin[:80]}")
    return healing
