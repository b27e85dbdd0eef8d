"""While a device is unlocked: it locks after a time without use, and as soon as its technician may no longer read.

The right itself is `reading_right`'s; what locking does is `device`'s. Every reading asks here, and a timer when nobody reads.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zb_device.clock import Clock
from zb_device.faults import Locked
from zb_device.reading_right import ReadingRight

RIGHT_CHECKED_MS: Final = 1_000
"""A right that was found is believed so long: a screen of a thousand lines asks a thousand times."""


@dataclass(slots=True)
class Guard:
    """Of one device. `lock` closes the read model; `right` and `idle_s` are asked for each time."""

    clock: Clock
    right: Callable[[], ReadingRight]
    idle_s: Callable[[], int]
    lock: Callable[[], None]
    _technician: str | None = None
    _used_ms: int = 0
    _checked_ms: int = 0
    _timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    def opened(self, technician: str) -> None:
        """The technician unlocked just now, with every right."""
        self._technician = technician
        self._used_ms = self._checked_ms = self.clock.real_elapsed_ms()
        self._arm(self.idle_s())

    def closed(self) -> None:
        """It is locked."""
        self._technician = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def touch(self) -> None:
        """Somebody records, for which no right is needed; one who comes too late finds it locked."""
        if self._technician is not None and self._idle_ms() >= self.idle_s() * 1000:
            self.lock()
        self._used_ms = self.clock.real_elapsed_ms()

    def check(self) -> None:
        """Returns when reading may go on. Else it is locked, and the fault says why: idle, or a right that has ended."""
        if self._technician is None:
            return
        self._check_idle()
        self._used_ms = self.clock.real_elapsed_ms()
        if self._used_ms - self._checked_ms >= RIGHT_CHECKED_MS:
            self._check_right(self._technician)
            self._checked_ms = self._used_ms

    def _check_right(self, technician: str) -> None:
        try:
            self.right().check(technician)
        except Locked:
            self.lock()
            raise

    def _check_idle(self) -> None:
        if self._technician is not None and self._idle_ms() >= self.idle_s() * 1000:
            self.lock()
            raise Locked(f"nobody used the device for {self.idle_s()} s: unlock it again")

    def _idle_ms(self) -> int:
        return self.clock.real_elapsed_ms() - self._used_ms

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._due)

    def _due(self) -> None:
        """The timer: lock, or look again when the idle time would be over."""
        self._timer = None
        if self._technician is None:
            return
        left_s = self.idle_s() - self._idle_ms() / 1000
        if left_s > 0:
            self._arm(left_s)
        else:
            self.lock()
