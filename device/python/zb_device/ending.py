"""When the platform ends a device: reading suspended, reading gone for good, or everything destroyed with an attestation.

Reading goes at once and needs nobody's leave; what was signed stays, sealed, until the ledger's receipt, or is counted in the
device's last event. The server's word arrives in signed answers only (`syncing`); destroying the folder is `folder`'s matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from zb_contracts.events.testimony import DeviceWiped, LogLeft
from zb_contracts.sync import ENDED_FOR_GOOD, Command
from zb_device.database import Connection, emptied, transaction
from zb_device.faults import Wiping
from zb_device.incarnations import closed_incarnations
from zb_device.leavings import Leavings
from zb_device.log import KEEP_MS, EventState, Log
from zb_device.media import MediaStore
from zb_device.reading import remove_read_models
from zb_device.recording import Draft, Recorder
from zb_device.settings import Ended, KeptSessions, Pinned, ReadingSuspension, Settings, WipeOrder
from zb_device.vault import Vault

LOGS_TOLD_MAX: Final = 100
"""Incarnations that an attestation names; a store that was more has lost count of itself."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What one store does when it is told to end."""

    connection: Connection
    settings: Settings
    folder: Path
    pinned: Pinned
    log: Log
    media: MediaStore
    vault: Vault
    recorder: Recorder

    def obey(self, commands: Sequence[Command]) -> bool:
        """Do what a whole, believed sync was told; whether reading has to be closed now. Told nothing, a suspension is over."""
        told = [command for command in commands if command.kind in ("suspend", "wipe")]
        final = [one for one in told if one.kind == "wipe" or one.argument in ENDED_FOR_GOOD]
        if final:
            order = next((one for one in final if one.kind == "wipe" and one.order), None)
            self._end(final[0].argument or final[0].kind, order)
        elif told:
            self._put(ReadingSuspension(cause=told[0].argument or "suspended"))
        elif self.settings.get(ReadingSuspension) or self.is_ended:
            with transaction(self.connection):
                self.settings.forget(ReadingSuspension)
                self.settings.forget(Ended)
        return bool(told)

    @property
    def is_ended(self) -> bool:
        """Whether nobody reads on this device again."""
        return self.settings.get(Ended) is not None

    @property
    def order(self) -> WipeOrder | None:
        """The wipe that was ordered and is not done yet."""
        return self.settings.get(WipeOrder)

    def check_recording(self) -> None:
        """Wiping once a wipe was ordered: whoever has the device could put it off for ever."""
        if self.order is not None:
            raise Wiping("this device was told to destroy what it holds: it sends what it has and records nothing more")

    def prune(self) -> None:
        """On a device that ended, held events with a receipt go some days later, too: nobody is left to show them to."""
        ended = self.settings.get(Ended)
        if ended is not None and self.log.head().high_water_ms - ended.at_ms >= KEEP_MS:
            with transaction(self.connection):
                Leavings(self.connection).drop_held()

    def tidy(self) -> None:
        """After a crash: read models whose keys are gone."""
        remove_read_models(self.folder, keep=self.vault.technicians())

    def _end(self, cause: str, wipe: Command | None) -> None:
        """Destroy what opens reading, in one transaction; then the files, which are noise without it."""
        ended, before = self.settings.get(Ended), self.order
        if ended is not None and (wipe is None or (before is not None and before.order == wipe.order)):
            return
        count = len(self.vault.technicians()) + (ended.read_models if ended else 0)
        at_ms = ended.at_ms if ended else self.log.head().high_water_ms
        with transaction(self.connection):
            self.settings.put(Ended(cause=cause, at_ms=at_ms, read_models=count))
            if wipe is not None and wipe.order is not None:
                self.settings.put(WipeOrder(order=wipe.order, at_once=wipe.at_once, read_models=count))
            self.settings.forget(KeptSessions)
            self.settings.forget(ReadingSuspension)
            self.vault.forget()
        emptied(self.connection)
        self.tidy()

    # --- The attestation ---

    def attest(self) -> WipeOrder | None:
        """Sign the device's last event, once everything was sent that can be. The order, once it is attested; None before."""
        order = self.order
        if order is None or order.author == self.pinned.author:
            return order
        if not order.at_once and not self._is_sent():
            return None
        body = self._attestation(order)
        done = msgspec.structs.replace(order, author=self.pinned.author, attested=self.log.head().seq + 1)
        self.recorder.record(
            [Draft(f"device:{self.pinned.device}", body)],
            actor=None,
            reader=None,
            known=lambda _: {},
            also=lambda: self.settings.put(done),
        )
        return done

    def is_reported(self) -> bool:
        """Whether the attestation is where it had to go: in the ledger, or for a lost device at least with the broker."""
        order = self.order
        if order is None or order.author != self.pinned.author:
            return False
        state = Leavings(self.connection).state_of(self.log.incarnation, order.attested)
        return state is not EventState.QUEUED and (order.at_once or state is not EventState.RECEIVED)

    def _is_sent(self) -> bool:
        return Leavings(self.connection).are_settled() and not self.media.waiting()

    def _attestation(self, order: WipeOrder) -> DeviceWiped:
        authors = [(one.number, one.author) for one in closed_incarnations(self.connection)]
        logs = [self._left(number, author) for number, author in [*authors, (self.log.incarnation, self.pinned.author)]]
        files, size = self.media.left()
        return DeviceWiped(
            device=self.pinned.device,
            order=order.order,
            at_once=order.at_once,
            logs=tuple(logs[-LOGS_TOLD_MAX:]),
            read_models=order.read_models,
            files_left=files,
            bytes_left=size,
        )

    def _left(self, incarnation: int, author: str) -> LogLeft:
        left = Leavings(self.connection).of(incarnation)
        return LogLeft(author=author, head=left.head, unsent=left.unsent, unreceipted=left.unreceipted)

    def _put(self, value: ReadingSuspension) -> None:
        if self.settings.get(ReadingSuspension) != value:
            with transaction(self.connection):
                self.settings.put(value)
