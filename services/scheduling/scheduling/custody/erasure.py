"""Erasing a data subject: keys destroyed, the office's copies of the values with them, and a word of it in the ledger.

The order makes a crash harmless: the keys first (durable in the journal), then one transaction of the office that forgets its
copies and signs `subject.erased.v1`. What was destroyed and not told yet is told at the next start or round.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from scheduling import places
from scheduling.authoring import Fact
from scheduling.custody.policy import STAYS, Stays, kept_until_ms
from scheduling.custody.records import KeyRecord, Subject, SubjectKey, Untold
from scheduling.custody.vault import Vault, erased
from scheduling.desk import Desk
from scheduling.keys import author_of
from zb_chassis import lifecycle, outbox
from zb_chassis.database import LOST, transaction
from zb_contracts import subjects
from zb_contracts.announcements import PICTURES_ERASED, PICTURES_MAX, PicturesErased, ce_headers
from zb_contracts.events.custody import KIDS_PER_EVENT_MAX, SubjectErased
from zb_contracts.faults import SealBroken
from zb_contracts.sealed import SealedValue, open_sealed_value
from zb_contracts.times import format_time_ms

SWEEP_S: Final = 3_600.0
SOURCE: Final = "/scheduling"

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What is or was under a subject's keys. `kept`: living keys that a law keeps; `stays`: what no erasure reaches."""

    subject: Subject
    living: tuple[KeyRecord, ...]
    destroyed: tuple[KeyRecord, ...]
    kept: tuple[KeyRecord, ...]
    pictures: tuple[str, ...] = ()
    """Hashes of the pictures that went, or go, with the destroyed keys."""
    stays: tuple[Stays, ...] = STAYS


@dataclass(frozen=True, slots=True)
class Erasure:
    """Erases and reports. `actor` is who asked, as events name them."""

    desk: Desk

    @property
    def vault(self) -> Vault:
        return self.desk.vault

    async def erase(self, subject: str, actor: str | None, pictures: Sequence[str] = ()) -> Report:
        """Destroy what may be destroyed. Problems as `Vault.destroy`; a repetition after a crash finishes the work first."""
        await self.tell(actor)
        await self.vault.destroy(subject, self.desk.clock(), pictures)
        await self.tell(actor)
        return await self.report(subject)

    async def report(self, subject: str) -> Report:
        """What is there of a subject. Problem SUBJECT_UNKNOWN."""
        found, now_ms = await self.vault.subject(subject), self.desk.clock()
        return Report(
            found,
            living=tuple(key for key in found.keys if key.lives),
            destroyed=tuple(key for key in found.keys if not key.lives),
            pictures=await self.vault.pictures([key.kid for key in found.keys if not key.lives]),
            kept=tuple(key for key in found.keys if key.lives and (kept_until_ms(key.purpose, key.made_at_ms) or 0) > now_ms),
        )

    async def values(self, subject: str) -> dict[str, str]:
        """What was said last of a subject, opened, by field. Problems SUBJECT_UNKNOWN, SUBJECT_ERASED where no key lives."""
        found = await self.vault.subject(subject)
        if not any(key.lives for key in found.keys):
            raise erased(found)
        async with self.desk.pool.acquire() as connection:
            records = await places.load_personal(connection, subject)
        keys = await self.vault.opened([record.kid for record in records])
        return {
            record.field: open_sealed_value(keys[record.kid].key, record.event, record.field, record.sealed)
            for record in records
            if record.event is not None and record.sealed is not None and record.kid in keys
        }

    async def opened(self, subject: str, values: Sequence[tuple[str, str, SealedValue]]) -> list[str | None]:
        """The texts of (event, field, value); None where no living key of this subject opens it. SUBJECT_UNKNOWN."""
        own = {key.kid for key in (await self.vault.subject(subject)).keys if key.lives}
        keys = await self.vault.opened(sorted(own & {value.kid for _, _, value in values}))
        return [_opened(keys.get(value.kid), event, name, value) for event, name, value in values]

    async def tell(self, actor: str | None = None) -> None:
        """Forget the office's own copies of what was destroyed, and say it in the ledger. Said twice it changes nothing more."""
        for untold in await self.vault.untold():
            for start in range(0, len(untold.kids), KIDS_PER_EVENT_MAX):
                await self._tell(untold, untold.kids[start : start + KIDS_PER_EVENT_MAX], actor)

    async def _tell(self, untold: Untold, kids: tuple[str, ...], actor: str | None) -> None:
        async with self.desk.sitting(untold.agency, actor) as sitting:
            await places.forget_personal(sitting.connection, kids)
            body = SubjectErased(subject=untold.subject, kids=kids, cause=untold.cause)
            sitting.add(Fact(sitting.new_id(), f"device:{author_of(untold.agency)}", body, sitting.now_ms))
            await outbox.enqueue_all(sitting.connection, _told(untold, await self.vault.pictures(kids), sitting.now_ms))
        await self.vault.told(kids)
        log.info("keys of a data subject destroyed", subject=untold.subject, keys=len(kids), cause=untold.cause)

    async def forget_lost(self) -> int:
        """Forget the office's copies of what custody has no living key for, as after a restore without keys; how many.

        Else an import of the same value would find nothing new, and nobody could read it again.
        """
        async with transaction(self.desk.pool) as connection:
            kids = await places.personal_kids(connection)
            lost = sorted(kids - (await self.vault.opened(sorted(kids))).keys())
            await places.forget_personal(connection, lost)
        return len(lost)

    async def keep(self, stop: asyncio.Event) -> None:
        """Destroy keys whose time is over, and finish what a crash left, now and then. A lost database is tried again."""
        while not stop.is_set():
            try:
                if lost := await self.forget_lost():
                    log.warning("personal values are forgotten whose keys are gone", values=lost)
                while await self.vault.destroy_expired(self.desk.clock()):
                    pass
                await self.tell()
            except LOST as fault:
                log.warning("the custody of keys waits for the database", fault=type(fault).__name__)
            await lifecycle.unless(stop, asyncio.sleep(SWEEP_S))


def _opened(key: SubjectKey | None, event: str, name: str, value: SealedValue) -> str | None:
    if key is None:
        return None
    try:
        return open_sealed_value(key.key, event, name, value)
    except SealBroken:
        # Of another event or field, or changed: whoever asks is told that it does not open, and no more.
        return None


def _told(untold: Untold, pictures: Sequence[str], now_ms: int) -> list[outbox.Message]:
    """What the evidence store is told. The same pictures of a subject are the same message."""
    messages = []
    for start in range(0, len(pictures), PICTURES_MAX):
        files = tuple(pictures[start : start + PICTURES_MAX])
        digest = hashlib.sha256(" ".join(files).encode()).hexdigest()[:32]
        event_id = f"erased:{untold.subject}:{digest}"
        headers = ce_headers(
            PICTURES_ERASED, source=SOURCE, event_id=event_id, time=format_time_ms(now_ms), subject=untold.subject
        )
        data = PicturesErased(subject=untold.subject, agency=untold.agency, files=files)
        messages.append(outbox.Message(event_id, subjects.reference("erased"), data.model_dump_json().encode(), headers))
    return messages
