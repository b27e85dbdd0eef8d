"""What devices tell of themselves beside a sync, kept one row a device: the newest of its newest incarnation.

It is the device's word, for those who look after it; nothing is decided by it.
"""

from zb_chassis.database import Connection, Pool
from zb_contracts.printable import printable
from zb_contracts.sync import About


async def begin(connection: Connection, device: str, incarnation: int, *, model: str | None, told_at_ms: int) -> None:
    """A new incarnation: what the one before it told is forgotten, but for the model where this one names none."""
    await connection.execute(
        """
        INSERT INTO device_about (device, incarnation, number, told_at_ms, model, waiting_events, waiting_files)
        VALUES ($1, $2, 0, $3, $4, 0, 0)
        ON CONFLICT (device) DO UPDATE SET incarnation = excluded.incarnation, number = 0, told_at_ms = excluded.told_at_ms,
            model = coalesce(excluded.model, device_about.model), os = NULL, app = NULL, battery_percent = NULL,
            clock_offset_ms = NULL, waiting_events = 0, oldest_waiting_ms = NULL, waiting_files = 0, head = NULL
        """,
        device,
        incarnation,
        told_at_ms,
        model,
    )


async def tell(connection: Connection | Pool, author: str, told: About, *, head: int, now_ms: int) -> None:
    """Keep what the device of this author told when `head` was its newest event, unless something newer is there."""
    await connection.execute(
        """
        INSERT INTO device_about AS t (device, incarnation, number, told_at_ms, model, os, app, battery_percent, clock_offset_ms,
            waiting_events, oldest_waiting_ms, waiting_files, head)
        SELECT a.device, coalesce(a.incarnation, 1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM authors a
        WHERE a.author = $1
        ON CONFLICT (device) DO UPDATE SET incarnation = excluded.incarnation, number = excluded.number,
            told_at_ms = excluded.told_at_ms, model = coalesce(excluded.model, t.model), os = excluded.os, app = excluded.app,
            battery_percent = excluded.battery_percent, clock_offset_ms = excluded.clock_offset_ms,
            waiting_events = excluded.waiting_events, oldest_waiting_ms = excluded.oldest_waiting_ms,
            waiting_files = excluded.waiting_files, head = excluded.head
        WHERE (t.incarnation, t.number) < (excluded.incarnation, excluded.number)
        """,
        author,
        told.number,
        now_ms,
        *(text and printable(text) for text in (told.model, told.os, told.app)),
        told.battery_percent,
        told.at_ms - now_ms,
        told.waiting_events,
        told.oldest_waiting_ms,
        told.waiting_files,
        head,
    )
