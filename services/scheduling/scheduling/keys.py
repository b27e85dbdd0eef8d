"""The keys that scheduling holds: the event keys of its agencies' offices, and the master key of data subjects' keys.

Read from the keys folder once each; a file that is missing or damaged is named. Subject keys themselves are in custody; the
escrow key, private or public, is never here.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from zb_contracts.keys import SigningKey
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.sealed import SUBJECT_KEY_BYTES
from zb_contracts.subjects import checked_id

OFFICE_PREFIX: Final = "office-"
MASTER_FILE: Final = "subjects-master.key"


class KeysUnusable(Exception):
    """The keys folder lacks a file or has a damaged one; the message names it."""


class Keyring:
    """The keys of one folder."""

    def __init__(self, folder: Path) -> None:
        self.offices = _offices(folder / "authors")
        self.subjects_master = _master(folder / MASTER_FILE)

    def office(self, agency: str) -> SigningKey:
        """The event key of that agency's office. Problem INPUT_NOT_FOUND where there is none."""
        if agency not in self.offices:
            raise Problem(INPUT_NOT_FOUND, what="office of the agency", id=agency)
        return self.offices[agency]


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


def _master(path: Path) -> bytes:
    """The key under which subject keys are stored: without it their database and its backups open nothing."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (ValueError, OSError) as fault:
        raise KeysUnusable(f"{path} is no key of {SUBJECT_KEY_BYTES} bytes in hex: restore it from a backup") from fault
    if len(key) != SUBJECT_KEY_BYTES:
        raise KeysUnusable(f"{path} has {len(key)} bytes and not {SUBJECT_KEY_BYTES}: restore it from a backup")
    return key
