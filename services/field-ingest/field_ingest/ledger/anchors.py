"""Anchors: server times that the ledger gave out, and can tell from others without having kept them.

The id of an anchor carries a keyed digest over itself and its time, so that admission knows later whether an event's anchor is
one of ours. The answer that brings an anchor to a device is signed as a whole; this is for the header, which names it only.
"""

import hashlib
import hmac
from typing import Final

from field_ingest.ledger.ledger_keys import LedgerKeys
from zb_contracts.envelope import Anchor
from zb_contracts.keys import SigningKey
from zb_contracts.times import format_time_ms

KEPT_MAX: Final = 10_000
"""Anchors that were found to be ours: a device writes many events under one."""
DIGEST_BYTES: Final = 12
"""As a fact for reading needs it: guessing one takes 2^95 tries at the ledger's door."""


class Anchors:
    """Gives anchors out, and vouches for its own, also for those of ledger keys that were rotated. Everybody who has the same
    ledger keys has the same anchors."""

    def __init__(self, keys: LedgerKeys) -> None:
        self._keys = keys
        self._secrets: dict[bytes, bytes] = {}
        """Public key -> secret, of the keys that were asked for: a rotation adds one while the process runs."""
        self._ours: set[tuple[str, str]] = set()

    def anchor(self, new_id: str, at_ms: int) -> Anchor:
        """An anchor for this time; `new_id` makes it unique."""
        server_time = format_time_ms(at_ms)
        return Anchor(f"{new_id}-{_digest(self._secret_of(self._keys.signing), new_id, server_time)}", server_time)

    def vouches(self, anchor: Anchor) -> bool:
        """Whether the anchor was given out with this time."""
        named = anchor.id, anchor.server_time
        if named in self._ours:
            return True
        given, _, digest = anchor.id.rpartition("-")
        ours = (_digest(self._secret_of(key), given, anchor.server_time) for key in self._keys.known)
        if not any(hmac.compare_digest(digest.encode(), one.encode()) for one in ours):
            return False
        if len(self._ours) >= KEPT_MAX:
            self._ours.clear()
        self._ours.add(named)
        return True

    def _secret_of(self, key: SigningKey) -> bytes:
        if key.public not in self._secrets:
            self._secrets[key.public] = _secret(key)
        return self._secrets[key.public]


def _secret(key: SigningKey) -> bytes:
    # A signature over a text that nothing else signs: Ed25519 is deterministic, and nobody without the key can make it.
    return hashlib.sha256(key.sign(b"zb-anchor-key-v1")).digest()


def _digest(secret: bytes, given: str, server_time: str) -> str:
    statement = f"{given} {server_time}".encode()
    return hashlib.blake2b(statement, digest_size=DIGEST_BYTES, key=secret, person=b"zb-anchor-v1").hexdigest()
