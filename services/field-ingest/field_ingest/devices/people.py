"""Who acts on devices, and for which agencies: what the API makes of a verified caller before anything else is asked."""

import hashlib
from dataclasses import dataclass

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


def person_id(subject: str) -> str:
    """A person's pseudonymous id from the identity provider's subject, which may be no id of ours."""
    if ID_PATTERN.fullmatch(subject):
        return subject
    return "p-" + hashlib.sha256(subject.encode()).hexdigest()[:24]
