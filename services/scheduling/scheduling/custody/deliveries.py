"""Which keys a technician's device gets: of whom its documents speak, as the ledger states, and for its own positions.

Each goes in a box for the wrap key that the ledger names, and into the access log before it leaves. What the device holds beyond
that, or what was destroyed, it is told to forget. Nothing that a device says of its scope is believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scheduling import places
from scheduling.custody.policy import IN_SCOPE, WEEK_MS, WEEKLY, week_begins_ms
from scheduling.custody.records import Entitled
from scheduling.custody.vault import Vault
from zb_chassis import access_log
from zb_chassis.database import Pool
from zb_chassis.identity import Principal, Role
from zb_contracts.keys import seal_to
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.subject_keys import KEYS_MAX, DeliveredKey, KeysAnswer, ScopeStatement

DELIVERED: Final = "delivered the key to personal values to a device"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Hands keys out. `pool` has the access log and the technicians."""

    vault: Vault
    pool: Pool

    async def answer(self, statement: ScopeStatement, held: Sequence[str], now_ms: int) -> KeysAnswer:
        """What the device lacks and what it has to forget. KeyMalformed where the stated wrap key is none."""
        await self._make_position_keys(statement.technician, now_ms)
        entitled = await self.vault.entitled(statement.documents, IN_SCOPE, statement.technician, tuple(WEEKLY), held)
        gone = tuple(sorted(set(held) - {one.kid for one in entitled}))
        lacking = [one for one in entitled if one.kid not in set(held)]
        keys = await self._boxed(lacking[:KEYS_MAX], from_base64url(statement.wrap_key))
        await self._note(statement, keys, now_ms)
        return KeysAnswer(keys=keys, gone=gone, more=len(lacking) > KEYS_MAX)

    async def _make_position_keys(self, technician: str, now_ms: int) -> None:
        """This week's and the next one's, so that a weekend without a network is no matter; none for a stranger."""
        async with self.pool.acquire() as connection:
            agency = await places.agency_of_technician(connection, technician)
        if agency is not None:
            for purpose in sorted(WEEKLY):
                for at_ms in (now_ms, now_ms + WEEK_MS):
                    await self.vault.key(technician, agency, purpose, at_ms, now_ms)

    async def _boxed(self, lacking: Sequence[Entitled], wrap_public: bytes) -> tuple[DeliveredKey, ...]:
        opened = await self.vault.opened([one.kid for one in lacking])
        return tuple(
            _delivered(one, to_base64url(seal_to(wrap_public, opened[one.kid].key))) for one in lacking if one.kid in opened
        )

    async def _note(self, statement: ScopeStatement, keys: Sequence[DeliveredKey], now_ms: int) -> None:
        reader = Principal(
            statement.technician, frozenset({Role.TECHNICIAN}), frozenset(), purpose=f"work in the field with {statement.device}"
        )
        subjects = sorted({f"subject:{key.subject}" for key in keys})
        await access_log.record_all(self.pool, reader, DELIVERED, subjects, at_ms=now_ms)


def _delivered(one: Entitled, wrapped: str) -> DeliveredKey:
    begins_ms = week_begins_ms(one.period) if one.is_own and one.purpose in WEEKLY else None
    return DeliveredKey(
        kid=one.kid,
        subject=one.subject,
        purpose=one.purpose.value,
        wrapped=wrapped,
        used_from_ms=begins_ms,
        used_until_ms=None if begins_ms is None else begins_ms + WEEK_MS,
    )
