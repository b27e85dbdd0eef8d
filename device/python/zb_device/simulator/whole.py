"""A whole device of a simulated fleet: the SDK with its encrypted store, its timer left out, because the fleet says when.

It shows that what the light devices measure is what an application would meet. Its bytes and times are not in the tally.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zb_contracts.events import Body
from zb_contracts.events.fieldwork import PartUsed, PhotoTaken
from zb_device.clock import machine_clock
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.policies import Conditions
from zb_device.recording import Draft
from zb_device.simulator.light import MODEL
from zb_device.simulator.members import PATIENCE_S, Head
from zb_device.simulator.tally import Tally
from zb_device.simulator.workday import MIME, Photo, Visit, facts, stock_moved

PIN: Final = "482915"
ASKS_APART_S: Final = 0.5


@dataclass
class WholeMember:
    """A device with a folder of its own."""

    device: Device
    folder: Path
    tally: Tally
    wall_error_ms: int
    _visited: list[str] = field(default_factory=list)
    _charge: int | None = None

    @classmethod
    async def enrol(cls, places: Places, code: str, folder: Path, tally: Tally, wall_error_ms: int = 0) -> "WholeMember":
        """A new device in `folder`, by a one-time code. Unreachable or Refused."""
        clock = machine_clock(wall_error_ms=wall_error_ms)
        device = await Device.enrol(folder, Invitation(code, places, MODEL), PIN, clock=clock)
        return cls(device, folder, tally, wall_error_ms)

    @property
    def head(self) -> Head:
        newest = self.device.parts.log.head()
        return Head(self.device.parts.pinned.author, newest.seq, newest.prev)

    @property
    def is_settled(self) -> bool:
        return self.device.settled() and not self.device.parts.media.waiting()

    async def live(self, visit: Visit) -> None:
        stream = self._next()
        if stream is None:
            self.tally.mishaps["nothing to do"] += 1
            return
        self._charge = visit.battery_percent
        self.device.tell(Conditions(battery_percent=self._charge))
        for fact in facts(visit):
            if isinstance(fact, Photo):
                await self.device.attach(
                    fact.bytes(), MIME, lambda prepared: [Draft(stream, PhotoTaken(file=prepared.file, source="camera"))]
                )
                self.tally.recorded += 1
            else:
                await self._record(stream, fact)

    def _next(self) -> str | None:
        known = [line.stream for line in self.device.listed() if line.stream not in self._visited]
        if known:
            self._visited.append(known[0])
        return self._visited[-1] if self._visited else None

    async def _record(self, stream: str, body: Body) -> None:
        recorded = await self.device.record(body, stream=stream)
        self.tally.recorded += 1
        if isinstance(body, PartUsed):
            await self.device.record(stock_moved(body, recorded.id), stream=f"stock:van-{self.device.technician}")
            self.tally.recorded += 1

    async def contact(self, *, crashes: bool = False, photos: bool = False) -> None:
        self.tally.enter()
        try:
            if crashes:
                await self._crash()
            until = time.monotonic() + PATIENCE_S
            await self.device.sync()
            while not self.device.settled() and time.monotonic() < until:
                await asyncio.sleep(ASKS_APART_S)
                await self.device.sync()
            if photos:
                # In the evening it lies on its charger: a weak battery would keep the photos back.
                self.device.tell(Conditions(battery_percent=self._charge, charging=True))
                stored = await self.device.upload()
                self.tally.photos += stored
        finally:
            await self.device.offline()
            self.device.online()
            self.tally.leave()

    async def _crash(self) -> None:
        """The process goes away between sending and asking, and comes again on the same folder."""
        await self.device.sync()
        await self.device.close()
        self.device = Device.open(self.folder, clock=machine_clock(wall_error_ms=self.wall_error_ms))
        await self.device.unlock(PIN)
        self.tally.mishaps["crash"] += 1

    async def close(self) -> None:
        await self.device.close()
