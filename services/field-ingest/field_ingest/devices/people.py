"""People, by pseudonymous ids: who acts on devices and for which agencies, and for which agencies a technician works.

What somebody may act for comes from the verified caller, what a technician works on from the ledger. It verifies nobody.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from zb_chassis.database import Connection
from zb_contracts.problems import WRONG_AGENCY, Problem
from zb_contracts.subjects import ID_PATTERN

Reach = frozenset[str] | None
"""The agencies that a person may act for, with all that lie below them; None for all."""


@dataclass(frozen=True, slots=True)
class Administrator:
    """A person, by pseudonymous id, who acts on devices of their agencies."""

    person: str
    reach: Reach

    def check(self, agency: str) -> None:
        """Problem WRONG_AGENCY unless the agency is theirs."""
        if self.reach is not None and agency not in self.reach:
            raise Problem(WRONG_AGENCY, agency=agency)


def listed(reach: Reach) -> list[str] | None:
    """As SQL takes it: `$1::text[] IS NULL OR agency = ANY ($1)`."""
    return None if reach is None else sorted(reach)


async def agencies_of(connection: Connection, technicians: Collection[str]) -> list[tuple[str, str]]:
    """Each technician with each agency whose devices he has now, or whose interventions are in his scope."""
    rows = await connection.fetch(
        """
        SELECT technician, agency FROM authors WHERE kind = 'device' AND technician = ANY ($1) AND revoked_at_ms IS NULL
        UNION
        SELECT m.technician, convert_from(s.state, 'UTF8')::jsonb #>> '{fields,agency,value}'
        FROM scope_member m JOIN states s ON s.stream = m.intervention WHERE m.technician = ANY ($1)
        ORDER BY technician, agency
        """,
        sorted(technicians),
    )
    return [(row["technician"], row["agency"]) for row in rows if row["agency"] is not None]


def person_id(subject: str) -> str:
    """A person's pseudonymous id from the identity provider's subject, which may be no id of ours."""
    if ID_PATTERN.fullmatch(subject):
        return subject
    return "p-" + hashlib.sha256(subject.encode()).hexdigest()[:24]
