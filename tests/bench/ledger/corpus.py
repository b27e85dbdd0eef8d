"""The signed segments of many agencies in files, made once by all cores and read again by every later run.

An agency's files: what its office sends, what its devices send, who they are. What they write is `workload`'s matter.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bench.ledger import workload
from tests.bench.ledger.workload import Agency, Pen, Segment

LENGTH_BYTES: Final = 4
LIVE_FROM: Final = 900
"""Agencies from this number on are all live: their devices are those of the measured latency."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Segment)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the ledger registers it. `public` and `seed` are hex."""

    author: str
    device: str
    technician: str
    seed: str
    public: str


@dataclass(frozen=True, slots=True)
class AgencyFiles:
    """One agency on disk."""

    folder: Path
    name: str
    office_seed: str
    devices: tuple[Device, ...]
    office_events: int
    field_events: int

    @property
    def office(self) -> Path:
        return self.folder / f"{self.name}.office"

    @property
    def field(self) -> Path:
        return self.folder / f"{self.name}.field"


class Corpus:
    """The agencies of one seed. Files of another version of the workload are made again."""

    def __init__(self, folder: Path, seed: int) -> None:
        version = hashlib.sha256(Path(workload.__file__).read_bytes()).hexdigest()[:12]
        self._folder = folder / f"corpus-{version}-{seed}"
        self._seed = seed

    def agencies(self, numbers: Iterable[int], say: Callable[[str], None]) -> list[AgencyFiles]:
        """The files of these agencies; missing ones are written by as many processes as there are cores."""
        self._folder.mkdir(parents=True, exist_ok=True)
        wanted = list(numbers)
        missing = [number for number in wanted if not self._about(number).exists()]
        if missing:
            say(f"signing the events of {len(missing)} agencies (once; kept in {self._folder})")
            with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
                for done, _ in enumerate(processes.map(_write, [(self._folder, self._seed, at) for at in missing]), 1):
                    say(f"  {done} of {len(missing)}")
        return [read_agency(self._folder, self._about(number)) for number in wanted]

    def _about(self, number: int) -> Path:
        return self._folder / f"agency-{number:03d}.json"


def read_segments(path: Path) -> Iterator[Segment]:
    """The segments of a file, in order, one at a time in memory."""
    with path.open("rb") as file:
        while length := file.read(LENGTH_BYTES):
            yield _decoder.decode(file.read(int.from_bytes(length, "big")))


def interleaved(paths: Iterable[Path]) -> Iterator[Segment]:
    """The segments of many files in turns: the agencies send at the same time."""
    for turn in zip_longest(*map(read_segments, paths)):
        yield from (segment for segment in turn if segment is not None)


def _write(work: tuple[Path, int, int]) -> None:
    folder, seed, number = work
    agency = Agency(seed, number, live_share=1.0 if number >= LIVE_FROM else 0.5)
    office_events = write_segments(folder / f"{agency.name}.office", agency.planned())
    field_events = write_segments(folder / f"{agency.name}.field", agency.worked())
    about = {
        "name": agency.name,
        "office_seed": agency.office.key.seed.hex(),
        "devices": [device_row(pen) for pen in agency.devices],
        "office_events": office_events,
        "field_events": field_events,
    }
    draft = folder / f"{agency.name}.draft"
    draft.write_text(json.dumps(about))
    draft.rename(folder / f"{agency.name}.json")


def write_segments(path: Path, segments: Iterable[Segment]) -> int:
    """Into a file; how many events they hold."""
    events = 0
    with path.open("wb") as file:
        for segment in segments:
            data = _encoder.encode(segment)
            file.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
            events += segment.events
    return events


def device_row(pen: Pen) -> dict[str, Any]:
    """A `Device` as an agency's file has it."""
    return {
        "author": pen.author,
        "device": pen.author.removesuffix("-i1"),
        "technician": pen.actor,
        "seed": pen.key.seed.hex(),
        "public": pen.key.public.hex(),
    }


def read_agency(folder: Path, about: Path) -> AgencyFiles:
    """The agency that the file `about` describes."""
    values = json.loads(about.read_text())
    devices = tuple(Device(**device) for device in values.pop("devices"))
    return AgencyFiles(folder=folder, devices=devices, **values)
