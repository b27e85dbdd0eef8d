"""The machine under measurement: a real nats-server and PostgreSQL as `zb up` starts them, and field-ingest's roles as processes.

Admission, projection and answers each have a process, so that their CPU and memory can be told apart. The authors of the
corpus are registered by SQL: enrolment is not what is measured.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from field_ingest.ledger.shards import shard_of
from tests.bench.ledger import statements
from tests.bench.ledger.corpus import AgencyFiles
from zb import keyring
from zb.keys import private_folder, write_secret
from zb.nats import NatsServer
from zb.postgres import Postgres
from zb.processes import HOST, Service, free_port
from zb_chassis.claims import Credentials, Kind, Nkey
from zb_contracts.sealed import from_base64url

ROLES: Final[Mapping[str, str]] = {"answers": "api,sync", "admission": "admission", "projector": "projector"}
TOKEN_S: Final = 12 * 3600
DATABASE: Final = "field_ingest"


class Machine:
    """Servers and roles on a folder of their own, which is emptied first."""

    def __init__(self, folder: Path, agencies: Iterable[AgencyFiles], *, shards: int = 1, profiled: bool = False) -> None:
        self.folder = folder.absolute()
        self.agencies = list(agencies)
        self.corpus = self.agencies
        """The agencies whose segments the full rate publishes."""
        self.shards = shards
        self.postgres = Postgres(self.folder / "postgres", settings=statements.SETTINGS if profiled else None)
        self.nats = NatsServer(self.folder / "nats", self.folder / "broker-keys")
        self.services: dict[str, Service] = {}

    @contextmanager
    def running(self) -> Iterator["Machine"]:
        """Everything started; stopped and removed at the end whatever happened."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self._start()
            yield self
        finally:
            for service in reversed(self.services.values()):
                service.stop()
            self.nats.stop()
            self.postgres.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(DATABASE)

    @property
    def log_origin(self) -> str:
        return f"{self._environment['ZB_INGEST_LOG_NAME']}/0"

    def administrator(self) -> Credentials:
        """A user of the services' account who may publish and read everything."""
        key, now = Nkey.generate(Kind.USER), int(time.time())
        return Credentials(
            self.nats.layout.administrator(key.public, "administrator", issued_at=now, expires_at=now + TOKEN_S), key
        )

    def device(self, device: str, technician: str) -> Credentials:
        """A device's session, as enrolment hands it out."""
        key = Nkey.generate(Kind.USER)
        return Credentials(self.nats.layout.device_token(key.public, device, technician, issued_at=int(time.time())), key)

    def ledger_public(self) -> bytes:
        """The key that signs answers and checkpoints."""
        keys = json.loads((self.folder / "keys" / "ledger.json").read_text())
        return from_base64url(keys["keys"][-1]["certificate"]["public"])

    async def register_devices(self) -> None:
        """The corpus' devices, as enrolment would have registered them. `answers` has founded the shards."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.executemany(
                """
                INSERT INTO authors (author, kind, agency, device, incarnation, technician, event_key, shard, head_hash,
                    registered_at_ms)
                VALUES ($1, 'device', $2, $3, 1, $4, $5, $6, $7, 0)
                """,
                [
                    (
                        device.author,
                        agency.name,
                        device.device,
                        device.technician,
                        bytes.fromhex(device.public),
                        shard_of(device.device, self.shards),
                        bytes(32),
                    )
                    for agency in self.agencies
                    for device in agency.devices
                ],
            )
        finally:
            await connection.close()

    def start_work(self) -> None:
        """The roles that read and fold, once everybody is registered."""
        for name in ("admission", "projector"):
            self._start_service(name)
        for name in ("admission", "projector"):
            self.services[name].wait_ready()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Who runs, by part: what CPU and memory are summed over."""
        parts = {name: [psutil.Process(service.pid)] for name, service in self.services.items() if service.pid}
        parts["nats-server"] = [psutil.Process(self.nats.pid)] if self.nats.pid else []
        cluster = self.folder / "postgres" / "cluster" / "postmaster.pid"
        postmaster = psutil.Process(int(cluster.read_text().splitlines()[0]))
        parts["postgres"] = [postmaster, *postmaster.children(recursive=True)]
        return parts

    def _start(self) -> None:
        private_folder(self.folder)
        self.postgres.start()
        self.nats.start()
        self._environment = self._settings()
        self._start_service("answers")
        self.services["answers"].wait_ready()

    def _settings(self) -> dict[str, str]:
        keys_folder = private_folder(self.folder / "keys")
        private_folder(keys_folder / "authors")
        for agency in self.agencies:
            write_secret(keys_folder / "authors" / f"office-{agency.name}.seed", agency.office_seed.encode())
        names = tuple(agency.name for agency in self.agencies)
        keys = keyring.load_or_create(keys_folder, names, time.time_ns() // 1_000_000)
        keyring.add_device_signer(keys, self.nats.layout)
        for user in ("field-ingest", "field-ingest-sync"):
            write_secret(self.folder / f"{user}.creds", self.nats.layout.credentials(user).text().encode())
        settings = {
            "DATABASE_URL": self.postgres.create_database(DATABASE),
            "NATS_URL": self.nats.url,
            "NATS_CREDS": str(self.folder / "field-ingest.creds"),
            "NATS_SYNC_CREDS": str(self.folder / "field-ingest-sync.creds"),
            "OIDC_ISSUER": f"http://{HOST}:1",
            "KEYS_DIR": str(keyring.hand_out(keys, "field-ingest", self.folder / "handed-out")),
            "DATA_DIR": str(private_folder(self.folder / "data")),
            "LOG_NAME": "zone-blanche.bench/ledger",
            "LOG_LEVEL": "WARNING",
            "SHARDS": str(self.shards),
        }
        return {f"ZB_INGEST_{name}": value for name, value in settings.items()}

    def _start_service(self, name: str) -> None:
        port = free_port()
        environment = self._environment | {"ZB_INGEST_HTTP_PORT": str(port)}
        arguments = ("field_ingest", "serve", "--roles", ROLES[name])
        service = Service(name, arguments, port, environment, self.folder.parent / "logs" / f"{name}.log")
        service.log.unlink(missing_ok=True)
        service.start()
        self.services[name] = service
