"""Orders to wipe a device's hardware: placed and withdrawn by an administrator, in force until a device attests.

An order is for a login key, not for a device's name: where new hardware goes on under that name, the order stays with the old
one. The sync answer carries it (sync/), sessions are drains while it stands (tokens), what the device says to it is
`device.wiped.v1` in the ledger (attestation.py). Times are real time.
"""

from dataclasses import dataclass

from field_ingest.devices import cuts
from zb_chassis.database import Connection
from zb_contracts.problems import DEVICE_WIPING, Problem


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `at_once`: the device does not wait for what it cannot send."""

    order: str
    device: str
    login_key: str
    at_once: bool
    reason: str
    ordered_by: str
    ordered_at_ms: int


async def in_force(connection: Connection, login_key: str) -> Order | None:
    """The order for this hardware that was not withdrawn, attested or not."""
    row = await connection.fetchrow(
        """
        SELECT order_id, device, login_key, at_once, reason, ordered_by, ordered_at_ms FROM wipes
        WHERE login_key = $1 AND withdrawn_at_ms IS NULL
        """,
        login_key,
    )
    return Order(*row) if row else None


async def place(connection: Connection, new: Order) -> Order:
    """The order that is in force now, the sessions cut. One that waits gives way to one that is to be at once, else it stays."""
    before = await in_force(connection, new.login_key)
    if before is not None and before.at_once >= new.at_once:
        return before
    await withdraw(connection, new.login_key, by=new.ordered_by, at_ms=new.ordered_at_ms)
    await connection.execute(
        """
        INSERT INTO wipes (order_id, device, login_key, at_once, reason, ordered_by, ordered_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        new.order,
        new.device,
        new.login_key,
        new.at_once,
        new.reason,
        new.ordered_by,
        new.ordered_at_ms,
    )
    await cuts.cut_device(connection, new.device, new.ordered_at_ms)
    return new


async def waiting(connection: Connection, device: str) -> list[str]:
    """The hardware that this device is or was, by login key, whose order nothing attests to: the newest order first."""
    rows = await connection.fetch(
        """
        SELECT login_key FROM wipes WHERE device = $1 AND withdrawn_at_ms IS NULL AND attested_wipe(device, login_key) IS NULL
        ORDER BY ordered_at_ms DESC
        """,
        device,
    )
    return [row["login_key"] for row in rows]


async def withdraw(connection: Connection, login_key: str, *, by: str, at_ms: int) -> str | None:
    """Take the order back; its id, None where there is none."""
    order: str | None = await connection.fetchval(
        """
        UPDATE wipes SET withdrawn_at_ms = $2, withdrawn_by = $3 WHERE login_key = $1 AND withdrawn_at_ms IS NULL
        RETURNING order_id
        """,
        login_key,
        at_ms,
        by,
    )
    return order


async def check(connection: Connection, device: str, login_key: str) -> None:
    """Problem DEVICE_WIPING while the hardware is to be wiped, and after it was."""
    order = await in_force(connection, login_key)
    if order is not None:
        raise Problem(DEVICE_WIPING, device=device, order=order.order)
