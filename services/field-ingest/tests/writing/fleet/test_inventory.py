"""The inventory over HTTP: what devices told last, chosen by it and paged."""

from typing import Any

from field_ingest.devices import about
from zb_contracts.sync import About

HOUR_MS = 3_600_000


async def test_the_inventory_has_what_the_device_told_last_and_never_what_is_older(office: Any) -> None:
    house, pen = office.house, await office.hire("d-north", "north")
    newer = About(
        number=2,
        at_ms=house.now_ms + 4_000,
        model="CT-60",
        os="Android 15",
        app="2.1",
        battery_percent=40,
        waiting_events=3,
        oldest_waiting_ms=house.now_ms - 30 * HOUR_MS,
        waiting_files=1,
    )
    await about.tell(house.pool, pen.author, newer, head=3, now_ms=house.now_ms)
    await about.tell(house.pool, pen.author, About(number=1, at_ms=1, app="1.0"), head=3, now_ms=house.now_ms + 1)
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    told = {name: one[name] for name in ("model", "os", "app", "battery_percent", "waiting_events", "waiting_files")}
    assert told == {
        "model": "CT-60",
        "os": "Android 15",
        "app": "2.1",
        "battery_percent": 40,
        "waiting_events": 3,
        "waiting_files": 1,
    }
    assert (one["clock_offset_ms"], one["oldest_waiting"]) == (4_000, "2026-11-22T04:00:00.000Z")
    await house.pool.execute("UPDATE authors SET incarnation = 2")
    await about.tell(house.pool, pen.author, About(number=1, at_ms=house.now_ms, app="2.2"), head=0, now_ms=house.now_ms)
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    assert (one["app"], one["model"], one["waiting_events"]) == ("2.2", "CT-60", 0)


async def test_devices_are_chosen_by_what_they_told_and_paged_by_name(office: Any) -> None:
    house = office.house
    for number in range(5):
        pen = await office.hire(f"d-{number}", "north")
        told = About(
            number=1,
            at_ms=house.now_ms,
            app=f"2.{number % 2}",
            battery_percent=20 * number,
            oldest_waiting_ms=house.now_ms - number * HOUR_MS,
        )
        await about.tell(house.pool, pen.author, told, head=1, now_ms=house.now_ms)
        await house.pool.execute(
            "INSERT INTO sync_session VALUES ($1, 'camille', $2)", f"d-{number}", house.now_ms - number * HOUR_MS
        )
    await office.done("noor", "POST", "devices/d-3/suspension", {"reason": "screen broken"})
    assert await office.names("noor", app="2.1") == ["d-1", "d-3"]
    assert await office.names("noor", standing="suspended") == ["d-3"]
    assert await office.names("noor", battery_below=20) == ["d-0"]
    assert await office.names("noor", silent_h=3) == ["d-3", "d-4"]
    assert await office.names("noor", waiting_h=4) == ["d-4"]
    assert await office.names("noor", technician="camille", standing="active", app="2.1") == ["d-1"]
    assert await office.names("noor", technician="dominique") == []
    first = await office.done("noor", "GET", "devices", limit=3)
    assert (len(first["devices"]), first["next"]) == (3, "d-2")
    assert await office.names("noor", limit=3, after=first["next"]) == ["d-3", "d-4"]
    assert await office.refused("noor", "GET", "devices", limit=501) == (422, "input.invalid")


async def test_what_the_ledger_took_since_a_device_told_of_it_waits_no_more(office: Any) -> None:
    """A device that came out of a dead zone told of three events, sent them, and left before it could say so."""
    house, pen = office.house, await office.hire("d-north", "north")
    told = About(number=1, at_ms=house.now_ms, waiting_events=3, oldest_waiting_ms=house.now_ms - 30 * HOUR_MS, waiting_files=2)
    await about.tell(house.pool, pen.author, told, head=3, now_ms=house.now_ms)
    assert await office.names("noor", waiting_h=24) == ["d-north"]
    await house.deliver(pen, pen.writes(2))
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    assert (one["waiting_events"], one["oldest_waiting"]) == (1, "2026-11-22T04:00:00.000Z")
    await house.deliver(pen, pen.writes(1))
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    assert (one["waiting_events"], one["oldest_waiting"], one["waiting_files"]) == (0, None, 2)
    assert await office.names("noor", waiting_h=24) == []
