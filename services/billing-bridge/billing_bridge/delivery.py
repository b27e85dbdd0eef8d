"""Frozen batches into the folder where the ERP fetches them: `<out>/<profile>/`, and a marker that says "whole".

A file is written under a temporary name in the same folder, fsynced, and linked to its name without replacing; the marker
`.done` with the hashes (as `sha256sum -c` reads them) comes last, so nobody picks up half a batch. A file that is there with the
same bytes is success; with others it is BILLING_FILE_DIFFERS, an alarm, and nothing is touched. It makes no batch.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from billing_bridge import store
from billing_bridge.batches import file_stem
from billing_bridge.store import FileRow
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_contracts.problems import BILLING_FILE_DIFFERS, INPUT_NOT_FOUND, Problem

UNDELIVERED_PER_TURN_MAX: Final = 50
PAGE: Final = 200
MARKER_SUFFIX: Final = ".done"

T = TypeVar("T")
log: Final = structlog.get_logger(__name__)


class Delivery:
    """Puts frozen batches into a folder below `out_dir`, as often as asked, always the same bytes."""

    def __init__(self, pool: Pool, out_dir: Path, clock: Clock) -> None:
        self._pool = pool
        self._out_dir = out_dir
        self._clock = clock

    async def deliver(self, profile: str, batch: int) -> list[Path]:
        """The batch's files and marker, on the disk. Problems INPUT_NOT_FOUND, and BILLING_FILE_DIFFERS, which is noted
        with the batch until a delivery succeeds."""
        files = await store.find_files(self._pool, profile, batch)
        if not files:
            raise Problem(INPUT_NOT_FOUND, what=f"batch of {profile}", id=batch)
        marker = file_stem(profile, batch) + MARKER_SUFFIX
        paths = await self._noting(profile, batch, write_batch, self._out_dir / profile, files, marker)
        await store.save_delivery(self._pool, profile, batch, self._clock(), None)
        return paths

    async def attempt(self, profile: str, batch: int) -> bool:
        """Deliver; what stands in the way is noted with the batch, to be tried again later, and the answer is False."""
        try:
            await self.deliver(profile, batch)
        except Problem:
            return False
        except OSError as fault:
            log.error("a batch cannot be delivered", profile=profile, batch=batch, reason=str(fault))
            await store.save_delivery(self._pool, profile, batch, None, str(fault))
            return False
        return True

    async def deliver_waiting(self) -> int:
        """Deliver what a crash, a full disk or a wrong file left behind; returns how many are still undelivered."""
        waiting = await store.undelivered(self._pool, UNDELIVERED_PER_TURN_MAX)
        return [await self.attempt(profile, batch) for profile, batch in waiting].count(False)

    async def compare(self, profile: str) -> int:
        """Compare what lies in the folder with every batch of a profile; returns how many batches there are.

        Problem BILLING_FILE_DIFFERS, noted with the batch. A file that was fetched and removed is not put back: the ERP
        would take it a second time. `deliver` does that when a person asks for it.
        """
        count, after = 0, 0
        while numbers := await store.all_batches(self._pool, profile, after=after, limit=PAGE):
            for number in numbers:
                files = await store.find_files(self._pool, profile, number)
                await self._noting(profile, number, compare_batch, self._out_dir / profile, files)
            count, after = count + len(numbers), numbers[-1]
        return count

    async def _noting(self, profile: str, batch: int, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except Problem as problem:
            log.error("a delivered file differs from the frozen batch", profile=profile, batch=batch, reason=str(problem))
            await store.save_delivery(self._pool, profile, batch, None, str(problem))
            raise


def write_batch(folder: Path, files: Sequence[FileRow], marker: str) -> list[Path]:
    """All files, then the marker. Problem BILLING_FILE_DIFFERS leaves what is there as it is, and writes no marker."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_put(folder, file.name, file.content) for file in files]
    _sync(folder)
    sums = "".join(f"{file.sha256}  {file.name}\n" for file in files)
    paths.append(_put(folder, marker, sums.encode("ascii")))
    _sync(folder)
    return paths


def compare_batch(folder: Path, files: Sequence[FileRow]) -> None:
    """Problem BILLING_FILE_DIFFERS when one of the files is there with other bytes."""
    for file in files:
        if (folder / file.name).exists():
            _same(folder / file.name, file.content)


def _put(folder: Path, name: str, content: bytes) -> Path:
    final = folder / name
    if final.exists():
        return _same(final, content)
    temporary = folder / f".{name}.{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    return _same(final, content)


def _same(path: Path, content: bytes) -> Path:
    if path.read_bytes() != content:
        raise Problem(BILLING_FILE_DIFFERS, name=path.name)
    return path


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
