"""What field-ingest forgets by itself: messages that were sent long ago, and a replay that was left half done.

Once in an hour, in whatever process follows the projection. Rows of the ledger and states are never its matter.
"""

import asyncio
from typing import Final

import structlog

from field_ingest.projection import replay
from zb_chassis import lifecycle, outbox
from zb_chassis.clock import Clock
from zb_chassis.database import Pool, transaction, waited_out
from zb_contracts.subjects import INTERVENTIONS

EVERY_S: Final = 3600.0
OUTBOX_KEPT_S: Final = INTERVENTIONS.max_age_s + 86_400.0
"""Longer than the stream keeps them: a stream that was lost is told again from here."""
REPLAY_KEPT_MS: Final = 7 * 86_400_000
"""A replay that was killed is gone on with by the same command, for so long."""

log: Final = structlog.get_logger(__name__)


async def keep_house(pool: Pool, clock: Clock, stop: asyncio.Event) -> None:
    """Forget what is old, now and every hour until `stop` is set."""
    while not stop.is_set():
        async with waited_out("housekeeping"):
            await forget(pool, clock)
        await lifecycle.unless(stop, asyncio.sleep(EVERY_S))


async def forget(pool: Pool, clock: Clock) -> int:
    """Forget what is old; how many sent messages went."""
    messages, gone = 0, outbox.PRUNE_BATCH_MAX
    while gone == outbox.PRUNE_BATCH_MAX:  # a transaction each: the relay and the projection do not wait for all of them
        async with transaction(pool) as connection:
            gone = await outbox.prune(connection, older_than_s=OUTBOX_KEPT_S)
        messages += gone
    async with pool.acquire() as connection:
        if await replay.forget_left(connection, before_ms=clock() - REPLAY_KEPT_MS):
            log.info("a replay that nobody went on with is gone")
    return messages
