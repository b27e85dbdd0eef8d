"""The processes that hold the simulated devices: started, given orders, read, ended.

Each is `python -m zb_device.simulator`; orders go to all of them at once and are over when the last is through. It knows neither
what an order does nor what the office plans.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from zb.stack import StackError
from zb_contracts.simulated_fleet import Share

ENDS_S: Final = 30.0
LAST_WORDS: Final = 2_000

Say = Callable[[str, int, int], None]
"""A phase, and how many devices of how many are through with it."""


@dataclass
class Processes:
    """The running processes, by share."""

    shares: Sequence[Share]
    folder: Path
    say: Say
    _running: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _through: dict[int, tuple[str, int, int]] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator["Processes"]:
        """All of them; ended whatever happens."""
        try:
            for number, share in enumerate(self.shares):
                self._running.append(self._started(number, share))
            yield self
        finally:
            for process in self._running:
                if process.stdin:
                    with contextlib.suppress(BrokenPipeError):
                        process.stdin.close()
            for process in self._running:
                _ended(process)

    def order(self, do: str, arguments: Sequence[dict[str, Any]] | None = None) -> list[Any]:
        """The result of each process, in the order of the shares. StackError when one fails or dies."""
        self._through.clear()
        given = arguments or [{}] * len(self._running)
        with ThreadPoolExecutor(len(self._running)) as threads:
            return list(threads.map(self._one, range(len(self._running)), [{"do": do, **one} for one in given]))

    def _started(self, number: int, share: Share) -> "subprocess.Popen[bytes]":
        told = self.folder / f"share-{number}.json"
        told.write_bytes(msgspec.json.encode(share))
        with self._log(number).open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "zb_device.simulator", str(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def _one(self, number: int, order: dict[str, Any]) -> Any:
        process = self._running[number]
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a dead process shows when its answer is read
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if "phase" in said:
                self._progress(number, said["phase"], said["through"], said["of"])
            elif "failed" in said:
                raise StackError(f"the simulated devices failed ({said['failed']}): {said['reason']}")
            else:
                return said["result"]
        raise StackError(f"a process of simulated devices ended: {self._log(number).read_text()[-LAST_WORDS:].strip()}")

    def _progress(self, number: int, phase: str, through: int, of: int) -> None:
        self._through[number] = (phase, through, of)
        alike = [one for one in list(self._through.values()) if one[0] == phase]
        self.say(phase, sum(one[1] for one in alike), sum(one[2] for one in alike))

    def _log(self, number: int) -> Path:
        return self.folder / f"devices-{number}.log"


def shares(devices: int, processes: int, whole: int, **everywhere: Any) -> list[Share]:
    """The fleet in as many parts as there are processes; the whole devices are all in the first."""
    parts = min(processes, devices)
    sizes = [devices // parts + (number < devices % parts) for number in range(parts)]
    return [
        Share(first=sum(sizes[:number]), devices=size, whole=min(whole, size) if number == 0 else 0, **everywhere)
        for number, size in enumerate(sizes)
    ]


def _ended(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
