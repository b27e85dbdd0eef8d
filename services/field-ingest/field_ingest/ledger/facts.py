"""Verdict facts: what was so at receipt, written into the leaf for whoever reads the ledger later. Pure.

Facts are evidence: no fold reads them, and a replay never asks what a device's status is today. A fact that says nothing
unusual is left out where its absence is as clear. What an event's fate is, is domain.py's decision.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from zb_contracts import canonical
from zb_contracts.envelope import Anchor, Header
from zb_contracts.problems import Problem

LATE_MS: Final = 24 * 3_600_000
"""An event received later than this after its trusted time carries the fact `late`."""
ANCHOR_DELAY_MS_MAX: Final = 10_000
"""How long a signed time may have been on its way before the device took it as its anchor: a request waits no longer."""
MESSAGE_MAX: Final = 300
"""Characters of a refusal's message that stand in the facts."""

Vouches = Callable[[Anchor], bool]
"""Whether the ledger gave this anchor out (anchors.py)."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session token that was minted: whose device, which technician (None: a drain), and when it ends (ms)."""

    device: str
    technician: str | None
    expires_at_ms: int


def clock_facts(header: Header, received_at_ms: int, last_at_ms: int | None) -> dict[str, Any]:
    """What the clocks say. All in ms.

    `clock_offset_ms` is receipt minus the event's trusted time: delay and clock error together. `clock_error_ms` is the
    interval [least, most] by which the device's wall clock was ahead, known where the event has an anchor: it was made between
    anchor + elapsed and that + ANCHOR_DELAY_MS_MAX, and not after its receipt. `beyond_receipt`: by anchor + elapsed it was
    made after it had come, so that its elapsed time is wrong.
    """
    # A hostile elapsed time must not make a number that canonical JSON refuses: the leaf could not be read again.
    offset_ms = max(received_at_ms - header.trusted_ms, -canonical.INTEGER_MAX)
    facts: dict[str, Any] = {"clock_offset_ms": offset_ms}
    if header.anchor is None or header.elapsed_ms is None:
        facts["unanchored"] = True
    elif offset_ms < 0:
        facts["beyond_receipt"] = True
    else:
        made_at_ms = header.trusted_ms
        facts["clock_error_ms"] = [
            header.at_ms - min(made_at_ms + ANCHOR_DELAY_MS_MAX, received_at_ms),
            header.at_ms - made_at_ms,
        ]
    if offset_ms > LATE_MS:
        facts["late"] = True
    if last_at_ms is not None and header.at_ms < last_at_ms:
        facts["clock_went_back"] = True
    return facts


def anchor_fact(header: Header, vouches: Vouches | None) -> dict[str, Any]:
    """`anchor`: `known` where the ledger gave it out, else `unknown`; nothing where there is none, or nobody can tell."""
    if header.anchor is None or vouches is None:
        return {}
    return {"anchor": "known" if vouches(header.anchor) else "unknown"}


def token_fact(header: Header, device: str | None, sessions: Mapping[str, Session], received_at_ms: int) -> dict[str, Any]:
    """`token`, of a device's event: the state of the session that the header names, at receipt.

    `none`; `unknown`: not minted, or forgotten since (tokens.py says when); `foreign`: another device's, or another person's
    than the actor; `expired`: over at receipt, as usual for what was recorded off line; `current`.
    """
    if device is None:
        return {}
    if header.token is None:
        return {"token": "none"}
    session = sessions.get(header.token)
    if session is None:
        return {"token": "unknown"}
    if session.device != device or session.technician != header.actor:
        return {"token": "foreign"}
    return {"token": "expired" if session.expires_at_ms <= received_at_ms else "current"}


def refusal_facts(problem: Problem) -> bytes:
    """The facts of a refusal row: its code and message, vouched for by the tree like everything else."""
    return canonical.encode({"code": problem.code, "message": str(problem)[:MESSAGE_MAX]})
