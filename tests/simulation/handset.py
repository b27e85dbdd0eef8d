"""One device: the real zb_device parts over a folder on a memory disk, its clocks, its network, and what can happen to it.

The process can die at any write and come back; the folder can be torn, copied away, put back years later, or be gone. A person's
confirmation is noted only when recording returned. What a technician does with it is `technician`'s matter.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.simulation.disk import Disk, copied
from tests.simulation.keys import CERTIFICATES, ROOT, key_of, wrap_key_of
from tests.simulation.network import Line
from tests.simulation.world import Killed, Task, World
from zb_contracts.envelope import ParsedEvent, parse_event
from zb_contracts.problems import Problem
from zb_device.clock import Clock
from zb_device.database import transaction
from zb_device.faults import Refused, StoreRestored, Unreachable
from zb_device.folder import DATABASE_FILE, Folder, Parts
from zb_device.keys import DeviceKeys
from zb_device.log import ReaderBox
from zb_device.media import Prepared
from zb_device.outbox import OpenReader
from zb_device.reading import ReadModel, database_path
from zb_device.recording import Draft
from zb_device.settings import Pinned, Session, Settings, SignedIn

FOR_EVER_MS: Final = 2**50
CLOCK_ERRORS_MS: Final = (0, 0, 0, 3_600_000, -3_600_000, 31_536_000_000, -31_536_000_000)


@dataclass(slots=True)
class Confirmed:
    """What a screen has confirmed, and in which folder it lies."""

    author: str
    seq: int
    id: str
    header_hash: bytes
    folder: Path


@dataclass(slots=True)
class Clocks:
    """A device's clocks against true time. A reboot begins the elapsed time anew, under another boot id."""

    wall_error_ms: int = 0
    boots: int = 1
    booted_ms: int = 0


