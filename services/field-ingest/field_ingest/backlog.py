"""What waits, as gauges: messages for admission, rows for the projection, streams and events for a person, a checkpoint.

Counted every few seconds from the database and the broker, because what waits is nobody's deed and no counter sees it. The
gauges are of the whole system: each process that counts shows the same. Which of them is too high, deploy/alerts says.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from nats.errors import Error as BrokerError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from prometheus_client import Gauge

from field_ingest.admission.dead_letters import DEALT_WITH
from field_ingest.projection.marks import PROJECTION
from field_ingest.projection.projecting import AGAIN
from zb_chassis.clock import Clock
from zb_chassis.consuming import Subscription
from zb_chassis.database import Connection, Pool
from zb_contracts.subjects import DEADLETTER

EVERY_S: Final = 10.0
CLOCK_ROWS_MAX: Final = 1_000
"""The newest rows of a shard whose clocks are looked at."""
CLOCK_WINDOW_MS: Final = 3_600_000

MESSAGES: Final = Gauge("zb_ingest_waiting_messages", "Messages that admission has not settled", ["stream", "consumer"])
ROWS: Final = Gauge("zb_ingest_waiting_rows", "Ledger rows that some partition of the projection has not read", ["shard"])
QUARANTINED: Final = Gauge("zb_ingest_streams_in_quarantine", "Streams that could not be folded, now")
HELD: Final = Gauge("zb_ingest_events_held", "Events that wait for a supervisor")
STOPPED: Final = Gauge("zb_ingest_authors_stopped", "Authors whose mark stands before a refusal that can pass")
GAPS: Final = Gauge("zb_ingest_authors_asked_again", "Authors who were asked for a part of their chain again")
UNCHECKED: Final = Gauge("zb_ingest_rows_without_checkpoint", "Ledger rows behind the newest checkpoint", ["shard"])
CHECKPOINT_MS: Final = Gauge("zb_ingest_checkpoint_timestamp_seconds", "When the newest checkpoint was made", ["shard"])
LETTERS: Final = Gauge("zb_ingest_dead_letters_open", "Dead letters of all services that nobody has dealt with")
CLOCK_AHEAD: Final = Gauge("zb_ingest_clock_ahead_seconds", "The most by which a device's time was ahead of its receipt lately")
CLOCK_BACK: Final = Gauge("zb_ingest_clocks_went_back", "Events of the newest, whose author's clock had gone back")

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts until it is stopped. `readings` are the consumers of admission, of all shards."""

    pool: Pool
    jetstream: JetStreamContext
    readings: Sequence[Subscription]
    clock: Clock
    every_s: float = EVERY_S

    async def run(self, stop: asyncio.Event) -> None:
        """A database or broker that is away leaves the last figures standing; their alarms are others."""
        while not stop.is_set():
            try:
                await self.count()
            except (*AGAIN, BrokerError, TimeoutError) as fault:
                log.warning("what waits was not counted", error=type(fault).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.every_s)

    async def count(self) -> None:
        """Set every gauge once."""
        async with self.pool.acquire() as connection:
            await _count_rows(connection)
            await _count_people_s_work(connection)
            await _count_clocks(connection, self.clock())
            letters = (await self.jetstream.stream_info(DEADLETTER.name)).state
            # Only of those that the stream still has: it forgets letters in time, the table does not.
            settled = await connection.fetchval(
                "SELECT count(*) FROM dead_letter_retries WHERE disposition = ANY ($1) AND number >= $2",
                list(DEALT_WITH),
                letters.first_seq,
            )
        LETTERS.set(letters.messages - settled)
        for reading in self.readings:
            await self._count_messages(reading)

    async def _count_messages(self, reading: Subscription) -> None:
        durable = reading.durable or reading.service
        with suppress(NotFoundError):  # admission has never started: nobody has waited for it yet
            found = await self.jetstream.consumer_info(reading.stream.name, durable)
            MESSAGES.labels(reading.stream.name, durable).set((found.num_pending or 0) + (found.num_ack_pending or 0))


async def _count_rows(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT s.shard, s.size, c.size AS checked, c.made_at_ms,
            coalesce((
                SELECT min(coalesce(m.position, 0)) FROM projection_partition p
                LEFT JOIN partition_mark m
                    ON m.projection = p.projection AND m.partition = p.partition AND m.shard = s.shard
                WHERE p.projection = $1
            ), 0) AS read
        FROM shards s LEFT JOIN LATERAL (
            SELECT size, made_at_ms FROM checkpoints WHERE shard = s.shard ORDER BY size DESC LIMIT 1
        ) c ON true
        """,
        PROJECTION,
    )
    for row in rows:
        ROWS.labels(row["shard"]).set(row["size"] - row["read"])
        UNCHECKED.labels(row["shard"]).set(row["size"] - (row["checked"] or 0))
        CHECKPOINT_MS.labels(row["shard"]).set((row["made_at_ms"] or 0) / 1000)


async def _count_people_s_work(connection: Connection) -> None:
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM quarantine) AS quarantined,
            (SELECT count(*) FROM holds WHERE admitted_by IS NULL) AS held,
            (SELECT count(*) FROM authors WHERE stopped_seq IS NOT NULL) AS stopped,
            (SELECT count(*) FROM authors WHERE gap_nonce IS NOT NULL) AS asked_again
        """
    )
    assert row is not None
    QUARANTINED.set(row["quarantined"])
    HELD.set(row["held"])
    STOPPED.set(row["stopped"])
    GAPS.set(row["asked_again"])


async def _count_clocks(connection: Connection, now_ms: int) -> None:
    """A time ahead of its receipt is a wrong clock for certain; one behind may be a delay."""
    row = await connection.fetchrow(
        """
        SELECT coalesce(max(-(facts ->> 'clock_offset_ms')::bigint), 0) AS ahead_ms,
            count(*) FILTER (WHERE facts ? 'clock_went_back') AS went_back
        FROM shards s CROSS JOIN LATERAL (
            SELECT convert_from(facts, 'UTF8')::jsonb AS facts, received_at_ms, kind FROM ledger
            WHERE shard = s.shard ORDER BY position DESC LIMIT $1
        ) l WHERE received_at_ms >= $2 AND kind <> 'refusal'
        """,
        CLOCK_ROWS_MAX,
        now_ms - CLOCK_WINDOW_MS,
    )
    assert row is not None
    CLOCK_AHEAD.set(max(row["ahead_ms"], 0) / 1000)
    CLOCK_BACK.set(row["went_back"])
