"""One device: the real zb_device parts over a folder on a memory disk, its clocks, its network, and what can happen to it.

The process can die at any write and come back; the folder can be torn, copied away, put back years later, or be gone. A person's
confirmation is noted only when recording returned. What a technician does with it is `technician`'s matter.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from tests.simulation.disk import Disk, copied
from tests.simulation.doorway import SESSION_MS, Doorway, device_token
from tests.simulation.keys import CERTIFICATES, LEDGER, ROOT, key_of, login_key_of, wrap_key_of
from tests.simulation.network import Line
from tests.simulation.world import MORNING_MS, SECOND_MS, Broken, Killed, Task, World
from zb_contracts.enrolment import vouch
from zb_contracts.envelope import ParsedEvent
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.problems import Problem
from zb_device.clock import Clock
from zb_device.database import Connection, transaction
from zb_device.faults import DeviceFault
from zb_device.folder import DATABASE_FILE, Folder, Parts
from zb_device.keys import DeviceKeys
from zb_device.log import ReaderBox
from zb_device.media import Prepared
from zb_device.opened import Opened, OwnEvents
from zb_device.reading import ReadModel, database_path
from zb_device.recording import Draft
from zb_device.rounds import Rounds
from zb_device.settings import Pinned, Settings, SignedIn
from zb_device.tokens import session_of
from zb_device.vault import Unlocked

POLLS: Final = 0.6
POLL_MS: Final = (2 * SECOND_MS, 60 * SECOND_MS)
"""What was sent has no receipt yet: the device asks again soon, as its background does."""
PROMPT: Final = "what is asked for again comes at once"
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
    doorway: Doorway
    shard: int
    origin: str
    confirmed: Callable[[Confirmed], None]
    lost: Callable[[Path], None]
    moved: Callable[[Path, Path], None]
    enrolled: Callable[[str, str, str, bytes], None]
    gap_since: Callable[[], int | None] = lambda: None
    """Since when the ledger asks this device for something once more; None while it does not."""
    heard: Callable[["Handset"], None] = lambda _: None
    """Called after each sync that ended well."""
    incarnation: int = 1
    is_locked: bool = False
    clocks: Clocks = field(default_factory=Clocks)
    backups: list[Path] = field(default_factory=list)
    copies: int = 0
    lives: int = 0
    path: Path = field(default=Path(), init=False)
    parts: Parts = field(init=False)
    disks: list[Disk] = field(default_factory=list, init=False)
    opened: Opened = field(init=False)
    rounds: Rounds = field(init=False)
    _folder: Folder = field(init=False)
    _task: Task | None = field(default=None, init=False)

    @property
    def reading(self) -> ReadModel:
        return self.opened.reading

    @property
    def author(self) -> str:
        """The current incarnation."""
        return self.parts.pinned.author

    def authors(self) -> dict[int, str]:
        """Every incarnation that this folder has been, by number."""
        return {**{one.number: one.author for one in self.parts.closed}, self.parts.log.incarnation: self.author}

    # --- Its life ---

    def begin(self) -> None:
        """A fresh folder, as enrolment leaves it."""
        author = f"{self.device}-i{self.incarnation}"
        self.enrolled(author, self.device, self.technician, key_of(author).public)
        self.path = copied(_enrolled(self), self._place("life"))
        self.switch_on()

    def switch_on(self) -> None:
        """The process starts on the folder."""
        self._folder = Folder.open(self.path)
        log = Disk(self._folder.connection, self.path / DATABASE_FILE, self._fate)
        self._folder.connection = cast(Connection, log)
        self._reopen()
        reading = ReadModel(self.path, self.technician, _read_key(self.technician))
        # The read model opens its file by itself; its connection is replaced by one that may die as well.
        pages = Disk(reading._db, database_path(self.path, self.technician), self._fate)
        reading._db = cast(Connection, pages)
        self.disks = [log, pages]
        wrap = wrap_key_of(self.technician)
        own = OwnEvents(self.parts.log, wrap, self.technician)
        self.opened = Opened(Unlocked(self.technician, wrap, _read_key(self.technician)), reading, own, lambda: self.parts)
        client: Any = self.doorway
        self.rounds = Rounds(lambda: self.parts, self._reopen, self._at_hand, self._lock, client, self._destroy)

    def _reopen(self) -> None:
        """The parts, as the folder has them now; what they would ask the system for comes from the world."""
        parts = Parts.of(self._folder, self.clock())
        self.parts = replace(parts, succession=replace(parts.succession, fresh=self._fresh_keys))

    def clock(self) -> Clock:
        """Its clocks since it was switched on."""
        return Clock(
            wall_ms=lambda: self.world.now_ms + self.clocks.wall_error_ms,
            elapsed_ms=lambda: self.world.now_ms - self.clocks.booted_ms,
            real_ms=self.world.clock,
            boot=f"boot-{self.device}-{self.clocks.boots}",
            real_elapsed_ms=lambda: self.world.now_ms - self.clocks.booted_ms,
        )

    def _fresh_keys(self) -> tuple[SigningKey, WrapKey]:
        self.lives += 1
        name = f"{self.device} life {self.lives}"
        return key_of(name), wrap_key_of(name)

    def _at_hand(self) -> Opened | None:
        return None if self.is_locked else self.opened

    def _lock(self) -> None:
        self.is_locked = True

    def _destroy(self, order: str) -> None:
        raise Broken("nobody is wiped here", f"{self.device} was told to by {order}")

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
        self.incarnation += 1
        self.backups.clear()
        self.begin()

    # --- What it does ---

    def record(self, drafts: Sequence[Draft], attachment: Prepared | None = None) -> list[ParsedEvent]:
        """As `Device.record_all`; notes what the screen confirmed. Killed when the process dies in it."""
        also = (lambda: self.parts.media.enqueue(attachment, self.world.now_ms)) if attachment else None
        events = self.parts.recorder.record(drafts, actor=self.technician, reader=self.reader_box(), known=self._known, also=also)
        self.opened.own.remember(events)
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

    async def _sync(self) -> None:
        asked_ms = self.gap_since()
        try:
            report = await self.rounds.sync(self.line)
        except (DeviceFault, Problem) as fault:
            self.world.note(self.device, "sync:", getattr(fault, "code", type(fault).__name__))
        except Killed:
            where = self.world.dice.random()
            self.world.after(1, lambda: self.die(where))
        else:
            self.world.note(self.device, "synced", report.sent, report.receipts, report.documents, report.mark)
            if report.resent and asked_ms is not None and self.line.stored_ms < asked_ms:
                raise Broken(PROMPT, f"{self.device} sent {report.resent} events again, and the broker stored nothing")
            self.heard(self)
            if self.parts.log.counts()["received"] and self.world.dice.random() < POLLS:
                self.world.after(self.world.dice.randint(*POLL_MS), self.start_sync)

    def session_technician(self) -> str | None:
        return self.parts.sessions.current().technician

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
        place = root / f"{handset.device}-{len(_templates)}"
        folder = Folder.open(place, create=True)
        settings = Settings(folder.connection)
        author = f"{handset.device}-i{handset.incarnation}"
        keys = DeviceKeys(login_key_of(handset.device), key_of(author), wrap_key_of(author))
        with transaction(folder.connection):
            settings.put(keys.stored())
            settings.put(_pinned(handset))
            token = device_token(handset.device, handset.technician, MORNING_MS + SESSION_MS)
            settings.put(session_of(token, vouch(token, LEDGER), device=handset.device, login=keys.login_text))
            settings.put(SignedIn(technician=handset.technician))
        ReadModel(place, handset.technician, _read_key(handset.technician)).close()
        folder.close()
        (place / "media").mkdir(exist_ok=True)
        _templates[key] = place
    return _templates[key]


def _pinned(handset: Handset) -> Pinned:
    return Pinned(
        device=handset.device,
        author=f"{handset.device}-i{handset.incarnation}",
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


def _read_key(technician: str) -> bytes:
    return wrap_key_of(f"read model of {technician}").private
