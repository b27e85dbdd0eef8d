"""A backup put back into an empty place, and proven: every file, every row, the ledger's roots, the hash over all states.

It refuses a place that holds anything, works beside it, and renames at the end. What was erased after the backup was made is
erased again before anybody can read it (`forget_again`). Whether the platform went on after the backup only a person can know:
the restored folder does not start before somebody has said so (`zb heal`).
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from zb import backup, dumps, manifest, offline
from zb.keys import private_folder, write_secret
from zb.manifest import BackupError, Manifest
from zb.postgres import Postgres
from zb.stack import DATA_VERSION, INGEST, PARTS, SAY, restored_file

Say = Callable[[str], None]
AfterLoad = Callable[[Path, Postgres, Say], None]
PROGRESS_EVERY: Final = 1_000


def nothing_to_forget(home: Path, postgres: Postgres, say: Say) -> None:
    """The platform of this version keeps no list of what was erased."""


FORGET_AGAIN: Final[AfterLoad] = nothing_to_forget
"""What erases again, in the restored databases, what was erased after the backup was made."""


def restore(place: Path, home: Path, say: Say = SAY, *, forget_again: AfterLoad = FORGET_AGAIN) -> Manifest:
    """Put the backup `place` back as the data folder `home`, which is absent or empty, and prove it.

    BackupError, PostgresError or StackError: `home` is then as it was before. Nothing is started.
    """
    found = manifest.read_manifest(place)
    if found.data_version > DATA_VERSION:
        raise BackupError(
            f"{place} is of data version {found.data_version}, this program knows {DATA_VERSION}: update the program"
        )
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: a backup is restored into an empty place")
    for number, _ in enumerate(manifest.check(place, found), start=1):
        if number % PROGRESS_EVERY == 0 or number == len(found.files):
            say(f"{number} of {len(found.files)} files are as the manifest says")
    draft = private_folder(home.parent / f".{home.name}.restoring.{os.getpid()}")
    try:
        _files_back(place, draft, found)
        with Postgres(draft / "postgres") as postgres:
            _databases_back(place, postgres, found, say)
            prove(draft, postgres, found, say)
            forget_again(draft, postgres, say)
        write_secret(restored_file(draft), json.dumps({"from": str(place), "made_at": found.made_at}).encode())
        if home.exists():
            home.rmdir()
        draft.rename(home)
    except BaseException:
        shutil.rmtree(draft)
        raise
    return found


def prove(home: Path, postgres: Postgres, expected: Manifest, say: Say = SAY) -> None:
    """Returns when the databases are those of the manifest. BackupError says what differs.

    Every row of the ledger is read again: signatures, chains, tiles and roots.
    """
    heads = asyncio.run(_heads(postgres))
    if heads != expected.shards:
        raise BackupError(f"the restored ledger is not that of the manifest: {_told(heads)} and not {_told(expected.shards)}")
    offline.run(home, postgres, "audit", "verify")
    say(f"the ledger is whole: {_told(heads)}")
    found = backup.state_hash(home, postgres)
    if found != (expected.streams, expected.state_hash):
        raise BackupError(f"the restored states are not those of the manifest: {found[0]} with hash {found[1]}")
    say(f"{found[0]} states, hash {found[1]}, as in the manifest")


async def _heads(postgres: Postgres) -> tuple[manifest.ShardHead, ...]:
    async with dumps.snapshot(postgres, PARTS[INGEST].database) as at:
        return await backup.shard_heads(at)


def _told(heads: tuple[manifest.ShardHead, ...]) -> str:
    return ", ".join(f"shard {head.shard}: {head.size} rows, root {head.root[:16]}" for head in heads)


def _files_back(place: Path, draft: Path, found: Manifest) -> None:
    for file in found.files:
        if not file.path.startswith(f"{backup.DUMPS}/"):
            target = draft / file.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(place / file.path, target)
            target.chmod(0o600)


def _databases_back(place: Path, postgres: Postgres, found: Manifest, say: Say) -> None:
    for name in found.databases:
        dumps.load(postgres, name, place / backup.DUMPS / f"{name}.dump")
        say(f"database {name} is loaded")
