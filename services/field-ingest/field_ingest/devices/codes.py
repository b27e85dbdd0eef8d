"""One-time codes: issued and taken back by administrators, listed by what became of them. Times are real time.

A code is shown once; only its hash is stored, and the hash's first digits are its id. Who uses one is enrolment.py's matter.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from field_ingest.devices import agencies, cuts, inventory, people, standing
from field_ingest.devices.people import Administrator, Reach, listed
from field_ingest.devices.standing import Act
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.problems import FLEET_CODE_USED, INPUT_NOT_FOUND, Problem
from zb_contracts.times import format_time_ms

CODE_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""32 of them: five bits a character, none that is mistaken for another."""
CODE_GROUPS: Final = 4
CODE_VALID_S_MAX: Final = 14 * 86_400
PAGE: Final = 200
ID_PATTERN: Final = r"^[0-9a-f]{16}$"
CURSOR_PATTERN: Final = r"^[0-9]{1,15}-[0-9a-f]{16}$"

State = Literal["open", "used", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a code is for: an agency's technician or (None) its pool; `device`: the next incarnation of that device."""

    agency: str
    technician: str | None
    device: str | None
    valid_s: int


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code, shown once. Only its hash is stored."""

    id: str
    code: str
    expires_at_ms: int


class Codes:
    """What administrators do with codes. `clock` is real time."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def issue(self, wanted: Invitation, administrator: Administrator) -> IssuedCode:
        """A new one-time code; the problems are those of `issue_all`."""
        [issued] = await self.issue_all([wanted], administrator)
        return issued

    async def issue_all(self, wanted: Sequence[Invitation], administrator: Administrator) -> list[IssuedCode]:
        """A new one-time code for each, in their order, or none at all.

        WRONG_AGENCY, also for a technician who works for agencies that are not the administrator's; FLEET_AGENCY_CLOSED,
        INPUT_NOT_FOUND for a device that the agency does not have, FLEET_STANDING for one that is not to go on.
        """
        of = {one.agency for one in wanted}
        for agency in sorted(of):
            administrator.check(agency)
        now_ms = self._clock()
        issued = [_new_code(now_ms + min(one.valid_s, CODE_VALID_S_MAX) * 1000) for one in wanted]
        async with transaction(self._pool) as connection:
            await agencies.check_open(connection, of)
            for refusal in (await refused_technicians(connection, wanted, administrator)).values():
                raise refusal
            for one in wanted:
                if one.device is not None:
                    await check_device(connection, one.device, one.agency, real_ms=now_ms)
            await connection.execute(
                """
                INSERT INTO enrolment_codes (code_hash, agency, technician, device, expires_at_ms, issued_by, issued_at_ms)
                SELECT *, $6, $7 FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[])
                """,
                [code_hash(one.code) for one in issued],
                [one.agency for one in wanted],
                [one.technician for one in wanted],
                [one.device for one in wanted],
                [one.expires_at_ms for one in issued],
                administrator.person,
                now_ms,
            )
        return issued

    async def refused(self, wanted: Sequence[Invitation], administrator: Administrator) -> dict[str, Problem]:
        """Of these technicians those for whom the administrator may issue no code, and why."""
        async with self._pool.acquire() as connection:
            return await refused_technicians(connection, wanted, administrator)

    async def all(self, reach: Reach, *, state: State | None = None, after: str | None = None) -> dict[str, Any]:
        """A page of codes, the newest first, with `next` for the page behind it."""
        issued_at_ms, _, before = (after or f"{2**53 - 1}-{'f' * 16}").partition("-")
        rows = await self._pool.fetch(
            f"""
            SELECT * FROM ({_CODES}) c
            WHERE ($2::text[] IS NULL OR agency = ANY ($2)) AND ($3::text IS NULL OR state = $3)
                AND (issued_at_ms, id) < ($4, $5)
            ORDER BY issued_at_ms DESC, id DESC LIMIT $6
            """,  # noqa: S608 -- a constant of this module
            self._clock(),
            listed(reach),
            state,
            int(issued_at_ms),
            before,
            PAGE,
        )
        last = f"{rows[-1]['issued_at_ms']}-{rows[-1]['id']}" if len(rows) == PAGE else None
        return {"codes": [_shown(row) for row in rows], "next": last}

    async def take_back(self, code: str, administrator: Administrator) -> dict[str, Any]:
        """Revoke the code with this id; what it is now. Repeating it changes nothing. INPUT_NOT_FOUND, FLEET_CODE_USED."""
        async with transaction(self._pool) as connection:
            row = await self._locked(connection, code, administrator.reach)
            if row["state"] == "used":
                raise Problem(FLEET_CODE_USED, code=code, device=row["used_by"])
            await connection.execute(
                """
                UPDATE enrolment_codes SET revoked_at_ms = $2, revoked_by = $3 WHERE code_hash = $1 AND revoked_at_ms IS NULL
                """,
                row["code_hash"],
                self._clock(),
                administrator.person,
            )
            return _shown(await self._locked(connection, code, administrator.reach))

    async def _locked(self, connection: Connection, code: str, reach: Reach) -> Any:
        await connection.execute("SELECT FROM enrolment_codes WHERE left(encode(code_hash, 'hex'), 16) = $1 FOR UPDATE", code)
        row = await connection.fetchrow(
            f"SELECT * FROM ({_CODES}) c WHERE id = $2 AND ($3::text[] IS NULL OR agency = ANY ($3))",  # noqa: S608
            self._clock(),
            code,
            listed(reach),
        )
        if row is None:
            raise Problem(INPUT_NOT_FOUND, what="code", id=code)
        return row


_CODES: Final = """
    SELECT code_hash, left(encode(code_hash, 'hex'), 16) AS id, agency, technician, device, issued_by, issued_at_ms,
        expires_at_ms, used_at_ms, revoked_at_ms, revoked_by, convert_from(answer, 'UTF8')::jsonb ->> 'device' AS used_by,
        CASE WHEN used_at_ms IS NOT NULL THEN 'used'
            WHEN revoked_at_ms IS NOT NULL THEN 'revoked'
            WHEN expires_at_ms <= $1 THEN 'expired'
            ELSE 'open' END AS state
    FROM enrolment_codes
"""


async def refused_technicians(
    connection: Connection, wanted: Sequence[Invitation], administrator: Administrator
) -> dict[str, Problem]:
    """WRONG_AGENCY for each technician who has a device or work of an agency that is not the administrator's.

    A code in a technician's name opens all that he may read, whatever agency the device is of.
    """
    if administrator.reach is None:
        return {}
    technicians = {one.technician for one in wanted if one.technician is not None}
    refused: dict[str, Problem] = {}
    for technician, agency in await people.agencies_of(connection, technicians):
        try:
            administrator.check(agency)
        except Problem as refusal:
            refused[technician] = refusal
    return refused


async def check_device(connection: Connection, device: str, agency: str, *, real_ms: int) -> None:
    """INPUT_NOT_FOUND for a device that the agency does not have, FLEET_STANDING for one that is not to be replaced."""
    await cuts.lock_device(connection, device)
    found = await inventory.found(connection, device, frozenset({agency}), real_ms=real_ms)
    standing.check(Act.REPLACE, device, found.facts)


def code_hash(code: str) -> bytes:
    """What is stored of a code."""
    return hashlib.sha256(b"zb-enrolment-code-v1" + code.encode()).digest()


def _new_code(expires_at_ms: int) -> IssuedCode:
    letters = "".join(CODE_ALPHABET[byte % len(CODE_ALPHABET)] for byte in secrets.token_bytes(4 * CODE_GROUPS))
    code = "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))
    return IssuedCode(code_hash(code).hex()[:16], code, expires_at_ms)


def _shown(row: Any) -> dict[str, Any]:
    names = ("id", "state", "agency", "technician", "device", "issued_by", "used_by", "revoked_by")
    times = ("issued_at_ms", "expires_at_ms", "used_at_ms", "revoked_at_ms")
    return {name: row[name] for name in names} | {
        name.removesuffix("_ms"): None if row[name] is None else format_time_ms(row[name]) for name in times
    }
