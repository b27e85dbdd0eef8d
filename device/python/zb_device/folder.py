"""The device's folder: one process at a time, one secret, one database, and the parts that are opened from them.

It puts the parts together and closes them; what they do is theirs. `device` is the way in for everybody else.
"""

import fcntl
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from zb_device.about import AboutDevice
from zb_device.bound_secret import FILE_NAME as SECRET_FILE
from zb_device.bound_secret import BoundSecret, destroy, durably_written, sync_folder
from zb_device.catalogues import FILE_NAME as CATALOGUES_FILE
from zb_device.catalogues import Catalogues
from zb_device.clock import Clock
from zb_device.database import Connection, check_integrity, damaged_pages, open_database
from zb_device.deliveries import Deliveries
from zb_device.deposits import Deposits
from zb_device.ending import Ending
from zb_device.faults import DeviceBusy, NotEnrolled, Wiped
from zb_device.incarnations import Closed, Succession, closed_incarnations
from zb_device.keys import DeviceKeys, StoredKeys
from zb_device.log import Log
from zb_device.media import FOLDER as MEDIA_FOLDER
from zb_device.media import MediaStore
from zb_device.reading_right import ReadingRight
from zb_device.real_time import RealTime
from zb_device.recording import Recorder
from zb_device.sessions import Sessions
from zb_device.settings import Pinned, Settings
from zb_device.syncing import Syncer
from zb_device.vault import Vault

DATABASE_FILE: Final = "device.db"
LOCK_FILE: Final = "device.lock"
WIPED_FILE: Final = "device.wiped"
"""What stays of a wiped device: which one it was, and by which order."""


@dataclass(slots=True)
class Folder:
    """An open folder, enrolled or not. Exactly one process has it."""

    path: Path
    secret: BoundSecret
    connection: Connection
    catalogues: Catalogues
    _lock: int
    is_wiped: bool = False

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> "Folder":
        """DeviceBusy when another process has it, NotEnrolled when there is no device, Wiped when there was one, StoreDamaged
        when it cannot be read."""
        if not create and not any((path / name).exists() for name in (SECRET_FILE, DATABASE_FILE, WIPED_FILE)):
            raise NotEnrolled(f"there is no device in {path}: enrol one first")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _locked(path)
        try:
            if (path / WIPED_FILE).exists():
                _finish_wipe(path)
                if not create:
                    raise Wiped(f"the device in {path} was wiped by order ({(path / WIPED_FILE).read_text().strip()})")
                (path / WIPED_FILE).unlink()
            secret = BoundSecret.create(path) if create else BoundSecret.read(path)
            connection = open_database(path / DATABASE_FILE, secret.derive("device.db"), "device")
        except BaseException:
            os.close(lock)
            raise
        return cls(path, secret, connection, Catalogues(path, secret.derive(CATALOGUES_FILE)), lock)

    def damage(self) -> str | None:
        """What is wrong with the first damaged page of the log; None while it is whole. What is on the others is used."""
        return next(iter(damaged_pages(self.connection)), None)

    def check(self) -> None:
        """Read and authenticate every page of the log's database. StoreDamaged names the first that fails."""
        check_integrity(self.connection)

    def wipe(self, word: str) -> None:
        """Destroy everything but `word`. From its first step on it is finished at the next opening, if not now."""
        durably_written(self.path / WIPED_FILE, word.encode())
        self.is_wiped = True
        self.catalogues.close()
        self.connection.close()
        _finish_wipe(self.path)

    def close(self) -> None:
        """Let go of it; a second time changes nothing."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            self.catalogues.close()
            self.connection.close()
            os.close(lock)


def _finish_wipe(path: Path) -> None:
    """The secret first: without it, what cannot be removed, or lingers on the medium, is noise."""
    destroy(path)
    for left in [
        *path.glob(f"{DATABASE_FILE}*"),
        *path.glob(f"{CATALOGUES_FILE}*"),
        *path.glob("read-*.db*"),
        *path.glob(f"{MEDIA_FOLDER}/*"),
    ]:
        left.unlink(missing_ok=True)
    sync_folder(path)


def _locked(path: Path) -> int:
    handle = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # The kernel lets go when the process dies, however it dies.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(handle)
        raise DeviceBusy(f"another process has the device in {path} open") from fault
    return handle


@dataclass(frozen=True, slots=True)
class Parts:
    """An enrolled device's parts."""

    pinned: Pinned
    keys: DeviceKeys
    settings: Settings
    vault: Vault
    log: Log
    media: MediaStore
    deposits: Deposits
    deliveries: Deliveries
    recorder: Recorder
    syncer: Syncer
    sessions: Sessions
    real_time: RealTime
    reading_right: ReadingRight
    succession: Succession
    ending: Ending
    closed: tuple[Closed, ...]
    about: AboutDevice
    earlier: tuple[Syncer, ...]
    """The closed incarnations' side of the protocol, oldest first."""

    @classmethod
    def of(cls, folder: Folder, clock: Clock) -> "Parts":
        """NotEnrolled while the folder has no enrolment, or an unfinished one."""
        connection, settings = folder.connection, Settings(folder.connection)
        pinned, stored = settings.get(Pinned), settings.get(StoredKeys)
        if pinned is None or stored is None:
            raise NotEnrolled(f"the enrolment of the device in {folder.path} was not finished: enrol it again with its code")
        keys, escrow = DeviceKeys.from_stored(stored), pinned.escrow.public
        closed = closed_incarnations(connection)
        log = Log(connection, escrow, len(closed) + 1)
        real_time = RealTime(connection, settings, pinned, clock)
        clock = replace(clock, real_ms=real_time)
        recorder = Recorder(connection, log, settings, keys.event, pinned.author, clock)
        sessions = Sessions(connection, settings, pinned, keys, clock, real_time)
        vault, media = Vault(connection, settings, folder.secret), MediaStore(connection, folder.path, escrow)
        about, deliveries = AboutDevice(connection, settings, media, clock), Deliveries(connection)
        return cls(
            pinned=pinned,
            keys=keys,
            settings=settings,
            vault=vault,
            log=log,
            media=media,
            deposits=Deposits(connection, settings),
            deliveries=deliveries,
            recorder=recorder,
            syncer=Syncer(connection, log, settings, pinned, clock, recorder, folder.catalogues, deliveries, about=about),
            sessions=sessions,
            real_time=real_time,
            reading_right=ReadingRight(settings, pinned, keys, log, clock, real_time),
            succession=Succession(connection, settings, log, pinned, keys, sessions, clock),
            ending=Ending(connection, settings, folder.path, pinned, log, media, vault, recorder),
            closed=closed,
            about=about,
            earlier=tuple(
                Syncer(
                    connection,
                    Log(connection, escrow, one.number),
                    settings,
                    msgspec.structs.replace(pinned, author=one.author),
                    clock,
                    recorder,
                    folder.catalogues,
                    deliveries,
                    is_closed=True,
                )
                for one in closed
            ),
        )
