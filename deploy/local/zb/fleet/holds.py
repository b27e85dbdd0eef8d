"""Held events in the terminal: what waits for a supervisor, and letting in what is genuine, in the order that the ledger asks."""

from pathlib import Path
from typing import Any, Final

import click

from zb.fleet.desk import Desk, at_desk, say, show_json, show_table
from zb_contracts.times import format_time_ms

COLUMNS: Final = ("event", "device", "number", "type", "stream", "actor", "received", "device is")


@click.command("holds", short_help="List the events that wait for a supervisor.")
@click.option("--device", help="only of this device")
@at_desk
@click.pass_obj
def holds(folder: Path, /, name: str, as_json: bool, device: str | None) -> None:
    """List held events, of each author in the order in which they are decided: of revoked devices, or in a stranger's name."""
    answer = Desk.of(folder, name).get("holds", device=device)
    if as_json:
        return show_json(answer)
    show_table(COLUMNS, [_row(one) for one in answer])


@click.command("admit", short_help="Let held events in.")
@click.argument("events", metavar="EVENT...", nargs=-1)
@click.option("--device", help="all that this device has waiting")
@click.option("--reason", required=True, help="why, for the record; no names of persons")
@at_desk
@click.pass_obj
def admit(folder: Path, /, name: str, as_json: bool, events: tuple[str, ...], device: str | None, reason: str) -> None:
    """Let each EVENT in, or all that a device has waiting. The ledger says who did it and why, for good.

    An event before which others of its author wait is refused: decide those first.
    """
    if bool(events) == (device is not None):
        raise click.UsageError("name either events or --device")
    desk, admitted = Desk.of(folder, name), []
    while waiting := events or tuple(one["event_id"] for one in desk.get("holds", device=device)):
        admitted += [desk.post(f"holds/{event}/admission", {"reason": reason}) for event in waiting]
        if events:
            break
    if as_json:
        return show_json(admitted)
    say(f"{len(admitted)} events are admitted")


def _row(one: dict[str, Any]) -> list[object]:
    received = format_time_ms(one["received_at_ms"])
    return [*(one[name] for name in ("event_id", "device", "seq", "type", "stream", "actor")), received, one["revoked_cause"]]
