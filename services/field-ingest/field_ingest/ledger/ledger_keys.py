"""The ledger's keys through their rotations: the newest that is settled signs, every older one stays known by its key id.

Each is certified by the offline root with its time. While two are in force a checkpoint carries the lines of both, so that
whoever pinned only the older one goes on meanwhile. It reads no file (`keyring` does), and goes by real time, as certificates do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from zb_chassis.clock import Clock, system_clock
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, certify
from zb_contracts.notes import NoteSigner, NoteVerifier

SETTLED_MS: Final = 600_000
"""A key signs once it has been in force so long: a device's clock may be as much behind and still believe it."""


class NoKeyInForce(RuntimeError):
    """No ledger key is in force, so nothing can be signed; the message says what to do."""


class KeyForgotten(ValueError):
    """Keys that were to be taken lack one that the ledger had: they are another ledger's, or of an old copy of the folder."""


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """One key with the root's word on it. `key` None: it has ended and its seed was destroyed, it only verifies."""

    certificate: KeyCertificate
    key: SigningKey | None = field(repr=False)

    def is_in_force(self, at_ms: int) -> bool:
        end = self.certificate.not_after_ms
        return self.certificate.not_before_ms <= at_ms and (end is None or at_ms < end)


class LedgerKeys:
    """All keys that a ledger ever had. `clock` is real time."""

    def __init__(self, keys: Sequence[LedgerKey], clock: Clock = system_clock) -> None:
        self._keys = sorted(keys, key=lambda one: one.certificate.not_before_ms, reverse=True)
        self._clock = clock

    def take(self, other: "LedgerKeys") -> None:
        """Be as the other from now on, for everybody who holds this object. KeyForgotten, and nothing is changed."""
        lacking = {one.kid for one in self.certificates} - {one.kid for one in other.certificates}
        if lacking:
            raise KeyForgotten(f"the ledger's key {', '.join(sorted(lacking))} is missing: no key is ever forgotten")
        self._keys = other._keys

    @classmethod
    def alone(cls, key: SigningKey) -> Self:
        """One key, always in force, that is its own root: for a ledger that nobody outside has to trust."""
        return cls([LedgerKey(certify(key, key.public, KeyPurpose.LEDGER, not_before_ms=0), key)])

    @property
    def certificates(self) -> tuple[KeyCertificate, ...]:
        """The root's word on each key, the newest first; on those that have ended, too: a device has to know that."""
        return tuple(one.certificate for one in self._keys)

    @property
    def signing(self) -> SigningKey:
        """The key that signs now. NoKeyInForce."""
        return self._in_force()[0]

    @property
    def known(self) -> list[SigningKey]:
        """Every key whose seed is there, the newest first, in force or not."""
        return [one.key for one in self._keys if one.key]

    def signers(self, name: str) -> list[NoteSigner]:
        """Who signs a note under this name: the signing key first, then the others in force. NoKeyInForce."""
        return [NoteSigner(name, key) for key in self._in_force()]

    def verifiers(self, name: str) -> list[NoteVerifier]:
        """Whose signature under this name was ever the ledger's."""
        return [NoteVerifier(name, one.certificate.public) for one in self._keys]

    def _in_force(self) -> list[SigningKey]:
        now_ms = self._clock()
        held = [(one, one.key) for one in self._keys if one.key and one.is_in_force(now_ms)]
        settled = [key for one, key in held if one.is_in_force(now_ms - SETTLED_MS)]
        unsettled = [key for _, key in reversed(held) if key not in settled]
        if not held:
            raise NoKeyInForce("no ledger key is in force: zb keys rotate-ledger makes one, with the root's seed")
        return settled + unsettled
