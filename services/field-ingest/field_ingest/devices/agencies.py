"""The tree of agencies: who answers for an agency answers for all below it. It grows, and what is used no more is closed.

What a person may act for stands in their token, from the identity provider; the tree adds what lies below. An agency that
nobody entered here stands alone. A closed one stays, with its history, in the sight of those above it; no code is issued for it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from field_ingest.devices import inventory
from field_ingest.devices.people import Administrator, Reach, listed
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.identity import ALL_AGENCIES, Principal
from zb_contracts.problems import (
    FLEET_AGENCIES_MAX,
    FLEET_AGENCY_CIRCLE,
    FLEET_AGENCY_CLOSED,
    FLEET_AGENCY_DEEP,
    FLEET_AGENCY_IN_USE,
    INPUT_NOT_FOUND,
    Problem,
)
from zb_contracts.times import format_time_ms

AGENCIES_MAX: Final = 10_000
DEPTH_MAX: Final = 8
"""Levels; the database's `agencies_below` looks no deeper."""
OPEN_WORK: Final = ("draft", "planned", "assigned", "in_progress")
"""How an intervention stands of which somebody has something to do yet."""


@dataclass(frozen=True, slots=True)
class Agency:
    """One node. `parent` None: a root of the tree. `closed_at_ms` (real time) None: it is open."""

    agency: str
    parent: str | None
    name: str
    closed_at_ms: int | None = None

    def as_json(self) -> dict[str, Any]:
        closed_at = None if self.closed_at_ms is None else format_time_ms(self.closed_at_ms)
        return {"agency": self.agency, "parent": self.parent, "name": self.name, "closed_at": closed_at}


