"""One process of the measured wave: its share of the devices, each with a day's backlog, so many connected at a time.

`python -m tests.bench.device.wave JOB.json`: lines of JSON on standard output, the last one is what was found. With `hold` the
devices only connect and stay until the input ends. A device is the simulator's light one: own session, everything verified.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bench.device.backlog import events_of
from tests.bench.device.devices import Broker, light_device
from tests.bench.ledger.corpus import read_segments
from zb_contracts.problems import Problem
from zb_device.faults import DeviceFault
from zb_device.simulator.light import LightDevice, nats_transport
from zb_device.simulator.tally import Tally
from zb_device.transport import NatsTransport

PATIENCE_S: Final = 60.0
"""Of one contact; then the device leaves and comes again."""
GIVEN_UP_S: Final = 900.0
AGAIN_S: Final = 1.0
PROGRESS_S: Final = 5.0


class Share(msgspec.Struct, frozen=True):
    """The devices of one agency: who they are, with their sessions, and the file of their backlogs."""

    agency: str
    field_file: str
    devices: list[dict[str, str]]
    """As `devices.signed_in` has them."""


class Job(msgspec.Struct, frozen=True):
    """What a process does. `hold`: connect and stay."""

    broker: Broker
    at_once: int
    shares: list[Share]
    hold: bool = False


@dataclass
class Wave:
    """The process' devices on their way."""

    job: Job
    tally: Tally = field(default_factory=Tally)
    of: int = 0
    settled: int = 0
    heads: list[tuple[str, int, str]] = field(default_factory=list)
    _said_s: float = 0.0

    async def run(self) -> None:
        """Every device until all its receipts are verified."""
        self.of = sum(len(share.devices) for share in self.job.shares)
        devices = self._devices()

        async def some() -> None:
            for device in devices:
                await self._settle(device)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.job.at_once):
                group.create_task(some())

    async def hold(self) -> None:
        """All connected; returns when standard input ends."""
        open_ones: list[NatsTransport] = []
        for device in self._devices():
            transport = nats_transport(device)
            await device.contact(transport, 0.0)
            open_ones.append(transport)
        _write({"held": len(open_ones)})
        await asyncio.to_thread(sys.stdin.read)
        for transport in open_ones:
            await transport.close()

    async def _settle(self, device: LightDevice) -> None:
        began = time.monotonic()
        while not device.is_settled and time.monotonic() - began < GIVEN_UP_S:
            transport = nats_transport(device)
            self.tally.enter()
            try:
                await device.contact(transport, PATIENCE_S)
            except (DeviceFault, Problem) as fault:
                self.tally.went_wrong(fault)
                await asyncio.sleep(AGAIN_S)
            finally:
                await transport.close()
                self.tally.leave()
        self.settled += device.is_settled
        self.heads.append((device.pinned.author, device.chain.head, device.chain.prev))
        if time.monotonic() - self._said_s > PROGRESS_S or len(self.heads) == self.of:
            self._said_s = time.monotonic()
            _write({"through": len(self.heads), "of": self.of})

    def _devices(self) -> Iterator[LightDevice]:
        """Made when their turn comes; with `hold` they have nothing to send."""
        for share in self.job.shares:
            backlogs = {} if self.job.hold else {one.subject: one for one in read_segments(Path(share.field_file))}
            for row in share.devices:
                device = light_device(self.job.broker, share.agency, row, self.tally)
                if not self.job.hold:
                    device.chain.adopt(events_of(backlogs[f"field.v1.{device.pinned.device}"]))
                yield device


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(job: Job) -> None:
    wave, began = Wave(job), time.time()
    if job.hold:
        await wave.hold()
        return
    await wave.run()
    used = resource.getrusage(resource.RUSAGE_SELF)
    _write(
        {
            "began": began,
            "ended": time.time(),
            "settled": wave.settled,
            "of": wave.of,
            "cpu_s": used.ru_utime + used.ru_stime,
            "heads": wave.heads,
            "tally": msgspec.to_builtins(wave.tally),
        }
    )


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)))
