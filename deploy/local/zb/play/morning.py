"""Scene one: the files come in, the day is planned on three technicians, and their devices learn it."""

import asyncio
import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from zb.play import reference
from zb.play.handheld import Handheld
from zb.play.network import Network
from zb.play.stage import AGENCY, HERO, PASSPHRASE, TECHNICIANS, Stage, in_thread

BAD_ROWS_SHOWN: Final = 6


async def morning(stage: Stage) -> None:
    """08:00 the office works; 08:30 the devices know their day."""
    stage.story.set(8, 0)
    stage.teller.chapter("08:00  The office imports and plans")
    await _import(stage)
    await _reference(stage)
    await _plan(stage)
    stage.story.set(8, 30)
    stage.teller.chapter("08:30  Three devices are enrolled and learn their day")
    await asyncio.gather(*(_enrol(stage, technician) for technician in TECHNICIANS))
    await _scopes(stage)


async def _import(stage: Stage) -> None:
    data = stage.dataset
    files = {"sites": data.sites_csv, "equipment": data.equipment_csv, "interventions": data.interventions_csv}
    faults: list[tuple[str, Any]] = []
    for kind, content in files.items():
        url = stage.url("scheduling", f"imports/{kind}")
        report = await in_thread(stage.person("integrator").post_csv, url, content, agency=AGENCY, mode="good-rows")
        stage.tell("office", f"{kind}: {report['taken']} of {report['total']} rows taken, {report['bad']} named as wrong")
        stage.promises.hold(f"every row of {kind} is taken or named", report["taken"] + report["bad"] == report["total"],
                            f"{report['taken']} + {report['bad']} = {report['total']}")  # fmt: skip
        faults += [(kind, error) for error in report["errors"]]
    if faults:
        rows = [(kind, error.get("row"), error.get("column"), error.get("reason")) for kind, error in faults[:BAD_ROWS_SHOWN]]
        stage.teller.table(
            f"Wrong rows, the first {len(rows)} of {len(faults)}", ("file", "row", "column", "what is wrong"), rows
        )


async def _reference(stage: Stage) -> None:
    feed, story = stage.person("integrator"), stage.story
    prices = {**reference.PRICES, "valid_from": story.text(0, 0)}
    await in_thread(feed.put, stage.url("scheduling", f"reference/price-lists/{reference.PRICE_LIST}"), prices)
    await in_thread(feed.put, stage.url("scheduling", f"reference/contracts/{AGENCY}"), reference.CONTRACTS)
    await in_thread(feed.put, stage.url("scheduling", f"reference/checklists/{reference.CHECKLIST}"), reference.QUESTIONS)
    people = reference.technicians(centre(stage), stage.dataset.timezone)
    await in_thread(feed.put, stage.url("scheduling", "technicians"), {"agency": AGENCY, "technicians": people})


def centre(stage: Stage) -> tuple[float, float]:
    """The middle of the day's sites, in degrees."""
    places = [place for _, place in _places(stage)]
    return median(place[0] for place in places), median(place[1] for place in places)


def _places(stage: Stage) -> Iterator[tuple[str, tuple[float, float]]]:
    text = stage.dataset.sites_csv.decode()
    delimiter = ";" if text.partition("\n")[0].count(";") else ","
    for row in csv.DictReader(io.StringIO(text), delimiter=delimiter):
        yield row["reference"], (float(row["latitude"].replace(",", ".")), float(row["longitude"].replace(",", ".")))