class AgencyTree:
    """Reads, grows and prunes the tree."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def reach(self, who: Principal) -> Reach:
        """The caller's agencies and all below them; None for all."""
        if ALL_AGENCIES in who.agencies:
            return None
        rows = await self._pool.fetch("SELECT agency FROM agencies_below($1)", sorted(who.agencies))
        return frozenset(row["agency"] for row in rows)

    async def below(self, agency: str) -> frozenset[str]:
        """This agency and all below it."""
        rows = await self._pool.fetch("SELECT agency FROM agencies_below($1)", [agency])
        return frozenset(row["agency"] for row in rows)

    async def all(self, reach: Reach) -> list[Agency]:
        """What of the tree lies within reach, by name."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM agencies WHERE $1::text[] IS NULL OR agency = ANY ($1) ORDER BY agency",  # noqa: S608
            listed(reach),
        )
        return [Agency(*row) for row in rows]

    async def closed(self, agencies: Collection[str]) -> list[str]:
        """Which of these are closed."""
        return await _closed(self._pool, agencies)

    async def put(self, new: Agency, administrator: Administrator) -> None:
        """Enter the agency, rename or move it, or open it again. The same again changes nothing.

        WRONG_AGENCY unless the new parent, and for one that is moved the old one too, is within reach: a root of the tree
        needs somebody who acts for all. INPUT_NOT_FOUND, FLEET_AGENCY_CLOSED for a parent that is, FLEET_AGENCY_CIRCLE,
        FLEET_AGENCY_DEEP, FLEET_AGENCIES_MAX.
        """
        async with transaction(self._pool) as connection:
            before = await _locked(connection, new.agency)
            if before != new:
                _check_reach(new, before, administrator)
                if before is None:
                    await _check_nobody_s(connection, new.agency, administrator)
                await _check_place(connection, new, is_new=before is None)
                await connection.execute(
                    """
                    INSERT INTO agencies (agency, parent, name) VALUES ($1, $2, $3)
                    ON CONFLICT (agency) DO UPDATE SET parent = excluded.parent, name = excluded.name,
                        closed_at_ms = NULL, closed_by = NULL
                    """,
                    new.agency,
                    new.parent,
                    new.name,
                )

    async def close(self, agency: str, administrator: Administrator, *, real_ms: int) -> Agency:
        """Close the agency, until it is entered again; how it stands then. Repeating it changes nothing.

        Whoever could enter it may close it: WRONG_AGENCY else. INPUT_NOT_FOUND. FLEET_AGENCY_IN_USE while it has open agencies
        below it, devices that are neither retired nor wiped, open codes, held events or open work.
        """
        async with transaction(self._pool) as connection:
            before = await _locked(connection, agency)
            if before is None:
                administrator.check(agency)
                raise Problem(INPUT_NOT_FOUND, what="agency", id=agency)
            _check_above(before.parent, administrator)
            if before.closed_at_ms is not None:
                return before
            # Before anything is counted: whoever issues a code for it now waits for this row, and then reads that it is closed.
            row = await connection.fetchrow(
                f"UPDATE agencies SET closed_at_ms = $2, closed_by = $3 WHERE agency = $1 RETURNING {_COLUMNS}",  # noqa: S608
                agency,
                real_ms,
                administrator.person,
            )
            assert row is not None
            if uses := await _uses(connection, agency, real_ms):
                raise Problem(FLEET_AGENCY_IN_USE, agency=agency, uses=", ".join(uses))
            return Agency(*row)


_COLUMNS: Final = "agency, parent, name, closed_at_ms"


async def check_open(connection: Connection, agencies: Collection[str]) -> None:
    """FLEET_AGENCY_CLOSED if one of them is. Until the transaction ends none of them closes."""
    await connection.execute("SELECT FROM agencies WHERE agency = ANY ($1) ORDER BY agency FOR SHARE", sorted(agencies))
    for agency in await _closed(connection, agencies):
        raise Problem(FLEET_AGENCY_CLOSED, agency=agency)


async def _closed(connection: Connection | Pool, agencies: Collection[str]) -> list[str]:
    rows = await connection.fetch(
        "SELECT agency FROM agencies WHERE agency = ANY ($1) AND closed_at_ms IS NOT NULL ORDER BY agency", sorted(agencies)
    )
    return [row["agency"] for row in rows]


async def _locked(connection: Connection, agency: str) -> Agency | None:
    """The node; nobody else changes the tree meanwhile: two moves that are each fine could make a circle together."""
    await connection.execute("LOCK TABLE agencies IN SHARE ROW EXCLUSIVE MODE")
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM agencies WHERE agency = $1", agency)  # noqa: S608
    return Agency(*row) if row else None


async def _uses(connection: Connection, agency: str, real_ms: int) -> list[str]:
    """What is in the way of closing the agency, each with how many there are."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM agencies WHERE parent = $1 AND closed_at_ms IS NULL) AS "open agencies below it",
            (SELECT count(*) FROM enrolment_codes WHERE agency = $1 AND used_at_ms IS NULL AND revoked_at_ms IS NULL
                AND expires_at_ms > $2) AS "open codes",
            (SELECT count(*) FROM holds JOIN authors USING (author) WHERE agency = $1 AND admitted_by IS NULL) AS "held events",
            (SELECT count(*) FROM states, convert_from(state, 'UTF8') AS t (merged)
                WHERE kind = 'intervention' AND position(convert_to('"' || $1 || '"', 'UTF8') IN state) > 0
                AND merged::jsonb #>> '{fields,agency,value}' = $1 AND merged::jsonb ->> 'status' = ANY ($3))
                AS "interventions with open work"
        """,
        agency,
        real_ms,
        list(OPEN_WORK),
    )
    assert row is not None
    uses = {"devices in use": await inventory.in_use(connection, agency, real_ms=real_ms), **row}
    return [f"{what}: {count}" for what, count in uses.items() if count]


def _check_reach(new: Agency, before: Agency | None, administrator: Administrator) -> None:
    """Who renames needs the agency; who enters, moves or opens it again needs what is above, before and after."""
    if before and before.parent == new.parent and before.closed_at_ms is None:
        administrator.check(new.agency)
        return
    for parent in [new.parent, *([before.parent] if before else [])]:
        _check_above(parent, administrator)


def _check_above(parent: str | None, administrator: Administrator) -> None:
    """WRONG_AGENCY unless the administrator acts for the parent; above a root there are only those who act for all."""
    if parent is not None:
        administrator.check(parent)
    elif administrator.reach is not None:
        administrator.check(ALL_AGENCIES)


async def _check_nobody_s(connection: Connection, agency: str, administrator: Administrator) -> None:
    """An agency that has devices or an office already is entered by its own people only: its parent's would gain them all."""
    if administrator.reach is None or agency in administrator.reach:
        return
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM authors WHERE agency = $1) OR EXISTS (SELECT FROM enrolment_codes WHERE agency = $1)", agency
    ):
        administrator.check(agency)


async def _check_place(connection: Connection, new: Agency, *, is_new: bool) -> None:
    if is_new and await connection.fetchval("SELECT count(*) FROM agencies") >= AGENCIES_MAX:
        raise Problem(FLEET_AGENCIES_MAX, limit=AGENCIES_MAX)
    if new.parent is None:
        return
    above = await _above(connection, new.parent)
    if not above:
        raise Problem(INPUT_NOT_FOUND, what="agency", id=new.parent)
    await check_open(connection, [new.parent])
    if new.agency in above:
        raise Problem(FLEET_AGENCY_CIRCLE, agency=new.agency)
    height = await connection.fetchval("SELECT max(depth) FROM agencies_below($1)", [new.agency])
    if len(above) + height > DEPTH_MAX:
        raise Problem(FLEET_AGENCY_DEEP, agency=new.agency, depth=len(above) + height, limit=DEPTH_MAX)


async def _above(connection: Connection, agency: str) -> list[str]:
    """The agency and all above it, from itself up; empty for one that is not in the tree."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE above (agency, parent, depth) AS (
            SELECT agency, parent, 1 FROM agencies WHERE agency = $1
            UNION ALL
            SELECT a.agency, a.parent, u.depth + 1 FROM agencies a JOIN above u ON a.agency = u.parent WHERE u.depth <= $2
        )
        SELECT agency FROM above ORDER BY depth
        """,
        agency,
        DEPTH_MAX,
    )
    return [row["agency"] for row in rows]
