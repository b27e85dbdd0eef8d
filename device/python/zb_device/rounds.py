"""Rounds with the platform: a session, the word about a new incarnation, what closed logs still have, the current log.

It owns the order of these steps and what a refusal of one means for the others: whatever the session or the incarnation, what
was signed is sent. It keeps no timer (`background` does) and opens no store.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx

from zb_contracts.problems import DEVICE_PROOF_TIME, DEVICE_SUSPENDED
from zb_device.deliveries import Letterbox
from zb_device.faults import Locked, Refused, SessionEnded, StoreRestored, Unreachable
from zb_device.folder import Parts
from zb_device.key_exchange import KeyExchange
from zb_device.log import ReaderBox
from zb_device.opened import Opened
from zb_device.settings import SignedIn
from zb_device.syncing import SyncReport
from zb_device.transport import NoTransport, Transport
from zb_device.uploads import Uploader

KEYS_EVERY_MS: Final = 900_000
"""In the background, where no document changed and no key waits to be handed in: so late an erasure is heard of."""
DRAIN_MS: Final = 300_000
"""After a refused session of a person, one of a drain is used so long before asking again."""
INCARNATIONS_MAX: Final = 1
"""Begun in one round: were the next one at its end at once, too, a person has to look."""


@dataclass(slots=True)
class Rounds:
    """What `Device.sync` and `Device.upload` do. `reopen` opens the parts anew, once keys or author have changed."""

    parts: Callable[[], Parts]
    reopen: Callable[[], None]
    opened: Callable[[], Opened | None]
    lock: Callable[[], None]
    client: httpx.AsyncClient
    destroy: Callable[[str], None]
    """The wipe of this order was attested: nothing is to be left."""
    battery_percent: int | None = None
    """As the host said last."""
    drain_until_ms: int = 0
    keys_after_ms: int = 0
    _session: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Events and photos go side by side; a session is renewed once for both."""
    _uploading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One pass over the files at a time: a file is no two uploads."""

    async def sync(self, transport: Transport, *, is_sparing: bool = False) -> SyncReport:
        """Unreachable, Refused or a Problem; nothing is lost by it. `is_sparing`: subject keys only now and then."""
        if not isinstance(transport, NoTransport):
            await self.ensure_session()
        try:
            report = await self._synced(transport)
        except SessionEnded:
            # Cut, or expired by the broker's clock: the same round under a new token.
            await self.ensure_session(anew=True)
            report = await self._synced(transport)
        if not isinstance(transport, NoTransport):
            await self._exchange_keys(report, is_sparing=is_sparing)
        await self._obey(transport, report)
        return report

    async def _exchange_keys(self, report: SyncReport, *, is_sparing: bool) -> None:
        """Subject keys follow the scope. That custody cannot be reached, or gives none, holds nothing up."""
        parts, real_ms = self.parts(), self.parts().real_time()
        if is_sparing and real_ms < self.keys_after_ms and not report.documents and not parts.deposits.kids():
            return
        try:
            report.keys = await KeyExchange(parts, self.client).run(self.opened())
            self.keys_after_ms = real_ms + KEYS_EVERY_MS
        except (Unreachable, Refused) as fault:
            report.keys_fault = str(fault)

    async def _obey(self, transport: Transport, report: SyncReport) -> None:
        """What the platform said of this device's end, and the next step of a wipe."""
        if self.parts().ending.obey(report.told):
            self.lock()
        self.parts().ending.prune()
        order = self.parts().ending.order
        if order is None:
            return
        if not order.author:
            await self._upload_last()
        if self.parts().ending.attest() is not None:
            if not self.parts().ending.is_reported():
                await self._all(transport)
            if self.parts().ending.is_reported():
                async with self._uploading:
                    self.destroy(order.order)

    async def _upload_last(self) -> None:
        try:
            async with self._uploading:
                await self._upload(lambda: True)
        except (Unreachable, Refused) as fault:
            # The files wait with their own reasons; a lost device does not wait for them.
            self.parts().syncer.note(getattr(fault, "problem", fault.code), f"files could not be sent before the wipe: {fault}")

    async def upload(self, may_go: Callable[[], bool]) -> int:
        """Try each waiting file once while it `may_go`, locked or not; how many are stored. An order to wipe ends the pass."""
        await self.ensure_session()
        async with self._uploading:
            return await self._upload(lambda: may_go() and self.parts().ending.order is None)

    async def _upload(self, may_go: Callable[[], bool]) -> int:
        """One pass. Where the clock was too wrong for a proof, again."""
        opened, parts = self.opened(), self.parts()
        has_person = parts.sessions.current().technician is not None
        reader = opened.reader if opened and has_person else None
        uploader = Uploader(parts.media, parts.pinned, parts.sessions)
        try:
            return await uploader.run(self.client, reader, may_go)
        except Refused as fault:
            if fault.problem != DEVICE_PROOF_TIME.code:
                raise
        await parts.real_time.learn(self.client)
        return await uploader.run(self.client, reader, may_go)

    async def ensure_session(self, *, anew: bool = False) -> None:
        """A session of who works here, or a drain where that is refused. Reading ends while even that is refused."""
        async with self._session:
            await self._ensure_session(anew)

    async def _ensure_session(self, anew: bool) -> None:
        opened, sessions = self.opened(), self.parts().sessions
        await self._know_time()
        technician = opened.unlocked.technician if opened else sessions.current().technician or self._signed_in()
        real_ms = self.parts().real_time()
        if real_ms < self.drain_until_ms:
            technician = None
        ensure = sessions.renew if anew else sessions.ensure
        try:
            await ensure(technician, self.client)
        except Refused:
            # No session for the person: what was signed still goes up in a drain session.
            self.drain_until_ms = real_ms + DRAIN_MS
            await self._drain(anew=anew)

    def _signed_in(self) -> str | None:
        """Whose session is to be had again after one of a drain; on a device that ended nobody's."""
        parts = self.parts()
        signed_in = parts.settings.get(SignedIn)
        return signed_in.technician if signed_in and not parts.ending.is_ended else None

    async def _know_time(self) -> None:
        """After a reboot the first contact brings the time: reading waits for it, where the clock was set back."""
        parts = self.parts()
        if parts.reading_right.real().exact:
            return
        try:
            await parts.real_time.learn(self.client)
        except Refused as fault:
            parts.syncer.note(fault.problem, str(fault))
        except Unreachable:
            # The broker may be reached all the same; reading stays as it is.
            return

    async def _drain(self, *, anew: bool) -> None:
        sessions = self.parts().sessions
        try:
            await (sessions.renew if anew else sessions.ensure)(None, self.client)
        except Refused as fault:
            if fault.problem == DEVICE_SUSPENDED.code:
                self.lock()
            raise

    async def _synced(self, transport: Transport) -> SyncReport:
        """All logs of the store; where the current one ends, the next one begins, and its word is given at once."""
        for _ in range(INCARNATIONS_MAX):
            try:
                return await self._all(transport)
            except StoreRestored as fault:
                self.parts().succession.begin(fault.reason)
                self.reopen()
        return await self._all(transport)

    async def _all(self, transport: Transport) -> SyncReport:
        unheard: Unreachable | Refused | None = None
        if not isinstance(transport, NoTransport):
            unheard = await self._registered()
        opened = self.opened()
        reader = opened.reader if opened else None
        before = [await one.sync(transport, None, reader) for one in self.parts().earlier if not one.log.is_settled()]
        if unheard is not None:
            # The ledger knows no key for the new author yet: its events wait, those of the closed ones did not.
            raise unheard
        parts = self.parts()
        parts.about.battery_percent = self.battery_percent
        report = await parts.syncer.sync(transport, opened.reading if opened else self._letterbox(), reader)
        report.sent += sum(one.sent for one in before)
        report.receipts += sum(one.receipts for one in before)
        return report

    def _letterbox(self) -> Letterbox | None:
        """Where the scope of who works here goes while the device is locked; None where they may not read, or it is full."""
        parts = self.parts()
        technician = parts.sessions.current().technician
        public = parts.vault.reader_public(technician) if technician else None
        if technician is None or public is None or not parts.deliveries.has_room(technician):
            return None
        try:
            parts.reading_right.check(technician)
        except Locked:
            return None
        return Letterbox(parts.deliveries, ReaderBox(technician, public), lambda: self.opened() is None)

    async def _registered(self) -> Unreachable | Refused | None:
        """Why the platform has not heard of the current incarnation; None when it has."""
        try:
            if await self.parts().succession.register(self.client):
                self.reopen()
        except (Unreachable, Refused) as fault:
            return fault
        return None
