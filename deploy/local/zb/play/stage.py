"""What every scene of the play shares: the running stack, the people, the handhelds, the clock, and what has been chosen.

It also knows how to wait for a condition with a deadline. It tells nothing and promises nothing by itself.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from zb.datasets import Dataset
from zb.office import Person, Refused
from zb.play.handheld import Handheld
from zb.play.network import Network
from zb.play.promises import Promises
from zb.play.telling import Teller
from zb.stack import ISSUER, PARTS, Stack, environment_file

WAIT_S: Final = 60.0
POLL_S: Final = 0.05
SCENE_BEGINS_MS: Final = 2_000
"""A scene begins a little after its minute, so that a clock which was read just before it does not show the minute before."""
AGENCY: Final = "main"
TECHNICIANS: Final = ("ana", "ben", "chloe")
HERO: Final = "ana"
PASSPHRASE: Final = "a passphrase for the play"  # noqa: S105 - unlocks devices that live as long as the play


class WaitedInVain(Exception):
    """A condition did not come true in time; the message names it and what was seen last."""


class StoryTime:
    """The story's clock, which services and devices share through a file."""

    def __init__(self, file: Path, dataset: Dataset) -> None:
        self.file = file
        self._day = dataset.day
        self._zone = ZoneInfo(dataset.timezone)

    def set(self, hour: int, minute: int) -> None:
        """It is now that time of the story's day, and goes on from there."""
        draft = self.file.with_suffix(".new")
        draft.write_text(str(self.at_ms(hour, minute) + SCENE_BEGINS_MS - time.time_ns() // 1_000_000))
        draft.replace(self.file)

    def at_ms(self, hour: int, minute: int) -> int:
        local = datetime(self._day.year, self._day.month, self._day.day, hour, minute, tzinfo=self._zone)
        return int(local.timestamp()) * 1000

    def text(self, hour: int, minute: int) -> str:
        """That moment as it stands in bodies: RFC 3339, UTC."""
        return f"{datetime.fromtimestamp(self.at_ms(hour, minute) / 1000, UTC):%Y-%m-%dT%H:%M:%S}.000Z"

    def now(self) -> datetime:
        """Local time of the story."""
        return datetime.fromtimestamp(time.time() + int(self.file.read_text()) / 1000, self._zone)

    def local(self, text: str | None) -> str:
        """A moment of the wire as a person of that place reads it (HH:MM)."""
        return f"{datetime.fromisoformat(text).astimezone(self._zone):%H:%M}" if text else "-"


@dataclass
class Stage:
    """The play's belongings."""

    stack: Stack
    dataset: Dataset
    story: StoryTime
    teller: Teller
    language: str
    promises: Promises = field(default_factory=Promises)
    handhelds: dict[str, Handheld] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    """`moved` and `cancelled`: ids of the two interventions that the story is about."""
    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    photos: list[str] = field(default_factory=list)
    _people: dict[str, Person] = field(default_factory=dict)

    @property
    def hero(self) -> Handheld:
        return self.handhelds[HERO]

    def person(self, name: str) -> Person:
        if name not in self._people:
            self._people[name] = Person(self.stack.services[ISSUER].url, name, self.stack.passwords[name])
        return self._people[name]

    def close(self) -> None:
        """Let go of the people's connections."""
        for person in self._people.values():
            person.close()
        self._people.clear()

    def url(self, service: str, path: str) -> str:
        return f"{self.stack.services[service].url}/v1/{path}"

    def tell(self, actor: str, text: str) -> None:
        self.teller.tell(f"{self.story.now():%H:%M}", actor, text)

    async def board(self, intervention: str) -> dict[str, Any]:
        """The office's view of an intervention."""
        return dict(await in_thread(self.person("dispatcher").get, self.url("scheduling", f"interventions/{intervention}")))

    async def command(self, intervention: str, command: str, **body: Any) -> dict[str, Any]:
        """An edit of the dispatcher, with the version that is on the board."""
        version = (await self.board(intervention))["version"]
        url = self.url("scheduling", f"interventions/{intervention}/{command}")
        return dict(await in_thread(self.person("dispatcher").post, url, {"version": version, **body}))

    async def state(self, intervention: str) -> dict[str, Any]:
        """The merged state, as field-ingest has it."""
        return dict(await in_thread(self.person("auditor").get, self.url("field-ingest", f"interventions/{intervention}/state")))

    async def merged(self, condition: str, intervention: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The merged state once it satisfies `holds`; an intervention that is not merged yet does not."""
        url = self.url("field-ingest", f"interventions/{intervention}/state")

        def reached() -> Any:
            try:
                state = self.person("auditor").get(url)["state"]
            except Refused as refusal:
                if refusal.status != 404:
                    raise
                return None
            return state if holds(state) else None

        return dict(await until(condition, reached))

    async def projected(self) -> None:
        """Return when the projection has read the whole ledger."""
        url = self.url("field-ingest", "states/progress")

        def caught_up() -> bool:
            shards = self.person("auditor").get(url)["shards"].values()
            return all(shard["position"] >= shard["size"] for shard in shards)

        await until("the projection has read the whole ledger", caught_up)

    def run(self, service: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """A service's own command; its exit code and the JSON object of its last line."""
        environment = json.loads(environment_file(self.stack.folder, service).read_text())
        done = subprocess.run(  # noqa: S603 - our own modules
            [sys.executable, "-m", PARTS[service].module, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stdout.strip().splitlines()
        try:
            return done.returncode, json.loads(lines[-1])
        except (IndexError, json.JSONDecodeError):
            return done.returncode or 1, {"fault": (done.stderr or done.stdout)[-500:]}


async def in_thread(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Blocking HTTP beside the relays, which share the loop."""
    return await asyncio.to_thread(call, *arguments, **named)


async def until(condition: str, holds: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """The first true result of `holds`, asked again and again in a thread. WaitedInVain after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (result := await asyncio.to_thread(holds)):
        if time.monotonic() > deadline:
            raise WaitedInVain(f"waited {timeout_s:.0f} s in vain: {condition}")
        await asyncio.sleep(POLL_S)
    return result
