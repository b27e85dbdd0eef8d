"""The tree of agencies: who answers for an agency answers for all below it.

What a person may act for stands in their token, from the identity provider; the tree adds what lies below. An agency that
nobody entered here stands alone. It decides nothing about devices.
"""

from dataclasses import dataclass
from typing import Final

from field_ingest.devices.people import Administrator, Reach
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.identity import ALL_AGENCIES, Principal
from zb_contracts.problems import FLEET_AGENCIES_MAX, FLEET_AGENCY_CIRCLE, FLEET_AGENCY_DEEP, INPUT_NOT_FOUND, Problem

AGENCIES_MAX: Final = 10_000
DEPTH_MAX: Final = 8
"""Levels; the database's `agencies_below` looks no deeper."""


@dataclass(frozen=True, slots=True)
class Agency:
    """One node. `parent` None: a root of the tree."""

    agency: str
    parent: str | None
    name: str


class AgencyTree:
    """Reads and grows the tree."""

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
            "SELECT agency, parent, name FROM agencies WHERE $1::text[] IS NULL OR agency = ANY ($1) ORDER BY agency",
            None if reach is None else sorted(reach),
        )
        return [Agency(*row) for row in rows]

    async def put(self, new: Agency, administrator: Administrator) -> None:
        """Enter the agency, rename or move it. The same again changes nothing.

        WRONG_AGENCY unless the new parent, and for one that is moved the old one too, is within reach: a root of the tree
        needs somebody who acts for all. INPUT_NOT_FOUND, FLEET_AGENCY_CIRCLE, FLEET_AGENCY_DEEP, FLEET_AGENCIES_MAX.
        """
        async with transaction(self._pool) as connection:
            # One change of the tree at a time: two moves that are each fine could make a circle together.
            await connection.execute("LOCK TABLE agencies IN SHARE ROW EXCLUSIVE MODE")
            row = await connection.fetchrow("SELECT agency, parent, name FROM agencies WHERE agency = $1", new.agency)
            before = Agency(*row) if row else None
            if before != new:
                _check_reach(new, before, administrator)
                if before is None:
                    await _check_nobody_s(connection, new.agency, administrator)
                await _check_place(connection, new, is_new=before is None)
                await connection.execute(
                    """
                    INSERT INTO agencies (agency, parent, name) VALUES ($1, $2, $3)
                    ON CONFLICT (agency) DO UPDATE SET parent = excluded.parent, name = excluded.name
                    """,
                    new.agency,
                    new.parent,
                    new.name,
                )


def _check_reach(new: Agency, before: Agency | None, administrator: Administrator) -> None:
    """Who renames needs the agency; who enters or moves it needs what is above, before and after."""
    above = [new.agency] if before and before.parent == new.parent else [new.parent, *([before.parent] if before else [])]
    for agency in above:
        if agency is not None:
            administrator.check(agency)
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
