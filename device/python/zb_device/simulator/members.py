"""The devices of a simulated fleet as it drives them: enrol, live a visit, meet the platform, have a mishap.

A light member is a `LightDevice` with photos to send. What the whole SDK does instead is `whole`'s matter; when anything happens
is `fleet`'s.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx

from zb_contracts.enrolment import EnrolmentAnswer, TokenAnswer, TokenRequest
from zb_contracts.events.fieldwork import PartUsed, PhotoTaken
from zb_device.enrolment import PATH, Invitation, Places, enrolment_request, pinned_by
from zb_device.keys import DeviceKeys
from zb_device.sessions import PATH as TOKENS
from zb_device.sessions import RENEW_BEFORE_MS, post
from zb_device.simulator.light import MODEL, LightDevice, nats_transport
from zb_device.simulator.photos import upload
from zb_device.simulator.tally import Tally
from zb_device.simulator.workday import MIME, Photo, Visit, facts, stock_moved
from zb_device.tokens import session_of
from zb_device.transport import Transport

PATIENCE_S: Final = 120.0
"""How long a contact waits for receipts before the device leaves, to come again later."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a device's log ends: what the ledger must have, too."""

    author: str
    seq: int
    header_sha256: str


class Member(Protocol):
    """One device of the fleet."""

    @property
    def head(self) -> Head: ...

    @property
    def is_settled(self) -> bool:
        """Every event has its receipt, every photo is stored."""
        ...

    async def live(self, visit: Visit) -> None:
        """Record a visit. Without work in the scope it goes back to the last one; before any, nothing happens."""
        ...

    async def contact(self, *, crashes: bool = False, photos: bool = False) -> None:
        """Meet the platform until everything has its receipt, or PATIENCE_S is over. `crashes`: the process dies on the way."""
        ...

    async def close(self) -> None: ...


@dataclass
class LightMember:
    """A light device, and the photos that it has yet to upload."""

    device: LightDevice
    client: httpx.AsyncClient
    tally: Tally
    photos: deque[Photo] = field(default_factory=deque)
    connect: Callable[[LightDevice], Transport] = nats_transport
    _last: str | None = None

    @classmethod
    async def enrol(
        cls, places: Places, code: str, client: httpx.AsyncClient, tally: Tally, wall_error_ms: int = 0
    ) -> "LightMember":
        """A new device, by a one-time code. Unreachable or Refused."""
        keys, invitation = DeviceKeys.generate(), Invitation(code, places, MODEL)
        body = enrolment_request(keys, invitation).model_dump_json(exclude_none=True).encode()
        answer = await post(client, places.ingest_url + PATH, body, EnrolmentAnswer)
        pinned = pinned_by(answer, invitation, time.time_ns() // 1_000_000)
        session = session_of(answer.token, answer.word, device=pinned.device, login=keys.login_text)
        return cls(LightDevice(pinned, keys, session, tally, wall_error_ms=wall_error_ms), client, tally)

    @property
    def head(self) -> Head:
        chain = self.device.chain
        return Head(self.device.pinned.author, chain.head, chain.prev)

    @property
    def is_settled(self) -> bool:
        return self.device.is_settled and not self.photos

    async def live(self, visit: Visit) -> None:
        device = self.device
        stream = device.interventions.popleft() if device.interventions else self._last
        if stream is None:
            self.tally.mishaps["nothing to do"] += 1
            return
        self._last, opened = stream, None
        pen, van, device.battery_percent = device.pen, f"stock:van-{device.session.technician}", visit.battery_percent
        for fact in facts(visit):
            if isinstance(fact, Photo):
                self.photos.append(fact)
                device.waiting_files += 1
                fact = PhotoTaken(file=fact.file(), source="camera")
            line = device.chain.write(pen, fact, stream, opened)
            opened = opened or line
            self.tally.recorded += 1
            if isinstance(fact, PartUsed):
                device.chain.write(pen, stock_moved(fact, line), van, None)
                self.tally.recorded += 1

    async def contact(self, *, crashes: bool = False, photos: bool = False) -> None:
        transport = self.connect(self.device)
        self.tally.enter()
        try:
            await self._renew()
            if crashes:
                await self.device.send(transport)
                await transport.close()
                self.device.crash()
                self.tally.mishaps["crash"] += 1
            await self.device.contact(transport, PATIENCE_S)
            if photos:
                await self._upload()
        finally:
            await transport.close()
            self.tally.leave()

    async def _renew(self) -> None:
        """A new session where the old one ends soon: a simulation may last for days."""
        device, real_ms = self.device, time.time_ns() // 1_000_000
        if real_ms < device.session.expires_ms - RENEW_BEFORE_MS:
            return
        pinned, keys = device.pinned, device.keys
        body = TokenRequest(device=pinned.device, technician=device.session.technician).model_dump_json().encode()
        proof = keys.request_headers(
            device=pinned.device, token=device.session.token, method="POST", path=TOKENS, body=body, real_ms=real_ms
        )
        answer = await post(self.client, pinned.ingest_url + TOKENS, body, TokenAnswer, proof)
        device.session = session_of(answer.token, answer.word, device=pinned.device, login=keys.login_text)

    async def _upload(self) -> None:
        while self.photos:
            data, device = self.photos[0].bytes(), self.device
            await upload(self.client, device.pinned, device.keys, device.session, data, MIME)
            self.photos.popleft()
            device.waiting_files -= 1
            self.tally.photos += 1
            self.tally.photo_bytes += len(data)

    async def close(self) -> None:
        """It holds nothing open between contacts."""
