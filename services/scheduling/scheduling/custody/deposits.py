"""Keys that devices made off line, taken into custody: opened from their boxes, stored under the master key, known by their use.

Such a key stands in no event, so that destroying it here destroys it. Whose key it is follows from what it is for, never from a
name that the device chose. It gives no key away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scheduling import places
from scheduling.custody.policy import Purpose
from scheduling.custody.records import MadeKey, Use
from scheduling.custody.vault import Vault
from zb_chassis.database import Pool
from zb_chassis.devices import DeviceSession
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import WrapKey, open_sealed
from zb_contracts.problems import DEPOSIT_REFUSED, INPUT_NOT_FOUND, RATE_LIMITED, Problem
from zb_contracts.sealed import SUBJECT_KEY_BYTES, from_base64url
from zb_contracts.subject_keys import Deposit, DepositAnswer, DepositRefused

DAY_MS: Final = 86_400_000
DEPOSITS_PER_DAY_MAX: Final = 4_000
"""Of one device: a technician without any key from custody records some hundred positions a day."""
SIGNER_SUBJECT: Final = "signer-"
"""Before the id of the event in which somebody signed: nobody knows more of who it is."""


@dataclass(frozen=True, slots=True)
class Deposits:
    """Takes keys in. `key` opens the boxes; `pool` is the office's own, to know whose sites and interventions they are."""

    vault: Vault
    pool: Pool
    key: WrapKey

    async def take(self, session: DeviceSession, deposits: Sequence[Deposit], now_ms: int) -> DepositAnswer:
        """Keep what can be kept; the others are refused one by one. Problem RATE_LIMITED for the whole of it."""
        if await self.vault.taken_since(session.device, now_ms - DAY_MS) + len(deposits) > DEPOSITS_PER_DAY_MAX:
            raise Problem(RATE_LIMITED, seconds=3_600)
        taken, refused = [], []
        for deposit in deposits:
            try:
                await self._take(session, deposit, now_ms)
                taken.append(deposit.kid)
            except Problem as fault:
                refused.append(DepositRefused(kid=deposit.kid, code=fault.code))
        return DepositAnswer(taken=tuple(taken), refused=tuple(refused))

    async def _take(self, session: DeviceSession, deposit: Deposit, now_ms: int) -> None:
        if session.technician not in (None, deposit.actor):
            raise Problem(DEPOSIT_REFUSED, kid=deposit.kid, reason="another technician's session")
        made = MadeKey(
            kid=deposit.kid,
            key=self._opened(deposit),
            subject=_subject(deposit),
            agency=await self._agency(deposit),
            purpose=Purpose(deposit.purpose),
            # A clock that is ahead must not give a position more time than it has.
            at_ms=min(deposit.at_ms, now_ms),
            made_by=session.device,
        )
        uses = [Use(deposit.stream, deposit.event, field) for field in deposit.fields]
        await self.vault.take(made, uses, deposit.file, now_ms)

    def _opened(self, deposit: Deposit) -> bytes:
        if deposit.recipient_kid != self.key.kid:
            raise Problem(DEPOSIT_REFUSED, kid=deposit.kid, reason=f"the box is for the key {deposit.recipient_kid}")
        try:
            key = open_sealed(self.key.private, from_base64url(deposit.wrapped))
        except CryptoFault as fault:
            raise Problem(DEPOSIT_REFUSED, kid=deposit.kid, reason=str(fault)) from fault
        if len(key) != SUBJECT_KEY_BYTES:
            raise Problem(DEPOSIT_REFUSED, kid=deposit.kid, reason=f"a key has {SUBJECT_KEY_BYTES} bytes, not {len(key)}")
        return key

    async def _agency(self, deposit: Deposit) -> str:
        async with self.pool.acquire() as connection:
            agency = await places.agency_of(connection, deposit.stream)
            if agency is None and Purpose(deposit.purpose) in (Purpose.POSITION, Purpose.SERVICE_POSITION):
                agency = await places.agency_of_technician(connection, deposit.actor)
        if agency is None:
            raise Problem(INPUT_NOT_FOUND, what="stream", id=deposit.stream)
        return agency


def _subject(deposit: Deposit) -> str:
    kind, _, stream_id = deposit.stream.partition(":")
    if deposit.purpose == "signer" and kind == "intervention":
        return SIGNER_SUBJECT + deposit.event
    if deposit.purpose == "contact" and kind == "site":
        return stream_id
    if deposit.purpose in ("position", "service-position"):
        return deposit.actor
    raise Problem(DEPOSIT_REFUSED, kid=deposit.kid, reason=f"no {deposit.purpose} stands on {deposit.stream}")
