"""The keys that scheduling holds: its agencies' offices' event keys, and custody's: the master key, the key of deposits' boxes.

Read from the keys folder once each; a file that is missing or damaged is named. Of the ledger it knows public keys, as the root
certified them. Subject keys themselves are in custody; the escrow key, private or public, is never here.
"""

import hashlib
import hmac
import math
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from zb_contracts.enrolment import TrustedKey, certificate_of
from zb_contracts.keys import KEY_BYTES, KeyPurpose, SigningKey, WrapKey, verify_certificate
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.subjects import checked_id

OFFICE_PREFIX: Final = "office-"
MASTER_FILE: Final = "subjects-master.key"
CUSTODY_FILE: Final = "custody.key"
ROOT_FILE: Final = "root.pub"
LEDGER_FILE: Final = "ledger.pub.json"


class KeysUnusable(Exception):
    """The keys folder lacks a file or has a damaged one; the message names it."""


class Keyring:
    """The keys of one folder."""

    def __init__(self, folder: Path) -> None:
        self.offices = _offices(folder / "authors")
        self.subjects_master = _key(folder / MASTER_FILE)
        self.custody = WrapKey(_key(folder / CUSTODY_FILE))
        """Opens the boxes in which devices hand in keys that they made."""
        self._root = _key(folder / ROOT_FILE)
        self._ledger = folder / LEDGER_FILE

    def office(self, agency: str) -> SigningKey:
        """The event key of that agency's office. Problem INPUT_NOT_FOUND where there is none."""
        if agency not in self.offices:
            raise Problem(INPUT_NOT_FOUND, what="office of the agency", id=agency)
        return self.offices[agency]

    def ledger_keys(self, now_ms: int) -> dict[str, bytes]:
        """The ledger keys in force, by key id. Read anew each time: a rotation is no reason to stop. KeysUnusable."""
        try:
            trusted = TypeAdapter(tuple[TrustedKey, ...]).validate_json(self._ledger.read_bytes())
            certificates = [certificate_of(one) for one in trusted]
            for one in certificates:
                verify_certificate(self._root, one, purpose=KeyPurpose.LEDGER, at_ms=one.not_before_ms)
        except (OSError, ValueError) as fault:
            raise KeysUnusable(f"{self._ledger} does not name the ledger's keys: restore it from a backup") from fault
        return {one.kid: one.public for one in certificates if one.not_before_ms <= now_ms < (one.not_after_ms or math.inf)}


def author_of(agency: str) -> str:
    """The author's name of an agency's office."""
    return checked_id(OFFICE_PREFIX + agency)


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


def _key(path: Path) -> bytes:
    """32 bytes in hex. Without the master key, the database of subject keys and its backups open nothing."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (ValueError, OSError) as fault:
        raise KeysUnusable(f"{path} is no key of {KEY_BYTES} bytes in hex: restore it from a backup") from fault
    if len(key) != KEY_BYTES:
        raise KeysUnusable(f"{path} has {len(key)} bytes and not {KEY_BYTES}: restore it from a backup")
    return key