@dataclass(slots=True)
class Handset:
    """A device in a technician's hand. `incarnation` counts from 1. `lost` is called when a folder is destroyed, `moved` when
    its content lies in another one now."""

    world: World
    home: Path
    device: str
    technician: str
    line: Line
    shard: int
    origin: str
    confirmed: Callable[[Confirmed], None]
    lost: Callable[[Path], None]
    moved: Callable[[Path, Path], None]
    reenrol: Callable[["Handset"], None]
    heard: Callable[["Handset"], None] = lambda _: None
    """Called after each sync that ended well."""
    incarnation: int = 1
    is_locked: bool = False
    has_session: bool = True
    clocks: Clocks = field(default_factory=Clocks)
    backups: list[Path] = field(default_factory=list)
    attic: list[Path] = field(default_factory=list)
    copies: int = 0
    path: Path = field(default=Path(), init=False)
    parts: Parts = field(init=False)
    reading: ReadModel = field(init=False)
    disks: list[Disk] = field(default_factory=list, init=False)
    own: dict[str, list[ParsedEvent]] = field(default_factory=dict, init=False)
    _folder: Folder = field(init=False)
    _task: Task | None = field(default=None, init=False)

    @property
    def author(self) -> str:
        return f"{self.device}-i{self.incarnation}"

    # --- Its life ---

    def begin(self) -> None:
        """A fresh folder, as enrolment leaves it."""
        self.path = copied(_enrolled(self), self._place("life"))
        self.switch_on()

    def switch_on(self) -> None:
        """The process starts on the folder."""
        clock = Clock(
            wall_ms=lambda: self.world.now_ms + self.clocks.wall_error_ms,
            elapsed_ms=lambda: self.world.now_ms - self.clocks.booted_ms,
            real_ms=self.world.clock,
            boot=f"boot-{self.device}-{self.clocks.boots}",
        )
        self._folder = Folder.open(self.path)
        log = Disk(self._folder.connection, self.path / DATABASE_FILE, self._fate)
        self._folder.connection = log
        self.parts = Parts.of(self._folder, clock)
        self.reading = ReadModel(self.path, self.technician, _read_key(self.technician))
        # The read model opens its file by itself; its connection is replaced by one that may die as well.
        pages = Disk(self.reading._db, database_path(self.path, self.technician), self._fate)
        self.reading._db = pages
        self.disks = [log, pages]
        self.own = {}
        self.remember(parse_event(signed) for signed in self.parts.log.opened(wrap_key_of(self.technician), self.technician))

    def switch_off(self) -> None:
        """The process ends, however it was going."""
        if self._task is not None:
            self._task.kill()
            self._task = None
        self.reading.close()
        self._folder.close()

    def die(self, where: float) -> None:
        """The process was killed at a write: what is on disk is what it finds when it comes back."""
        self.world.note(self.device, "died")
        after = copied(self.path, self._place("life"))
        for disk in self.disks:
            disk.tear(after, where)
        self._moves_to(after)
        self.switch_on()

    def reboot(self) -> None:
        self.world.note(self.device, "reboots")
        after = copied(self.path, self._place("life"))
        self._moves_to(after)
        self.clocks.boots += 1
        self.clocks.booted_ms = self.world.now_ms
        self.switch_on()

    def back_up(self) -> None:
        """Somebody keeps a copy of the folder as it is now."""
        self.backups.append(copied(self.path, self._place("backup")))

    def restore(self) -> None:
        """The folder is gone, and an old copy of it takes its place."""
        self.world.note(self.device, "restored from a backup")
        before, copy = self.path, copied(self.world.dice.choice(self.backups), self._place("life"))
        self.switch_off()
        self.lost(before)
        self.path = copy
        self.switch_on()

    def destroy(self) -> None:
        """The device is gone, and with it what it had not sent; a new one is enrolled in its place."""
        self.world.note(self.device, "destroyed")
        self.switch_off()
        self.lost(self.path)
        self._renewed()

    def retire_folder(self) -> None:
        """The ledger knows more of this device than the folder does: it goes on as a new incarnation, the folder is kept."""
        self.world.note(self.device, "goes on as a new incarnation")
        self.switch_off()
        self.attic.append(self.path)
        self._renewed()

    def _renewed(self) -> None:
        self.incarnation += 1
        self.backups.clear()
        self.has_session = True
        self.reenrol(self)
        self.begin()

    # --- What it does ---

    def record(self, drafts: Sequence[Draft], attachment: Prepared | None = None) -> list[ParsedEvent]:
        """As `Device.record_all`; notes what the screen confirmed. Killed when the process dies in it."""
        also = (lambda: self.parts.media.enqueue(attachment, self.world.now_ms)) if attachment else None
        events = self.parts.recorder.record(drafts, actor=self.technician, reader=self.reader_box(), known=self._known, also=also)
        self.remember(events)
        for event in events:
            header = event.header
            self.world.note(self.device, "recorded", header.seq, header.type, header.stream, header.id)
            self.confirmed(Confirmed(header.author, header.seq, header.id, event.header_hash, self.path))
        return events

    def reader_box(self) -> ReaderBox:
        """To whom events and files are sealed beside escrow."""
        return ReaderBox(self.technician, wrap_key_of(self.technician).public)

    def start_sync(self) -> None:
        """A round with the platform, unless one is under way."""
        if self._task is None or self._task.ended:
            self._task = self.world.start(self._sync())

    @property
    def is_syncing(self) -> bool:
        return self._task is not None and not self._task.ended

    def remember(self, events: Iterable[ParsedEvent]) -> None:
        for event in events:
            self.own.setdefault(event.header.stream, []).append(event)

    async def _sync(self) -> None:
        reader = None if self.is_locked else OpenReader(self.technician, wrap_key_of(self.technician))
        try:
            report = await self.parts.syncer.sync(self.line, None if self.is_locked else self.reading, reader)
        except (Unreachable, Refused, Problem) as fault:
            self.world.note(self.device, "sync:", getattr(fault, "code", type(fault).__name__))
        except StoreRestored:
            self.world.after(1, self.retire_folder)
        except Killed:
            where = self.world.dice.random()
            self.world.after(1, lambda: self.die(where))
        else:
            self.world.note(self.device, "synced", report.sent, report.receipts, report.documents, report.mark)
            self.heard(self)
            if report.commands:
                self.is_locked = True

    def session_technician(self) -> str | None:
        return self.technician if self.has_session else None

    def use_session(self, person: bool) -> None:
        """The session of the technician, or one of a drain."""
        self.has_session = person
        with transaction(self.parts.syncer.connection):
            self.parts.settings.put(_session(self.device, self.technician if person else None))

    def _known(self, stream: str) -> dict[str, int]:
        document = None if self.is_locked else self.reading.document(stream)
        return document.vector if document else {}

    def _fate(self, at: str) -> str | None:
        faults = self.world.faults
        if at == "write":
            return "before" if faults.bites("device killed between") else None
        if faults.bites("device killed at a write"):
            return self.world.dice.choice(("before", "after"))
        return "torn" if faults.bites("device's last write torn") else None

    def _place(self, what: str) -> Path:
        self.copies += 1
        return self.home / f"{self.device}-{self.copies}-{what}"

    def _moves_to(self, after: Path) -> None:
        """The same device on a copy of its folder."""
        before = self.path
        self.switch_off()
        self.path = after
        shutil.rmtree(before)
        self.moved(before, after)


_templates: dict[tuple[Path, str, int, str], Path] = {}


def _enrolled(handset: Handset) -> Path:
    """A folder as enrolment leaves it; made once a process for each incarnation, and copied from then on."""
    root = handset.home.parent / "enrolled"
    key = (root, handset.device, handset.incarnation, handset.origin)
    if key not in _templates:
        place = root / f"{handset.author}-{len(_templates)}"
        folder = Folder.open(place, create=True)
        settings = Settings(folder.connection)
        keys = DeviceKeys(key_of(f"login {handset.author}"), key_of(handset.author), wrap_key_of(handset.author))
        with transaction(folder.connection):
            settings.put(keys.stored())
            settings.put(_pinned(handset))
            settings.put(_session(handset.device, handset.technician))
            settings.put(SignedIn(technician=handset.technician))
        ReadModel(place, handset.technician, _read_key(handset.technician)).close()
        folder.close()
        (place / "media").mkdir(exist_ok=True)
        _templates[key] = place
    return _templates[key]


def _pinned(handset: Handset) -> Pinned:
    return Pinned(
        device=handset.device,
        author=handset.author,
        agency="main",
        shard=handset.shard,
        shards=1,
        log_origin=handset.origin,
        root_key=ROOT.public,
        certificates=CERTIFICATES,
        ingest_url="",
        nats_url="",
        media_url="",
    )


def _session(device: str, technician: str | None) -> Session:
    return Session(token="", token_id=f"token-{device}", technician=technician, expires_ms=FOR_EVER_MS)


def _read_key(technician: str) -> bytes:
    return wrap_key_of(f"read model of {technician}").private
