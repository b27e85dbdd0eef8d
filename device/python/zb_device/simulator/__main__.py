"""One process of a simulated fleet: `python -m zb_device.simulator SHARE.json`, orders and answers as JSON lines.

Orders on standard input: `{"do": "enrol", "codes": [...]}`, `{"do": "day", "day": 1}`, `{"do": "drain"}`, `{"do": "report"}`; the
input's end closes the fleet. Each is answered by lines of progress and one that says it is done, or why not.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from zb_contracts.problems import Problem
from zb_contracts.simulated_fleet import Share
from zb_device.faults import DeviceFault
from zb_device.simulator.fleet import Fleet, Say

PROGRESS_S: Final = 1.0
LINE_BYTES_MAX: Final = 64 << 20


def main() -> None:
    """Run the share in the file that is the only argument."""
    asyncio.run(_serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Share)))


async def _serve(share: Share) -> None:
    fleet = Fleet(share)
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            order = msgspec.json.decode(line)
            try:
                _write({"done": order["do"], "result": await _carry_out(fleet, order)})
            except (DeviceFault, Problem) as fault:
                _write({"failed": order["do"], "reason": str(fault)})
            except ExceptionGroup as faults:
                _write({"failed": order["do"], "reason": f"{faults.exceptions[0]!r}"})
    finally:
        await fleet.close()


async def _carry_out(fleet: Fleet, order: dict[str, Any]) -> Any:
    match order["do"]:
        case "enrol":
            await fleet.enrol(order["codes"], _progress("enrolment"))
        case "day":
            await fleet.day(order["day"], _progress)
        case "drain":
            await fleet.drain(_progress("everybody comes back"))
        case "report":
            return {"tally": fleet.tally, "heads": fleet.heads(), "unsettled": fleet.unsettled()}
    return None


def _progress(phase: str) -> Say:
    said_s = 0.0

    def say(done: int, of: int) -> None:
        nonlocal said_s
        if done == of or time.monotonic() - said_s >= PROGRESS_S:
            said_s = time.monotonic()
            _write({"phase": phase, "through": done, "of": of})

    return say


def _write(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
