"""What a reader may cost and say: the judge of every fuzzed input, the same for hypothesis, atheris and the regressions.

Costs are counted, not timed: bytes that Python allocated and calls that it made, against what the input's length allows.
"""

import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from tests.fuzz.targets import Target
from zb_contracts.faults import CryptoFault
from zb_contracts.problems import PROBLEMS, Problem

REASON_CHARACTERS_MAX: Final = 600
"""A refusal is written to logs and answers: it may not carry the input back."""
BYTES_FREE: Final = 512 * 1024
BYTES_EACH: Final = 64
CALLS_FREE: Final = 20_000
CALLS_EACH: Final = 10


class Finding(AssertionError):
    """A reader that did what it must not; the message says what."""


@dataclass
class Cost:
    """What one reading took."""

    bytes_peak: int = 0
    calls: int = 0


def judge(target: Target, data: bytes) -> bool:
    """Whether the reader took the bytes. Finding when it neither took nor refused them as it should."""
    try:
        target.read(data)
    except target.refusals as refusal:
        _check(refusal)
        return False
    except Exception as fault:
        raise Finding(f"{target.name}: {type(fault).__name__}: {str(fault)[:300]}") from fault
    return True


def judge_cost(target: Target, data: bytes) -> Cost:
    """The cost of one reading. Finding beyond what the input's length allows."""
    cost = Cost()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        cost.calls += event in ("call", "c_call")

    judge(target, data)  # once before, so that what is made only once is not counted
    tracemalloc.start()
    sys.setprofile(count)
    try:
        judge(target, data)
    finally:
        sys.setprofile(None)
        cost.bytes_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    bytes_max = BYTES_FREE + target.makes_room + BYTES_EACH * len(data)
    if cost.bytes_peak > bytes_max or cost.calls > CALLS_FREE + CALLS_EACH * len(data):
        raise Finding(f"{target.name}: {cost} for {len(data)} bytes")
    return cost


def _check(refusal: Exception) -> None:
    if isinstance(refusal, ValidationError | msgspec.DecodeError):
        return  # a library's own words: whoever catches them cuts them, or names the fields only
    if isinstance(refusal, Problem) and refusal.code not in PROBLEMS:
        raise Finding(f"a problem that is not listed: {refusal.code}")
    if isinstance(refusal, CryptoFault) and refusal.code == CryptoFault.code:
        raise Finding("a fault without a code of its own")
    if not str(refusal) or len(str(refusal)) > REASON_CHARACTERS_MAX:
        raise Finding(f"{type(refusal).__name__} says {len(str(refusal))} characters: {str(refusal)[:200]!r}")
