"""The devices of one process, driven phase by phase: enrolment, the morning wave, each visit, the evening, what is left.

Whoever runs the platform says when a phase begins; within one the devices come in the order of their story, a bounded number of
them connected at a time. What fails on the way is counted and tried again at the next contact. It prints nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx

from zb_contracts.problems import Problem
from zb_contracts.simulated_fleet import Share
from zb_device.enrolment import Places
from zb_device.faults import DeviceFault
from zb_device.simulator.members import Head, LightMember, Member
from zb_device.simulator.tally import Tally
from zb_device.simulator.whole import WholeMember
from zb_device.simulator.workday import Workday, wall_error_ms, workday

ENROLLING_AT_ONCE: Final = 8
DRAINS_MAX: Final = 4
HTTP: Final = httpx.Limits(max_connections=32)

T = TypeVar("T")
Say = Callable[[int, int], None]
"""How many of how many members are through with the phase."""


@dataclass
class Fleet:
    """The members of one process by their number in the fleet."""

    share: Share
    tally: Tally = field(default_factory=Tally)
    members: dict[int, Member] = field(default_factory=dict)
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(limits=HTTP))

    @property
    def places(self) -> Places:
        return Places(self.share.ingest_url, self.share.nats_url, self.share.media_url)

    async def enrol(self, codes: Sequence[str], say: Say) -> None:
        """All of them, each by its own code. A refusal ends the fleet: without its devices there is nothing to see."""
        await _each(list(enumerate(codes, self.share.first)), self._enrol, ENROLLING_AT_ONCE, say)

    async def _enrol(self, numbered: tuple[int, str]) -> None:
        number, code = numbered
        error_ms = wall_error_ms(self.share.seed, number)
        if error_ms:
            self.tally.mishaps["wrong clock"] += 1
        if number < self.share.first + self.share.whole:
            folder = Path(self.share.folder) / f"device-{number}"
            self.members[number] = await WholeMember.enrol(self.places, code, folder, self.tally, error_ms)
        else:
            self.members[number] = await LightMember.enrol(self.places, code, self.client, self.tally, error_ms)

    async def morning(self, day: int, say: Say) -> None:
        """The morning wave: whoever has a network connects and learns the day, in the order of arrival."""
        days = self._days(day)
        there = sorted((one.arrives, number) for number, one in days.items() if not one.in_dead_zone)
        self.tally.mishaps["day in a dead zone"] += len(days) - len(there)
        await self._contacts([number for _, number in there], lambda _: False, say)

    async def visit(self, day: int, at: int, say: Say) -> None:
        """Everybody's visit number `at` of the day; then those with a network send it."""
        days = self._days(day)
        for number, member in self.members.items():
            await member.live(days[number].visits[at])
            await asyncio.sleep(0)
        there = [number for number, one in days.items() if not one.in_dead_zone and one.visits[at].has_network]
        await self._contacts(there, lambda number: days[number].visits[at].crashes, say)

    async def evening(self, day: int, say: Say) -> None:
        """Wi-Fi: whoever is back sends what is left, and the photos."""
        there = [number for number, one in self._days(day).items() if not one.in_dead_zone]
        await self._contacts(there, lambda _: False, say, photos=True)

    async def drain(self, say: Say) -> None:
        """After the last day everybody comes back; whoever failed comes again, DRAINS_MAX times at most."""
        for _ in range(DRAINS_MAX):
            left = [number for number, member in self.members.items() if not member.is_settled]
            if not left:
                return
            await self._contacts(left, lambda _: False, say, photos=True)

    async def day(self, day: int, say: Callable[[str], Say]) -> None:
        """A whole day, phase by phase."""
        await self.morning(day, say("morning wave"))
        for at in range(self.share.visits):
            await self.visit(day, at, say(f"visit {at + 1}"))
        await self.evening(day, say("evening"))

    def heads(self) -> list[Head]:
        """Where each log ends."""
        return [member.head for member in self.members.values()]

    def unsettled(self) -> int:
        """Devices with an event without a receipt, or a photo that is not stored."""
        return sum(not member.is_settled for member in self.members.values())

    async def close(self) -> None:
        for member in self.members.values():
            await member.close()
        await self.client.aclose()

    def _days(self, day: int) -> dict[int, Workday]:
        return {number: workday(self.share.seed, number, day, self.share.visits) for number in self.members}

    async def _contacts(self, numbers: Iterable[int], crashes: Callable[[int], bool], say: Say, *, photos: bool = False) -> None:
        async def one(number: int) -> None:
            try:
                await self.members[number].contact(crashes=crashes(number), photos=photos)
            except (DeviceFault, Problem) as fault:
                # As on a real device: it stays queued, and the next contact tries again.
                self.tally.went_wrong(fault)

        await _each(list(numbers), one, self.share.at_once, say)


async def _each(work: Sequence[T], do: Callable[[T], Awaitable[None]], at_once: int, say: Say) -> None:
    """All of it in order, so many at a time. The first fault ends the rest."""
    waiting, done = iter(work), 0

    async def some() -> None:
        nonlocal done
        for one in waiting:
            await do(one)
            done += 1
            say(done, len(work))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(work))):
            group.create_task(some())
