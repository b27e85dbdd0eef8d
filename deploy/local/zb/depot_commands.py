"""`zb depot`: describe a depot at the hub, run its broker there, and see whether its way is up. What a depot is: deploy/depots.

`init` and `list` are typed where the platform is, `up` and `status` where the depot's folder was carried.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import click
import httpx
from nats.errors import Error as NatsError

from zb.depot_access import Depot
from zb.depots import CONFIGURATION, LEAF_PORT, Address, DepotError, describe, layout_of, read_depots, remember, tell
from zb.nats import HOST, program
from zb.running import running, supervisor
from zb_chassis.revocation import PushRefused
from zb_contracts.subjects import DEPOT, DEPOTS

CLIENT_PORT: Final = 4222
MONITOR_PORT: Final = 8222
ANSWER_TIMEOUT_S: Final = 5.0


@click.group("depot")
def depot() -> None:
    """Depots: brokers that take events while their way to the hub is down."""


@depot.command("init")
@click.argument("name")
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="the depot's folder")
@click.option("--device", "devices", multiple=True, help="id of a device for which the depot may ask; each, every time")
@click.option("--hub", help="where the depot reaches the hub  [default: this machine's port for depots]")
@click.option("--listen", default=f"{HOST}:{CLIENT_PORT}", show_default=True, help="where devices reach the depot")
@click.option("--monitor-port", type=click.IntRange(1, 65535), default=MONITOR_PORT, show_default=True)
@click.pass_obj
def init(
    folder_of_data: Path, name: str, folder: Path, devices: tuple[str, ...], hub: str | None, listen: str, monitor_port: int
) -> None:
    """Write the folder from which the depot NAME runs, or write it again with other devices.

    A platform that runs takes other devices at once; a new depot with its next start (zb down, zb up).
    """
    home = folder_of_data / "up"
    try:
        one = Depot(name, devices)
    except ValueError as fault:
        raise DepotError(str(fault)) from fault
    known = {each.name for each in read_depots(home)}
    port = _leaf_port(home)
    address = Address(hub or f"nats-leaf://{HOST}:{port or LEAF_PORT}", listen, monitor_port)
    remember(home, one)
    describe(home, one, address, folder)
    click.echo(f"{folder}: nats-server --config {CONFIGURATION} there, or zb depot up {folder}")
    if name in known and port is not None and supervisor(home):
        asyncio.run(_told(home, one))
        click.echo("the platform that runs knows the depot's devices")
    elif supervisor(home):
        click.echo("the platform takes it with its next start: zb down, zb up")


@depot.command("list")
@click.pass_obj
def list_(folder: Path) -> None:
    """The depots with their devices, and how far behind their stores the hub is: one JSON object a line."""
    home = folder / "up"
    behind = _behind(home) if supervisor(home) else {}
    for one in read_depots(home):
        click.echo(json.dumps({"depot": one.name, "devices": list(one.devices), **behind.get(one.name, {})}))


@depot.command("up")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def up(folder: Path) -> None:
    """Run the depot's broker in the foreground, until Ctrl-C or SIGTERM."""
    if not (folder / CONFIGURATION).exists():
        raise DepotError(f"{folder} is no depot's folder: zb depot init writes one")
    executable = program()
    os.chdir(folder)
    os.execv(executable, [str(executable), "--config", CONFIGURATION])  # noqa: S606 - our own binary, in place of this process


@depot.command("status")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def status(folder: Path) -> None:
    """What the depot's broker holds and whether its ways to the hub are up, as a JSON object; exit code 1 unless all are."""
    try:
        port = json.loads((folder / CONFIGURATION).read_bytes())["http"].rsplit(":", 1)[1]
    except (OSError, ValueError, KeyError) as fault:
        raise DepotError(f"{folder} is no depot's folder: zb depot init writes one") from fault
    leaves, stores = _asked(f"http://{HOST}:{port}", "/leafz"), _asked(f"http://{HOST}:{port}", "/jsz?streams=true")
    streams = [stream for account in stores.get("account_details", []) for stream in account.get("stream_detail", [])]
    state = next((stream["state"] for stream in streams if stream["name"] == DEPOT.name), None)
    ways = {"core": False, "own": False, "sys": False}
    remotes = json.loads((folder / CONFIGURATION).read_bytes())["leafnodes"]["remotes"]
    names = {remote["account"]: remote["credentials"].removesuffix(".creds") for remote in remotes}
    for leaf in leaves.get("leafs", []):
        ways[names[leaf["account"]]] = True
    messages = None if state is None else state["messages"]
    click.echo(json.dumps({"ways": ways, "store": state is not None, "messages": messages}))
    sys.exit(0 if all(ways.values()) and state is not None else 1)


async def _told(home: Path, one: Depot) -> None:
    try:
        await tell(f"nats://{HOST}:{running(home)['nats']['client']}", layout_of(home), one)
    except (NatsError, PushRefused, OSError) as fault:
        raise DepotError(f"the broker did not take the depot's devices ({fault}): try again, or zb down and zb up") from fault


def _leaf_port(home: Path) -> int | None:
    """The port for depots of the last run; None before the first depot's."""
    file = home / "run.json"
    port = json.loads(file.read_text())["nats"].get("leaf") if file.exists() else None
    return None if port is None else int(port)


def _behind(home: Path) -> dict[str, dict[str, Any]]:
    """Of each depot: messages in its store that the hub lacks, and for how long it has not answered; null: it never did."""
    found = _asked(f"http://{HOST}:{running(home)['nats']['monitor']}", "/jsz?streams=true&config=true")
    streams = [stream for account in found.get("account_details", []) for stream in account.get("stream_detail", [])]
    sources = next((stream.get("sources") or [] for stream in streams if stream["name"] == DEPOTS.name), [])
    return {source["external"]["api"].split(".")[1]: _lag(source) for source in sources}


def _lag(source: dict[str, Any]) -> dict[str, Any]:
    # The broker says -1 of a source that it never reached, and then knows no lag either.
    if source["active"] < 0:
        return {"behind": None, "silent_s": None}
    return {"behind": source["lag"], "silent_s": round(source["active"] / 1e9, 1)}


def _asked(url: str, path: str) -> dict[str, Any]:
    try:
        return dict(httpx.get(url + path, timeout=ANSWER_TIMEOUT_S).raise_for_status().json())
    except httpx.HTTPError as fault:
        raise DepotError(f"no nats-server answers on {url}: is it running?") from fault
