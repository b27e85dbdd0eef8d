"""Anchors: server times that the ledger gave out, and can tell from others without having kept them.

The id of an anchor carries a keyed digest over itself and its time, so that admission knows later whether an event's anchor is
one of ours. The answer that brings an anchor to a device is signed as a whole; this is for the header, which names it only.
"""

import hashlib
import hmac
from typing import Final

from zb_contracts.envelope import Anchor
from zb_contracts.keys import SigningKey
from zb_contracts.times import format_time_ms

DIGEST_BYTES: Final = 12
"""As a fact for reading needs it: guessing one takes 2^95 tries at the ledger's door."""


class Anchors:
    """Gives anchors out, and vouches for its own. Everybody who has the same ledger key has the same anchors."""

    def __init__(self, key: SigningKey) -> None:
        # A signature over a text that nothing else signs: Ed25519 is deterministic, and nobody without the key can make it.
        self._key = hashlib.sha256(key.sign(b"zb-anchor-key-v1")).digest()

    def anchor(self, new_id: str, at_ms: int) -> Anchor:
        """An anchor for this time; `new_id` makes it unique."""
        server_time = format_time_ms(at_ms)
        return Anchor(f"{new_id}-{self._digest(new_id, server_time)}", server_time)

    def vouches(self, anchor: Anchor) -> bool:
        """Whether the anchor was given out with this time."""
        given, _, digest = anchor.id.rpartition("-")
        return hmac.compare_digest(digest.encode(), self._digest(given, anchor.server_time).encode())

    def _digest(self, given: str, server_time: str) -> str:
        statement = f"{given} {server_time}".encode()
        return hashlib.blake2b(statement, digest_size=DIGEST_BYTES, key=self._key, person=b"zb-anchor-v1").hexdigest()
