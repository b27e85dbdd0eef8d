"""How long backups may open what was erased since: the keys of data subjects go from them after some days, all else stays.

A backup without them restores as before; sealed values of that time open no more, and have to be imported again. It deletes no
backup: how long those are kept is their owner's decision.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from zb import manifest
from zb.backup import DUMPS
from zb.keys import write_secret
from zb.stack import SUBJECT_KEYS
from zb_contracts.times import parse_time_ms

SUBJECT_KEYS_KEPT_DAYS: Final = 30
DAY_MS: Final = 86_400_000
DUMP: Final = DUMPS / f"{SUBJECT_KEYS}.dump"


def prune(folder: Path, *, days: int = SUBJECT_KEYS_KEPT_DAYS, now_ms: int | None = None) -> list[Path]:
    """Take the keys of data subjects out of each backup in `folder` that is older than this; which ones these were.

    A backup that cannot be read is left, and named by a restore. A crash in between is finished by the next call.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    pruned = []
    for place, found in _backups(folder):
        if (place / DUMP).exists() and now_ms - parse_time_ms(found.made_at) > days * DAY_MS:
            _without_keys(place, found)
            pruned.append(place)
    return pruned


def _without_keys(place: Path, found: manifest.Manifest) -> None:
    """The table of contents first: what it does not name, no restore misses."""
    files = tuple(file for file in found.files if file.path != DUMP.as_posix())
    databases = tuple(name for name in found.databases if name != SUBJECT_KEYS)
    write_secret(place / manifest.NAME, replace(found, files=files, databases=databases).to_json())
    (place / DUMP).unlink()


def _backups(folder: Path) -> Iterator[tuple[Path, manifest.Manifest]]:
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            yield place, manifest.read_manifest(place)
        except manifest.BackupError:
            # Another folder, or a damaged backup: no dump is taken from what nobody can vouch for.
            continue
