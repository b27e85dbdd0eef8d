"""`Device`: the SDK's way in. Record, attach, read, sync; locked or unlocked, with a network or without.

Recording returns when the event is signed and on disk, and needs neither network nor unlock. It puts the parts together; rules,
storage and protocol are in the other modules. One event loop, no threads but for key stretching and writing photos; `blocking`
has the same for programs without a loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zb_contracts.envelope import ParsedEvent
from zb_contracts.events import Body
from zb_contracts.merge.state import InterventionState
from zb_device.attachments import Attachments
from zb_device.clock import Clock, machine_clock
from zb_device.contact import Contact
from zb_device.database import transaction
from zb_device.enrolment import Invitation, enrol, finish
from zb_device.faults import Locked, StoreDamaged, Wiped
from zb_device.folder import Folder, Parts
from zb_device.guard import Guard
from zb_device.handles import Handles
from zb_device.http import bounded_client
from zb_device.listed import ALL, Listed, Which
from zb_device.local_state import LocalState
from zb_device.log import ReaderBox
from zb_device.media import Prepared
from zb_device.network import Network
from zb_device.opened import Opened, OwnEvents
from zb_device.positions import made_here, with_sealed_positions
from zb_device.reading import read_model
from zb_device.recording import Draft, Recorded, recorded
from zb_device.reporting import status
from zb_device.rounds import Rounds
from zb_device.settings import Host, LockPolicy, Settings, SignedIn
from zb_device.standing import LISTED, Outbox, outbox
from zb_device.transport import NatsTransport, Transport
from zb_device.vault import Unlocked, Vault, stretch


class Device(Handles, Contact):
    """An enrolled device. Make it with `enrol` or `open`, and close it, or use it in an `async with`."""

    def __init__(self, folder: Folder, clock: Clock, transport: Transport | None = None) -> None:
        """For `open` and `enrol`; `transport` replaces the NATS connection."""
        self._parts = Parts.of(folder, clock)
        self.clock = clock
        self._folder = folder
        self._open: Opened | None = None
        self._client = bounded_client()
        self._attachments = Attachments(lambda: self.parts.media, self.reader_box)
        self._guard = Guard(clock, lambda: self.parts.reading_right, self.parts.vault.idle_s, self.lock)
        rounds = Rounds(lambda: self.parts, self._reopen, self._whole, self.lock, self._client, self._destroy)
        self._rounds = rounds
        self.network = Network(lambda: self.parts, rounds, transport or self._nats(), clock)
        self.parts.media.tidy()
        self.parts.ending.tidy()
        if damage := folder.damage():
            text = f"a page of the log is damaged ({damage}): what is on it may not go up. Delete nothing, tell the office"
            self.parts.syncer.note(StoreDamaged.code, text)

    @property
    def parts(self) -> Parts:
        """What the device is made of. Wiped once its store was destroyed."""
        if self._folder.is_wiped:
            raise Wiped("this device was wiped by order: nothing of it is left")
        return self._parts

    # --- Opening and closing ---

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        unlock: str | None = None,
        technician: str | None = None,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> Self:
        """The device in `path`. NotEnrolled, DeviceBusy, StoreDamaged or Wiped else.

        `unlock` is the PIN or passphrase of `technician`, or of who signed in last: stretching it holds this thread for some
        0.2 s, which `await device.unlock(...)` does elsewhere. NoTechnician, WrongPin or PinBlocked then, and nothing is open.
        """
        folder = Folder.open(path)
        try:
            device = cls(folder, clock or machine_clock(), transport)
            if unlock is not None:
                who, salt = device._salted(technician)
                device._unlock_with(who, stretch(unlock, salt))
            return device
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

        A repetition with the same code goes on where a lost answer or a crash left it. AlreadyEnrolled, PinTooWeak, Unreachable,
        or Refused with the server's code.
        """
        clock = clock or machine_clock()
        folder = Folder.open(path, create=True)
        try:
            # Before the code is used up: it is good for one device.
            Vault(folder.connection, Settings(folder.connection), folder.secret).check_strength(pin)
            async with bounded_client() as client:
                await enrol(folder.connection, clock, invitation, client)
            device = cls(folder, clock, transport)
        except BaseException:
            folder.close()
            raise
        try:
            if device.technician is not None:
                await device.sign_in(device.technician, pin)
            finish(folder.connection)
        except BaseException:
            await device.close()
            raise
        return device

    async def close(self) -> None:
        """Stop, lock and let go of the folder. Nothing is lost by not calling it."""
        await self.network.close()
        await self._client.aclose()
        self.lock()
        self._folder.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

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

    async def sign_in(self, technician: str, pin: str, *, person: str | None = None) -> None:
        """Make `technician` the one who works here, with a read model of their own, and unlock it.

        The first time on this device it needs a session of theirs, hence the network, unless enrolment brought it. A pool's
        device gets sessions only with `person`, the technician's access token of the identity provider: the first time, and
        again when the session has ended.
        """
        is_known = self.parts.vault.reader_public(technician) is not None
        if not is_known:
            self.parts.vault.check_strength(pin)
        if person is not None or not (is_known or self.parts.sessions.current().technician == technician):
            await self.parts.sessions.renew(technician, self._client, person)
        if is_known:
            await self.unlock(pin, technician)
            return
        self.parts.ending.tidy()
        reader, unlocked = await asyncio.to_thread(self.parts.vault.prepared, technician, pin)
        self.parts.vault.add(reader)
        self._unlocked(unlocked)

    async def unlock(self, pin: str, technician: str | None = None) -> None:
        """Open the read model. NoTechnician, WrongPin, PinBlocked, or a reason of `reading_right` else. Another's is locked."""
        who, salt = self._salted(technician)
        self._unlock_with(who, await asyncio.to_thread(stretch, pin, salt))

    def _salted(self, technician: str | None) -> tuple[str, bytes]:
        """Who unlocks, and what their PIN is stretched with; a blocked one is refused before it is stretched."""
        who = technician or self.present()
        return who, self.parts.vault.salt(who, self.clock)

    def _unlock_with(self, technician: str, stretched: bytes) -> None:
        unlocked = self.parts.vault.open(technician, stretched, self.clock)
        self.parts.reading_right.check(technician)
        self._unlocked(unlocked)

    def _unlocked(self, unlocked: Unlocked) -> None:
        self._rounds.drain_until_ms = 0
        technician = unlocked.technician
        self.lock()
        self.parts.sessions.sign_in(technician)
        with transaction(self._folder.connection):
            self.parts.log.name_streams(unlocked.reader, technician)
        reading = read_model(self._folder.path, technician, unlocked.database_key, self._note_damage)
        self.parts.deliveries.lay_in(reading, unlocked.reader, self.parts.log)
        own = OwnEvents(self.parts.log, unlocked.reader, technician)
        self._open = Opened(unlocked, reading, own, lambda: self.parts)
        self._guard.opened(technician)
        self.network.wake()

    async def change_pin(self, old: str, new: str) -> None:
        """Another PIN or passphrase for who works here. WrongPin, PinBlocked or PinTooWeak else."""
        self.parts.vault.check_strength(new)
        await self.unlock(old)
        reader = await asyncio.to_thread(self.parts.vault.wrapped, self.opened().unlocked, new)
        self.parts.vault.rewrap(reader)

    @property
    def lock_policy(self) -> LockPolicy:
        """What opens reading here, and after how long without use it closes."""
        return self.parts.vault.policy

    def use_lock(self, policy: LockPolicy) -> None:
        """From now on, and for every PIN or passphrase that is chosen from now on."""
        self.parts.vault.set_policy(policy)

    def lock(self) -> None:
        """Close the read model and forget its keys. Recording and sending go on."""
        self._guard.closed()
        opened, self._open = self._open, None
        if opened is not None:
            opened.reading.close()
            if opened.reading.is_damaged:
                self._note_damage(opened.unlocked.technician)

    def _note_damage(self, technician: str) -> None:
        text = f"what {technician} reads here was damaged and is begun anew: unlock, and the next sync brings it"
        self.parts.syncer.note(StoreDamaged.code, text)

    def _whole(self) -> Opened | None:
        """What is open. A read model with a damaged page is locked: recording and sending go on, unlocking begins another."""
        if self._open is not None and self._open.reading.is_damaged:
            self.lock()
        return self._open

    # --- Recording ---

    async def record(self, body: Body, *, stream: str) -> Recorded:
        """One event of any type that a device may write, on `stream` (`intervention:<id>` ...), signed and on disk when this
        returns."""
        return (await self.record_all([Draft(stream, body)]))[0]

    async def record_all(self, drafts: Sequence[Draft], attachment: Prepared | None = None) -> list[Recorded]:
        """Several events (and the queue row of a file that one of them names), all or none."""
        self.parts.ending.check_recording()
        self._guard.touch()
        try:
            events = self._recorded(drafts, attachment)
        except StoreDamaged:
            if self._open is None or self._whole() is not None:
                raise
            # A damaged read model is locked now, and recording needs none.
            events = self._recorded(drafts, attachment)
        self.network.recorded(attachment is not None)
        return [recorded(event) for event in events]

    def _recorded(self, drafts: Sequence[Draft], attachment: Prepared | None) -> list[ParsedEvent]:
        technician, reader, now_ms = self.present(), self.reader_box(), self.clock.wall_ms()
        keys = self._open.reading.keys if self._open else None
        drafts = with_sealed_positions(drafts, technician, keys, now_ms)

        def also() -> None:
            self.parts.deposits.add(drafts, technician, reader, now_ms)
            if attachment is not None:
                self.parts.media.enqueue(attachment, now_ms)

        if self._open is not None:
            # Before the event: a disk that is full by then must not deny what was recorded.
            self._open.reading.keys.put(made_here(drafts))
        events = self.parts.recorder.record(drafts, actor=technician, reader=reader, known=self._known, also=also)
        if self._open is not None:
            self._open.own.remember(events)
        return events

    async def attach(self, data: bytes, mime: str, drafts: Callable[[Prepared], Sequence[Draft]]) -> list[Recorded]:
        """The bytes first, encrypted and durable; then the events that name them, and the queue row with them."""
        async with self._attachments.written(data, mime) as prepared:
            events = await self.record_all(drafts(prepared), prepared)
        return [replace(event, sha256=prepared.file.sha256) for event in events]

    def reader_box(self) -> ReaderBox | None:
        """To whom new events and files are sealed beside escrow."""
        technician = self.technician
        public = self.parts.vault.reader_public(technician) if technician else None
        return ReaderBox(technician, public) if technician and public else None

    def _known(self, stream: str) -> dict[str, int]:
        document = self._open.reading.document(stream) if self._open else None
        return document.vector if document else {}

    def outbox(self, *, everything: bool = False, limit: int = LISTED) -> Outbox:
        """Each event and file that waits or that a person has to see (`everything`: all), with its state, age and reason."""
        return outbox(self, everything=everything, limit=limit)

    def status(self) -> dict[str, Any]:
        """Everything that a status page shows, as plain JSON."""
        return status(self)

    def deal_with(self, event_id: str) -> bool:
        """A person has read what became of a held or refused event."""
        return self.parts.log.deal_with(event_id)

    def try_again(self, sha256: str) -> bool:
        """Send a photo or signature that was refused for good once more; whether there is one."""
        is_queued = self.parts.media.try_again(sha256)
        self.network.photos.wake()
        return is_queued

    # --- Reading ---

    def state(self, stream: str) -> LocalState:
        """What the technician sees of a stream (`intervention:<id>`, `site:<id>` ...), personal values sealed. Locked, or
        InterventionUnknown where nobody knows it."""
        return self.opened().state(stream)

    def shown(self, stream: str) -> dict[str, Any]:
        """The same as plain JSON, each personal value open whose key is here: for the screen, and to be kept nowhere."""
        return self.opened().shown(stream)

    def intervention(self, intervention: str) -> InterventionState:
        """The merged local state of an intervention."""
        state = self.state(f"intervention:{intervention}").state
        assert isinstance(state, InterventionState)
        return state

    def listed(self, kind: str = "intervention", which: Which = ALL) -> list[Listed]:
        """Lines of the scope, and of what was recorded here beyond it, by planned time, as the technician sees them: what was
        recorded a moment ago shows. From an index, however many there are; the whole of one is `intervention` or `state`."""
        return self.opened().listed(kind, which)

    def documents(self, kind: str) -> list[str]:
        """What the platform has sent of a kind (`intervention`, `site`, `catalogue` ...), by id."""
        return self.opened().reading.ids(kind)

    def catalogue(self, kind: str, name: str) -> object:
        """A shared catalogue of the scope (`checklist`, `parts`, `reasons`) as JSON. Locked, or CatalogueMissing."""
        return self._folder.catalogues.read(kind, name, self.opened().reading.references())

    def opened(self) -> Opened:
        """Locked unless the read model is open and may be: not after a time without use, nor beyond the session."""
        self._guard.check()
        opened = self._whole()
        if opened is None:
            raise Locked("the read model is locked: unlock it first")
        return opened

    def describe(self, *, model: str = "", os: str = "", app: str = "") -> None:
        """What this device is, better than the machine says it, for those who look after it. What is left empty stays."""
        self.parts.about.describe(Host(model=model, os=os, app=app))

    # --- What the parts ask of the whole ---

    def _reopen(self) -> None:
        """The store goes on under another author or other keys."""
        self._parts = Parts.of(self._folder, self.clock)

    def _destroy(self, order: str) -> None:
        """The wipe of this order was attested."""
        word = f"{self.parts.pinned.device} {order}"
        self.lock()
        self._folder.wipe(word)

    def _nats(self) -> Transport:
        # A device's id, addresses and login key are its own through all its incarnations.
        parts = self.parts
        return NatsTransport(parts.pinned, parts.keys, parts.sessions.current, lambda: self.network.events.wake())
