"""One service as a child process: start, wait until it is ready, stop, kill. Its output goes to a log file of its own.

It knows nothing of what the service does; `stack` says which services there are and what they are told.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
LOG_TAIL_LINES: Final = 15
HOST: Final = "127.0.0.1"


class ServiceFailed(Exception):
    """A service ended or did not become ready; the message holds its last words."""


@dataclass
class Service:
    """A Python module that serves HTTP on `port` and answers /ready."""

    name: str
    arguments: tuple[str, ...]
    port: int
    environment: Mapping[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the process ended (negative: by which signal); None while it runs, or before it was started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; `wait_ready` says when it can be used."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, arguments from this file
                [sys.executable, "-m", *self.arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the children in order
            )

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when /ready answers 200. ServiceFailed when the process ends or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self.is_running:
                raise ServiceFailed(f"{self.name} ended at start:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} was not ready within {timeout_s:.0f} s:\n{self.last_words()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether /ready says 200 at this moment."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """SIGTERM, which drains; SIGKILL after STOP_TIMEOUT_S."""
        if self._process is None or not self.is_running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a fault would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        if not self.log.exists():
            return "(it wrote nothing)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def free_port(wanted: int | None = None) -> int:
    """`wanted` where it is free, else any free port of the loopback interface."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceFailed("this machine has no free port on the loopback interface")


def end_leftovers(run_file: Path) -> list[str]:
    """End processes that an earlier run, killed before it could clean up, left behind. Returns their names.

    A pid is only trusted when its command line still is the one that was started.
    """
    if not run_file.exists():
        return []
    ended = []
    for name, row in json.loads(run_file.read_text()).get("processes", {}).items():
        command = Path(f"/proc/{row['pid']}/cmdline")
        if command.exists() and " ".join(row["arguments"]).encode() in command.read_bytes().replace(b"\0", b" "):
            os.kill(row["pid"], signal.SIGTERM)
            _wait_gone(row["pid"])
            ended.append(name)
    return ended


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)
