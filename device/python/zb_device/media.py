"""Photos and signatures on the device: encrypted chunk files, durable before the event that names them, and their queue.

The file key is sealed to escrow and to the technician's reader key, like an event. Bytes go when the server says that it holds
them, verified, and not before. Uploading is `uploads`' matter.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from zb_contracts.events.values import File
from zb_contracts.faults import CryptoFault, SealBroken
from zb_contracts.handover import CHUNK_BYTES, NONCE_BYTES, opened_chunk, sealed_pieces
from zb_contracts.keys import WrapKey, open_sealed, seal_to
from zb_device.bound_secret import sync_folder
from zb_device.database import Connection, transaction
from zb_device.faults import DiskFailing, DiskFull, FileInvalid, StoreDamaged
from zb_device.log import ReaderBox

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
FOLDER: Final = "media"


class MediaState(StrEnum):
    """`failed`: the server refused it for good; it stays visible with the reason, and so do the bytes."""

    QUEUED = "queued"
    UPLOADING = "uploading"
    STORED = "stored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file whose chunks are on disk, not yet named by an event."""

    file: File
    chunks: int
    for_escrow: bytes
    for_reader: bytes | None
    reader: str | None


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One file of the queue."""

    sha256: str
    length_bytes: int
    mime: str
    chunks: int
    reader: str | None
    for_reader: bytes | None
    state: MediaState
    upload_url: str | None
    tries: int
    code: str | None
    message: str | None
    attached_ms: int


_COLUMNS: Final = "sha256, length_bytes, mime, chunks, reader, for_reader, state, upload_url, tries, code, message, attached_ms"


class MediaStore:
    """The table `media` and the folder of chunks."""

    def __init__(self, connection: Connection, folder: Path, escrow_public: bytes) -> None:
        self._db = connection
        self._folder = folder / FOLDER
        self._escrow = escrow_public
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def prepare(self, data: bytes, file: File, reader: ReaderBox | None) -> Prepared:
        """Encrypt and write the chunks, durable before this returns. Touches no database: it may run in a thread.

        `file` is how `described` names the bytes. Only for one that is not `known`: another key would make the bytes that wait
        unreadable. DiskFull or DiskFailing, with nothing of it left on the disk.
        """
        key = AESGCM.generate_key(256)
        chunks = -(-len(data) // CHUNK_BYTES)
        try:
            for number in range(chunks):
                part = memoryview(data)[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
                self._write(file.sha256, number, sealed_pieces(key, os.urandom(NONCE_BYTES), file.sha256, number, part))
            sync_folder(self._folder)
        except OSError as fault:
            self._remove(file.sha256)
            if fault.errno == errno.ENOSPC:
                raise DiskFull("the disk is full: the file was not attached; free some space and try again") from fault
            raise DiskFailing(f"the file was not attached: {fault.strerror}") from fault
        for_reader = seal_to(reader.public, key) if reader else None
        return Prepared(file, chunks, seal_to(self._escrow, key), for_reader, reader.technician if reader else None)

    def known(self, file: File) -> Prepared | None:
        """A file that was attached before: the same bytes travel once. One that failed may be attached anew."""
        found = self._db.execute(
            "select chunks, for_escrow, for_reader, reader from media where sha256 = ? and state <> 'failed'", (file.sha256,)
        ).fetchone()
        return Prepared(file, *found) if found else None

    def enqueue(self, prepared: Prepared, attached_ms: int) -> None:
        """Inside the transaction of the event that names the file. One that is `known` stays as it is."""
        if self.known(prepared.file):
            return
        self._db.execute(
            "insert or replace into media"
            " (sha256, length_bytes, mime, chunks, reader, for_escrow, for_reader, state, attached_ms)"
            " values (?, ?, ?, ?, ?, ?, ?, 'queued', ?)",
            (
                prepared.file.sha256,
                prepared.file.length_bytes,
                prepared.file.mime,
                prepared.chunks,
                prepared.reader,
                prepared.for_escrow,
                prepared.for_reader,
                attached_ms,
            ),
        )

    def discard(self, file: File) -> None:
        """No event came to name it: its chunks go, unless another event named the file before."""
        if self.item(file.sha256) is None:
            self._remove(file.sha256)

    def item(self, sha256: str) -> MediaItem | None:
        row = self._db.execute(f"select {_COLUMNS} from media where sha256 = ?", (sha256,)).fetchone()  # noqa: S608
        return _item(row) if row else None

    def waiting(self) -> list[MediaItem]:
        """What is to be uploaded, oldest first."""
        rows = self._db.execute(
            f"select {_COLUMNS} from media where state in ('queued', 'uploading') order by attached_ms, sha256"  # noqa: S608
        )
        return [_item(row) for row in rows]

    def items(self) -> list[MediaItem]:
        return [_item(row) for row in self._db.execute(f"select {_COLUMNS} from media order by attached_ms, sha256")]  # noqa: S608

    def read_chunk(self, item: MediaItem, reader: WrapKey, number: int) -> bytes:
        """One chunk of the file (CHUNK_BYTES, the last one shorter). StoreDamaged where it is missing or was changed."""
        if item.for_reader is None:
            raise StoreDamaged(f"no reader may open {item.sha256}")
        try:
            key = open_sealed(reader.private, item.for_reader)
        except CryptoFault as fault:
            raise StoreDamaged(f"the key of {item.sha256} does not open") from fault
        return self._chunk(key, item.sha256, number)

    def read(self, item: MediaItem, reader: WrapKey) -> bytes:
        """The whole file."""
        return b"".join(self.read_chunk(item, reader, number) for number in range(item.chunks))

    def escrow_box(self, sha256: str) -> bytes:
        """The file's key as only escrow opens it."""
        (box,) = self._db.execute("select for_escrow from media where sha256 = ?", (sha256,)).fetchone()
        return bytes(box)

    def sealed_chunk(self, sha256: str, number: int) -> bytes:
        """One chunk as it lies here, encrypted. StoreDamaged where it is missing, DiskFailing where it cannot be read."""
        try:
            return self._path(sha256, number).read_bytes()
        except FileNotFoundError as fault:
            raise StoreDamaged(f"chunk {number} of {sha256} is missing") from fault
        except OSError as fault:
            raise DiskFailing(f"chunk {number} of {sha256} cannot be read: {fault.strerror}") from fault

    # --- The upload's progress ---

    def begun(self, sha256: str, upload_url: str) -> None:
        with transaction(self._db) as db:
            db.execute("update media set state = 'uploading', upload_url = ? where sha256 = ?", (upload_url, sha256))

    def begin_again(self, sha256: str) -> None:
        """The server does not know the upload any more."""
        with transaction(self._db) as db:
            db.execute("update media set state = 'queued', upload_url = null where sha256 = ?", (sha256,))

    def put_off(self, sha256: str, code: str, message: str) -> None:
        """It waits for a reason that is not its own: that is no try."""
        with transaction(self._db) as db:
            db.execute("update media set code = ?, message = ? where sha256 = ?", (code, message[:500], sha256))

    def tried(self, sha256: str, code: str, message: str) -> None:
        """A try failed; another will follow."""
        with transaction(self._db) as db:
            db.execute(
                "update media set tries = tries + 1, code = ?, message = ? where sha256 = ?", (code, message[:500], sha256)
            )

    def failed(self, sha256: str, code: str, message: str) -> None:
        """No further try will help."""
        with transaction(self._db) as db:
            db.execute(
                "update media set state = 'failed', tries = tries + 1, code = ?, message = ? where sha256 = ?",
                (code, message[:500], sha256),
            )

    def try_again(self, sha256: str) -> bool:
        """A person wants a file that was refused for good to be sent all the same; whether there is one."""
        with transaction(self._db) as db:
            cursor = db.execute(
                "update media set state = 'queued', upload_url = null, tries = 0, code = null, message = null"
                " where sha256 = ? and state = 'failed'",
                (sha256,),
            )
        return bool(cursor.rowcount)

    def stored(self, sha256: str) -> None:
        """The server holds the bytes, verified: ours go."""
        with transaction(self._db) as db:
            db.execute(
                "update media set state = 'stored', code = null, message = null where sha256 = ?",
                (sha256,),
            )
        self._remove(sha256)

    def left(self) -> tuple[int, int]:
        """How many files the server does not hold, and their bytes."""
        count, size = self._db.execute(
            "select count(*), coalesce(sum(length_bytes), 0) from media where state <> 'stored'"
        ).fetchone()
        return int(count), int(size)

    def tidy(self) -> int:
        """After a crash: remove chunks that no event names, or whose file is stored. How many files went."""
        kept = {row[0] for row in self._db.execute("select sha256 from media where state <> 'stored'")}
        gone = [path for path in self._folder.iterdir() if path.name.partition(".")[0] not in kept]
        for path in gone:
            path.unlink()
        return len(gone)

    # --- Chunk files ---

    def _path(self, sha256: str, number: int) -> Path:
        return self._folder / f"{sha256}.{number}"

    def _write(self, sha256: str, number: int, pieces: Iterable[bytes]) -> None:
        temporary = self._path(sha256, number).with_suffix(f".{number}-new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for piece in pieces:
                file.write(piece)
                file.flush()
                # Piece by piece, because an event that is recorded meanwhile waits for disk and interpreter behind it.
                os.fdatasync(file.fileno())
        temporary.rename(self._path(sha256, number))

    def _chunk(self, key: bytes, sha256: str, number: int) -> bytes:
        try:
            return opened_chunk(key, sha256, number, self.sealed_chunk(sha256, number))
        except SealBroken as fault:
            raise StoreDamaged(f"chunk {number} of {sha256} was changed") from fault

    def _remove(self, sha256: str) -> None:
        for path in self._folder.glob(f"{sha256}.*"):
            path.unlink(missing_ok=True)


def described(data: bytes, mime: str) -> File:
    """How an event names these bytes. FileInvalid when they are none or too many, or the MIME type is none."""
    if not 1 <= len(data) <= FILE_BYTES_MAX:
        raise FileInvalid(f"the file has {len(data)} bytes, 1 to {FILE_BYTES_MAX} are possible")
    try:
        return File(sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data), mime=mime)
    except ValidationError as fault:
        raise FileInvalid(f"not a MIME type: {mime!r}") from fault


def _item(row: tuple[object, ...]) -> MediaItem:
    values = list(row)
    values[6] = MediaState(str(row[6]))
    return MediaItem(*values)  # type: ignore[arg-type]
