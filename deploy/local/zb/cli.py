"""The `zb` command: start the platform on one machine, play a day on it, and reach the services' own commands.

It starts things and hands over by process; it imports no service. Every fault that a person can mend is one sentence.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from zb.backup_commands import backup_command, heal_command, prune_command, restore_command
from zb.datasets.city import french_city
from zb.datasets.db_lifts import DatasetMissing, berlin_and_around
from zb.depot_commands import depot
from zb.depots import DepotError
from zb.erase_commands import erase, hold
from zb.fleet.group import fleet
from zb.key_commands import keys
from zb.keys import KeysError
from zb.manifest import BackupError
from zb.nats import NatsStartError
from zb.office import Refused
from zb.postgres import PostgresError
from zb.processes import Service, ServiceFailed
from zb.running import lives, running, someone, supervisor
from zb.stack import DATA_VERSION, PARTS, StackError, checked_shards, environment_file
from zb.witness_commands import witness
from zb_contracts.subjects import SHARDS_MAX

DATA_FOLDER: Final = Path(".zb")
UP_TIMEOUT_S: Final = 120.0
DOWN_TIMEOUT_S: Final = 60.0
DATABASE_ANSWERS_S: Final = 2.0
MENDABLE: Final = (
    StackError,
    ServiceFailed,
    NatsStartError,
    PostgresError,
    KeysError,
    DepotError,
    DatasetMissing,
    Refused,
    BackupError,
)

# A pipe has no width of its own; the tables want room.
console = Console(width=None if sys.stdout.isatty() else 150)


shards_option = click.option(
    "--shards", type=click.IntRange(1, SHARDS_MAX), help="logs of the ledger, each admitted by a process of its own; for ever"
)


class Commands(click.Group):
    """A group whose mendable faults are one sentence and exit code 1, without a trace."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except MENDABLE as fault:
            raise click.ClickException(str(fault)) from fault


@click.group(cls=Commands)
@click.option("--folder", type=click.Path(path_type=Path), default=DATA_FOLDER, show_default=True, help="where the data lie")
@click.version_option(package_name="zb", message=f"%(version)s (data version {DATA_VERSION})")
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """Zone Blanche on one machine."""
    context.obj = folder.absolute()


@main.command(short_help="Play one technician's day and check what was promised.")
@click.option("--exit", "leave", is_flag=True, help="end by itself; the last line is one JSON object")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="a folder with the real lifts data set")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="which day's outages (with --data)")
@click.option("--language", type=click.Choice(["fr", "en"]), default="en", show_default=True, help="of the reasons of the merge")
@shards_option
@click.pass_obj
def demo(folder: Path, leave: bool, data: Path | None, day: Any, language: str, shards: int | None) -> None:
    """Play one technician's day on a real system and check what was promised."""
    from zb.play.day import play  # imported late: the other commands need no pictures

    dataset = (
        berlin_and_around(data, *([day.date()] if day else [])) if data else french_city(**({"day": day.date()} if day else {}))
    )
    sys.exit(play(folder / "demo", dataset, leave=leave, language=language, console=console, shards=shards))


@main.command()
@click.option("--foreground", is_flag=True, help="stay, and stop on Ctrl-C")
@shards_option
@click.pass_obj
def up(folder: Path, foreground: bool, shards: int | None) -> None:
    """Start the platform; a second start on the same data goes on."""
    home = folder / "up"
    if supervisor(home):
        raise StackError(f"it runs already on {home}: zb status shows where, zb down stops it")
    checked_shards(home, shards)
    command = [sys.executable, "-m", "zb.supervise", str(home), *(["--shards", str(shards)] if shards else [])]
    if foreground:
        sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - ourselves
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = home / "supervisor.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)  # noqa: S603
    deadline = time.monotonic() + UP_TIMEOUT_S
    with console.status("starting nats-server, PostgreSQL and the services"):
        while not supervisor(home):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"the platform did not start: {log.read_text().strip().splitlines()[-1]} (whole log: {log})")
            time.sleep(0.1)
    show(home)


@main.command(short_help="Show what runs, where, and whether it is ready.")
@click.pass_obj
def status(folder: Path) -> None:
    """Show what runs, where, and whether it is ready; exit code 1 when something is not."""
    sys.exit(0 if show(folder / "up") else 1)


@main.command()
@click.pass_obj
def down(folder: Path) -> None:
    """Stop the platform; the data stay."""
    home = folder / "up"
    pid = supervisor(home)
    if pid is None:
        console.print("nothing runs")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while lives(pid, home):
        if time.monotonic() > deadline:
            raise StackError(f"process {pid} did not stop within {DOWN_TIMEOUT_S:.0f} s: see {home / 'supervisor.log'}")
        time.sleep(0.1)
    console.print("stopped; the data stay in", str(home))


