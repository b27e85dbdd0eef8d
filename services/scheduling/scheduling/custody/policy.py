"""How long which personal values may be read, and which law keeps some of them: pure, in one table.

Periods are French practice (CNIL on employees' positions, Code de commerce on accounts); a deployment elsewhere reads them here.
It destroys nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
ALWAYS: Final = ""
"""The period of keys that are not cut by time."""


class Purpose(StrEnum):
    """What a key's values are for. A subject has one living key a purpose and period."""

    CONTACT = "contact"
    """Who to call and how to get in."""
    SIGNER = "signer"
    """Who signed on the technician's device."""
    POSITION = "position"
    """Where an employee was."""
    SERVICE_POSITION = "service-position"
    """Where an employee was, as the proof that a service was given."""
    ACCOUNTING = "accounting"
    """What an invoice is made of."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`expires_days`: destroyed so long after its period began. `kept_days`: not destroyed on request before, for `basis`."""

    expires_days: int | None = None
    kept_days: int | None = None
    basis: str = ""


RULES: Final[Mapping[Purpose, Rule]] = {
    Purpose.CONTACT: Rule(),
    Purpose.SIGNER: Rule(),
    Purpose.POSITION: Rule(expires_days=60),
    Purpose.SERVICE_POSITION: Rule(expires_days=365),
    Purpose.ACCOUNTING: Rule(
        expires_days=3_653, kept_days=3_653, basis="accounting records are kept 10 years (Code de commerce, art. L123-22)"
    ),
}
IN_SCOPE: Final = (Purpose.CONTACT, Purpose.SIGNER)
"""What a technician's device may open of the documents that it holds, whoever said it."""
WEEKLY: Final = frozenset({Purpose.POSITION, Purpose.SERVICE_POSITION})
"""Purposes whose keys change each week: no position is readable longer than its time, none more than a week less."""


@dataclass(frozen=True, slots=True)
class Stays:
    """What an erasure does not reach, and why."""

    what: str
    why: str


STAYS: Final = (
    Stays(
        "events, signatures, positions in the ledger, with sealed values nobody can open",
        "the log proves that nothing was changed",
    ),
    Stays(
        "invoices, export batches and files: references, the site's name and address, amounts",
        RULES[Purpose.ACCOUNTING].basis,
    ),
    Stays("names and addresses of places of work", "they are the customer's sites, not a person"),
    Stays("free text that an author wrote in clear", "nobody can tell what it names: correct it with a new version"),
    Stays(
        "backups made before the erasure, for 30 days with the keys", "a restore plays the deletion ledger before anybody reads"
    ),
)


@dataclass(frozen=True, slots=True)
class Period:
    """The span of time for which a key is made. `expires_at_ms` None: until somebody asks."""

    name: str
    expires_at_ms: int | None


def period_of(purpose: Purpose, at_ms: int) -> Period:
    """The period of that moment."""
    rule = RULES[purpose]
    if purpose not in WEEKLY:
        return Period(ALWAYS, None if rule.expires_days is None else at_ms + rule.expires_days * DAY_MS)
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    monday = moment - timedelta(days=moment.weekday())
    assert rule.expires_days is not None
    week = f"{monday:%Y-%m-%d}"
    return Period(week, week_begins_ms(week) + rule.expires_days * DAY_MS)


def week_begins_ms(period: str) -> int:
    """When the week of that name begins, on Monday, UTC."""
    return round(datetime.strptime(period, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)


def kept_until_ms(purpose: Purpose, made_at_ms: int) -> int | None:
    """Until when the law keeps a key made then; None: nothing does."""
    kept = RULES[purpose].kept_days
    return None if kept is None else made_at_ms + kept * DAY_MS
