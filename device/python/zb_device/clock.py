"""The device's clocks, all of them arguments: the wall clock, suspend-proof time since the boot, and real time for tokens.

It says what a header may claim about time (anchor, elapsed, boot) and how far the trusted clock can be trusted. A story clock
moves wall clock and elapsed time together, as time passing would; `wall_error_ms` makes only the wall clock wrong. It stores
nothing: the log keeps the anchor and the high-water mark.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from zb_contracts.envelope import Anchor
from zb_contracts.times import parse_time_ms

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Clock:
    """Five readings. `wall_ms` may be wrong; `elapsed_ms` counts sleep too and begins anew with `boot`."""

    wall_ms: Callable[[], int]
    elapsed_ms: Callable[[], int]
    real_ms: Callable[[], int]
    """Real time for token expiry and request proofs, which no story moves."""
    boot: str
    real_elapsed_ms: Callable[[], int] = lambda: _boottime_ms()
    """As `elapsed_ms`, and no story moves it either: how long a session or an unlocked screen has lasted."""


class AnchorMark(msgspec.Struct, frozen=True, kw_only=True):
    """A signed server time and the device's own elapsed time when it came, `round_trip_ms` after it was asked for."""

    id: str
    server_time: str
    boot: str
    elapsed_ms: int
    round_trip_ms: int = 0

    @property
    def anchor(self) -> Anchor:
        return Anchor(self.id, self.server_time)


class RealMark(msgspec.Struct, frozen=True, kw_only=True):
    """A real time that the platform signed (in a session token, or asked for) and the real elapsed time when it came."""

    real_ms: int
    boot: str
    elapsed_ms: int

    def trusted(self, clock: Clock) -> "TrustedTime":
        """Real time now: exact within this boot, else a lower bound."""
        elapsed = clock.real_elapsed_ms() - self.elapsed_ms
        if self.boot != clock.boot or elapsed < 0:
            return TrustedTime(self.real_ms, None)
        return TrustedTime(self.real_ms + elapsed, self.real_ms + elapsed)


def real_mark(before: RealMark | None, real_ms: int, clock: Clock) -> RealMark:
    """A mark of now; never below what an earlier one says, because an old answer may be repeated."""
    floor_ms = before.trusted(clock).earliest_ms if before else 0
    return RealMark(real_ms=max(real_ms, floor_ms), boot=clock.boot, elapsed_ms=clock.real_elapsed_ms())


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """It is between `earliest_ms` and `latest_ms`; after a reboot only the lower bound is known, and `latest_ms` is None."""

    earliest_ms: int
    latest_ms: int | None

    @property
    def exact(self) -> bool:
        """Known but for the round trip of the anchor's question."""
        return self.latest_ms is not None


def machine_clock(*, wall_error_ms: int = 0) -> Clock:
    """The machine's own clocks, the wall clock wrong by `wall_error_ms`."""
    return Clock(
        wall_ms=lambda: _real_ms() + wall_error_ms,
        elapsed_ms=_boottime_ms,
        real_ms=_real_ms,
        boot=_boot_id(),
    )


def story_clock(offset_file: Path, *, wall_error_ms: int = 0) -> Clock:
    """The machine's clocks, moved by the milliseconds that stand in `offset_file`; no file, no shift."""
    return Clock(
        wall_ms=lambda: _real_ms() + _offset_ms(offset_file) + wall_error_ms,
        elapsed_ms=lambda: _boottime_ms() + _offset_ms(offset_file),
        real_ms=_real_ms,
        boot=_boot_id(),
    )


def elapsed_since(mark: AnchorMark | None, clock: Clock) -> int | None:
    """Milliseconds since the anchor; None where that cannot be known (no anchor, another boot)."""
    if mark is None or mark.boot != clock.boot:
        return None
    elapsed = clock.elapsed_ms() - mark.elapsed_ms
    return elapsed if elapsed >= 0 else None


def trusted_time(mark: AnchorMark | None, high_water_ms: int, clock: Clock) -> TrustedTime:
    """Anchor plus elapsed, never below the persisted high-water mark; open above after a reboot."""
    elapsed = elapsed_since(mark, clock)
    if mark is None or elapsed is None:
        anchored = parse_time_ms(mark.server_time) if mark else 0
        return TrustedTime(max(high_water_ms, anchored), None)
    earliest_ms = max(high_water_ms, parse_time_ms(mark.server_time) + elapsed)
    return TrustedTime(earliest_ms, earliest_ms + mark.round_trip_ms)


def _real_ms() -> int:
    return time.time_ns() // 1_000_000


def _boottime_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _offset_ms(offset_file: Path) -> int:
    try:
        return int(offset_file.read_text())
    except FileNotFoundError:
        return 0


def _boot_id() -> str:
    # Where the system names no boot, each process is one: elapsed time is then unknown after a restart, never wrong.
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(16)
