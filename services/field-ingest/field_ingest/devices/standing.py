"""How a device stands in its fleet, and what may be done with it from there: one table, pure.

The facts lie in three places (the author's revocation, suspensions, orders to wipe and what attests to them); a standing is the
one word that they come to. It stores nothing and knows no person.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from zb_contracts.problems import FLEET_STANDING, Problem


class Standing(StrEnum):
    """One word for a device's newest incarnation."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """No session but a drain, until it is resumed or a time has passed."""
    LOST = "lost"
    """Revoked as lost or stolen: what it still sends is held."""
    WIPING = "wiping"
    """Ordered to destroy what it holds; it has not said that it did."""
    WIPED = "wiped"
    """It attested that it did."""
    RETIRED = "retired"
    """Revoked for good. An order to wipe goes on."""


class Wipe(StrEnum):
    """What became of the order to wipe this hardware, where there is one that was not withdrawn."""

    NONE = "none"
    ORDERED = "ordered"
    ATTESTED = "attested"


class Act(StrEnum):
    """What an administrator does with a device."""

    SUSPEND = "suspend"
    RESUME = "resume"
    LOSE = "lose"
    WIPE = "wipe"
    WITHDRAW = "withdraw"
    """The order to wipe."""
    RETIRE = "retire"
    REPLACE = "replace"
    """Issue a code with which new or emptied hardware becomes the device's next incarnation."""


LOST: Final = frozenset({"lost", "stolen"})
"""Causes of a revocation after which a device may be found again."""

_A, _S, _L, _W, _D, _R = Standing
PERMITTED: Final[Mapping[Act, frozenset[Standing]]] = {
    Act.SUSPEND: frozenset({_A, _S}),
    Act.RESUME: frozenset({_A, _S}),
    Act.LOSE: frozenset({_A, _S, _L, _W}),
    Act.WIPE: frozenset({_A, _S, _L, _W, _R}),
    Act.WITHDRAW: frozenset({_A, _S, _L, _W}),
    Act.RETIRE: frozenset(Standing),
    Act.REPLACE: frozenset({_A, _S, _L, _W, _D}),
}
"""From which standings an act is possible. What is done already is done again without effect, not refused."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a device's newest incarnation. `cause` of its revocation, None for none."""

    cause: str | None = None
    is_suspended: bool = False
    wipe: Wipe = Wipe.NONE

    @property
    def standing(self) -> Standing:
        """The database says the same in `device_standing`."""
        if self.cause is not None and self.cause not in LOST:
            return Standing.RETIRED
        if self.wipe is not Wipe.NONE:
            return Standing.WIPED if self.wipe is Wipe.ATTESTED else Standing.WIPING
        if self.cause is not None:
            return Standing.LOST
        return Standing.SUSPENDED if self.is_suspended else Standing.ACTIVE


def check(act: Act, device: str, facts: Facts) -> None:
    """Problem FLEET_STANDING unless the table permits the act."""
    if facts.standing not in PERMITTED[act]:
        raise Problem(FLEET_STANDING, act=act, device=device, standing=facts.standing)
