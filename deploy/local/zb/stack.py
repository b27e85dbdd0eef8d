"""The whole platform on one machine: nats-server, PostgreSQL, the issuer and the four services, on one data folder.

It makes keys and databases, tells each service where the others are, starts them all and stops them in order. Everything
listens on loopback. A second start on the same folder goes on where the first stopped. It plays nothing: `zb.play` does.
"""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from zb import keyring
from zb.accounts import SYSTEM
from zb.depots import LEAF_PORT, names, read_depots
from zb.keys import private_folder, write_secret
from zb.nats import NatsServer, Ports, end_leftover
from zb.postgres import Postgres
from zb.processes import HOST, Service, end_leftovers, free_port
from zb_chassis.users import ALL_AGENCIES, add_user
from zb_contracts.subjects import SHARDS_MAX

DATA_VERSION: Final = 1
AGENCIES: Final = ("main",)
ISSUER: Final = "issuer"
WARDEN: Final = "warden"
"""Cuts sessions; beside the services, because it alone holds the key that signs account claims."""
INGEST: Final = "field-ingest"
SUBJECT_KEYS: Final = "subject_keys"
"""The database of data subjects' keys: of scheduling's, but with an owner of its own."""
SAY: Callable[[str], None] = lambda _: None  # noqa: E731 - the silent default of every progress argument


class StackError(Exception):
    """The platform cannot start here; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One service: its package, the prefix of its settings, its database."""

    module: str
    prefix: str
    database: str


PARTS: Final[Mapping[str, Part]] = {
    INGEST: Part("field_ingest", "ZB_INGEST_", "field_ingest"),
    "scheduling": Part("scheduling", "ZB_SCHEDULING_", "scheduling"),
    "media": Part("media", "ZB_MEDIA_", "media"),
    "billing-bridge": Part("billing_bridge", "ZB_BILLING_", "billing_bridge"),
}

# The people of the embedded issuer: name -> roles. Their passwords are made at the first start and kept with the keys.
PEOPLE: Final[Mapping[str, tuple[str, ...]]] = {
    "dispatcher": ("dispatcher", "planner"),
    "administrator": ("fleet-administrator",),
    "auditor": ("auditor",),
    "integrator": ("integrator",),
}


