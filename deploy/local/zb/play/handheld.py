"""A technician's handheld as a process of its own: `zb-device serve --json`, one JSON object a line each way.

The play talks to it as its screen would. `kill` is SIGKILL: what the process had confirmed has to be there afterwards.
"""

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ANSWER_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 10.0
LINE_BYTES_MAX: Final = 16 * 1024 * 1024


class HandheldRefused(Exception):
    """The device answered with a named refusal, or its process ended."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


@dataclass
class Handheld:
    """One device. `technician` and `passphrase` unlock its read model."""

    folder: Path
    technician: str
    passphrase: str
    clock_file: Path
    log: Path
    _process: asyncio.subprocess.Process | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Start the process; the store is opened by the first command."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = ["--folder", str(self.folder), "--clock-file", str(self.clock_file)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "zb_device", *options, "serve", "--json", "--retry-s-max", "1"),
                env={**os.environ, "ZB_DEVICE_PIN": self.passphrase},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )

    async def call(self, command: str, **arguments: Any) -> Any:
        """The result of one command. HandheldRefused for a refusal or a dead process."""
        async with self._turn:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with contextlib.suppress(ConnectionError):  # a dead process shows when its answer is read
                await process.stdin.drain()
            return await self._answer(command)

    async def _answer(self, command: str) -> Any:
        stdout = self._running().stdout
        assert stdout is not None
        try:
            line = await asyncio.wait_for(stdout.readline(), ANSWER_TIMEOUT_S)
        except TimeoutError as fault:
            raise HandheldRefused("device.silent", f"no answer to {command} in {ANSWER_TIMEOUT_S:.0f} s") from fault
        if not line:
            raise HandheldRefused("device.ended", f"the process ended during {command}: {self.last_words()}")
        answer = json.loads(line)
        if not answer["ok"]:
            raise HandheldRefused(answer["code"], answer["message"])
        return answer["result"]

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise HandheldRefused("device.off", f"{self.technician}'s device is not running")
        return self._process

    async def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    async def stop(self) -> None:
        """Close its input, which ends it in good order; kill it if that takes too long."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:]) if self.log.exists() else ""
