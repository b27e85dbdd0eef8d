"""Which faults a run has, how often, and how many there were.

A plan is drawn from the seed, so that some runs are calm in one respect and bad in another: bugs hide where everything fails at
once. It counts what was injected; where a fault bites is said by the part that asks.
"""

import random
from collections import Counter
from typing import Final

RATES: Final[dict[str, tuple[float, ...]]] = {
    "request lost": (0.0, 0.05, 0.25),
    "answer lost": (0.0, 0.05, 0.25),
    "request delayed": (0.0, 0.1, 0.3),
    "request doubled": (0.0, 0.1, 0.3),
    "answer forged": (0.0, 0.0, 0.15),
    "answer by a liar": (0.0, 0.0, 0.2),
    "broker out of order": (0.0, 0.3),
    "broker delivers twice": (0.0, 0.1),
    "broker full": (0.0, 0.0, 0.1),
    "broker damages a message": (0.0, 0.0, 0.05),
    "broker loses its end": (0.0, 0.0, 0.1),
    "device killed at a write": (0.0, 0.01, 0.05),
    "device's last write torn": (0.0, 0.01, 0.05),
    "device killed between": (0.0, 0.02),
    "device reboots": (0.0, 0.05),
    "device restored from a backup": (0.0, 0.0, 0.08),
    "device destroyed": (0.0, 0.0, 0.03),
    "device revoked": (0.0, 0.0, 0.04),
    "device's clock set": (0.0, 0.1, 0.2),
    "ingest killed at a write": (0.0, 0.02, 0.05),
    "ingest's database away": (0.0, 0.03),
    "relay paused": (0.0, 0.1),
    "relay killed": (0.0, 0.05),
    "service killed at a write": (0.0, 0.05),
    "announcement out of order": (0.0, 0.2),
    "hostile message": (0.0, 0.2, 0.8),
}
"""Fault -> the rates of which a run draws one: the share of the occasions on which it happens."""


class Faults:
    """One run's plan. `calm()` ends the storm: from then on nothing fails."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._rates = {name: dice.choice(rates) for name, rates in RATES.items()}
        self.injected: Counter[str] = Counter()

    def bites(self, fault: str) -> bool:
        """Whether the fault happens on this occasion; it is counted then."""
        rate = self._rates[fault]
        if not rate or self._dice.random() >= rate:
            return False
        self.injected[fault] += 1
        return True

    def calm(self) -> None:
        self._rates = dict.fromkeys(RATES, 0.0)