@main.command("import", short_help="Import a CSV file of sites, equipment or interventions.")
@click.argument("kind", type=click.Choice(["sites", "equipment", "interventions"]))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--agency", default="main", show_default=True, help="to which the rows belong")
@click.option("--good-rows", is_flag=True, help="take the good rows although others are wrong")
@click.option("--json", "as_json", is_flag=True, help="the whole report, with the id of every row, as one JSON object")
@click.pass_obj
def import_(folder: Path, kind: str, file: Path, agency: str, good_rows: bool, as_json: bool) -> None:
    """Import a CSV file of sites, equipment or interventions; every wrong row is named.

    The first row names the columns, in any order; * must not be empty:

    \b
    sites          reference*, name*, town*, country* (FR), street, postcode,
                   latitude, longitude, contact, access_code, notes
    equipment      reference*, kind*, label*, site_reference*, manufacturer,
                   model, serial, year_built, place, latitude, longitude
    interventions  reference*, kind*, title*, site_reference*,
                   equipment_reference, priority, duration_min, window_start,
                   window_end, contract, price_list, checklist, required_skills

    UTF-8 or Windows-1252, separated by ; or by a comma; times are RFC 3339 with
    their zone. The same file again changes nothing.
    """
    run = running(folder / "up")
    person = someone(folder / "up", run, "integrator")
    url = f"http://127.0.0.1:{run['ports']['scheduling']}/v1/imports/{kind}"
    mode = "good-rows" if good_rows else "all-or-nothing"
    try:
        report = person.post_csv(url, file.read_bytes(), agency=agency, mode=mode)
    except Refused as refusal:
        print_rows(refusal.problem.get("errors", []))
        raise
    print_rows(report["errors"])
    if as_json:
        click.echo(json.dumps(report))
        return
    outcomes = Counter(row["outcome"] for row in report["rows"])
    taken = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "none"
    console.print(f"{kind}: {report['taken']} of {report['total']} rows taken ({taken}), {report['bad']} named as wrong")


@main.command(
    short_help="Run a service's own command beside it.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("service", type=click.Choice(list(PARTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def service(folder: Path, service: str, arguments: tuple[str, ...]) -> None:
    """Run a service's own command beside it, e.g. `zb service billing-bridge export --profile erp`.

    `zb service SERVICE --help` lists the commands of a service.
    """
    hand_over(folder, service, arguments)


def _shortcut(name: str, text: str) -> None:
    @main.command(name, help=text, context_settings={"ignore_unknown_options": True}, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_obj
    def run(folder: Path, arguments: tuple[str, ...]) -> None:
        hand_over(folder, "field-ingest", (name, *arguments))


for _command in (witness, depot, keys, fleet, backup_command, prune_command, restore_command, heal_command, erase, hold):
    main.add_command(_command)
_shortcut("audit", "Replay, verify and explain the ledger.")
_shortcut("rejects", "List the bytes that no known key signed.")
_shortcut("deadletters", "List, show, retry and export dead letters.")


def hand_over(folder: Path, service: str, arguments: tuple[str, ...]) -> None:
    """Run `python -m <service> arguments` with that service's settings, and end with its exit code."""
    environment = {} if "--help" in arguments else settings_of_running(folder, service)
    command = [sys.executable, "-m", PARTS[service].module, *arguments]
    sys.exit(subprocess.run(command, env={**os.environ, **environment}, check=False).returncode)  # noqa: S603 - ourselves


def settings_of_running(folder: Path, service: str) -> dict[str, str]:
    """The service's settings in the platform that runs here, be it of `zb up` or of the play. StackError when none does."""
    for home in (folder / "up", folder / "demo"):
        file = environment_file(home, service)
        if file.exists():
            settings: dict[str, str] = json.loads(file.read_text())
            if answers(settings[PARTS[service].prefix + "DATABASE_URL"]):
                return settings
    raise StackError(f"no platform runs in {folder}: zb up starts one")


def answers(database_url: str) -> bool:
    """Whether somebody listens where the database was."""
    address = urlsplit(database_url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), DATABASE_ANSWERS_S).close()
    except OSError:
        return False
    return True


def show(home: Path) -> bool:
    """Print the table of services; True when all are ready."""
    run = running(home)
    table = Table("service", "address", "ready")
    services = [Service(name, (), port, {}, home / "logs" / f"{name}.log") for name, port in run["ports"].items()]
    ready = {service.name: service.answers() for service in services}
    for service in services:
        table.add_row(service.name, service.url, "yes" if ready[service.name] else "no")
    table.add_row("nats-server", f"nats://127.0.0.1:{run['nats']['client']}", "")
    table.add_row("nats-server, browsers", f"ws://127.0.0.1:{run['nats']['websocket']}", "")
    console.print(table)
    console.print(f"people and passwords: {home / 'keys' / 'people.json'}")
    return all(ready.values())


def print_rows(errors: list[dict[str, Any]]) -> None:
    for error in errors:
        console.print(f"row {error.get('row')}, {error.get('column')}: {error.get('reason')}", style="yellow", highlight=False)
