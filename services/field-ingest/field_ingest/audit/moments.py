"""Moments: which rows of the ledger a past has. Pure.

Two pasts are told apart. *Known at*: what the ledger had received by then, whatever came since: what anybody could have known.
*Occurred until*: what happened by then as far as is known today, whenever it was received. It reads no ledger.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from field_ingest.projection.ports import Marks
from zb_contracts.merge.state import RULE_VERSION
from zb_contracts.times import format_time_ms, parse_time_ms

SHARDS_MAX: Final = 64
_POSITIONS: Final = re.compile(r"[0-9]{1,4}:[0-9]{1,18}(,[0-9]{1,4}:[0-9]{1,18})*")
_RULES: Final = re.compile(r"rules:[0-9]{1,4}")
_OCCURRED: Final = "occurred:"


class MomentUnreadable(ValueError):
    """No moment of this ledger; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A past, and by which rules it is read. Without any bound: all that the ledger has.

    `through`: shard -> the last position that counts. `received_ms`, `occurred_ms`: the last millisecond that counts.
    """

    through: Mapping[int, int] | None = None
    received_ms: int | None = None
    occurred_ms: int | None = None
    rules: int = field(default=RULE_VERSION)

    @property
    def is_now(self) -> bool:
        """Whether it has everything."""
        return self.through is None and self.received_ms is None and self.occurred_ms is None

    def ends(self, sizes: Marks) -> dict[int, int]:
        """Shard -> the first position that does not count. MomentUnreadable where the positions are not this ledger's."""
        if self.through is None:
            return dict(sizes)
        if set(self.through) != set(sizes):
            raise MomentUnreadable(
                f"a position for each shard is needed ({', '.join(map(str, sorted(sizes)))}), not for"
                f" {', '.join(map(str, sorted(self.through)))}: SHARD:POSITION,SHARD:POSITION ..."
            )
        for shard, position in self.through.items():
            if position >= sizes[shard]:
                raise MomentUnreadable(f"shard {shard} has no position {position}: its log has {sizes[shard]} rows")
        return {shard: position + 1 for shard, position in self.through.items()}

    def told(self) -> str:
        """What this past is, for a person who reads the result."""
        parts = []
        if self.through is not None:
            places = ", ".join(f"position {position} of shard {shard}" for shard, position in sorted(self.through.items()))
            parts.append(f"the past as it was known then: only what the ledger had up to and with {places}")
        if self.received_ms is not None:
            at = format_time_ms(self.received_ms)
            parts.append(f"the past as it was known then: only what the ledger had received by {at}")
        if self.occurred_ms is not None:
            at = format_time_ms(self.occurred_ms)
            parts.append(
                f"the past as it is known now: what happened by {at} (anchored time, else wall clock), whenever it was received"
            )
        if self.rules != RULE_VERSION:
            parts.append(f"by the rules of version {self.rules}")
        return "; ".join(parts) or "all that the ledger has"


NOW: Final = Moment()
"""All that the ledger has, by today's rules."""


def known_at(text: str) -> Moment:
    """`SHARD:POSITION[,...]` (up to and with them) or a time of receipt (RFC 3339). MomentUnreadable."""
    if _POSITIONS.fullmatch(text):
        return Moment(through=_positions(text))
    return Moment(received_ms=_time(text))


def occurred_until(text: str, known: Moment | None = None) -> Moment:
    """What happened by this time (RFC 3339), of what is known now, or of what `known` had. MomentUnreadable."""
    known = known or Moment()
    return Moment(through=known.through, received_ms=known.received_ms, occurred_ms=_time(text))


def read_moment(text: str) -> Moment:
    """One side of a comparison: `now`, positions or a time as `known_at`, `occurred:TIME`, `rules:VERSION`."""
    if text == "now":
        return Moment()
    if _RULES.fullmatch(text):
        return Moment(rules=int(text.removeprefix("rules:")))
    if text.startswith(_OCCURRED):
        return occurred_until(text.removeprefix(_OCCURRED))
    return known_at(text)


def _positions(text: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in text.split(","):
        shard, _, position = one.partition(":")
        if int(shard) in found:
            raise MomentUnreadable(f"shard {int(shard)} is named twice in {text}")
        found[int(shard)] = int(position)
    if len(found) > SHARDS_MAX:
        raise MomentUnreadable(f"{len(found)} shards are named, the limit is {SHARDS_MAX}")
    return found


def _time(text: str) -> int:
    spelt = text if "." in text else text.removesuffix("Z") + ".000Z"
    try:
        return parse_time_ms(spelt)
    except ValueError as fault:
        raise MomentUnreadable(
            f"{text[:80]!r} is no moment: give `2026-11-23T10:00:00Z`, or SHARD:POSITION (0:120), a list of them by comma"
        ) from fault