class Stack:
    """All processes of one data folder. `start` and `stop` block; `services` are reachable by name in between.

    `shards` of the ledger are chosen at the folder's first start (None: one, or what was chosen). With more than one, each
    shard's admission is a process of its own, so that it can use a core of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock_file: Path | None = None,
        agencies: tuple[str, ...] = AGENCIES,
        shards: int | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.clock_file = clock_file
        self.agencies = agencies
        self.shards = shards or 1
        self._wanted_shards = shards
        self.services: dict[str, Service] = {}
        self.passwords: dict[str, str] = {}
        self._before: dict[str, dict[str, int]] = {}
        self.postgres = Postgres(self.folder / "postgres")
        self.nats = NatsServer(self.folder / "nats", self.folder / "broker-keys", depots=read_depots(self.folder))

    @property
    def run_file(self) -> Path:
        return self.folder / "run.json"

    def start(self, say: Callable[[str], None] = SAY) -> None:
        """Start everything and return when every service is ready. On a fault everything is stopped again."""
        self._before = self._last_run()
        self._claim_folder()
        for name in end_leftovers(self.run_file):
            say(f"ended {name}, left over from a run that was killed")
        try:
            self._start_servers(say)
            self._describe_services()
            for service in self.services.values():
                service.start()
                self._write_run_file()
            for service in self.services.values():
                service.wait_ready()
                say(f"{service.name} is ready at {service.url}")
        except BaseException:
            self.stop()
            raise

    def stop(self, say: Callable[[str], None] = SAY) -> None:
        """Drain all services at once, then stop the servers under them. Nothing of ours runs afterwards; the data stays."""
        with ThreadPoolExecutor(max(1, len(self.services))) as hands:
            draining = {hands.submit(service.stop): name for name, service in self.services.items()}
            for drained in as_completed(draining):
                drained.result()
                say(f"{draining[drained]} has stopped")
        self.nats.stop()
        self.postgres.stop()
        if self.run_file.exists():
            run = json.loads(self.run_file.read_text())
            write_secret(self.run_file, json.dumps({**run, "processes": {}}, indent=2).encode())

    @contextmanager
    def running(self, say: Callable[[str], None] = SAY) -> Iterator["Stack"]:
        """The stack, started; stopped at the end whatever happened."""
        self.start(say)
        try:
            yield self
        finally:
            self.stop(say)

    def restart(self, name: str) -> None:
        """Start a service again that was killed, and wait until it is ready."""
        self.services[name].start()
        self._write_run_file()
        self.services[name].wait_ready()

    def _claim_folder(self) -> None:
        private_folder(self.folder)
        version_file = self.folder / "VERSION"
        found = version_file.read_text().strip() if version_file.exists() else str(DATA_VERSION)
        if not found.isdecimal():
            raise StackError(f"{version_file} is damaged: restore it from a backup, or give another folder")
        if int(found) > DATA_VERSION:
            raise StackError(
                f"the data in {self.folder} is of version {found}, this program knows {DATA_VERSION}: "
                "update the program, or give another folder"
            )
        if restored_file(self.folder).exists():
            raise StackError(f"{self.folder} was restored from a backup: zb heal has to be told what came after it")
        write_secret(version_file, str(DATA_VERSION).encode())
        self.shards = checked_shards(self.folder, self._wanted_shards)
        write_secret(shards_file(self.folder), str(self.shards).encode())

    def _start_servers(self, say: Callable[[str], None]) -> None:
        self.postgres.start()
        say(f"PostgreSQL listens on {HOST}:{self.postgres.port}")
        self.nats.end_leftover()
        before = self._before.get("nats", {})
        # Devices know the broker by its port: the one of the last run, wherever that can be had.
        leaf = free_port(before.get("leaf", LEAF_PORT)) if self.nats.depots else None
        client, websocket, monitor = (free_port(before.get(name)) for name in ("client", "websocket", "monitor"))
        self.nats.ports = Ports(client, websocket, monitor, leaf)
        self.nats.start()
        say(f"nats-server listens on {self.nats.url}, for browsers on {self.nats.websocket_url}")

    def _describe_services(self) -> None:
        keys = keyring.load_or_create(self.folder / "keys", self.agencies, time.time_ns() // 1_000_000)
        keyring.add_device_signer(keys, self.nats.layout)
        ports = self._before.get("ports", {})
        self.services = {ISSUER: self._issuer(free_port(ports.get(ISSUER)))}
        urls = {name: f"http://{HOST}:{free_port(ports.get(name))}" for name in PARTS}
        for name, part in PARTS.items():
            environment = self._environment(name, part, keys, urls)
            write_secret(environment_file(self.folder, name), json.dumps(environment, indent=2).encode())
            port = int(urls[name].rsplit(":", 1)[1])
            self.services[name] = self._service(name, (part.module, "serve"), port, environment)
        self.services[WARDEN] = self._warden(free_port(ports.get(WARDEN)))
        self._spread_admission(ports)

    def _spread_admission(self, ports: Mapping[str, int]) -> None:
        """With more than one shard each one's admission becomes a process of its own; the others do the rest."""
        whole = self.services[INGEST]
        if self.shards == 1:
            return
        self.services[INGEST] = replace(whole, arguments=(*whole.arguments, "--roles", "api,projector,sync"))
        for shard in range(self.shards):
            name = f"{INGEST}-admission-{shard}"
            port = free_port(ports.get(name))
            environment = {**whole.environment, "ZB_INGEST_HTTP_PORT": str(port)}
            arguments = ("field_ingest", "serve", "--roles", "admission", "--shards", str(shard))
            self.services[name] = self._service(name, arguments, port, environment)

    def _service(self, name: str, arguments: tuple[str, ...], port: int, environment: Mapping[str, str]) -> Service:
        return Service(name, arguments, port, environment, self.folder / "logs" / f"{name}.log")

    def _environment(self, name: str, part: Part, keys: keyring.Keyring, urls: Mapping[str, str]) -> dict[str, str]:
        data = self.folder / name
        settings = {
            "database_url": self.postgres.create_database(part.database),
            "nats_url": self.nats.url,
            "nats_creds": str(self._credentials(name)),
            "http_host": HOST,
            "http_port": urls[name].rsplit(":", 1)[1],
            "oidc_issuer": self.services[ISSUER].url,
            "keys_dir": str(keyring.hand_out(keys, name, self.folder / "handed-out" / name)),
            "data_dir": str(private_folder(data)),
        }
        if self.clock_file:
            settings["clock_file"] = str(self.clock_file)
        if name == INGEST:
            settings["nats_sync_creds"] = str(self._credentials("field-ingest-sync"))
            settings["shards"] = str(self.shards)
            if self.nats.depots:
                settings["depots"] = names(self.nats.depots)
            settings["custody_url"] = urls["scheduling"]
        if name == "scheduling":
            settings["custody_url"] = self.postgres.create_database(SUBJECT_KEYS)
        return {part.prefix + key.upper(): value for key, value in settings.items()}

    def _credentials(self, user: str) -> Path:
        path = private_folder(self.folder / "handed-out" / "nats") / f"{user}.creds"
        write_secret(path, self.nats.layout.credentials(user).text().encode())
        return path

    def _warden(self, port: int) -> Service:
        folder = private_folder(self.folder / "handed-out" / WARDEN)
        layout = self.nats.layout
        write_secret(folder / "account-signer.seed", layout.keys["operator-signer"].seed)
        write_secret(folder / "devices-account.pub", layout.account("DEV").encode())
        write_secret(folder / "system.creds", layout.credentials(SYSTEM).text().encode())
        settings = {
            "database_url": self.postgres.create_visitor(WARDEN, PARTS["field-ingest"].database),
            "nats_url": self.nats.url,
            "nats_creds": str(folder / "system.creds"),
            "keys_dir": str(folder),
            "http_host": HOST,
            "http_port": str(port),
        }
        environment = {f"ZB_WARDEN_{key.upper()}": value for key, value in settings.items()}
        return Service(WARDEN, ("field_ingest", "warden"), port, environment, self.folder / "logs" / f"{WARDEN}.log")

    def _issuer(self, port: int) -> Service:
        folder = private_folder(self.folder / ISSUER)
        self.passwords = self._people(folder)
        arguments = ("zb_chassis.issuer", "serve", "--folder", str(folder), "--port", str(port))
        return Service(ISSUER, arguments, port, {}, self.folder / "logs" / f"{ISSUER}.log")

    def _people(self, folder: Path) -> dict[str, str]:
        """The local people and their passwords; made once."""
        path = self.folder / "keys" / "people.json"
        if not path.exists():
            passwords = {name: secrets.token_urlsafe(12) for name in PEOPLE}
            for name, roles in PEOPLE.items():
                add_user(folder, name, passwords[name], roles, (ALL_AGENCIES,))
            write_secret(path, json.dumps(passwords, indent=2).encode())
        return dict(json.loads(path.read_text()))

    def _last_run(self) -> dict[str, dict[str, int]]:
        return dict(json.loads(self.run_file.read_text())) if self.run_file.exists() else {}

    def _write_run_file(self) -> None:
        run = {
            "ports": {service.name: service.port for service in self.services.values()},
            "nats": {
                "client": self.nats.ports.client,
                "websocket": self.nats.ports.websocket,
                "monitor": self.nats.ports.monitor,
                **({} if self.nats.ports.leaf is None else {"leaf": self.nats.ports.leaf}),
            },
            "processes": {
                service.name: {"pid": service.pid, "arguments": ["-m", *service.arguments]}
                for service in self.services.values()
                if service.pid
            },
        }
        write_secret(self.run_file, json.dumps(run, indent=2).encode())


