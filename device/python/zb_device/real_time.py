"""Real time on a device whose wall clock may be wrong: the wall clock and an offset that a signed answer of the platform taught.

Request proofs, token expiry and certificates go by it; a story's clock does not move it. It is asked for only when the platform
refused a proof for its time, by a nonce, so that nobody between can teach an old or a future time.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import TypeAdapter, ValidationError

from zb_contracts.enrolment import TrustedKey, certificate_of
from zb_contracts.faults import CryptoFault
from zb_contracts.problems import Problem
from zb_contracts.server_time import TimeAnswer, check_time, read_time_unverified
from zb_device.clock import Clock, RealMark, real_mark
from zb_device.database import Connection, transaction
from zb_device.faults import Refused, Unreachable
from zb_device.http import answered
from zb_device.settings import ClockOffset, Pinned, Settings
from zb_device.trust import learned, ledger_keys

PATH: Final = "/v1/time"
KEYS_PATH: Final = "/v1/keys"
TIMEOUT_S: Final = 10.0

_keys = TypeAdapter(tuple[TrustedKey, ...])


@dataclass(frozen=True, slots=True)
class RealTime:
    """`clock.real_ms` is the machine's own clock."""

    connection: Connection
    settings: Settings
    pinned: Pinned
    clock: Clock

    def __call__(self) -> int:
        """Milliseconds since 1970, as near to real time as the device knows it."""
        return self.clock.real_ms() + (self.settings.get(ClockOffset) or ClockOffset()).offset_ms

    async def learn(self, client: httpx.AsyncClient) -> None:
        """Ask the platform. Unreachable; Refused for an answer that no ledger key of our root signed for this question."""
        nonce = secrets.token_hex(16)
        try:
            answer = TimeAnswer.model_validate_json(await self._asked(client, PATH, {"nonce": nonce}))
            named_ms = read_time_unverified(answer, nonce)
            pinned = await self.knowing(answer.kid, client)
            # The wall clock is what is in doubt, so a key counts that was in force at the time that it signed.
            check_time(answer, ledger_keys(pinned, named_ms).get(answer.kid))
        except (ValidationError, CryptoFault, Problem) as fault:
            raise Refused(f"the platform's time cannot be believed: {fault}", problem="clock.answer") from fault
        with transaction(self.connection):
            self.settings.put(ClockOffset(offset_ms=named_ms - self.clock.real_ms()))
            self.settings.put(real_mark(self.settings.get(RealMark), named_ms, self.clock))

    async def knowing(self, kid: str, client: httpx.AsyncClient) -> Pinned:
        """What is pinned, with this key's certificate where the ledger's key was rotated since the last sync. Unreachable, or a
        Problem for what the root did not say."""
        pinned = self.settings.get(Pinned) or self.pinned
        if any(one.kid == kid for one in pinned.certificates):
            return pinned
        told = _keys.validate_json(await self._asked(client, KEYS_PATH, {}))
        pinned = learned(pinned, [certificate_of(one) for one in told])
        with transaction(self.connection):
            self.settings.put(pinned)
        return pinned

    async def _asked(self, client: httpx.AsyncClient, path: str, parameters: dict[str, str]) -> bytes:
        url = self.pinned.ingest_url + path
        response = await answered(client, "GET", url, {}, parameters=parameters, timeout_s=TIMEOUT_S)
        if response.status_code != 200:
            raise Unreachable(f"the platform did not tell its time: HTTP {response.status_code}")
        return response.content
