"""One sync: send what waits, ask, apply receipts and scope each in one transaction, again while there is more.

It owns the order of these steps and their limits. It opens no connection (the transport is an argument), keeps no timer
(`background` does), believes nothing that `asking` and `trust` did not prove, and drops no event: `log` does, once a receipt
that was proven covers it.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from zb_contracts.envelope import Anchor
from zb_contracts.events.testimony import NOTE_CHARACTERS_MAX, SplitViewSeen
from zb_contracts.healing import Healing
from zb_contracts.problems import SYNC_REPLACED, SYNC_SPLIT_VIEW, SYNC_STORE_BEHIND, Problem
from zb_contracts.sync import (
    Command,
    ScopeDelta,
    SyncAnswer,
    Verdict,
)
from zb_contracts.times import parse_time_ms
from zb_device.about import AboutDevice
from zb_device.asking import Asking
from zb_device.catalogues import Catalogues
from zb_device.clock import AnchorMark, Clock
from zb_device.database import Connection, transaction
from zb_device.deliveries import Deliveries, Letterbox, Place, know
from zb_device.faults import StoreRestored
from zb_device.log import Log
from zb_device.outbox import OpenReader, segments_of
from zb_device.reading import ReadModel
from zb_device.recording import Draft, Recorder
from zb_device.settings import Pinned, Session, Settings, SignedIn, Testified
from zb_device.transport import Transport
from zb_device.trust import check_receipt, next_history

ROUNDS_MAX: Final = 64
"""Continuations of one sync; what is left comes with the next."""
RESEND_AFTER_MS: Final = 3_600_000
"""What the broker took so long ago, and the ledger still lacks, is sent again: the broker may have lost it, and where nothing
came after it the ledger sees no gap. Longer than the broker remembers message ids."""
NEW_INCARNATION: Final = "new_incarnation"
FORKED: Final = "device.store_forked"
"""The ledger has another event under a number of this store: two copies of it were in use."""
LEDGER_HEALED: Final = "device.ledger_healed"
"""The ledger lost rows that this device had verified, and said so. Nothing is wrong with the store; the person is told."""


@dataclass(slots=True)
class SyncReport:
    """What one sync did."""

    sent: int = 0
    receipts: int = 0
    documents: int = 0
    catalogues: int = 0
    resent: int = 0
    mark: int = 0
    more: bool = False
    full_resync: bool = False
    commands: list[str] = field(default_factory=list)
    told: list[Command] = field(default_factory=list)
    """The commands as they came; `ending` obeys them once the whole sync was believed."""
    keys: int = 0
    """Keys of data subjects that came, went, or were handed in."""
    keys_fault: str = ""
    """Why they were not exchanged; the next sync tries again."""


@dataclass(frozen=True, slots=True)
class Syncer:
    """One incarnation's side of the protocol. `pinned` names its author; a closed one only sends and collects receipts."""

    connection: Connection
    log: Log
    settings: Settings
    pinned: Pinned
    clock: Clock
    recorder: Recorder
    """The current incarnation's pen: a closed one testifies with it, too."""
    catalogues: Catalogues
    deliveries: Deliveries
    is_closed: bool = False
    about: AboutDevice | None = None
    """What the device tells of itself, where it is this incarnation's to tell."""

    async def sync(self, transport: Transport, reading: ReadModel | Letterbox | None, reader: OpenReader | None) -> SyncReport:
        """Send and ask until nothing more comes. `reading` is where the scope goes; None: receipts only.

        Unreachable without a network; a Problem, reported in the store, when the server's answer cannot be believed.
        StoreRestored, once every receipt was taken, when this author goes on no more.
        """
        report, ended, receipted = SyncReport(), "", 0
        answered: set[str] = set()
        offered: frozenset[str] = frozenset()
        await self._send(transport, reader, report)
        for _ in range(ROUNDS_MAX):
            wanted = None if ended else self._wanted(reading)
            asked_ms = self.clock.elapsed_ms()
            lacking = self.catalogues.lacking(wanted.references(), offered) if wanted else ()
            answer = await self._asking.ask(transport, wanted, receipted, lacking)
            ended = self._apply(answer, wanted, lacking, report, self.clock.elapsed_ms() - asked_ms) or ended
            if not answer.more:
                # What this answer did not bring, the next one would not either: once a sync for each.
                offered |= set(lacking)
            # Once a sync for each nonce: the ledger needs time to take what was sent, and goes on asking meanwhile.
            if answer.gap is not None and answer.gap.nonce not in answered and not ended:
                answered.add(answer.gap.nonce)
                await self._resend(transport, reader, answer.gap.first, answer.gap.nonce, report)
            # Held events are asked for again by every sync, but not by each of its rounds: it would never get beyond them.
            receipted = max((receipt.seq for receipt in answer.receipts if not receipt.retryable), default=receipted)
            # Without a read model the scope never gets further: then only receipts are worth another round.
            report.more = answer.more and (wanted is not None or bool(answer.receipts))
            if not report.more and not self._lacks_catalogues(wanted, offered):
                break
        report.mark = self.log.mark()
        if ended:
            raise StoreRestored(
                f"the author {self.pinned.author} ends here ({ended}): the store is an old copy or has one. "
                "What it recorded stays in this folder and is still sent",
                reason=ended,
            )
        return report

    @property
    def _asking(self) -> Asking:
        return Asking(self.connection, self.log, self.settings, self.pinned, self.clock, self.about)

    # --- Sending ---

    async def _send(self, transport: Transport, reader: OpenReader | None, report: SyncReport) -> None:
        while waiting := self.log.outgoing():
            for segment in segments_of(self.pinned.author, waiting, reader):
                await transport.publish(segment.data, segment.message_id)
                with transaction(self.connection):
                    self.log.mark_received(segment.first, segment.last)
                report.sent += segment.last - segment.first + 1

    async def _resend(self, transport: Transport, reader: OpenReader | None, first: int, nonce: str, report: SyncReport) -> None:
        for segment in segments_of(self.pinned.author, self.log.outgoing(first), reader, nonce):
            await transport.publish(segment.data, segment.message_id)
            with transaction(self.connection):
                self.log.mark_received(segment.first, segment.last)
            report.resent += segment.last - segment.first + 1

    # --- What the scope is for ---

    def _wanted(self, reading: ReadModel | Letterbox | None) -> ReadModel | Letterbox | None:
        """Where the answer's scope will go: not where it was locked or unlocked meanwhile, or the session is another's."""
        session = self.settings.get(Session)
        if reading is None or session is None or not reading.is_open or reading.technician != session.technician:
            return None
        return reading

    def _lacks_catalogues(self, wanted: ReadModel | Letterbox | None, offered: frozenset[str]) -> bool:
        """The scope refers to some whose bytes are not here, and that were not asked for in vain."""
        return wanted is not None and wanted.is_open and bool(self.catalogues.lacking(wanted.references(), offered))

    # --- Applying ---

    def _apply(
        self,
        answer: SyncAnswer,
        reading: ReadModel | Letterbox | None,
        lacking: tuple[str, ...],
        report: SyncReport,
        round_trip_ms: int,
    ) -> str:
        """Take everything that was proven. The code for which this author goes on no more, empty while it does."""
        try:
            ended = self._apply_ledger(answer, report, round_trip_ms)
            # It may have been locked while the answer was on its way: then the next sync asks again.
            if not ended and reading is not None and reading.is_open:
                self._apply_scope(answer, reading, lacking, report)
        except Problem as fault:
            self.note(fault.code, str(fault))
            if fault.code == SYNC_SPLIT_VIEW.code:
                self._testify(answer)
            raise
        report.told += answer.commands
        report.commands += [command.kind for command in answer.commands if command.kind != NEW_INCARNATION]
        return ended

    def _apply_scope(
        self, answer: SyncAnswer, reading: ReadModel | Letterbox, lacking: tuple[str, ...], report: SyncReport
    ) -> None:
        if answer.scope is not None:
            reading.apply(answer.scope, self._asking.view().healing)
            if isinstance(reading, ReadModel):
                self._note_shown(answer.scope, reading)
            report.documents += len(answer.scope.documents)
            report.full_resync = report.full_resync or answer.scope.full
        self.catalogues.keep(answer.catalogues, lacking, self.clock.real_ms())
        report.catalogues += len(answer.catalogues)
        if isinstance(reading, ReadModel) and (answer.catalogues or answer.scope is not None):
            self.catalogues.tidy(reading.references(), self.clock.real_ms())

    def _note_shown(self, delta: ScopeDelta, reading: ReadModel) -> None:
        """What the author knows by it, and, for when it is locked, where the scope stands."""
        with transaction(self.connection):
            know(self.log, delta)
            self.deliveries.put_place(reading.technician, Place(delta.epoch, delta.cursor, reading.count()))

    def _apply_ledger(self, answer: SyncAnswer, report: SyncReport, round_trip_ms: int) -> str:
        """Checkpoint, receipts, mark and anchor together: none of them when one cannot be believed."""
        keys = self._asking.ledger_keys()
        view, healing = next_history(self._asking.view(), answer, keys, self.pinned.log_origin)
        for receipt in answer.receipts:
            check_receipt(receipt, view)
        server_ms = parse_time_ms(answer.anchor.server_time)
        foreign: list[int] = []
        with transaction(self.connection):
            if healing is not None:
                self._reopen(healing, answer.mark)
            for receipt in answer.receipts:
                if receipt.verdict is Verdict.REFUSED and receipt.retryable:
                    self.log.note_waiting(receipt)
                elif self.log.settle(receipt, server_ms):
                    report.receipts += 1
                elif receipt.verdict is not Verdict.REFUSED:
                    foreign.append(receipt.seq)
            if answer.checkpoint is not None:
                self.settings.put(msgspec.structs.replace(view, seen_ms=self.clock.real_ms()))
            self._put_anchor(answer.anchor, max(round_trip_ms, 0))
            self.log.raise_high_water(server_ms)
            self._note_progress(answer.mark, server_ms)
            self.log.prune(server_ms)
        return self._ended(answer, bool(foreign))

    def _reopen(self, healing: Healing, ledger_mark: int) -> None:
        """Receipts of rows that the ledger lost cover nothing any more; the person sees what was lost and what is sent again."""
        again, gone = self.log.reopen(healing.kept, ledger_mark)
        text = (
            f"the ledger lost its rows from {healing.kept} on and says so, signed ({healing.number}, {healing.at}): "
            f"{again} events of this device are sent again, of {gone} the bytes are no longer kept here"
        )
        self._asking.put_problem(LEDGER_HEALED, text)

    def _ended(self, answer: SyncAnswer, is_forked: bool) -> str:
        if self.is_closed:
            return ""
        if answer.mark > self.log.head().seq:
            return SYNC_STORE_BEHIND.code
        if is_forked:
            return FORKED
        told = (command.argument or "" for command in answer.commands if command.kind == NEW_INCARNATION)
        return next((code for code in told if code == SYNC_REPLACED.code), "")

    def _note_progress(self, ledger_mark: int, server_ms: int) -> None:
        """Where the ledger has long lacked what the broker took, it is queued once more."""
        since_ms = self.log.note_ledger_mark(ledger_mark, server_ms)
        if since_ms and server_ms - since_ms >= RESEND_AFTER_MS:
            self.log.send_again(ledger_mark)

    def _put_anchor(self, anchor: Anchor, round_trip_ms: int) -> None:
        self.settings.put(
            AnchorMark(
                id=anchor.id,
                server_time=anchor.server_time,
                boot=self.clock.boot,
                elapsed_ms=self.clock.elapsed_ms(),
                round_trip_ms=round_trip_ms,
            )
        )

    def _testify(self, answer: SyncAnswer) -> None:
        """Both heads, as the ledger signed them, in an event of this device: the next sync sends it, whatever it is answered."""
        view = self._asking.view()
        testified = Testified(size=view.size, root=view.root)
        if answer.checkpoint is None or self.settings.get(Testified) == testified:
            return
        device, signed_in = self.pinned.device, self.settings.get(SignedIn)
        body = SplitViewSeen(
            device=device, origin=self.pinned.log_origin, seen=view.note or None, shown=answer.checkpoint[:NOTE_CHARACTERS_MAX]
        )
        self.recorder.record(
            [Draft(f"device:{device}", body)],
            actor=signed_in.technician if signed_in else None,
            reader=None,
            known=lambda _: {},
            also=lambda: self.settings.put(testified),
        )

    def note(self, code: str, text: str) -> None:
        """As `Asking.note`."""
        self._asking.note(code, text)
