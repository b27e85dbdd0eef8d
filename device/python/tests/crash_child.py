"""A device that dies at its n-th write. Started once; for each line `scenario n folder url` it forks a child that does the work.

Points lie before each statement that writes and before and after each commit, before each fsync (where half of the file's bytes
are lost with it, as after a power failure), rename and unlink. What a screen would have confirmed is told on standard output.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlcipher3 import dbapi2

from zb_contracts.events.fieldwork import CommentAdded, Done, PhotoTaken, Started
from zb_device import database, vault
from zb_device.clock import machine_clock
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.faults import Unreachable, WrongPin
from zb_device.media import Prepared
from zb_device.recording import Draft
from zb_device.settings import LockPolicy

# As in the tests that read what it leaves: no point of it lies in the stretching of a PIN.
vault.ARGON2_MEMORY_KIB, vault.ARGON2_PASSES = 64, 1  # type: ignore[misc]

KILLED = 137
CODE = "LEAKY-BOILER-2345"
PIN, NEW_PIN, BERTS_PIN = "271828", "314159", "bert's passphrase"
BOILER = "intervention:leaky-boiler"
PHOTO = bytes(range(256)) * 4_200
"""Two chunks, the second one small."""
STROKES = b"a signature"
WRITES = ("insert", "update", "delete", "create", "alter", "drop", "commit")


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

    class Connection(database.Connection):
        def execute(self, statement: str, *values: Any) -> Any:
            if not statement.startswith(WRITES):
                return super().execute(statement, *values)
            points.reach(statement[:40])
            done = super().execute(statement, *values)
            if statement == "commit":
                points.reach("committed")
            return done

        def executescript(self, script: str) -> Any:
            for statement in statements_of(script):
                self.execute(statement)

    database.Connection = Connection
    for name in ("rename", "unlink"):
        setattr(os, name, _counted(points, name, getattr(os, name)))
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _torn(points, name, getattr(os, name)))


def statements_of(script: str) -> Iterator[str]:
    """One by one, without the comments before them."""
    statement = ""
    for line in script.splitlines():
        if statement or (line.strip() and not line.startswith("--")):
            statement += f"{line}\n"
            if dbapi2.complete_statement(statement):
                yield statement.strip().rstrip(";")
                statement = ""


def _counted(points: Points, name: str, call: Any) -> Any:
    def counted(*values: Any, **named: Any) -> Any:
        points.reach(name)
        return call(*values, **named)

    return counted


def _torn(points: Points, name: str, call: Any) -> Any:
    def torn(handle: int) -> None:
        is_file = os.path.isfile(f"/proc/self/fd/{handle}") and os.get_inheritable(handle) is False
        writable = is_file and os.readlink(f"/proc/self/fd/{handle}").endswith("new")
        points.reach(name, torn=handle if writable else None)
        call(handle)

    return torn


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


async def enrolled(folder: Path, url: str) -> None:
    """From the code to the first event."""
    invitation = Invitation(CODE, Places(url, "nats://127.0.0.1:1", url))
    async with await Device.enrol(folder, invitation, PIN, transport=HttpWire(url)) as device:
        await confirmed(device, Draft(BOILER, Started()))


async def worked(folder: Path, url: str) -> None:
    """A morning: events, two at once, a photo, a signature with a key made here, a sync that brings documents, a catalogue and
    keys, the upload, another PIN, events while locked, and that the ledger is ahead of the store."""
    async with Device.open(folder, transport=HttpWire(url)) as device:
        await _worked(device)


async def _worked(device: Device) -> None:
    await device.unlock(PIN)
    await confirmed(device, Draft(BOILER, Started()))
    await confirmed(device, Draft(BOILER, CommentAdded(text="pair")), Draft(BOILER, CommentAdded(text="pair")))
    for event in await device.attach(PHOTO, "image/jpeg", photographed):
        told(id=event.id, seq=event.seq, photo=True)
    signed = await device.work_on("leaky-boiler").sign(STROKES, signer="Frau Weber", shown="two hours", mime="image/png")
    told(id=signed.id, seq=signed.seq)
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
    device._reopen()
    await device.sync()


async def renewed(folder: Path, url: str) -> None:
    """A session that is renewed by a clock that has to be set right, a second technician, both at work, one locked out."""
    wrong = machine_clock()
    clock = replace(wrong, real_ms=lambda: wrong.real_ms() - 400 * 86_400_000)
    async with Device.open(folder, clock=clock, transport=HttpWire(url)) as device:
        await device.sign_in("tech-bert", BERTS_PIN)
        await device.unlock(PIN, "tech-anna")
        await confirmed(device, Draft(BOILER, Started()))
        device.lock()
        with suppress(WrongPin):
            await device.unlock("000000", "tech-bert")
        await device.unlock(BERTS_PIN, "tech-bert")
        await device.unlock(PIN, "tech-anna")
        await device.sync()


async def migrated(folder: Path, url: str) -> None:
    """A store of version 1 that a program of today opens."""
    async with Device.open(folder, transport=HttpWire(url)) as device:
        await device.unlock(PIN)
        await confirmed(device, Draft(BOILER, Started()))
        await device.sync()


async def wiped(folder: Path, url: str) -> None:
    """A device that is told to destroy what it holds, with a photo and an event that wait."""
    async with Device.open(folder, transport=HttpWire(url)) as device:
        await device.unlock(PIN)
        await confirmed(device, Draft(BOILER, Started()))
        for event in await device.attach(PHOTO, "image/jpeg", photographed):
            told(id=event.id, seq=event.seq, photo=True)
        await device.sync()


SCENARIOS = {"enrolled": enrolled, "worked": worked, "renewed": renewed, "migrated": migrated, "wiped": wiped}


def child(scenario: str, last: int, folder: Path, url: str) -> None:
    points = Points(last)
    instrumented(points)
    asyncio.run(SCENARIOS[scenario](folder, url))
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
