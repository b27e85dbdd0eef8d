"""How often a process looks for garbage in cycles.

A service holds hundreds of thousands of small objects, of which hardly any is ever in a cycle. At Python's own pace a third to a
half of the projection's time went into looking at them again and again.
"""

import gc
from typing import Final

COLLECT_AFTER: Final = (50_000, 20, 50)
"""Allocations until the young objects are looked at, and such looks until the older and the oldest are."""


def collect_rarely() -> None:
    """For this process, from here on. What it has by now (what was imported) is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
