"""The tree of agencies, and their administrators at the local issuer. A company has its own provider for people."""

import json
import secrets
from pathlib import Path
from typing import Any

import click

from zb.fleet.desk import Desk, at_desk, say, show_json
from zb.keys import write_secret
from zb.stack import ISSUER, PEOPLE
from zb_chassis.users import Role, add_user


@click.command("agencies", short_help="Show the tree of agencies.")
@at_desk
@click.pass_obj
def agencies(folder: Path, /, name: str, as_json: bool) -> None:
    """Show the agencies that are yours, with those below them."""
    answer = Desk.of(folder, name).get("agencies")
    if as_json:
        return show_json(answer)
    names = {one["agency"] for one in answer}
    for line in _branches(answer, [one for one in answer if one["parent"] not in names], 0):
        say(line)


@click.command("agency", short_help="Enter an agency, rename, move or close it.")
@click.argument("agency")
@click.option("--parent", help="below which it lies (default: none, for which you have to act for all)")
@click.option("--title", help="what it is called (default: its id)")
@click.option("--close", is_flag=True, help="nothing uses it any more: no code is made for it until it is entered again")
@at_desk
@click.pass_obj
def agency_command(
    folder: Path, /, name: str, as_json: bool, agency: str, parent: str | None, title: str | None, close: bool
) -> None:
    """Enter AGENCY into the tree, rename it, or move it with all below it; or close it.

    One with open agencies below it, devices in use, open codes, held events or open
    work is not closed. What belonged to it can still be seen.
    """
    if close and (parent or title):
        raise click.UsageError("--close takes neither --parent nor --title")
    desk = Desk.of(folder, name)
    path = f"agencies/{agency}"
    answer = desk.delete(path) if close else desk.put(path, {"parent": parent, "name": title or agency})
    if as_json:
        return show_json(answer)
    if close:
        return say(f"{agency} is closed since {answer['closed_at']}")
    say(f"{agency} lies below {parent}" if parent else f"{agency} is a root of the tree")


@click.command("administrator", short_help="Let a local person administer agencies.")
@click.argument("person")
@click.option("--agency", "agencies_of", multiple=True, required=True, help="theirs, with all below it; may be given again")
@click.pass_obj
def administrator(folder: Path, person: str, agencies_of: tuple[str, ...]) -> None:
    """Make PERSON an administrator of agencies, at the issuer of this machine. The password is kept with the keys.

    They act with `--as PERSON`. The same person again gets other agencies and a new password.
    """
    home = folder / "up"
    if person in PEOPLE:
        raise click.UsageError(f"{person} is one of the platform's own people: give another name")
    path = home / "keys" / "people.json"
    if not path.exists():
        raise click.UsageError(f"there are no people in {home}: zb up makes them at its first start")
    passwords = {**json.loads(path.read_text()), person: secrets.token_urlsafe(12)}
    write_secret(path, json.dumps(passwords, indent=2).encode())
    add_user(home / ISSUER, person, passwords[person], (Role.FLEET_ADMINISTRATOR,), agencies_of)
    say(f"{person} administers {', '.join(agencies_of)}; the password is in {path}")


def _branches(every: list[dict[str, Any]], these: list[dict[str, Any]], depth: int) -> list[str]:
    lines: list[str] = []
    for one in these:
        closed = f", closed since {one['closed_at']}" if one["closed_at"] else ""
        lines.append(f"{'    ' * depth}{one['agency']}: {one['name']}{closed}")
        lines += _branches(every, [below for below in every if below["parent"] == one["agency"]], depth + 1)
    return lines
