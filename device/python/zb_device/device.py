"""`Device`: the SDK's way in. Record, attach, read, sync; locked or unlocked, with a network or without.

Recording returns when the event is signed and on disk, and needs neither network nor unlock. It puts the parts together and
keeps the technician's own events at hand; rules, storage and protocol are in the other modules. One event loop, no threads but
for key stretching and writing photos.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from zb_contracts.envelope import ParsedEvent, parse_event
from zb_contracts.events import Body
from zb_contracts.merge.state import InterventionState
from zb_device.background import RETRY_S_MAX, Background
from zb_device.clock import Clock, machine_clock
from zb_device.enrolment import Invitation, enrol
from zb_device.faults import DeviceFault, InterventionUnknown, Locked, NoTechnician
from zb_device.folder import Folder, Parts
from zb_device.local_state import LocalState, local_state
from zb_device.log import EventState, ReaderBox
from zb_device.media import Prepared, described
from zb_device.opened import Opened
from zb_device.reading import ReadModel
from zb_device.recording import Draft
from zb_device.rounds import Rounds
from zb_device.settings import SignedIn
from zb_device.syncing import SyncReport
from zb_device.transport import NatsTransport, NoTransport, Transport
from zb_device.vault import Unlocked, stretch

CONNECT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the screen may confirm: the event is signed and on disk."""

    id: str
    seq: int
    type: str
    stream: str
    visit: str | None
    at: str
    state: EventState