def restored_file(folder: Path) -> Path:
    """There while nobody has said yet what became of a restored folder's platform after its backup was made."""
    return folder / "RESTORED"


def shards_file(folder: Path) -> Path:
    """Holds the number of shards of the folder's first start; a folder from before it was written has one."""
    return folder / "SHARDS"


def checked_shards(folder: Path, wanted: int | None) -> int:
    """The number of shards with which a start on this folder goes on. StackError when another one is wanted."""
    file = shards_file(folder)
    if not file.exists():
        founded = 1 if (folder / "keys").exists() else wanted or 1
    elif not (text := file.read_text().strip()).isdecimal() or not 1 <= (founded := int(text)) <= SHARDS_MAX:
        raise StackError(f"{file} is damaged, it holds the number of shards of the first start: restore it from a backup")
    if wanted not in (None, founded):
        raise StackError(
            f"the ledger in {folder} was founded with {founded} shard{'s' if founded > 1 else ''}, and that never changes: "
            f"leave out --shards {wanted}, or give another folder"
        )
    return founded


def environment_file(folder: Path, service: str) -> Path:
    """Where the settings of a service lie, so that its own commands can be run beside it."""
    return folder / "handed-out" / f"{service}.env.json"


def forget(folder: Path) -> None:
    """Remove the data of a stack that does not run, e.g. of an earlier play. NatsStartError when it runs."""
    if folder.exists():
        end_leftover(folder / "nats")
        end_leftovers(folder / "run.json")
        if (folder / "postgres").exists():
            Postgres(folder / "postgres").stop()
        shutil.rmtree(folder)
