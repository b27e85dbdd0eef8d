"""Depots of a platform: which there are, and the folder that a depot's broker runs from.

The hub keeps the list beside its keys. A depot's folder holds a nats-server configuration, the accounts' claims (no secret) and
credentials that the hub confines (depot_access.py); a depot needs nothing else of ours. What its store is, field-ingest says.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb import nats
from zb.accounts import SYSTEM, Layout
from zb.depot_access import Depot
from zb.keys import private_folder, write_secret
from zb.nats import signed_layout
from zb_chassis.broker import Watch, connect
from zb_chassis.revocation import push
from zb_contracts import subjects

LIST: Final = "depots.json"
CONFIGURATION: Final = "nats-server.json"
RECONNECT: Final = "2s"
LEAF_PORT: Final = 7422
"""Where the hub listens for depots from its first one on, if the port is free: the first depot's folder is written before."""
WAYS: Final = {"CORE": "core", "DEV": "own", "SYS": "sys"}
"""Account at the depot -> with which credentials it reaches the hub. Devices are at home in DEV; what they ask leaves it into the
depot's own account at the hub."""


class DepotError(RuntimeError):
    """A depot cannot be described or started; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a depot's broker listens for devices and for its monitor (the latter on loopback), and where its hub is."""

    hub: str
    listen: str
    monitor: int


def read_depots(home: Path) -> tuple[Depot, ...]:
    """The platform's depots, by name. DepotError for a damaged list."""
    file = home / LIST
    if not file.exists():
        return ()
    try:
        found = json.loads(file.read_text())
        return tuple(Depot(name, tuple(one["devices"])) for name, one in sorted(found.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise DepotError(f"{file} is damaged, it lists the depots: restore it from a backup ({fault})") from fault


def remember(home: Path, depot: Depot) -> tuple[Depot, ...]:
    """Write the depot into the list, in place of one of its name; the whole list. DepotError where no platform ever ran."""
    if not (home / "broker-keys").is_dir():
        raise DepotError(f"there is no platform in {home}: zb up makes its keys at its first start")
    depots = {one.name: one for one in (*read_depots(home), depot)}
    content = {name: {"devices": list(one.devices)} for name, one in sorted(depots.items())}
    write_secret(home / LIST, json.dumps(content, indent=2).encode())
    return read_depots(home)


def describe(home: Path, depot: Depot, address: Address, folder: Path) -> None:
    """Write the folder of a depot that is in the list. DepotError for a folder of something else."""
    found = _name_in(folder)
    if found not in (None, depot.name):
        raise DepotError(f"{folder} is the folder of the depot {found}: give another one")
    layout = layout_of(home)
    private_folder(folder)
    for way, credentials in layout.depot_credentials(depot).items():
        write_secret(folder / f"{way}.creds", credentials.text().encode())
    write_secret(folder / CONFIGURATION, json.dumps(configuration(layout, depot.name, address), indent=1).encode())


def layout_of(home: Path) -> Layout:
    """The platform's accounts with all its depots, signed now."""
    return signed_layout(home / "broker-keys", home / "nats" / "accounts", time.time, read_depots(home))


async def tell(url: str, layout: Layout, depot: Depot) -> None:
    """Give a running hub the depot's devices as the layout has them. PushRefused, BrokerRefused."""
    watch = Watch(SYSTEM)
    system = await connect(url, layout.credentials(SYSTEM), watch)
    try:
        await push(system, layout.accounts[depot.account])
    finally:
        watch.stopping = True
        await system.close()


def configuration(layout: Layout, depot: str, address: Address) -> dict[str, Any]:
    """The configuration of a depot's broker: paths are beside it, so the folder can be carried anywhere."""
    return {
        "server_name": f"depot-{depot}",
        "listen": address.listen,
        "http": f"{nats.HOST}:{address.monitor}",
        "max_payload": nats.PAYLOAD_BYTES_MAX,
        "log_file": "nats-server.log",
        "log_size_limit": nats.LOG_BYTES_MAX,
        "jetstream": {
            "store_dir": "store",
            "domain": depot,
            "sync_interval": "always",
            "max_file_store": 2 * subjects.DEPOT.bytes_max,
        },
        "operator": layout.operator,
        "system_account": layout.account("SYS"),
        "resolver": {"type": "full", "dir": "accounts", "allow_delete": False, "interval": "1m", "timeout": "1.9s"},
        "resolver_preload": {layout.account(name): layout.accounts[name] for name in WAYS},
        "leafnodes": {
            "reconnect": RECONNECT,
            "remotes": [_remote(layout, here, way, address.hub) for here, way in WAYS.items()],
        },
    }


def names(depots: Sequence[Depot]) -> str:
    """The depots as field-ingest's settings name them."""
    return ",".join(depot.name for depot in depots)


def _remote(layout: Layout, here: str, way: str, hub: str) -> dict[str, Any]:
    return {"urls": [hub], "account": layout.account(here), "credentials": f"{way}.creds"}


def _name_in(folder: Path) -> str | None:
    """Whose folder it is; None for an empty or new one. DepotError for a folder of something else."""
    file = folder / CONFIGURATION
    if not file.exists():
        if folder.exists() and any(folder.iterdir()):
            raise DepotError(f"{folder} holds something that is no depot: give an empty folder")
        return None
    try:
        return str(json.loads(file.read_bytes())["jetstream"]["domain"])
    except (ValueError, KeyError, TypeError) as fault:
        raise DepotError(f"{file} is damaged: give an empty folder") from fault
