"""The command behind `make bench-device`: measures, prints the table, writes `.zb/bench/device.json`. Asserts nothing.

`--page FILE` measures nothing: it puts the table of the last run between the page's marks.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from tests.bench.device import figures, fleet, peer, store, wire
from tests.bench.device.backlog import Backlogs
from tests.bench.device.peer import PeerUnavailable
from tests.bench.ledger import report
from tests.bench.ledger.machine import Machine
from tests.bench.ledger.report import Target

PARTS: Final = ("append", "open", "sync", "fleet", "connections", "peer")
ON_SERVERS: Final = ("connections", "fleet", "sync", "peer")
DEVICES: Final = 10_000
DEVICES_MAX: Final = 100_000


@click.command()
@click.option(
    "--devices", type=click.IntRange(2, DEVICES_MAX), default=DEVICES, show_default=True, help="With a day's backlog each."
)
@click.option(
    "--at-once", type=click.IntRange(2, 5_000), default=fleet.AT_ONCE, show_default=True, help="Of them connected at a time."
)
@click.option(
    "--connections", type=click.IntRange(1, 15_000), default=fleet.HELD, show_default=True, help="Held to see their memory."
)
@click.option("--seed", default=1, show_default=True, help="Of the backlogs.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only these parts.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".zb/bench"), show_default=True)
@click.option("--page", type=click.Path(path_type=Path, exists=True), help="Put the last run's table into this page, and end.")
def main(devices: int, at_once: int, connections: int, seed: int, only: tuple[str, ...], folder: Path, page: Path | None) -> None:
    """What a device costs its user, and what many of them cost the platform on this machine."""
    if page is not None:
        figures.into_page(page, json.loads((folder / "device.json").read_text()))
        return
    folder = folder.absolute()  # the peer runs in a folder of its own
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, devices, min(connections, devices), at_once, Backlogs(folder, seed))
    try:
        asyncio.run(bench.run(only or PARTS))
    finally:
        click.echo(report.table(bench.targets))
        click.echo(f"written to {folder / 'device.json'}")


class Bench:
    """One run. What each part found is written before the next begins: a later one that fails takes nothing away."""

    def __init__(self, folder: Path, devices: int, connections: int, at_once: int, backlogs: Backlogs) -> None:
        self._folder, self._devices, self._connections, self._at_once = folder, devices, connections, at_once
        self._backlogs = backlogs
        self._about = report.machine()
        self._began = time.monotonic()
        self.targets: list[Target] = []
        self._details: dict[str, Any] = {}

    async def run(self, parts: Sequence[str]) -> None:
        """The store first, with nothing else running; then everything that needs the servers, on one machine."""
        if "append" in parts:
            self._say("recording, quiet and beside photos")
            appended = await store.append(self._folder)
            self._found("append", appended, figures.append(appended))
        if "open" in parts:
            self._say("opening a full store")
            opened = await store.opening(self._folder)
            self._found("open", opened, figures.opening(opened))
        if wanted := [part for part in ON_SERVERS if part in parts]:
            await self._on_servers(wanted)

    async def _on_servers(self, parts: Sequence[str]) -> None:
        agencies = self._backlogs.fleet(self._devices, self._say)
        news, compared = self._backlogs.news(self._say), self._backlogs.compared(peer.DEVICES, self._say)
        with Machine(self._folder / "machine", [*agencies, news, compared]).running() as machine:
            await machine.register_devices()
            if "connections" in parts:
                self._say(f"{self._connections:,} connections held")
                held = await fleet.hold(machine, agencies, self._connections)
                self._found("connections", held, figures.held(held))
            machine.start_work()
            wanted = {"sync": [news], "peer": [compared], "fleet": agencies}
            await fleet.plan(machine, [one for part, each in wanted.items() if part in parts for one in each], self._say)
            if "fleet" in parts:
                self._say(f"a day's backlog of {self._devices:,} devices, {self._at_once} connected at a time")
                found = await fleet.measure(machine, agencies, self._say, at_once=self._at_once)
                self._found("fleet", found, figures.backlog(found))
            if "sync" in parts:
                self._say("bytes of a sync")
                counted = await wire.measure(machine, news, self._backlogs.changes())
                self._found("sync", counted, figures.wire(counted))
            if "peer" in parts:
                await self._peer(machine, compared)

    async def _peer(self, machine: Machine, compared: Any) -> None:
        try:
            found = await peer.measure(machine, compared, self._folder, self._say)
        except PeerUnavailable as fault:
            self._say(f"the peer cannot be had here: {fault}")
            return
        self._found("peer", found, figures.peer(found))

    def _found(self, part: str, found: Any, targets: list[Target]) -> None:
        self.targets += targets
        self._details[part] = asdict(found)
        report.write(self._folder / "device.json", self._about, self.targets, self._details)

    def _say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._began:6.0f} s  {text}", err=True)


if __name__ == "__main__":
    main()