class Device:
    """An enrolled device. Make it with `enrol` or `open`, and close it."""

    def __init__(self, folder: Folder, clock: Clock, transport: Transport | None = None) -> None:
        """For `open` and `enrol`; `transport` replaces the NATS connection."""
        self.parts = Parts.of(folder, clock)
        self.clock = clock
        self._folder = folder
        self._open: Opened | None = None
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(30.0, connect=CONNECT_TIMEOUT_S), follow_redirects=False)
        self._online_transport = transport or self._nats()
        self._transport: Transport = self._online_transport
        self._syncing = asyncio.Lock()
        self._attaching = asyncio.Lock()
        self._changed = asyncio.Event()
        self._rounds = Rounds(lambda: self.parts, self._reopen, lambda: self._open, self.lock, self._client)
        self.background = Background(self._round, self._changed.set)
        self.parts.media.tidy()

    # --- Opening and closing ---

    @classmethod
    def open(cls, path: Path, *, clock: Clock | None = None, transport: Transport | None = None) -> "Device":
        """The device in `path`, locked. NotEnrolled, DeviceBusy or StoreDamaged else."""
        folder = Folder.open(path)
        try:
            return cls(folder, clock or machine_clock(), transport)
        except BaseException:
            folder.close()
            raise

    @classmethod
    async def enrol(
        cls,
        path: Path,
        invitation: Invitation,
        pin: str,
        *,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> "Device":
        """A new device in `path`, unlocked for the technician whom the code names (if it names one).

        A repetition with the same code goes on where a lost answer or a crash left it.
        """
        clock = clock or machine_clock()
        folder = Folder.open(path, create=True)
        try:
            async with httpx.AsyncClient() as client:
                await enrol(folder.connection, clock, invitation, client)
            device = cls(folder, clock, transport)
        except BaseException:
            folder.close()
            raise
        signed_in = device.parts.settings.get(SignedIn)
        if signed_in is not None:
            await device.sign_in(signed_in.technician, pin)
        return device

    async def close(self) -> None:
        """Stop, lock and let go of the folder. Nothing is lost by not calling it."""
        await self.background.stop()
        await self._online_transport.close()
        await self._client.aclose()
        self.lock()
        self._folder.close()

    def check(self) -> None:
        """Read every page of the log. StoreDamaged names the first that fails."""
        self._folder.check()

    # --- Who works with it ---

    @property
    def technician(self) -> str | None:
        """Who is signed in: the actor of what is recorded, locked or not."""
        signed_in = self.parts.settings.get(SignedIn)
        return signed_in.technician if signed_in else None

    @property
    def unlocked(self) -> bool:
        return self._open is not None

    async def sign_in(self, technician: str, pin: str) -> None:
        """Make `technician` the one who works here, with a read model of their own, and unlock it.

        The first time on this device it needs a session of theirs, hence the network, unless enrolment brought it.
        """
        if self.parts.vault.reader_public(technician) is not None:
            await self.unlock(pin, technician)
            return
        if self.parts.sessions.current().technician != technician:
            await self.parts.sessions.renew(technician, self._client)
        reader, unlocked = await asyncio.to_thread(self.parts.vault.prepared, technician, pin)
        self.parts.vault.add(reader)
        self._unlocked(unlocked)

    async def unlock(self, pin: str, technician: str | None = None) -> None:
        """Open the read model. NoTechnician, WrongPin or PinBlocked else. Another technician's is locked first."""
        technician = technician or self.technician
        if technician is None:
            raise NoTechnician("nobody has signed in on this device: sign in first")
        real_ms = self.clock.real_ms()
        salt = self.parts.vault.salt(technician, real_ms)
        stretched = await asyncio.to_thread(stretch, pin, salt)
        self._unlocked(self.parts.vault.open(technician, stretched, real_ms))

    def _unlocked(self, unlocked: Unlocked) -> None:
        self._rounds.drain_until_ms = 0
        technician = unlocked.technician
        self.lock()
        self.parts.sessions.sign_in(technician)
        opened = Opened(unlocked, ReadModel(self._folder.path, technician, unlocked.database_key))
        opened.remember([parse_event(signed) for signed in self.parts.log.opened(unlocked.reader, technician)])
        self._open = opened
        self.background.wake()

    def lock(self) -> None:
        """Close the read model and forget its keys. Recording and sending go on."""
        if self._open is not None:
            self._open.reading.close()
            self._open = None

    # --- Recording ---

    async def record(self, body: Body, *, stream: str) -> Recorded:
        """One event on `stream` (`intervention:<id>` ...), signed and on disk when this returns."""
        return (await self.record_all([Draft(stream, body)]))[0]

    async def record_all(self, drafts: Sequence[Draft], attachment: Prepared | None = None) -> list[Recorded]:
        """Several events (and the queue row of a file that one of them names), all or none."""
        technician = self.technician
        if technician is None:
            raise NoTechnician("nobody has signed in on this device: sign in first")
        events = self.parts.recorder.record(
            drafts,
            actor=technician,
            reader=self.reader_box(),
            known=self._known,
            also=self._enqueuing(attachment),
        )
        if self._open is not None:
            self._open.remember(events)
        self.background.recorded()
        return [recorded(event) for event in events]

    async def attach(self, data: bytes, mime: str, drafts: Callable[[Prepared], Sequence[Draft]]) -> list[Recorded]:
        """The bytes first, encrypted and durable; then the events that name them, and the queue row with them."""
        async with self._attaching:
            media = self.parts.media
            prepared = media.known(await asyncio.to_thread(described, data, mime))
            if prepared is None:
                prepared = await asyncio.to_thread(media.prepare, data, mime, self.reader_box())
            return await self.record_all(drafts(prepared), prepared)

    def reader_box(self) -> ReaderBox | None:
        """To whom new events and files are sealed beside escrow."""
        technician = self.technician
        public = self.parts.vault.reader_public(technician) if technician else None
        return ReaderBox(technician, public) if technician and public else None

    def _known(self, stream: str) -> dict[str, int]:
        document = self._open.reading.document(stream) if self._open else None
        return document.vector if document else {}

    def _enqueuing(self, attachment: Prepared | None) -> Callable[[], None] | None:
        if attachment is None or self.parts.media.item(attachment.file.sha256) is not None:
            return None
        return lambda: self.parts.media.enqueue(attachment, self.clock.wall_ms())

    def keep_subject_key(self, kid: str, key: bytes) -> None:
        """A subject's key that was made here stays readable for the technician; while locked, only escrow has it."""
        if self._open is not None:
            self._open.reading.put_subject_key(kid, key)

    def deal_with(self, event_id: str) -> bool:
        """A person has read what became of a held or refused event."""
        return self.parts.log.deal_with(event_id)

    # --- Reading ---

    def state(self, stream: str) -> LocalState:
        """What the technician sees of a stream. Locked, or InterventionUnknown where nobody knows it."""
        opened = self.opened()
        own, unanswered, author = [], set(), self.parts.pinned.author
        for event in opened.own.get(stream, []):
            state = self.parts.log.state_of(event.header.id)
            if state is not EventState.REFUSED:
                own.append(event)
            if event.header.author != author and state is not EventState.ADMITTED:
                unanswered.add(event.header.id)
        found = local_state(stream, opened.reading.document(stream), own, unanswered)
        if found is None:
            raise InterventionUnknown(f"{stream} is neither in the scope nor in the device's own log")
        return found

    def intervention(self, intervention: str) -> InterventionState:
        """The merged local state of an intervention."""
        state = self.state(f"intervention:{intervention}").state
        if not isinstance(state, InterventionState):
            raise InterventionUnknown(f"{intervention} is no intervention")
        return state

    def interventions(self) -> list[InterventionState]:
        """Everything of the scope, and what was recorded here beyond it, by id."""
        opened = self.opened()
        streams = {*opened.reading.ids("intervention"), *(name for name in opened.own if name.startswith("intervention:"))}
        states = [self.state(stream).state for stream in sorted(streams)]
        return [state for state in states if isinstance(state, InterventionState)]

    def opened(self) -> Opened:
        """Locked unless the read model is open."""
        if self._open is None:
            raise Locked("the read model is locked: unlock it first")
        return self._open

    # --- The network ---

    async def sync(self) -> SyncReport:
        """Renew the session where due, send, ask, apply. Unreachable, Refused or a Problem else; nothing is lost by it."""
        async with self._syncing:
            report = await self._rounds.sync(self._transport)
        self._changed.set()
        return report

    async def upload(self) -> int:
        """Try each waiting file once; how many are stored now."""
        if self._open is None or isinstance(self._transport, NoTransport):
            return 0
        try:
            return await self._rounds.upload()
        finally:
            self._changed.set()

    async def offline(self) -> None:
        """Cut the device's own connections, as a flight mode does."""
        self._transport = NoTransport()
        await self._online_transport.close()

    def online(self) -> None:
        self._transport = self._online_transport
        self.background.wake()

    @property
    def is_online(self) -> bool:
        return not isinstance(self._transport, NoTransport)

    def start(self, *, retry_s_max: float = RETRY_S_MAX) -> None:
        """Sync and upload in the background from now on."""
        self.background.retry_s_max = retry_s_max
        self.background.start()

    def settled(self) -> bool:
        """The ledger has had its word on every event."""
        counts = self.parts.log.counts()
        return not counts[EventState.QUEUED] and not counts[EventState.RECEIVED]

    async def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for what a background round brings; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return reached()
        return True

    async def _round(self) -> bool:
        await self.sync()
        await self.upload()
        return not self.settled() or bool(self.parts.media.waiting() and self.unlocked)

    def _reopen(self) -> None:
        """The store goes on under another author or other keys."""
        self.parts = Parts.of(self._folder, self.clock)

    def _nats(self) -> Transport:
        # A device's id, addresses and login key are its own through all its incarnations.
        parts = self.parts
        return NatsTransport(parts.pinned, parts.keys, parts.sessions.current, lambda: self.background.wake())


def recorded(event: ParsedEvent) -> Recorded:
    """What is confirmed of an event."""
    header = event.header
    return Recorded(header.id, header.seq, header.type, header.stream, header.visit, header.at, EventState.QUEUED)


__all__ = ["Device", "DeviceFault", "Recorded"]
