"""A device that dies at its n-th write. Started once; for each line `scenario n folder url` it forks a child that does the work.

Points lie before each statement that writes and before and after each commit, before each fsync (where half of the file's bytes
are lost with it, as after a power failure), rename and unlink. What a screen would have confirmed is told on standard output.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
from sqlcipher3 import dbapi2

from zb_contracts.events.fieldwork import CommentAdded, Done, PhotoTaken, Started
from zb_device import database
from zb_device.device import Device
from zb_device.faults import Unreachable, WrongPin
from zb_device.media import Prepared
from zb_device.recording import Draft
from zb_device.settings import LockPolicy

KILLED = 137
PIN, NEW_PIN = "271828", "314159"
BOILER = "intervention:leaky-boiler"
PHOTO = bytes(range(256)) * 9_000
WRITES = ("insert", "update", "delete", "commit", "begin immediate;")


class Points:
    """Counts them; the process ends at number `last` (0: never)."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0
        self.names: list[str] = []

    def reach(self, name: str, *, torn: int | None = None) -> None:
        self.count += 1
        self.names.append(name)
        if self.count == self.last:
            if torn is not None:
                os.ftruncate(torn, os.fstat(torn).st_size // 2)
            os._exit(KILLED)


def instrumented(points: Points) -> None:
    """Every durable step of the device asks the points first."""

    class Connection(dbapi2.Connection):
        def execute(self, statement: str, *values: Any) -> Any:
            if not statement.startswith(WRITES):
                return super().execute(statement, *values)
            points.reach(statement[:40])
            done = super().execute(statement, *values)
            if statement == "commit":
                points.reach("committed")
            return done

        def executescript(self, script: str) -> Any:
            points.reach("script")
            return super().executescript(script)

    connect = dbapi2.connect
    database.dbapi2.connect = lambda *values, **named: connect(*values, factory=Connection, **named)
    for name in ("rename", "unlink"):
        setattr(os, name, _counted(points, name, getattr(os, name)))
    fsync = os.fsync

    def torn_fsync(handle: int) -> None:
        is_file = os.path.isfile(f"/proc/self/fd/{handle}") and os.get_inheritable(handle) is False
        writable = is_file and os.readlink(f"/proc/self/fd/{handle}").endswith("new")
        points.reach("fsync", torn=handle if writable else None)
        fsync(handle)

    os.fsync = torn_fsync


def _counted(points: Points, name: str, call: Any) -> Any:
    def counted(*values: Any, **named: Any) -> Any:
        points.reach(name)
        return call(*values, **named)

    return counted


class HttpWire:
    """The broker, over the little platform's HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def publish(self, data: bytes, message_id: str) -> None:
        await self._post("publish", data, {"Message-Id": message_id})

    async def ask(self, request: bytes) -> bytes:
        return await self._post("ask", request, {})

    async def close(self) -> None:
        return None

    async def _post(self, what: str, data: bytes, headers: dict[str, str]) -> bytes:
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.post(f"{self.url}/wire/{what}", content=data, headers=headers)
            except httpx.HTTPError as fault:
                raise Unreachable(str(fault)) from fault
        return answer.content


def told(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


async def confirmed(device: Device, *drafts: Draft) -> None:
    for event in await device.record_all(drafts):
        told(id=event.id, seq=event.seq)


def photographed(prepared: Prepared) -> list[Draft]:
    return [Draft(BOILER, PhotoTaken(file=prepared.file, source="camera"))]


async def worked(device: Device) -> None:
    """A morning: events, two at once, a photo, a sync with upload, events while locked, another PIN."""
    await device.unlock(PIN)
    await confirmed(device, Draft(BOILER, Started()))
    await confirmed(device, Draft(BOILER, CommentAdded(text="pair")), Draft(BOILER, CommentAdded(text="pair")))
    for event in await device.attach(PHOTO, "image/jpeg", photographed):
        told(id=event.id, seq=event.seq, photo=True)
    await device.sync()
    await device.upload()
    device.parts.vault.set_policy(LockPolicy(idle_s=600))
    await device.change_pin(PIN, NEW_PIN)
    device.lock()
    try:
        await device.unlock("000000")
    except WrongPin:
        told(wrong=True)
    await confirmed(device, Draft(BOILER, Done()))
    device.parts.succession.begin("sync.store_behind")


async def wiped(device: Device) -> None:
    """A device that is told to destroy what it holds, with a photo and an event that wait."""
    await device.unlock(PIN)
    await confirmed(device, Draft(BOILER, Started()))
    for event in await device.attach(PHOTO, "image/jpeg", photographed):
        told(id=event.id, seq=event.seq, photo=True)
    await device.sync()


SCENARIOS = {"worked": worked, "wiped": wiped}


async def lived(scenario: str, folder: Path, url: str) -> None:
    device = Device.open(folder, transport=HttpWire(url))
    await SCENARIOS[scenario](device)
    await device.close()


def child(scenario: str, last: int, folder: Path, url: str) -> None:
    points = Points(last)
    instrumented(points)
    asyncio.run(lived(scenario, folder, url))
    told(points=points.names)


def main() -> None:
    for line in sys.stdin:
        scenario, last, folder, url = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                child(scenario, int(last), Path(folder), url)
            except BaseException as fault:
                told(fault=repr(fault))
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        told(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
