"""One simulation from its beginning to its report: the office hires and plans, the devices live, the ledger is asked.

Which platform it runs on is whoever's who calls; it starts the processes of the devices and ends them, and leaves in the platform
what it simulated there.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zb.simulation.office import Office, People
from zb.simulation.processes import Processes, shares
from zb.simulation.report import Report, compared, merged, quantile
from zb.stack import INGEST, PARTS, StackError, environment_file
from zb_contracts.simulated_fleet import Share

Say = Callable[[str, int, int], None]
"""A phase, and how many of how many are through with it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is simulated. `at_once`: devices connected at a time, over all processes; `whole`: fewer than there are devices."""

    devices: int
    days: int
    visits: int
    seed: int
    processes: int
    at_once: int
    whole: int
    verify: bool


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform: its folder, where its services and its broker listen, and its people."""

    home: Path
    ports: dict[str, int]
    nats_url: str
    people: People

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}/v1/"


@dataclass
class Simulation:
    """One run. `field_s` is the time of the devices' days, without the office's planning between them."""

    platform: Platform
    wanted: Wanted
    office: Office
    enrolled_s: float = 0.0
    field_s: float = 0.0

    def live(self, processes: Processes) -> None:
        """Enrolment, then day by day; at the end everybody comes back."""
        wanted = self.wanted
        self.office.hire(wanted.devices)
        codes = self.office.codes(wanted.devices)
        given = [{"codes": codes[one.first : one.first + one.devices]} for one in processes.shares]
        self.enrolled_s = _took(lambda: processes.order("enrol", given))
        for day in range(1, wanted.days + 1):
            self.office.plan_day(day, wanted.devices, wanted.visits)
            orders = [{"day": day}] * len(given)
            self.field_s += _took(lambda orders=orders: processes.order("day", orders))  # type: ignore[misc]
        self.field_s += _took(lambda: processes.order("drain"))

    def report(self, told: Sequence[dict[str, Any]]) -> Report:
        """What the processes told, beside the ledger."""
        wanted, tally = self.wanted, merged(one["tally"] for one in told)
        heads = [head for one in told for head in one["heads"]]
        found = compared(heads, self.office.marks([head["author"] for head in heads]))
        verified = _verified(self.platform.home) if wanted.verify else {}
        device_days = (wanted.devices - wanted.whole) * wanted.days
        receipts = tally["admitted"] + tally["held"] + sum(tally["refused"].values())
        return Report(
            devices=wanted.devices,
            whole_devices=wanted.whole,
            days=wanted.days,
            seed=wanted.seed,
            events=found.events,
            receipts_of_light_devices=receipts,
            refused=tally["refused"],
            held=tally["held"],
            lost=found.lost,
            other_ends=found.other_ends,
            foreign_receipts=tally["foreign"],
            unsettled_devices=sum(one["unsettled"] for one in told),
            ledger_rows=verified.get("rows"),
            ledger_sound=verified.get("sound"),
            field_s=self.field_s,
            events_per_s=found.events / self.field_s,
            enrolled_per_s=wanted.devices / self.enrolled_s,
            to_receipt_p50_ms=quantile(tally["to_receipt_ms"], 0.5),
            to_receipt_p99_ms=quantile(tally["to_receipt_ms"], 0.99),
            bytes_up_a_device_day=tally["bytes_up"] / device_days,
            bytes_down_a_device_day=tally["bytes_down"] / device_days,
            photos=tally["photos"],
            photo_bytes=tally["photo_bytes"],
            catalogues=tally["catalogues"],
            contacts=tally["contacts"],
            connected_max=tally["connected_max"],
            mishaps=tally["mishaps"],
            faults=tally["faults"],
        )


def simulated(platform: Platform, wanted: Wanted, say: Say) -> Report:
    """The whole simulation on this platform. StackError where it cannot go on."""
    office = Office(secrets.token_hex(3), platform.people, platform.url, say)
    simulation = Simulation(platform, wanted, office)
    folder = platform.home / f"simulation-{office.run}"
    folder.mkdir(mode=0o700)
    with Processes(_shares(platform, wanted, folder), folder, say).running() as processes:
        simulation.live(processes)
        told = processes.order("report")
    office.projected()
    report = simulation.report(told)
    shutil.rmtree(folder)
    return report


def _shares(platform: Platform, wanted: Wanted, folder: Path) -> list[Share]:
    return shares(
        wanted.devices,
        wanted.processes,
        wanted.whole,
        seed=wanted.seed,
        visits=wanted.visits,
        at_once=max(1, wanted.at_once // wanted.processes),
        ingest_url=f"http://127.0.0.1:{platform.ports[INGEST]}",
        nats_url=platform.nats_url,
        media_url=f"http://127.0.0.1:{platform.ports['media']}",
        folder=str(folder),
    )


def _verified(home: Path) -> dict[str, Any]:
    """What `zb audit verify` finds: every row, signature, chain and position. StackError where it could not look."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", PARTS[INGEST].module, "audit", "verify", "--json"],
        env={**os.environ, **json.loads(environment_file(home, INGEST).read_text())},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, json.JSONDecodeError) as fault:
        raise StackError(f"the ledger could not be verified: {done.stderr.strip()[-500:]}") from fault


def _took(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began
