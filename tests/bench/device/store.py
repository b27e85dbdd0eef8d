"""What a device costs its user: recording, recording while photos are attached, opening a full store. The SDK on this disk.

The platform is the little one of the tests, which enrols and is then out of reach. A store's folder lies beside the bench's other
files, on a real disk; it is removed at the end.
"""

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from tests.bench.ledger.watching import quantile
from tests.bench.ledger.workload import Agency
from tests.fixtures.little_platform import PIN, Platform
from zb_contracts.envelope import ParsedEvent, parse_header
from zb_contracts.events import AuthorKind
from zb_contracts.events.fieldwork import CommentAdded, PhotoTaken
from zb_contracts.merge.causality import merge_event
from zb_contracts.merge.fold import StreamFold
from zb_contracts.merge.state import state_bytes
from zb_contracts.segment import decode_segment
from zb_contracts.sync import ScopeDelta, ScopeDocument
from zb_device.device import Device
from zb_device.recording import Draft
from zb_device.vault import stretch

EVENTS: Final = 2_000
WARM: Final = 100
PHOTOS: Final = 20
PHOTO_BYTES: Final = 3_000_000
INTERVENTIONS: Final = 2_000
AGENCIES: Final = 4
"""Whose interventions they are: a tour has a limit."""
FIRST: Final = INTERVENTIONS // AGENCIES
"""The number of the first intervention in the scope: photos are taken there."""
MEDIA_BYTES: Final = 200_000_000
OPENED: Final = 7
"""Times that the full store is opened; the median counts."""
STREAM: Final = "intervention:01930000-0000-7000-8000-000000000001"
JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


@dataclass(frozen=True, slots=True)
class Append:
    """Milliseconds of one `record`: signed, encrypted, sealed to escrow, on disk."""

    events: int
    p50_ms: float
    p99_ms: float
    with_photos_p50_ms: float
    with_photos_p99_ms: float
    with_photos_events: int
    """Recorded while the photos were being attached."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Milliseconds, medians. `open_ms` is from the call to a read model that answers, less the stretching of the PIN."""

    interventions: int
    media_bytes: int
    open_ms: float
    stretch_ms: float
    """The PIN's own cost, which is wanted."""
    listed_ms: float
    """Every intervention's state, merged, once."""


async def append(folder: Path) -> Append:
    """Times of single events, quiet and beside photos."""
    async with _enrolled(folder / "store") as device:
        await _recorded(device, WARM)
        quiet = await _recorded(device, EVENTS)
        photos = asyncio.create_task(_attach(device, PHOTOS))
        busy: list[float] = []
        while not photos.done():
            busy += await _recorded(device, 1)
            await asyncio.sleep(0)
        await photos
    return Append(EVENTS, quantile(quiet, 0.5), quantile(quiet, 0.99), quantile(busy, 0.5), quantile(busy, 0.99), len(busy))


async def opening(folder: Path) -> Opening:
    """Times of opening a store that is full."""
    place = folder / "store"
    async with _enrolled(place) as device:
        device.opened().reading.apply(_scope())
        await _attach(device, -(-MEDIA_BYTES // PHOTO_BYTES))
        await device.close()
        rounds = [await _opened(place) for _ in range(OPENED)]
        media = sum(path.stat().st_size for path in (place / "media").iterdir())
    opened, stretched, listed = (quantile([one[at] for one in rounds], 0.5) for at in range(3))
    return Opening(INTERVENTIONS, media, opened, stretched, listed)


async def _opened(place: Path) -> tuple[float, float, float]:
    """Milliseconds to an open read model without the PIN's stretching, of the stretching, and of the list of everything."""
    stretched: list[float] = []

    def timed(pin: str, salt: bytes) -> bytes:
        began = time.perf_counter()
        key = stretch(pin, salt)
        stretched.append(time.perf_counter() - began)
        return key

    began = time.perf_counter()
    with patch("zb_device.device.stretch", timed):
        device = Device.open(place)
        await device.unlock(PIN)
    opened = time.perf_counter()
    try:
        assert len(device.listed()) == INTERVENTIONS
        listed = time.perf_counter()
    finally:
        await device.close()
    [cost] = stretched
    return (opened - began - cost) * 1000, cost * 1000, (listed - opened) * 1000


async def _recorded(device: Device, events: int) -> list[float]:
    """Milliseconds of each."""
    times = []
    for number in range(events):
        body = CommentAdded(text=f"Pression contrôlée, {number} mbar, rien à signaler de plus sur cette chaudière.")
        began = time.perf_counter()
        await device.record(body, stream=STREAM)
        times.append((time.perf_counter() - began) * 1000)
    return times


async def _attach(device: Device, photos: int) -> None:
    for number in range(photos):
        data = JPEG + os.urandom(PHOTO_BYTES - len(JPEG))
        stream = f"intervention:{_uuid(FIRST + number)}"
        await device.attach(
            data,
            "image/jpeg",
            lambda made, on=stream: [Draft(on, PhotoTaken(file=made.file, source="camera"))],  # type: ignore[misc]
        )


def _scope() -> ScopeDelta:
    """INTERVENTIONS planned interventions, as a server merges them."""
    folds: dict[str, StreamFold] = {}
    agencies = [Agency(1, number, devices=1, interventions=INTERVENTIONS // AGENCIES) for number in range(AGENCIES)]
    for segment in chain.from_iterable(agency.planned() for agency in agencies):
        for signed in decode_segment(segment.data):
            header = parse_header(signed.header)
            if header.stream.startswith("intervention:"):
                fold = folds.setdefault(header.stream, StreamFold(header.stream))
                fold.add(merge_event(ParsedEvent(header, b"", signed), AuthorKind.OFFICE))
    documents = tuple(
        ScopeDocument(id=stream, change=change, vector={"office-agency-000": change}, content=state_bytes(fold.state()))
        for change, (stream, fold) in enumerate(folds.items(), 1)
    )
    count = len(documents)
    return ScopeDelta(epoch="bench", cursor=count, full=True, documents=documents, count=count, more=False)


@asynccontextmanager
async def _enrolled(place: Path) -> AsyncIterator[Device]:
    """A new device, unlocked, with a platform that nobody reaches any more. Its folder is removed at the end."""
    shutil.rmtree(place, ignore_errors=True)
    platform = Platform()
    try:
        with _served(platform):
            device = await Device.enrol(place, platform.invitation(), PIN)
        await device.offline()
        try:
            yield device
        finally:
            await device.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _served(platform: Platform) -> Iterator[None]:
    """The enrolment of the little platform on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """The bench prints its own lines."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(platform.enrol(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        platform.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _uuid(number: int) -> str:
    return f"01930000-0000-7000-8000-{number:012x}"
