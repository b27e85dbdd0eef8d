"""Enrolment: a device uses a one-time code to become an author. Who issues codes, and takes them back, is codes.py's matter.

The author's row, `device.enrolled.v1` in the ledger, the used code and the answer commit together. The same keys with the same
code get the same answer again, because answers get lost. A code may name a device: then it makes a new incarnation of it.
"""

import hashlib
import secrets

import asyncpg

from field_ingest.devices.codes import check_device, code_hash
from field_ingest.devices.registration import Newcomer, ProvenKeys, Registration
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.enrolment import EnrolmentAnswer, EnrolmentRequest, enrolment_statement
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KEY_BYTES, SIGNATURE_BYTES, check_certification, nkey_user_public, verify
from zb_contracts.problems import ENROLMENT_CODE, ENROLMENT_PROOF, Problem
from zb_contracts.sealed import from_base64url


class Enrolment:
    """Enrols. `real_clock` judges codes."""

    def __init__(self, pool: Pool, registration: Registration, *, real_clock: Clock) -> None:
        self._pool = pool
        self._registration = registration
        self._real_clock = real_clock

    async def enrol(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        """Make the device an author, or answer as before. Problems ENROLMENT_PROOF and ENROLMENT_CODE."""
        keys, request_hash = _proven(request)
        async with transaction(self._pool) as connection:
            code = await connection.fetchrow(
                """
                SELECT agency, technician, device, expires_at_ms, used_at_ms, revoked_at_ms, request_hash, answer
                FROM enrolment_codes WHERE code_hash = $1 FOR UPDATE
                """,
                code_hash(request.code),
            )
            if code is None:
                raise Problem(ENROLMENT_CODE)
            if code["used_at_ms"] is not None:
                if code["request_hash"] != request_hash:
                    raise Problem(ENROLMENT_CODE)
                return EnrolmentAnswer.model_validate_json(code["answer"])
            if code["revoked_at_ms"] is not None or self._real_clock() >= code["expires_at_ms"]:
                raise Problem(ENROLMENT_CODE)
            answer = await self._enrolled(connection, request, keys, code)
            await connection.execute(
                "UPDATE enrolment_codes SET used_at_ms = $2, request_hash = $3, answer = $4 WHERE code_hash = $1",
                code_hash(request.code),
                self._real_clock(),
                request_hash,
                answer.model_dump_json().encode(),
            )
            return answer

    async def _enrolled(
        self, connection: Connection, request: EnrolmentRequest, keys: ProvenKeys, code: asyncpg.Record
    ) -> EnrolmentAnswer:
        if code["device"] is not None:
            # It may have been retired since the code was issued.
            await check_device(connection, code["device"], code["agency"], real_ms=self._real_clock())
        return await self._registration.register(
            connection,
            Newcomer(
                device=code["device"] or f"d-{secrets.token_hex(8)}",
                agency=code["agency"],
                technician=code["technician"],
                keys=keys,
                replaces=await _predecessor(connection, request.replaces, code["agency"]),
                model=request.model,
            ),
        )


def _proven(request: EnrolmentRequest) -> tuple[ProvenKeys, bytes]:
    """The keys of a request whose certification and proof hold, and its hash. Problem ENROLMENT_PROOF else."""
    try:
        login = nkey_user_public(request.login_key)
        event, wrap = from_base64url(request.event_key), from_base64url(request.wrap_key)
        check_certification(login, event, wrap, from_base64url(request.certification))
        proof = from_base64url(request.proof)
    except CryptoFault as fault:
        raise Problem(ENROLMENT_PROOF, reason=str(fault)) from fault
    if len(event) != KEY_BYTES or len(wrap) != KEY_BYTES or len(proof) != SIGNATURE_BYTES:
        raise Problem(ENROLMENT_PROOF, reason="a key or the proof has an impossible length")
    statement = enrolment_statement(request.code, request.login_key, request.event_key, request.wrap_key)
    if not verify(event, statement, proof):
        raise Problem(ENROLMENT_PROOF, reason="the event key did not sign the enrolment")
    return ProvenKeys(request.login_key, event, wrap, request.certification), hashlib.sha256(statement).digest()


async def _predecessor(connection: Connection, author: str | None, agency: str) -> str | None:
    """The author that the device says it was before, if that was a device of the same agency."""
    if author is None:
        return None
    found = await connection.fetchval(
        "SELECT author FROM authors WHERE author = $1 AND kind = 'device' AND agency = $2", author, agency
    )
    if found is None:
        raise Problem(ENROLMENT_PROOF, reason=f"there is no device author {author} in the agency")
    return str(found)
