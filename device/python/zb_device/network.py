"""The device's side of the network: rounds by hand or in the background, what the host says of link and battery, the policy.

Events and photos have a timer each, so that no photo, and no evidence store that is away, holds an event up. It decides when,
with `policies`; what a round does is `rounds`' and `uploads`' matter. Nothing is lost by a round that fails.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from typing import Final

from zb_device.background import Background
from zb_device.clock import Clock
from zb_device.database import transaction
from zb_device.folder import Parts
from zb_device.log import EventState
from zb_device.policies import (
    STANDARD,
    Conditions,
    Link,
    Policy,
    WaitsFor,
    checked,
    idle_s,
    photos_wait_for,
    until_appointment_s,
)
from zb_device.rounds import Rounds
from zb_device.syncing import SyncReport
from zb_device.transport import NoTransport, Transport

_NOWHERE: Final = NoTransport()


class Network:
    """One device's network. `parts` are those of the moment: they are opened anew with each incarnation."""

    def __init__(self, parts: Callable[[], Parts], rounds: Rounds, transport: Transport, clock: Clock) -> None:
        self._parts = parts
        self._rounds = rounds
        self.transport = transport
        self._clock = clock
        self._syncing = asyncio.Lock()
        self._changed = asyncio.Event()
        self.switched_on = True
        self.conditions = Conditions()
        # Where in a window this device has its moment: its own for life, and spread over a fleet.
        self._share = hashlib.sha256(parts().pinned.device.encode()).digest()[0] / 256
        self.events = self._timer(self._events_round)
        self.photos = self._timer(self._photos_round)

    # --- By hand ---

    async def sync(self, *, is_sparing: bool = False) -> SyncReport:
        """As `Device.sync`; as `Rounds.sync` where it is sparing."""
        async with self._syncing:
            report = await self._rounds.sync(self.transport if self.is_online else _NOWHERE, is_sparing=is_sparing)
        self._changed.set()
        return report

    async def upload(self, *, regardless: bool = False) -> int:
        """As `Device.upload`."""

        def may_go() -> bool:
            return self.is_online and (regardless or self.photos_wait_for() is None)

        if self.uploaded() or not may_go():
            return 0
        try:
            return await self._rounds.upload(may_go)
        finally:
            self._changed.set()

    @property
    def is_online(self) -> bool:
        """Neither switched off by a person nor without a link, as far as the host said."""
        return self.switched_on and self.conditions.link is not Link.NONE

    async def switch_off(self) -> None:
        self.switched_on = False
        await self.transport.close()

    def switch_on(self) -> None:
        self.switched_on = True
        self.wake()

    async def close(self) -> None:
        await self.events.stop()
        await self.photos.stop()
        await self.transport.close()

    # --- Conditions and policy ---

    def tell(self, conditions: Conditions) -> None:
        """What the host says now; where something may go that could not, it goes at once."""
        self.conditions = checked(conditions)
        self._rounds.battery_percent = conditions.battery_percent
        self.wake()

    @property
    def policy(self) -> Policy:
        """The one that was chosen, in this process or an earlier one."""
        return self._parts().settings.get(Policy) or STANDARD

    def use(self, policy: Policy) -> None:
        """Keep this policy from now on."""
        parts = self._parts()
        with transaction(parts.syncer.connection):
            parts.settings.put(policy)
        self.wake()

    def photos_wait_for(self) -> WaitsFor | None:
        """What the waiting photos wait for; None: nothing, or there are none."""
        waiting = self._parts().media.waiting()
        if not waiting:
            return None
        if not self.is_online:
            return WaitsFor.NETWORK
        return photos_wait_for(self.policy, self.conditions, self._clock.wall_ms(), waiting[0].attached_ms)

    # --- In the background ---

    def start(self, retry_s_max: float) -> None:
        """Both timers, from now on."""
        for timer in (self.events, self.photos):
            timer.retry_s_max = retry_s_max
            timer.start()

    def recorded(self, has_file: bool) -> None:
        """An event was recorded, with a file or without."""
        self.events.recorded()
        if has_file:
            self.photos.recorded()

    def wake(self) -> None:
        """Something changed: no timer waits."""
        self.events.wake()
        self.photos.wake()

    @property
    def last_fault(self) -> str | None:
        """Why the newest round failed, of events before photos; None while all goes well."""
        return self.events.last_fault or self.photos.last_fault

    def settled(self) -> bool:
        """The ledger has had its word on every event."""
        counts = self._parts().log.counts()
        return not counts[EventState.QUEUED] and not counts[EventState.RECEIVED]

    def uploaded(self) -> bool:
        """The evidence store has had its word on every file."""
        return not self._parts().media.waiting()

    async def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for what a background round brings; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return reached()
        return True

    def _timer(self, attempt: Callable[[], Awaitable[bool]]) -> Background:
        return Background(attempt, self._changed.set, idle_s=self._idle_s, appointment_s=self._appointment_s)

    async def _events_round(self) -> bool:
        await self.sync(is_sparing=True)
        # A photo may have waited for this: for a session, for the time, for the event that names it.
        self.photos.recorded()
        return not self.settled()

    async def _photos_round(self) -> bool:
        await self.upload()
        return not self.uploaded() and self.photos_wait_for() is None

    def _idle_s(self) -> float:
        return idle_s(self.policy, self.conditions)

    def moment_in_s(self) -> float | None:
        """As `Device.moment_in_s`."""
        return until_appointment_s(self.policy, self._clock.wall_ms(), self._share)

    def _appointment_s(self) -> float:
        left_s = self.moment_in_s()
        return math.inf if left_s is None else left_s
