"""A day's backlog of many devices in files, signed once by all cores: up to EVENTS events a device, and their offices' plans.

The agencies are those of the ledger's workload, with the day cut short; a device's events are the first of its chain, so that
every link and vector holds. `changes` is an office's news for one technician.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.bench.ledger import workload
from tests.bench.ledger.corpus import AgencyFiles, device_row, read_agency, write_segments
from tests.bench.ledger.workload import Agency, Segment
from zb_contracts.envelope import SignedEvent, parse_header
from zb_contracts.events.office import Rescheduled
from zb_contracts.segment import decode_segment, encode_segment

EVENTS: Final = 40
INTERVENTIONS: Final = 4
"""A device and day. A few devices write a little less than EVENTS events on them."""
DEVICES_AN_AGENCY: Final = 200
COMPARED: Final = 800
"""Number of the agency whose devices are compared with the peer's."""
NEWS: Final = 900
"""Number of the agency whose only technician hears news."""
CHANGED: Final = 50


class Backlogs:
    """The agencies of one seed, by the number of devices. Files of another version of the workload are made again."""

    def __init__(self, folder: Path, seed: int) -> None:
        source = Path(workload.__file__).read_bytes() + Path(__file__).read_bytes()
        self._folder = folder / f"backlog-{hashlib.sha256(source).hexdigest()[:12]}-{seed}"
        self._seed = seed

    def fleet(self, devices: int, say: Callable[[str], None]) -> list[AgencyFiles]:
        """So many devices, in agencies of DEVICES_AN_AGENCY and one of the rest."""
        whole, rest = divmod(devices, DEVICES_AN_AGENCY)
        sizes = [DEVICES_AN_AGENCY] * whole + ([rest] if rest else [])
        return self._agencies([(number, size, INTERVENTIONS) for number, size in enumerate(sizes)], say)

    def compared(self, devices: int, say: Callable[[str], None]) -> AgencyFiles:
        """The agency whose edits the peer makes, too."""
        return self._agencies([(COMPARED, devices, INTERVENTIONS)], say)[0]

    def news(self, say: Callable[[str], None]) -> AgencyFiles:
        """An agency of one technician with CHANGED interventions."""
        return self._agencies([(NEWS, 1, CHANGED)], say)[0]

    def changes(self) -> list[Segment]:
        """The segments in which the office of `news` moves all its interventions."""
        office = Agency(self._seed, NEWS, devices=1, interventions=CHANGED)
        planned = [event for segment in office.planned() for event in decode_segment(segment.data)]
        for header in (parse_header(event.header) for event in planned):
            if header.type == "intervention.created.v1":
                office.office.write(
                    Rescheduled(planned_start="2026-11-23T16:30:00.000Z", reason="Client absent"), header.stream, {}
                )
        return list(office.office.segments(all_of_it=True))

    def _agencies(self, wanted: list[tuple[int, int, int]], say: Callable[[str], None]) -> list[AgencyFiles]:
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = [one for one in wanted if not _about(self._folder, one).exists()]
        if missing:
            say(f"signing the backlogs of {sum(one[1] for one in missing):,} devices (once; kept in {self._folder})")
            work = [(self._folder, self._seed, one) for one in missing]
            with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
                for done, _ in enumerate(processes.map(_write, work), 1):
                    say(f"  {done} of {len(missing)} agencies")
        return [read_agency(about.parent, about) for about in (_about(self._folder, one) for one in wanted)]


def events_of(segment: Segment) -> list[SignedEvent]:
    """The events that a device of the backlog has to send."""
    return decode_segment(segment.data)


def _about(folder: Path, one: tuple[int, int, int]) -> Path:
    number, devices, interventions = one
    return folder / f"{number:03d}-{devices}-{interventions}" / "agency.json"


def _write(work: tuple[Path, int, tuple[int, int, int]]) -> None:
    folder, seed, one = work
    number, devices, interventions = one
    place = _about(folder, one).parent
    place.mkdir(exist_ok=True)
    agency = Agency(seed, number, live_share=0.0, devices=devices, interventions=interventions)
    office_events = write_segments(place / f"{agency.name}.office", agency.planned())
    field_events = write_segments(place / f"{agency.name}.field", first_of_each(agency))
    about = {
        "name": agency.name,
        "office_seed": agency.office.key.seed.hex(),
        "devices": [device_row(pen) for pen in agency.devices],
        "office_events": office_events,
        "field_events": field_events,
    }
    draft = place / "agency.draft"
    draft.write_text(json.dumps(about))
    draft.rename(_about(folder, one))


def first_of_each(agency: Agency) -> Iterator[Segment]:
    """Each device's first segment, cut to EVENTS events."""
    told: set[str] = set()
    for segment in agency.worked():
        if segment.subject not in told:
            told.add(segment.subject)
            events = decode_segment(segment.data)[:EVENTS]
            yield Segment(segment.subject, "", encode_segment(events), len(events))
