"""`zb fleet simulate`: from the options to the report, on a platform of its own or on the one that runs here.

One of its own is started on a folder beside the others and removed at the end. Exit code 1 when an event is lost or a receipt
is missing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from zb.office import Person
from zb.running import running, someone
from zb.simulation.office import People
from zb.simulation.report import table
from zb.simulation.run import Platform, Wanted, simulated
from zb.stack import ISSUER, Stack, forget

FOLDER: Final = "simulation"
DEVICES_MAX: Final = 50_000
DAYS_MAX: Final = 365
VISITS_MAX: Final = 20
CONNECTED_MAX: Final = 5_000
WHOLE_MAX: Final = 500
PROCESSES_MAX: Final = 16
SAY_EVERY_S: Final = 5.0
"""So often the same phase is told of, where nobody looks at a terminal."""


@dataclass
class Telling:
    """One line on standard error: a phase, and how far it is."""

    _phase: str = ""
    _said_s: float = 0.0

    def __call__(self, phase: str, through: int, of: int) -> None:
        is_terminal, now_s = sys.stderr.isatty(), time.monotonic()
        if phase == self._phase and through < of and now_s - self._said_s < (0.2 if is_terminal else SAY_EVERY_S):
            return
        if is_terminal and self._phase not in ("", phase):
            click.echo(err=True)
        self._phase, self._said_s = phase, now_s
        click.echo(("\r" if is_terminal else "") + f"{phase}: {through:,} of {of:,}", err=True, nl=not is_terminal)


@click.command(short_help="Live days of many devices on a real platform, and check that nothing is lost.")
@click.option("--devices", type=click.IntRange(1, DEVICES_MAX), default=100, show_default=True)
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=1, show_default=True)
@click.option(
    "--visits", type=click.IntRange(1, VISITS_MAX), default=2, show_default=True, help="a device and day, ~20 events each"
)
@click.option("--seed", type=int, default=1, show_default=True, help="of who meets which mishap when")
@click.option(
    "--at-once", type=click.IntRange(1, CONNECTED_MAX), default=200, show_default=True, help="devices connected at a time"
)
@click.option("--processes", type=click.IntRange(1, PROCESSES_MAX), default=min(2, os.cpu_count() or 1), show_default=True)
@click.option(
    "--whole",
    type=click.IntRange(0, WHOLE_MAX),
    default=20,
    show_default=True,
    help="devices that are the whole SDK, at most half",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="check the whole ledger at the end, too")
@click.option("--running", "on_running", is_flag=True, help="on the platform that runs here; what is simulated stays in it")
@click.option("--json", "as_json", is_flag=True, help="the report as one JSON object")
@click.pass_obj
def simulate(folder: Path, /, on_running: bool, as_json: bool, **options: Any) -> None:
    """Live days of many devices on a real platform, and check that nothing is lost.

    An office plans; the devices come in a morning wave, visit, lose the network
    for a visit or for days, crash, have wrong clocks, send backlogs and photos:
    real keys, sessions and signatures over the real protocol. A day takes as long
    as the platform needs for it. Without --running the platform is one of its
    own, which is removed at the end.

    Des journées de nombreux appareils sur une vraie plate-forme, puis la preuve
    que rien n'est perdu. Sans --running, la plate-forme est la sienne, supprimée
    à la fin.
    """
    # Bytes and times are those of light devices, so there is at least one.
    options["whole"] = min(options["whole"], options["devices"] // 2)
    with _platform(folder, on_running) as platform:
        report = simulated(platform, Wanted(**options), Telling())
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(table(report))
    sys.exit(0 if report.is_whole else 1)


@contextmanager
def _platform(folder: Path, on_running: bool) -> Iterator[Platform]:
    """The platform that runs here, or one that lives as long as the block."""
    if on_running:
        home = folder / "up"
        run = running(home)
        with _people(lambda name: someone(home, run, name)) as people:
            yield Platform(home, run["ports"], f"nats://127.0.0.1:{run['nats']['client']}", people)
        return
    home = folder / FOLDER
    forget(home)
    try:
        with Stack(home).running(lambda text: click.echo(text, err=True)) as stack:
            ports = {name: service.port for name, service in stack.services.items()}
            issuer = f"http://127.0.0.1:{ports[ISSUER]}"
            with _people(lambda name: Person(issuer, name, stack.passwords[name])) as people:
                yield Platform(home, ports, stack.nats.url, people)
    finally:
        forget(home)


@contextmanager
def _people(person: Callable[[str], Person]) -> Iterator[People]:
    named = {name: person(name) for name in ("dispatcher", "administrator", "integrator", "auditor")}
    try:
        yield People(**named)
    finally:
        for one in named.values():
            one.close()
