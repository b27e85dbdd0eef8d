"""A backup put back into an empty place, and proven: every file, every row, the ledger's roots, the hash over all states.

It refuses a place that holds anything, works beside it, and renames at the end. It starts no service: scheduling destroys again,
before it serves, what its deletion ledger names, so the newest copy of that is put in its place (`deletions`). Whether the
platform went on after the backup only a person can know: the restored folder does not start before somebody has said so.
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
DELETIONS: Final = Path("scheduling") / "deletions.jsonl"
"""The deletion ledger: what was erased, by key, without a personal value."""
PROGRESS_EVERY: Final = 1_000


def restore(place: Path, home: Path, say: Say = SAY, *, deletions: Path | None = None) -> Manifest:
    """Put the backup `place` back as the data folder `home`, which is absent or empty, and prove it.

    `deletions`: a newer copy of the deletion ledger than the backup's, so that what was erased since is erased again.

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
        if deletions is not None:
            _newer_deletions(deletions, draft / DELETIONS)
        _pictures_erased(draft)
        with Postgres(draft / "postgres") as postgres:
            _databases_back(place, postgres, found, say)
            prove(draft, postgres, found, say)
        write_secret(restored_file(draft), json.dumps({"from": str(place), "made_at": found.made_at}).encode())
        if home.exists():
            home.rmdir()
        draft.rename(home)
    except BaseException:
        shutil.rmtree(draft)
        raise
    return found


def restore_databases(place: Path, home: Path, say: Say = SAY) -> Manifest:
    """Put the backup's databases back under a platform whose own are lost: `home` has all the rest, and no `postgres`.

    Its published checkpoints stay, so the ledger knows what it lost; so does its deletion ledger. BackupError, PostgresError
    or StackError: no database is there then, as before.
    """
    found = manifest.read_manifest(place)
    target = home / "postgres"
    if target.exists():
        raise BackupError(f"{target} exists: move it away, its databases are replaced")
    if not (home / "keys").is_dir():
        raise BackupError(f"there is no platform in {home}: restore the whole backup into an empty place")
    for _ in manifest.check(place, found):
        pass
    try:
        with Postgres(target) as postgres:
            _databases_back(place, postgres, found, say)
            prove(home, postgres, found, say)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
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


def _newer_deletions(newer: Path, file: Path) -> None:
    """Puts the newer deletion ledger in the place of the backup's, which it must continue: nothing is ever taken out of it."""
    text, before = newer.read_bytes(), file.read_bytes() if file.exists() else b""
    if not text.startswith(before):
        raise BackupError(f"{newer} does not continue the deletion ledger of the backup: it is another one, or was changed")
    write_secret(file, text)


def _pictures_erased(draft: Path) -> None:
    """Tells media what the deletion ledger knows of pictures: the backup's evidence may be older than their erasure."""
    file = draft / backup.ERASURES
    before = file.read_text() if file.exists() else ""
    known = {json.loads(line)["sha256"] for line in before.splitlines()}
    lines = (draft / DELETIONS).read_text().splitlines() if (draft / DELETIONS).exists() else []
    told = {sha256: entry["at_ms"] for entry in map(json.loads, lines) for sha256 in entry.get("pictures", ())}
    more = "".join(json.dumps({"sha256": sha256, "at_ms": at_ms}) + "\n" for sha256, at_ms in told.items() if sha256 not in known)
    if more:
        private_folder(file.parent)
        write_secret(file, (before + more).encode())


def _databases_back(place: Path, postgres: Postgres, found: Manifest, say: Say) -> None:
    for name in found.databases:
        dumps.load(postgres, name, place / backup.DUMPS / f"{name}.dump")
        say(f"database {name} is loaded")
