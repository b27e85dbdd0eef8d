"""A backup of a running platform: every database in one snapshot, keys, people, evidence files, published checkpoints.

Nothing is paused. The ledger's snapshot is taken first, so that whoever signs for it never stands behind it. The folder is
written beside its place and renamed once its manifest is complete. The broker's store is no part of it: it is transport, and
what it held comes again (docs/backup-and-heal.md). Putting a backup back is `restore`'s matter.
"""

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb import dumps, manifest, offline
from zb.dumps import Snapshot
from zb.keys import private_folder, write_secret
from zb.manifest import BackedUp, BackupError, Manifest, ShardHead
from zb.postgres import Postgres
from zb.stack import DATA_VERSION, INGEST, PARTS, SAY
from zb_contracts.times import format_time_ms

WHOLE: Final = ("VERSION", "SHARDS", "depots.json", "keys", "broker-keys", "issuer", INGEST, "scheduling", "billing-bridge")
"""What is copied as it lies. What the services are handed out is made again from it at each start."""
PASSING: Final = re.compile(r"\..*|.*\.(lock|draft|new|part)")
"""Names of files that are being written, or say that somebody writes."""
EVIDENCE: Final = Path("media") / "files"
ERASURES: Final = Path("media") / "erasures.jsonl"
"""Hashes of the files that were erased: what media plays before it serves."""
DUMPS: Final = Path("databases")
HALF_DONE: Final = ("replay",)
"""Schemas of work that was not finished, and begins anew where it is missing."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Seen:
    """What the snapshots showed."""

    shards: tuple[ShardHead, ...] = ()
    streams: int = 0
    state_hash: str = ""
    evidence: tuple[tuple[str, int], ...] = ()


def back_up(home: Path, place: Path, say: Say = SAY) -> Manifest:
    """Back up the platform of the data folder `home` into the new folder `place`. BackupError, PostgresError.

    `place` must not exist. It holds secrets (0700): who may read it can sign as this platform.
    """
    if place.exists():
        raise BackupError(f"{place} exists: a backup is a new folder")
    draft = private_folder(place.with_name(f".{place.name}.{os.getpid()}"))
    try:
        with _server(home) as postgres:
            made = _written(home, draft, postgres, say)
        write_secret(draft / manifest.NAME, made.to_json())
        draft.rename(place)
    except BaseException:
        shutil.rmtree(draft)
        raise
    _sync_folder(place.parent)
    return made


def _written(home: Path, draft: Path, postgres: Postgres, say: Say) -> Manifest:
    made_at = format_time_ms(time.time_ns() // 1_000_000)
    # Before the ledger's snapshot: a published checkpoint must never be ahead of the ledger beside it.
    for name in WHOLE:
        _copy(home / name, draft / name)
    private_folder(draft / ERASURES.parent)
    _copy(home / ERASURES, draft / ERASURES)
    say("keys, people and the services' own files are copied")
    names = ledger_first(asyncio.run(dumps.databases(postgres)))
    private_folder(draft / DUMPS)
    seen = _Seen()
    for name in names:
        started = time.monotonic()
        asyncio.run(_dump(home, postgres, name, draft / DUMPS / f"{name}.dump", seen))
        size = (draft / DUMPS / f"{name}.dump").stat().st_size
        say(f"database {name}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")
    missing = tuple(_copy_evidence(home / EVIDENCE, draft / EVIDENCE, seen, say))
    files = tuple(_described(draft))
    say(f"{len(files)} files, {sum(file.bytes for file in files) / 1e6:.1f} MB")
    return Manifest(made_at, DATA_VERSION, tuple(names), seen.shards, seen.streams, seen.state_hash, files, missing)


def ledger_first(names: list[str]) -> list[str]:
    """The order of the snapshots. BackupError where the platform's databases are not all there."""
    lacking = {part.database for part in PARTS.values()} - set(names)
    if lacking:
        raise BackupError(f"there is no database {', '.join(sorted(lacking))}: the platform was never started on this folder")
    ledger = PARTS[INGEST].database
    return [ledger, *(name for name in names if name != ledger)]


async def _dump(home: Path, postgres: Postgres, name: str, file: Path, seen: _Seen) -> None:
    async with dumps.snapshot(postgres, name) as at:
        if name == PARTS[INGEST].database:
            seen.shards = await shard_heads(at)
            seen.streams, seen.state_hash = await asyncio.to_thread(state_hash, home, postgres, at.name)
        if name == PARTS["media"].database:
            there = "SELECT sha256, length_bytes FROM media.file WHERE erased_at_ms IS NULL ORDER BY sha256"
            rows = await at.connection.fetch(there)
            seen.evidence = tuple((row["sha256"], row["length_bytes"]) for row in rows)
        await asyncio.to_thread(dumps.dump, postgres, at, file, without=HALF_DONE)


async def shard_heads(at: Snapshot) -> tuple[ShardHead, ...]:
    """How far each shard of the ledger is in the snapshot."""
    rows = await at.connection.fetch("SELECT shard, origin, size, root FROM shards ORDER BY shard")
    return tuple(ShardHead(row["shard"], row["origin"], row["size"], row["root"].hex()) for row in rows)


def state_hash(home: Path, postgres: Postgres, snapshot: str | None = None) -> tuple[int, str]:
    """Number of states and the hash over them, by field-ingest's own command; of that snapshot, or as it is now."""
    options = ("--snapshot", snapshot) if snapshot else ()
    said = offline.run(home, postgres, "audit", "state-hash", *options)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found["streams"], found["state_hash"]


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.write_bytes(source.read_bytes())
        target.chmod(0o600)
    elif source.is_dir():
        private_folder(target)
        for entry in sorted(source.iterdir()):
            if not PASSING.fullmatch(entry.name):
                _copy(entry, target / entry.name)


def _copy_evidence(source: Path, target: Path, seen: _Seen, say: Say) -> Iterator[str]:
    """Copies what the snapshot names; yields what the disk has not, or not whole."""
    for number, (sha256, length_bytes) in enumerate(seen.evidence, start=1):
        place = Path(sha256[:2]) / sha256[2:4] / sha256
        copy = target / place
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / place, copy)
        except FileNotFoundError:
            yield sha256
            continue
        copy.chmod(0o600)
        if copy.stat().st_size != length_bytes or manifest.sha256_of(copy) != sha256:
            copy.unlink()
            yield sha256
        if number % 1_000 == 0:
            say(f"{number} of {len(seen.evidence)} evidence files")


def _described(draft: Path) -> Iterator[BackedUp]:
    for path in sorted(draft.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            yield manifest.described(draft, path)


@contextmanager
def _server(home: Path) -> Iterator[Postgres]:
    """The folder's PostgreSQL: the running one, or one for as long as the backup takes."""
    if not (home / "postgres").is_dir():
        raise BackupError(f"there is no platform in {home}")
    postgres = Postgres(home / "postgres")
    runs = postgres.is_running()
    postgres.start()
    try:
        yield postgres
    finally:
        if not runs:
            postgres.stop()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
