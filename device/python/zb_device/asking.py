"""One question to the ledger and its answer: it says what the device has, so that the answer holds only what it lacks.

Nothing unsigned is believed: the answer is the ledger's, to this question, under a key that the pinned root vouches for. It
learns the root's word on ledger keys, because that proves itself; everything else of an answer is `syncing`'s to apply.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from zb_contracts.keys import KeyCertificate, KeyPurpose
from zb_contracts.problems import Problem
from zb_contracts.sync import SyncAnswer, SyncRequest, certificates_unverified, pack, unpack_document
from zb_device.about import AboutDevice
from zb_device.clock import Clock
from zb_device.database import Connection, transaction
from zb_device.deliveries import Letterbox
from zb_device.faults import Refused
from zb_device.log import Log
from zb_device.reading import ReadModel, Scope
from zb_device.settings import LedgerView, Pinned, Problems, Settings
from zb_device.transport import Transport
from zb_device.trust import learned, ledger_keys, open_answer

CHECKPOINT_EVERY_MS: Final = 43_200_000
"""So often a device with nothing new asks for the ledger's head all the same: a rewritten history is seen within half a day."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One incarnation's questions. `about` is what the device tells of itself, where it is this incarnation's to tell."""

    connection: Connection
    log: Log
    settings: Settings
    pinned: Pinned
    clock: Clock
    about: AboutDevice | None

    async def ask(
        self, transport: Transport, reading: ReadModel | Letterbox | None, receipted: int, lacking: tuple[str, ...]
    ) -> SyncAnswer:
        """The ledger's answer, with the scope for `reading` (None: receipts only) and the bytes of the catalogues `lacking`.

        `receipted` is the newest event of which this sync has had the receipt. Unreachable; Refused where the server refuses to
        sync, or a Problem where its answer cannot be believed: both are noted for the person.
        """
        request = self._request(reading, receipted, lacking)
        data = await transport.ask(pack(request))
        try:
            document = unpack_document(data)
            self._learn_keys(certificates_unverified(document.payload))
            answer = open_answer(document, self.ledger_keys(), nonce=request.nonce, pinned=self.pinned)
        except Problem as fault:
            self.note(fault.code, str(fault))
            raise
        if answer.refusal is not None:
            self.note(answer.refusal, "the server refused to sync")
            raise Refused(f"the server refused to sync: {answer.refusal}", problem=answer.refusal)
        if self.about is not None and request.about is not None:
            self.about.answered(request.about)
        return answer

    def _request(self, reading: ReadModel | Letterbox | None, receipted: int, lacking: tuple[str, ...]) -> SyncRequest:
        scope = reading.scope() if reading else Scope()
        count = reading.count() if reading else 0
        if not scope.complete:
            # The count did not fit: an unknown epoch asks for everything again.
            scope, count = Scope(epoch="resync"), 0
        view = self.view()
        return SyncRequest(
            nonce=secrets.token_hex(16),
            author=self.pinned.author,
            mark=max(self.log.asking_mark(), receipted),
            head=self.log.head().seq,
            checkpoint_size=view.size,
            scope_epoch=scope.epoch,
            scope_cursor=scope.cursor,
            scope_count=count,
            catalogues=lacking,
            wants_scope=reading is not None,
            wants_checkpoint=not 0 <= self.clock.real_ms() - view.seen_ms < CHECKPOINT_EVERY_MS,
            certificates=tuple(one.name for one in self._pinned_now().certificates if one.purpose == KeyPurpose.LEDGER),
            about=self.about.news() if self.about else None,
        )

    # --- What is believed ---

    def view(self) -> LedgerView:
        """The ledger's head that was verified last."""
        return self.settings.get(LedgerView) or LedgerView()

    def _pinned_now(self) -> Pinned:
        """As the store has it: ledger keys are learned while this object lives."""
        return self.settings.get(Pinned) or self.pinned

    def ledger_keys(self) -> dict[str, bytes]:
        """Those in force now, by id."""
        return ledger_keys(self._pinned_now(), self.clock.real_ms())

    def _learn_keys(self, certificates: tuple[KeyCertificate, ...]) -> None:
        """The root's word on new ledger keys, and on the end of old ones; it needs no other signature."""
        pinned = self._pinned_now()
        taught = learned(pinned, certificates)
        if taught != pinned:
            with transaction(self.connection):
                self.settings.put(taught)

    # --- What a person has to see ---

    def note(self, code: str, text: str) -> None:
        """A server that contradicts itself is remembered until a person has seen it; the same again is one entry."""
        with transaction(self.connection):
            self.put_problem(code, text)

    def put_problem(self, code: str, text: str) -> None:
        """The same in the caller's transaction."""
        self.settings.put((self.settings.get(Problems) or Problems()).with_entry(self.clock.real_ms(), code, text))
