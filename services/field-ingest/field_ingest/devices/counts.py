"""How the fleet is, as gauges: devices by standing, those that went silent, the oldest event that waits, wipes without an answer.

Counted once a minute from the inventory's tables: nobody's deed makes a device silent, so no counter sees it. What is too much,
deploy/alerts says.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Gauge

from field_ingest.devices.standing import Standing
from zb_chassis.clock import Clock
from zb_chassis.database import LOST, Connection, Pool

EVERY_S: Final = 60.0
SILENT_H: Final = (24, 72, 168)
HOUR_MS: Final = 3_600_000

DEVICES: Final = Gauge("zb_ingest_devices", "Devices by how they stand", ["standing"])
SILENT: Final = Gauge("zb_ingest_devices_silent", "Devices that are not revoked, unheard of for so many hours", ["hours"])
STUCK: Final = Gauge("zb_ingest_devices_stuck", "Devices heard within an hour whose oldest event waits for a day")
OLDEST: Final = Gauge("zb_ingest_oldest_waiting_seconds", "Age of the oldest event without a receipt, as devices told")
UNWIPED: Final = Gauge("zb_ingest_wipes_waiting_seconds", "Age of the oldest order to wipe that nothing attests to")

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """Counts until it is stopped. `clock` (perhaps a story's) dates what was heard, `real_clock` suspensions and orders."""

    pool: Pool
    clock: Clock
    real_clock: Clock
    every_s: float = EVERY_S

    async def run(self, stop: asyncio.Event) -> None:
        """A database that is away leaves the last figures standing; its alarms are others."""
        while not stop.is_set():
            try:
                await self.count()
            except LOST as fault:
                log.warning("the fleet was not counted", error=type(fault).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.every_s)

    async def count(self) -> None:
        """Set every gauge once."""
        async with self.pool.acquire() as connection:
            await _count_standings(connection, self.real_clock())
            await _count_waiting(connection, self.clock())
            ordered_ms = await connection.fetchval(
                """
                SELECT min(ordered_at_ms) FROM wipes w
                WHERE withdrawn_at_ms IS NULL AND attested_wipe(device, login_key) IS NULL
                    AND NOT EXISTS (SELECT FROM authors a WHERE a.login_key = w.login_key AND a.revoked_cause = 'retired')
                """
            )
        UNWIPED.set(0 if ordered_ms is None else max(0, self.real_clock() - ordered_ms) / 1000)


async def _count_standings(connection: Connection, real_ms: int) -> None:
    rows = await connection.fetch(
        """
        SELECT device_standing(a.revoked_cause, s.device IS NOT NULL, CASE
            WHEN w.order_id IS NULL THEN 'none'
            WHEN attested_wipe(a.device, a.login_key) IS NULL THEN 'ordered'
            ELSE 'attested' END) AS standing, count(*) AS devices
        FROM authors a
        LEFT JOIN suspensions s ON s.device = a.device AND s.lifted_at_ms IS NULL AND (s.until_ms IS NULL OR s.until_ms > $1)
        LEFT JOIN wipes w ON w.login_key = a.login_key AND w.withdrawn_at_ms IS NULL
        WHERE a.kind = 'device'
            AND NOT EXISTS (SELECT FROM authors n WHERE n.device = a.device AND n.incarnation > a.incarnation)
        GROUP BY 1
        """,
        real_ms,
    )
    found = {row["standing"]: row["devices"] for row in rows}
    for standing in Standing:
        DEVICES.labels(standing).set(found.get(standing, 0))


async def _count_waiting(connection: Connection, now_ms: int) -> None:
    """Of devices that nobody revoked: when each was heard last, or enrolled, and what it said of its oldest event.

    What the ledger took since it said so waits no more.
    """
    row = await connection.fetchrow(
        """
        SELECT count(*) FILTER (WHERE silent_ms >= 24 * $2::bigint) AS silent_24,
            count(*) FILTER (WHERE silent_ms >= 72 * $2) AS silent_72,
            count(*) FILTER (WHERE silent_ms >= 168 * $2) AS silent_168,
            count(*) FILTER (WHERE silent_ms < $2 AND waits_ms >= 24 * $2) AS stuck,
            max(waits_ms) AS longest_ms
        FROM (
            SELECT $1::bigint - coalesce(o.asked_ms, a.registered_at_ms) AS silent_ms,
                CASE WHEN a.mark >= t.head THEN NULL ELSE $1 - t.oldest_waiting_ms END AS waits_ms
            FROM authors a
            LEFT JOIN sync_session o ON o.device = a.device LEFT JOIN device_about t ON t.device = a.device
            WHERE a.kind = 'device' AND a.revoked_at_ms IS NULL
        ) d
        """,
        now_ms,
        HOUR_MS,
    )
    assert row is not None
    for hours in SILENT_H:
        SILENT.labels(hours).set(row[f"silent_{hours}"])
    STUCK.set(row["stuck"])
    OLDEST.set(max(0, row["longest_ms"] or 0) / 1000)
