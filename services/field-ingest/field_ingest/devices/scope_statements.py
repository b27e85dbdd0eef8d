"""Scope statements: the ledger's signed word on which documents a technician's device holds, and to which key theirs may go.

The device brings it to the custody of subject keys, which asks nobody else. It is given to a device that proves its login key and
has a session of the technician, and to no revoked or suspended one. It knows no data subject and no key of one.
"""

from dataclasses import dataclass
from typing import Final

from field_ingest.devices import suspensions
from field_ingest.devices.tokens import Proof, Tokens, check_not_revoked
from field_ingest.ledger.keyring import KeyRing
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.problems import FORBIDDEN, INPUT_NOT_FOUND, Problem
from zb_contracts.sealed import to_base64url
from zb_contracts.subject_keys import (
    STATEMENT_PATH,
    STATEMENT_VALID_MS,
    ScopeStatement,
    SignedStatement,
    StatementRequest,
    sign_statement,
)
from zb_contracts.sync import DOCUMENTS_MAX
from zb_contracts.times import format_time_ms

OF_PEOPLE: Final = ("intervention", "site")
"""Kinds of documents in which personal values stand."""


@dataclass(frozen=True, slots=True)
class ScopeStatements:
    """Signs them. `clock` is real time; `custody_url` is where devices reach custody, empty where there is none."""

    pool: Pool
    tokens: Tokens
    keys: KeyRing
    clock: Clock
    custody_url: str

    async def state(self, request: StatementRequest, proof: Proof, body: bytes) -> SignedStatement:
        """What the device may have keys for.

        Problems of the proof, DEVICE_REVOKED, DEVICE_SUSPENDED, FORBIDDEN without a session of the technician, INPUT_NOT_FOUND
        where the deployment has no custody.
        """
        if not self.custody_url:
            raise Problem(INPUT_NOT_FOUND, what="custody", id="of subject keys")
        now_ms = self.clock()
        async with transaction(self.pool) as connection:
            found = await self.tokens.proven(connection, request.device, proof, "POST", STATEMENT_PATH, body)
            check_not_revoked(found)
            await suspensions.check(connection, found.device, now_ms, is_drain=False)
            await _check_session(connection, found.device, request.technician, now_ms)
            statement = ScopeStatement(
                device=found.device,
                author=found.author,
                technician=request.technician,
                wrap_key=to_base64url(await _wrap_key(connection, found.author)),
                documents=await _documents(connection, request.technician),
                custody_url=self.custody_url,
                custody_key=to_base64url(self.keys.custody),
                issued_at=format_time_ms(now_ms),
                ends_ms=now_ms + STATEMENT_VALID_MS,
            )
        return sign_statement(statement, self.keys.ledger.signing)


async def _check_session(connection: Connection, device: str, technician: str, now_ms: int) -> None:
    has_one = await connection.fetchval(
        """
        SELECT true FROM tokens JOIN authors USING (author)
        WHERE device = $1 AND tokens.technician = $2 AND expires_at_ms > $3 LIMIT 1
        """,
        device,
        technician,
        now_ms,
    )
    if not has_one:
        raise Problem(FORBIDDEN, roles=f"technician {technician}")


async def _wrap_key(connection: Connection, author: str) -> bytes:
    """As the login key certified it when this incarnation was registered."""
    return bytes(await connection.fetchval("SELECT wrap_key FROM authors WHERE author = $1", author))


async def _documents(connection: Connection, technician: str) -> tuple[str, ...]:
    """Those that speak of people."""
    rows = await connection.fetch(
        """
        SELECT document FROM scope_document WHERE technician = $1 AND state_hash IS NOT NULL
            AND split_part(document, ':', 1) = ANY ($3) ORDER BY document LIMIT $2
        """,
        technician,
        DOCUMENTS_MAX,
        OF_PEOPLE,
    )
    return tuple(row["document"] for row in rows)
