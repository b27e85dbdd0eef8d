"""The deletion ledger as a file beside the databases: what was destroyed stays destroyed after any restore.

A line a key, durable before the key is destroyed. It holds ids, hashes of pictures, a cause and a time, no personal value and no
key. The copy in the database only grows, too; playing the file into a database is `vault`'s matter.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

from zb_chassis.journal import Journal

FILE_NAME: Final = "deletions.jsonl"
Cause = Literal["request", "expired"]


class Deletion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key that is destroyed, and the pictures (SHA-256) that go with it."""

    kid: str
    subject: str
    cause: Cause
    at_ms: int
    pictures: tuple[str, ...] = ()


def deletions(folder: Path) -> Journal[Deletion]:
    """The journal in the service's data folder."""
    return Journal(folder / FILE_NAME, Deletion)
