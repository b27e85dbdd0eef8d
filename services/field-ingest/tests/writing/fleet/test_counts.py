"""The fleet's gauges: how devices stand, which went silent, whose event waits although it is heard, what is not wiped yet."""

from typing import Any

from prometheus_client import REGISTRY

from field_ingest.devices import about, wipes
from field_ingest.devices.counts import FleetCounts
from zb_chassis.database import transaction
from zb_contracts.sync import About

HOUR_MS = 3_600_000


def gauge(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"zb_ingest_{name}", labels)
    assert value is not None
    return value


async def heard(house: Any, device: str, hours_ago: int) -> None:
    at_ms = house.now_ms - hours_ago * HOUR_MS
    await house.pool.execute("INSERT INTO sync_session VALUES ($1, 'camille', $2)", device, at_ms)


async def test_the_fleet_is_counted_as_an_operator_needs_it(house: Any) -> None:
    for device, hours_ago in (("fresh", 0), ("stuck", 0), ("away", 25), ("gone", 200)):
        pen = await house.hire(device)
        await heard(house, device, hours_ago)
        if device in ("stuck", "away"):
            told = About(number=1, at_ms=house.now_ms, waiting_events=2, oldest_waiting_ms=house.now_ms - 30 * HOUR_MS)
            await about.tell(house.pool, pen.author, told, head=2, now_ms=house.now_ms)
    await house.hire("lost")
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $1, revoked_cause = 'lost' WHERE device = 'lost'", house.now_ms)
    await house.pool.execute("UPDATE authors SET login_key = 'U-' || device WHERE device IS NOT NULL")
    async with transaction(house.pool) as connection:
        order = wipes.Order("order-1", "away", "U-away", False, "left", "noor", house.now_ms - 2 * HOUR_MS)
        await wipes.place(connection, order)

    await FleetCounts(house.pool, house.clock, house.clock).count()

    standings = {name: gauge("devices", standing=name) for name in ("active", "suspended", "lost", "wiping", "wiped", "retired")}
    assert standings == {"active": 3, "suspended": 0, "lost": 1, "wiping": 1, "wiped": 0, "retired": 0}
    assert [gauge("devices_silent", hours=hours) for hours in ("24", "72", "168")] == [2, 1, 1]
    assert gauge("devices_stuck") == 1
    assert gauge("oldest_waiting_seconds") == 30 * 3_600
    assert gauge("wipes_waiting_seconds") == 2 * 3_600

    await house.pool.execute(
        "UPDATE authors SET revoked_at_ms = $1, revoked_cause = 'retired' WHERE device = 'away'", house.now_ms
    )
    await FleetCounts(house.pool, house.clock, house.clock).count()
    assert gauge("wipes_waiting_seconds") == 0
    assert gauge("devices", standing="retired") == 1


async def test_a_device_whose_events_have_arrived_is_not_stuck(house: Any) -> None:
    pen = await house.hire("back")
    await heard(house, "back", 0)
    told = About(number=1, at_ms=house.now_ms, waiting_events=2, oldest_waiting_ms=house.now_ms - 30 * HOUR_MS)
    await about.tell(house.pool, pen.author, told, head=2, now_ms=house.now_ms)
    await FleetCounts(house.pool, house.clock, house.clock).count()
    assert (gauge("devices_stuck"), gauge("oldest_waiting_seconds")) == (1, 30 * 3_600)
    await house.deliver(pen, pen.writes(2))
    await FleetCounts(house.pool, house.clock, house.clock).count()
    assert (gauge("devices_stuck"), gauge("oldest_waiting_seconds")) == (0, 0)
