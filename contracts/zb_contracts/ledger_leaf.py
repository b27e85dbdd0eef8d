"""The leaf that the ledger's Merkle tree holds for one row: what the ledger vouches for, and what a device recomputes.

Canonical JSON of kind, header hash, signature, receipt time and verdict facts; never the body, so that erasing a body's
keys changes no proof. The tree itself is `zb_contracts.merkle`'s matter, who may be told a leaf is the sync responder's.
"""

from typing import Annotated, Final, Literal

import msgspec

from zb_contracts import canonical, merkle
from zb_contracts.faults import TreeMalformed

LEAF_BYTES_MAX: Final = 8 * 1024

RowKind = Literal["admitted", "held", "refusal"]


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A leaf as it was read. `facts` are the canonical bytes of the verdict facts; a refusal's `code` stands there."""

    facts: msgspec.Raw
    header_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    kind: RowKind
    received_at_ms: Annotated[int, msgspec.Meta(ge=0, le=canonical.INTEGER_MAX)]
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Leaf)


def leaf_bytes(*, kind: str, header_hash: bytes, signature: bytes, received_at_ms: int, facts: bytes) -> bytes:
    """The leaf of one row. `header_hash` and `signature` are raw, `facts` canonical JSON, put in byte for byte."""
    return _encoder.encode(
        {
            "facts": msgspec.Raw(facts),
            "header_sha256": header_hash.hex(),
            "kind": kind,
            "received_at_ms": received_at_ms,
            "signature": signature.hex(),
        }
    )


def leaf_hash(data: bytes) -> bytes:
    """The hash under which the leaf stands in the tree (RFC 6962)."""
    return merkle.leaf_hash(data)


def read_leaf(data: bytes) -> Leaf:
    """The leaf in these bytes. TreeMalformed unless they are the one spelling of one."""
    if len(data) > LEAF_BYTES_MAX:
        raise TreeMalformed(f"a leaf has at most {LEAF_BYTES_MAX} bytes, not {len(data)}")
    try:
        canonical.decode(data)
        return _decoder.decode(data)
    except (canonical.NotCanonical, msgspec.DecodeError) as fault:
        raise TreeMalformed(f"not a leaf: {str(fault)[:200]}") from fault
