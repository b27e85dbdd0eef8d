"""Acts on one device in the terminal: suspend, resume, lost, wipe, retire. What is permitted when, field-ingest decides."""

from pathlib import Path
from typing import Final

import click

from zb.fleet.desk import Desk, at_desk, say, show_json

HOURS_MAX: Final = 24 * 366
DEVICE = click.argument("device")
REASON = click.option("--reason", required=True, help="why, for the record; no names of persons")


@click.command("suspend", short_help="End a device's sessions until it is resumed.")
@DEVICE
@REASON
@click.option("--hours", type=click.IntRange(1, HOURS_MAX), help="for how long (default: until it is resumed)")
@at_desk
@click.pass_obj
def suspend(folder: Path, /, name: str, as_json: bool, device: str, reason: str, hours: int | None) -> None:
    """End DEVICE's sessions: reading is locked at its next contact. It records on, and still sends what it has."""
    answer = Desk.of(folder, name).post(f"devices/{device}/suspension", {"reason": reason, "hours": hours})
    if as_json:
        return show_json(answer)
    say(f"{device} is suspended until {answer['until'] or 'somebody resumes it'} ({answer['cause']})")


@click.command("resume", short_help="Lift a device's suspension.")
@DEVICE
@at_desk
@click.pass_obj
def resume(folder: Path, /, name: str, as_json: bool, device: str) -> None:
    """Lift DEVICE's suspension: it gets sessions again."""
    answer = Desk.of(folder, name).post(f"devices/{device}/resumption", {})
    if as_json:
        return show_json(answer)
    say(f"{device} is resumed" if answer["lifted"] else f"{device} was not suspended")


@click.command("lost", short_help="Report a device lost or stolen.")
@DEVICE
@REASON
@click.option("--stolen", is_flag=True, help="it was taken")
@click.option("--wipe", is_flag=True, help="order a wipe at once as well: what it has not sent goes with it")
@at_desk
@click.pass_obj
def lost(folder: Path, /, name: str, as_json: bool, device: str, reason: str, stolen: bool, wipe: bool) -> None:
    """Report DEVICE lost: its sessions end, its read models go at its next contact, what it still sends is held.

    Its log stays on it, unreadable, and can still arrive. Found again: `zb fleet replace` makes a code with which it goes on.
    """
    desk = Desk.of(folder, name)
    answer = desk.post(f"devices/{device}/revocation", {"cause": "stolen" if stolen else "lost", "reason": reason})
    if wipe:
        answer["wipe"] = desk.post(f"devices/{device}/wipe", {"reason": reason, "at_once": True})
    if as_json:
        return show_json(answer)
    say(f"{device} is {'stolen' if stolen else 'lost'}: what it sends from now on is held")
    if wipe:
        say(f"it is wiped at its next contact, order {answer['wipe']['order']}")


@click.command("retire", short_help="Take a device out of service for good.")
@DEVICE
@click.option("--reason", help="why, for the record; no names of persons")
@at_desk
@click.pass_obj
def retire(folder: Path, /, name: str, as_json: bool, device: str, reason: str | None) -> None:
    """Take DEVICE out of service for good; an order to wipe it goes on. The hardware can be enrolled as a new device."""
    answer = Desk.of(folder, name).post(f"devices/{device}/revocation", {"cause": "retired", "reason": reason})
    if as_json:
        return show_json(answer)
    say(f"{device} is retired")


@click.command("wipe", short_help="Order a device to destroy what it holds, or withdraw the order.")
@DEVICE
@click.option("--reason", help="why, for the record; no names of persons")
@click.option("--at-once", is_flag=True, help="without waiting for what it cannot send: that goes with it")
@click.option("--withdraw", is_flag=True, help="take the order back, where the device has not had it yet")
@at_desk
@click.pass_obj
def wipe(folder: Path, /, name: str, as_json: bool, device: str, reason: str | None, at_once: bool, withdraw: bool) -> None:
    """Order DEVICE to send what it has, to attest (`zb fleet show` verifies it), and to destroy its store and keys."""
    if withdraw == (reason is not None) or (withdraw and at_once):
        raise click.UsageError("say either --reason TEXT or --withdraw")
    desk = Desk.of(folder, name)
    if withdraw:
        answer = desk.delete(f"devices/{device}/wipe")
        text = f"the order {answer['withdrawn']} is withdrawn" if answer["withdrawn"] else f"{device} had no order"
    else:
        answer = desk.post(f"devices/{device}/wipe", {"reason": reason, "at_once": at_once})
        text = f"{device} is to be wiped{' at once' if answer['at_once'] else ''}, order {answer['order']}"
    if as_json:
        return show_json(answer)
    say(text)
