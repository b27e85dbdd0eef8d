"""The clock that services take as an argument: real time, or a story's time that a file shifts.

A told story (the demo, a test of a month) moves the services' clock by writing an offset into a file that they share. Tokens
and certificates are never checked against a story's clock: the broker checks them in real time.
"""

import time
from collections.abc import Callable
from pathlib import Path

Clock = Callable[[], int]
"""Now, in milliseconds since 1970."""


def system_clock() -> int:
    """The machine's clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class StoryClock:
    """Real time plus the milliseconds that stand in `offset_file`; no file, no shift. Read again when it changes."""

    def __init__(self, offset_file: Path) -> None:
        self._file = offset_file
        self._changed_ns = -1
        self._offset_ms = 0

    def __call__(self) -> int:
        try:
            changed_ns = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return system_clock()
        if changed_ns != self._changed_ns:
            self._offset_ms = int(self._file.read_text())
            self._changed_ns = changed_ns
        return system_clock() + self._offset_ms


def clock_of(offset_file: Path | None) -> Clock:
    """The service's clock: a story's where a file is named, else the machine's."""
    return StoryClock(offset_file) if offset_file else system_clock
