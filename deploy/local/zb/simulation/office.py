"""The office of the simulation: its technicians, their sites and checklist, and the work of each day, over scheduling's HTTP.

It imports, plans and assigns as an office with a thousand hands would, and waits until the ledger's projection shows it. The
work of a run carries the run's own name, so that a platform may be simulated on more than once.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from zb.office import Person, Refused
from zb.stack import INGEST, StackError

AGENCY: Final = "main"
TECHNICIANS_AT_ONCE: Final = 500
ROWS_AT_ONCE: Final = 5_000
HANDS: Final = 8
PROJECTED_S: Final = 1_800.0
POLL_S: Final = 0.25
SITES_APART_E7: Final = 30_000
CENTRE_E7: Final = (457_600_000, 48_350_000)
QUESTIONS: Final = 25
"""Of the checklist that all interventions share: every device fetches it once."""

Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class People:
    """Who does what at the issuer."""

    dispatcher: Person
    administrator: Person
    integrator: Person
    auditor: Person


@dataclass(frozen=True, slots=True)
class Office:
    """One run's office. `url` tells where a service is (`http://host:port/v1/`)."""

    run: str
    people: People
    url: Callable[[str], str]
    say: Say

    def technician(self, number: int) -> str:
        return f"sim-{self.run}-{number}"

    def hire(self, devices: int) -> None:
        """A technician and a site for each device, and what all of them have to answer."""
        rows = [_technician(self.technician(number), number) for number in range(devices)]
        for part in _parts(rows, TECHNICIANS_AT_ONCE):
            self.people.integrator.put(self.url("scheduling") + "technicians", {"agency": AGENCY, "technicians": part})
        lines = [f"{self._site(number)};Immeuble {number};Lyon;FR" for number in range(devices)]
        self._import("sites", "reference;name;town;country", lines)
        self.people.integrator.put(self.url("scheduling") + f"reference/checklists/{self._checklist}", _checklist())

    def codes(self, devices: int) -> list[str]:
        """A one-time enrolment code for each technician's device, in their order."""
        codes: list[str] = []
        for part in _parts(
            [{"agency": AGENCY, "technician": self.technician(number)} for number in range(devices)], ROWS_AT_ONCE
        ):
            answer = self.people.administrator.post(self.url(INGEST) + "invitations", {"invitations": part})
            codes += [str(one["code"]) for one in answer["codes"]]
            self.say("enrolment codes", len(codes), devices)
        return codes

    def plan_day(self, day: int, devices: int, visits: int) -> None:
        """Each technician's work of the day: imported, planned, assigned, and projected when this returns."""
        lines = [
            f"SIM-{self.run}-{day}-{number}-{at};repair;Chaudière qui fuit;{self._site(number)};60;{self._checklist}"
            for number, at in itertools.product(range(devices), range(visits))
        ]
        ids = self._import("interventions", "reference;kind;title;site_reference;duration_min;checklist", lines)
        work = list(zip(ids, itertools.product(range(devices), range(visits)), strict=True))
        began = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

        def assigned(one: tuple[str, tuple[int, int]]) -> str:
            intervention, (number, at) = one
            url = f"{self.url('scheduling')}interventions/{intervention}"
            start = (began + timedelta(hours=at)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            planned = self.people.dispatcher.post(f"{url}/plan", {"version": 1, "planned_start": start, "duration_min": 60})
            body = {"version": planned["version"], "technician": self.technician(number), "tour_position": at}
            self.people.dispatcher.post(f"{url}/assign", body)
            return intervention

        # The last one alone: its events are the office's last, so where they are merged all the others are.
        self._all(f"day {day}: the office plans", assigned, work[:-1])
        self._merged(assigned(work[-1]))

    def projected(self) -> None:
        """Return when the projection has read the whole ledger. StackError after PROJECTED_S."""

        def level() -> bool:
            shards = self.people.auditor.get(self.url(INGEST) + "states/progress")["shards"].values()
            return all(shard["position"] >= shard["size"] for shard in shards)

        _until("the projection has read the whole ledger", level)

    def mark(self, author: str) -> dict[str, Any]:
        """How far the ledger has an author's chain."""
        return dict(self.people.auditor.get(self.url(INGEST) + f"ledger/{author}"))

    def marks(self, authors: Sequence[str]) -> list[dict[str, Any]]:
        return self._all("the ledger is asked for every device", self.mark, authors)

    def _merged(self, intervention: str) -> None:
        def assigned() -> bool:
            try:
                url = self.url(INGEST) + f"interventions/{intervention}/state"
                return bool(self.people.auditor.get(url)["state"]["assignee"])
            except Refused as refusal:
                if refusal.status != 404:
                    raise
                return False

        _until("the office's plan is in the ledger", assigned)
        self.projected()

    def _import(self, kind: str, columns: str, lines: Sequence[str]) -> list[str]:
        """The ids of the rows, in their order."""
        ids: list[str] = []
        for part in _parts(lines, ROWS_AT_ONCE):
            data = "\n".join((columns, *part)).encode()
            report = self.people.integrator.post_csv(self.url("scheduling") + f"imports/{kind}", data, agency=AGENCY)
            ids += [row["id"] for row in report["rows"]]
            self.say(f"import of {kind}", len(ids), len(lines))
        return ids

    def _all(self, what: str, do: Callable[[Any], Any], rows: Sequence[Any]) -> list[Any]:
        """The results in the rows' order; HANDS at a time."""
        results = []
        with ThreadPoolExecutor(HANDS) as hands:
            for result in hands.map(do, rows):
                results.append(result)
                self.say(what, len(results), len(rows))
        return results

    @property
    def _checklist(self) -> str:
        return f"sim-{self.run}"

    def _site(self, number: int) -> str:
        return f"SITE-{self.run}-{number}"


def _technician(name: str, number: int) -> dict[str, Any]:
    latitude, longitude = CENTRE_E7
    return {
        "id": name,
        "name": f"Technicien {number}",
        "latitude_e7": latitude + number % 100 * SITES_APART_E7,
        "longitude_e7": longitude + number // 100 * SITES_APART_E7,
    }


def _checklist() -> dict[str, Any]:
    """A checklist of the size that a manufacturer asks for."""
    question = "Point {} : conforme aux prescriptions du constructeur, sans fuite ni trace de corrosion ?"
    items = [{"item": f"check-{at}", "question": question.format(at), "answer": "yes_no"} for at in range(1, QUESTIONS + 1)]
    return {"title": "Entretien annuel d'une chaudière", "items": items}


def _parts(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _until(condition: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PROJECTED_S
    while not holds():
        if time.monotonic() > deadline:
            raise StackError(f"waited {PROJECTED_S:.0f} s in vain: {condition}")
        time.sleep(POLL_S)
