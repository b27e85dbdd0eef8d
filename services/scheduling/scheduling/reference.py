"""Reference data that others need to price and to ask: price lists, contracts, checklists, parts, reasons; published whole.

It is versioned: the same content again is no new version. A new one is written and put into the outbox in one transaction;
readers replace what they had. It prices nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from scheduling import store
from zb_chassis import outbox
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts import subjects
from zb_contracts.announcements import (
    CHECKLIST,
    CONTRACTS,
    PARTS,
    PRICE_LIST,
    REASONS,
    Announcement,
    ChecklistPublished,
    ContractsPublished,
    PartsPublished,
    PriceListPublished,
    ReasonsPublished,
    ce_headers,
)
from zb_contracts.problems import INPUT_NOT_FOUND, INPUT_TOO_LARGE, Problem
from zb_contracts.times import format_time_ms

SOURCE: Final = "/scheduling"


@dataclass(frozen=True)
class Kind:
    """A kind of reference data: its name in subjects and tables, its event type, and the model that is published."""

    name: str
    event_type: str
    model: Callable[[dict[str, Any]], Announcement]


PRICE_LISTS: Final = Kind("price-list", PRICE_LIST, PriceListPublished.model_validate)
AGENCY_CONTRACTS: Final = Kind("contracts", CONTRACTS, ContractsPublished.model_validate)
CHECKLISTS: Final = Kind("checklist", CHECKLIST, ChecklistPublished.model_validate)
AGENCY_PARTS: Final = Kind("parts", PARTS, PartsPublished.model_validate)
AGENCY_REASONS: Final = Kind("reasons", REASONS, ReasonsPublished.model_validate)
PUBLISHED_BYTES_MAX: Final = 1_000_000
"""Of one publication, as JSON: a message of the stream holds a little more."""


@dataclass(frozen=True)
class Published:
    """A version as it stands; `changed` says whether this call made it."""

    version: int
    changed: bool
    content: dict[str, Any]


async def publish(pool: Pool, clock: Clock, kind: Kind, id_: str, content: dict[str, Any]) -> Published:
    """Make `content` (without its version) the newest version and publish it; nothing where it is that already."""
    async with transaction(pool) as connection:
        await store.lock_reference(connection, kind.name, id_)
        before = await store.load_reference(connection, kind.name, id_)
        if before is not None and before[1] == content:
            return Published(before[0], False, content)
        version = before[0] + 1 if before else 1
        await store.save_reference(connection, kind.name, id_, version, content)
        await _announce(connection, kind, id_, content | {"version": version}, clock())
        return Published(version, True, content)


async def read(pool: Pool, kind: Kind, id_: str) -> Published:
    """The newest version. Problem INPUT_NOT_FOUND where there is none."""
    async with pool.acquire() as connection:
        found = await store.load_reference(connection, kind.name, id_)
    if found is None:
        raise Problem(INPUT_NOT_FOUND, what=kind.name, id=id_)
    return Published(found[0], False, found[1])


async def _announce(connection: Connection, kind: Kind, id_: str, content: dict[str, Any], now_ms: int) -> None:
    body = kind.model(content).model_dump_json().encode()
    if len(body) > PUBLISHED_BYTES_MAX:
        raise Problem(INPUT_TOO_LARGE, limit=PUBLISHED_BYTES_MAX)
    event_id = f"{kind.name}:{id_}:{content['version']}"
    headers = ce_headers(kind.event_type, source=SOURCE, event_id=event_id, time=format_time_ms(now_ms), subject=id_)
    headers.pop("Nats-Msg-Id")  # the relay sets it, from the message id
    await outbox.enqueue(connection, subjects.reference(kind.name), headers, body, event_id)
