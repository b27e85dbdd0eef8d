"""The keys of the simulated company: each from its name, so that every run and machine signs the same bytes."""

import hashlib
from functools import lru_cache
from typing import Final

from zb_contracts.keys import KeyPurpose, SigningKey, WrapKey, certify


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"zone blanche simulation {name}".encode()).digest()


@lru_cache(maxsize=1024)
def key_of(name: str) -> SigningKey:
    """The event key of an author."""
    return SigningKey.from_seed(_seed(name))


def login_key_of(device: str) -> SigningKey:
    """The login key of a device, in all its lives."""
    return key_of(f"login {device}")


def wrap_key_of(name: str) -> WrapKey:
    """An X25519 key."""
    return WrapKey.from_private(_seed(f"wrap {name}"))


ROOT: Final = key_of("root")
LEDGER: Final = key_of("ledger checkpoints and answers")
ESCROW: Final = wrap_key_of("escrow")
CERTIFICATES: Final = (
    certify(ROOT, LEDGER.public, KeyPurpose.LEDGER, not_before_ms=0),
    certify(ROOT, ESCROW.public, KeyPurpose.ESCROW, not_before_ms=0),
)
