"""The inventory in the terminal: a page of devices by filter, and one device with all that is known of it."""

import time
from pathlib import Path
from typing import Any, Final

import click

from zb.fleet.desk import Desk, at_desk, say, show_json, show_table
from zb_contracts.times import parse_time_ms

STANDINGS: Final = ("active", "suspended", "lost", "wiping", "wiped", "retired")
PAGE_MAX: Final = 500
HOURS_MAX: Final = 24 * 366
UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


@click.command("list", short_help="List devices by filter, a page at a time.")
@click.option("--agency", help="only of this agency and those below it")
@click.option("--technician", help="only theirs")
@click.option("--standing", type=click.Choice(STANDINGS), help="only those")
@click.option("--model", help="only of this make")
@click.option("--os", help="only with this system, as the device tells it")
@click.option("--app", help="only with this version of the app")
@click.option("--battery-below", type=click.IntRange(1, 100), help="only with less than so many percent")
@click.option("--silent-hours", "silent_h", type=click.IntRange(1, HOURS_MAX), help="only those not heard of for so long")
@click.option("--waiting-hours", "waiting_h", type=click.IntRange(1, HOURS_MAX), help="only where an event waits for so long")
@click.option("--unwiped", is_flag=True, default=None, help="only where an order to wipe waits, also for replaced hardware")
@click.option("--after", help="`next` of the page before")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=100, show_default=True, help="devices a page")
@at_desk
@click.pass_obj
def list_command(folder: Path, /, name: str, as_json: bool, **wanted: Any) -> None:
    """List devices by name. What a device tells of itself is as old as its last contact."""
    answer = Desk.of(folder, name).get("devices", **wanted)
    if as_json:
        return show_json(answer)
    columns = ("device", "agency", "technician", "standing", "seen", "model", "os", "app", "battery", "waiting", "clock", "scope")
    show_table(columns, [_row(device) for device in answer["devices"]])
    if answer["next"]:
        say(f"more: --after {answer['next']}")


@click.command("show", short_help="Show one device with all that is known of it.")
@click.argument("device")
@at_desk
@click.pass_obj
def show_command(folder: Path, /, name: str, as_json: bool, device: str) -> None:
    """Show DEVICE: how it stands, what it told, its incarnations, its attested wipe, and who did what with it."""
    answer = Desk.of(folder, name).get(f"devices/{device}")
    if as_json:
        return show_json(answer)
    for line in _lines(answer):
        say(line)


def _row(device: dict[str, Any]) -> list[object]:
    clock = device["clock_offset_ms"]
    return [
        device["device"],
        device["agency"],
        device["technician"] or device["seen_with"],
        device["standing"],
        ago(device["seen_at"]),
        *(device[name] for name in ("model", "os", "app")),
        _percent(device),
        _waiting(device),
        None if clock is None else f"{round(clock / 1000):+d} s",
        f"{device['scope']['documents']} ({device['scope']['bytes'] / 1024:.0f} KiB)",
    ]


def _percent(device: dict[str, Any]) -> str | None:
    """The charge; None where the device has none, or did not tell."""
    return None if device["battery_percent"] is None else f"{device['battery_percent']} %"


def _waiting(device: dict[str, Any]) -> str | None:
    """What has no receipt, as the device told it; None where nothing waits."""
    if not device["waiting_events"] and not device["waiting_files"]:
        return None
    since = f" since {ago(device['oldest_waiting'])}" if device["oldest_waiting"] else ""
    return f"{device['waiting_events']} events, {device['waiting_files']} files{since}"


def _lines(device: dict[str, Any]) -> list[str]:
    scope, last = device["scope"], device["last_event"]
    lines = [
        f"{device['device']} of {device['agency']}, {device['technician'] or 'of the pool'}: {device['standing']}",
        f"    {_told(device)}",
        f"    seen {device['seen_at']} with {device['seen_with']}; scope {scope['documents']} documents, {scope['bytes']} bytes, "
        f"{scope['left_out']} left out; {device['held']} events held",
    ]
    if last:
        lines.append(f"    last event {last['type']}, received {last['received_at']}, clock {last['clock_offset_ms']} ms off")
    if device["suspension"]:
        lines.append(f"    suspended ({device['suspension']['cause']}) until {device['suspension']['until'] or 'it is lifted'}")
    if device["wipe"]:
        wipe = device["wipe"]
        when = "at once" if wipe["at_once"] else "once it has sent what it has"
        lines.append(
            f"    wipe {wipe['order']} {wipe['state']}, {when}: {wipe['reason']} ({wipe['ordered_by']}, {wipe['ordered_at']})"
        )
    for one in device["incarnations"]:
        ended = f", ended {one['revoked_at']} ({one['revoked_cause']})" if one["revoked_at"] else ""
        lines.append(f"    incarnation {one['author']} since {one['registered_at']}, {one['mark']} events{ended}")
        if one["wipe_order"]:
            lines.append(f"        its hardware has the order to wipe {one['wipe_order']}")
            lines += _attested(one["attestation"])
    for one in device["history"]:
        said = ", ".join(str(one[key]) for key in ("act", "cause", "author", "by", "reason") if key in one)
        lines.append(f"    {one['at']} {one['type']}: {said}")
    return lines


def _told(device: dict[str, Any]) -> str:
    """What the device says of itself; a new incarnation has said nothing yet."""
    if device["app"] is None and device["os"] is None:
        return "has told nothing of itself yet"
    make, system = device["model"] or "make unknown", device["os"] or "system unknown"
    return (
        f"told {device['told_at']}: {make}, {system}, app {device['app']}, battery {_percent(device) or 'unknown'}, "
        f"clock {device['clock_offset_ms']} ms off, {_waiting(device) or 'nothing waits'}"
    )


def _attested(found: dict[str, Any] | None) -> list[str]:
    """What the hardware attested, and what of it holds."""
    if found is None:
        return ["        which nothing attests to"]
    verdict = "its signature holds" if found["signature_holds"] else "its signature does NOT hold"
    verdict += ", nothing of its author came after" if found["is_last_event"] else ", its author went ON after it"
    if not found["is_readable"]:
        return [f"        attested by {found['event']}, which cannot be read: {verdict}"]
    lost = ", ".join(f"{count} of {author}" for author, count in found["events_lost"].items())
    return [
        f"        attested by {found['event']} of {found['author']}, received {found['received_at']}: {verdict}",
        f"        events that went with it: {lost or 'none, the ledger has them all'}; files: {found['files_left']}",
    ]


def ago(at: str | None) -> str | None:
    """How long ago a time was, in its largest unit."""
    if at is None:
        return None
    seconds = max(0, time.time_ns() // 1_000_000 - parse_time_ms(at)) // 1000
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
