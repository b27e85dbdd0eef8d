"""Keeps a stack running in the background until it is told to stop: what `zb up` starts and `zb down` ends.

A service that dies is started again, with growing pauses; the log says so. It does nothing else.
"""

import argparse
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from zb.keys import write_secret
from zb.processes import ServiceFailed
from zb.stack import Stack

CHECK_S: Final = 0.5
PAUSE_S_MAX: Final = 30.0

log = structlog.get_logger()


def pid_file(folder: Path) -> Path:
    """Where the supervisor of a data folder leaves its process id."""
    return folder / "supervisor.pid"


def supervise(folder: Path, shards: int | None = None) -> None:
    """Run the stack of `folder` until SIGTERM or SIGINT."""
    stop = threading.Event()

    def told_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_stop)
    stack = Stack(folder, shards=shards)
    try:
        with stack.running(lambda text: log.info(text)):
            write_secret(pid_file(folder), str(os.getpid()).encode())
            watch(stack, stop)
    finally:
        pid_file(folder).unlink(missing_ok=True)  # last: whoever waits for it may rely on everything being down


def watch(stack: Stack, stop: threading.Event) -> None:
    """Start services again that died, until `stop` is set."""
    pauses: dict[str, float] = {}
    while not stop.wait(CHECK_S):
        for name, service in stack.services.items():
            if service.is_running:
                continue
            pause = pauses[name] = min(PAUSE_S_MAX, pauses.get(name, CHECK_S) * 2)
            log.warning("a service has died and is started again", service=name, pause_s=pause, last_words=service.last_words())
            if stop.wait(pause):
                return
            try:
                stack.restart(name)
            except ServiceFailed as fault:
                log.error("a service did not come back", service=name, reason=str(fault))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int)
    chosen = parser.parse_args()
    supervise(chosen.folder, chosen.shards)
