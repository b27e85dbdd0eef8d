"""The keys that scheduling holds: the event keys of its agencies' offices, and the public escrow key.

Read from the keys folder once each; a file that is missing or damaged is named. A subject key is made here, used once to seal
and then forgotten: only its box for the escrow key stays. Private escrow keys are never here.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb_contracts.events.values import WrappedKey
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, seal_to, verify_certificate
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.sealed import SealedValue, fresh_nonce, fresh_subject_key, from_base64url, seal, to_base64url
from zb_contracts.subjects import checked_id

OFFICE_PREFIX: Final = "office-"


class KeysUnusable(Exception):
    """The keys folder lacks a file or has a damaged one; the message names it."""


@dataclass(frozen=True, slots=True)
class Escrow:
    """The public key that every subject key is wrapped to."""

    kid: str
    public: bytes


class Keyring:
    """The keys of one folder. `now_ms` is real time: certificates are never checked against a story's clock."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        self.offices = _offices(folder / "authors")
        self.escrow = _escrow(folder, now_ms)

    def office(self, agency: str) -> SigningKey:
        """The event key of that agency's office. Problem INPUT_NOT_FOUND where there is none."""
        if agency not in self.offices:
            raise Problem(INPUT_NOT_FOUND, what="office of the agency", id=agency)
        return self.offices[agency]


@dataclass(frozen=True, slots=True)
class SealedSubject:
    """Personal values of one data subject in one event, with the key that opens them in a box for escrow."""

    values: dict[str, SealedValue]
    key: WrappedKey


def author_of(agency: str) -> str:
    """The author's name of an agency's office."""
    return checked_id(OFFICE_PREFIX + agency)


def seal_for_event(escrow: Escrow, kid: str, event_id: str, values: dict[str, str]) -> SealedSubject:
    """Seal personal values with a fresh key named `kid`; the key itself is forgotten on return."""
    key = fresh_subject_key()
    sealed = {name: seal(key, kid, event_id, name, value, fresh_nonce()) for name, value in values.items()}
    wrapped = to_base64url(seal_to(escrow.public, key))
    return SealedSubject(sealed, WrappedKey(kid=kid, recipient_kid=escrow.kid, wrapped=wrapped))


def fingerprint(office: SigningKey, subject: str, field: str, value: str) -> str:
    """A keyed hash by which the office knows the same value again; useless to who lacks the office's key."""
    secret = hmac.digest(office.seed, b"zone blanche personal fingerprint v1", "sha256")
    return hmac.new(secret, "\n".join((subject, field, value)).encode(), hashlib.sha256).hexdigest()


def _offices(folder: Path) -> dict[str, SigningKey]:
    found = {}
    for path in sorted(folder.glob(f"{OFFICE_PREFIX}*.seed")):
        try:
            found[path.stem.removeprefix(OFFICE_PREFIX)] = SigningKey.from_seed(bytes.fromhex(path.read_text().strip()))
        except (ValueError, OSError) as fault:
            raise KeysUnusable(f"{path} is no seed of 32 bytes in hex: restore it from a backup") from fault
    if not found:
        raise KeysUnusable(f"{folder} has no {OFFICE_PREFIX}<agency>.seed: give the folder that holds the office's key")
    return found


def _escrow(folder: Path, now_ms: int) -> Escrow:
    path = folder / "escrow.pub.json"
    try:
        root = bytes.fromhex((folder / "root.pub").read_text().strip())
        certificate = _certificate(json.loads(path.read_text()))
        public = verify_certificate(root, certificate, purpose=KeyPurpose.ESCROW, at_ms=now_ms)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        said = fault.code if isinstance(fault, CryptoFault) else type(fault).__name__
        raise KeysUnusable(f"{path} is no escrow certificate of the root in root.pub ({said}: {fault})") from fault
    return Escrow(certificate.kid, public)


def _certificate(text: dict[str, Any]) -> KeyCertificate:
    return KeyCertificate(
        kid=text["kid"],
        public=from_base64url(text["public"]),
        purpose=KeyPurpose(text["purpose"]),
        not_before_ms=text["not_before_ms"],
        not_after_ms=text["not_after_ms"],
        signature=from_base64url(text["signature"]),
    )