async def _plan(stage: Stage) -> None:
    day = stage.dataset.day.isoformat()
    plan = await in_thread(stage.person("dispatcher").post, stage.url("scheduling", "plans"), {"agency": AGENCY, "day": day})
    rows = [
        (
            technician,
            stop["position"],
            stage.story.local(stop["planned_start"]),
            stop["reference"],
            f"{stop['travel_time_s'] // 60} min",
        )
        for technician, tour in plan["tours"].items()
        for stop in tour
    ]
    stage.teller.table("The plan of the day", ("technician", "stop", "start", "intervention", "travel"), rows)
    for unplaced in plan["unplaced"]:
        stage.tell("office", f"{unplaced['reference']} found no place: {unplaced['reason']}")
    tour = plan["tours"][HERO]
    stage.promises.hold(
        "the day is planned on three technicians", len(plan["tours"]) == 3 and len(tour) >= 2, f"{plan['planned']} placed"
    )
    stage.chosen = {"moved": tour[-1]["intervention"], "cancelled": tour[-2]["intervention"]}
    stage.places = dict(_places(stage))
    for which in ("moved", "cancelled"):
        stage.chosen[f"{which}_site"] = (await stage.board(stage.chosen[which]))["site_reference"]
    moved = await stage.command(
        stage.chosen["moved"], "move", planned_start=stage.story.text(14, 0), reason="agreed with the customer"
    )
    stage.tell("office", f"{moved['reference']} is agreed for {stage.story.local(moved['planned_start'])}")
    await stage.merged("the agreed start is merged", moved["id"], starts_at(moved["planned_start"]))


def starts_at(start: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a merged state has this planned start."""
    return lambda state: bool(state["fields"].get("planned_start", {}).get("value") == start)


async def _enrol(stage: Stage, technician: str) -> None:
    services = stage.stack.services
    network = Network(
        nats=stage.stack.nats.ports.client, ingest=services["field-ingest"].port, media=services["media"].port
    )  # fmt: skip
    await network.mend()
    stage.networks[technician] = network
    url = stage.url("field-ingest", "enrolment-codes")
    code = await in_thread(stage.person("administrator").post, url, {"agency": AGENCY, "technician": technician})
    folder = stage.stack.folder / "devices" / technician
    handheld = Handheld(
        folder, technician, PASSPHRASE, stage.story.file, stage.stack.folder / "logs" / f"device-{technician}.log"
    )
    stage.handhelds[technician] = handheld
    await in_thread(_enrol_by_command, handheld, code["code"], network)
    await handheld.start()


def _enrol_by_command(handheld: Handheld, code: str, network: Network) -> None:
    """As a technician would, on the device's own command line."""
    handheld.folder.parent.mkdir(parents=True, exist_ok=True)
    places = [
        f"--ingest-url=http://127.0.0.1:{network.port('ingest')}",
        f"--nats-url=nats://127.0.0.1:{network.port('nats')}",
        f"--media-url=http://127.0.0.1:{network.port('media')}",
    ]
    done = subprocess.run(  # noqa: S603 - our own module
        [
            sys.executable,
            *device_arguments(handheld.folder, handheld.clock_file),
            "enrol",
            code,
            *places,
            "--model",
            "demo handheld",
        ],
        env={**os.environ, "ZB_DEVICE_PIN": handheld.passphrase},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the device of {handheld.technician} could not be enrolled: {done.stderr.strip()[-500:]}")


def device_arguments(folder: Path, clock_file: Path) -> list[str]:
    return ["-m", "zb_device", "--folder", str(folder), "--clock-file", str(clock_file), "--json"]


async def _scopes(stage: Stage) -> None:
    await stage.projected()
    for technician, handheld in stage.handhelds.items():
        board = await in_thread(
            stage.person("dispatcher").get,
            stage.url("scheduling", "board"),
            day=stage.dataset.day.isoformat(),
            agency=AGENCY,
            timezone=stage.dataset.timezone,
        )
        wanted = sum(row["technician"] == technician for row in board["interventions"])
        await handheld.call("wait", until="documents", count=wanted, timeout_s=60)
        held = await handheld.call("list")
        stage.tell("field", f"{technician}'s device holds {len(held)} interventions, with their sites and lifts")
        stage.promises.hold(f"{technician}'s device holds exactly its day", len(held) == wanted, f"{len(held)} of {wanted}")
    shown = await stage.hero.call("show", intervention=stage.chosen["moved"])
    start = shown["state"]["fields"]["planned_start"]["value"]
    stage.promises.hold("the device knows the agreed start", stage.story.local(start) == "14:00", stage.story.local(start))
