"""New incarnations: a device whose store is behind the ledger goes on with a new event key, proven by its login key alone.

No administrator is needed, because nothing is given that the login key does not have already; each is in the ledger, and a
device makes few a day. The same key again gets an answer again, because answers get lost. It registers nothing itself.
"""

from typing import Final

import asyncpg

from field_ingest.devices import cuts, suspensions
from field_ingest.devices.registration import Newcomer, ProvenKeys, Registration
from field_ingest.devices.tokens import Incarnation, Proof, Tokens, check_not_revoked
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.enrolment import EnrolmentAnswer, IncarnationRequest, incarnation_author, incarnation_statement
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KEY_BYTES, check_certification, nkey_user_public, verify
from zb_contracts.problems import DEVICE_REPLACED, ENROLMENT_PROOF, INCARNATION_LIMIT, Problem
from zb_contracts.sealed import from_base64url

PATH: Final = "/v1/incarnations"
INCARNATIONS_MAX: Final = 3
"""Of one device within WINDOW_H: more are two copies of one store that replace each other, and a person has to look."""
WINDOW_H: Final = 24


class Incarnations:
    """Lets a device go on. `clock` dates the ledger, `real_clock` judges suspensions."""

    def __init__(self, pool: Pool, registration: Registration, tokens: Tokens, *, clock: Clock, real_clock: Clock) -> None:
        self._pool = pool
        self._registration = registration
        self._tokens = tokens
        self._clock = clock
        self._real_clock = real_clock

    async def begin(self, request: IncarnationRequest, proof: Proof, body: bytes) -> EnrolmentAnswer:
        """Make the device a new incarnation, or answer as before for keys that it has already.

        Problems of the proof, ENROLMENT_PROOF, DEVICE_REPLACED for a device that was enrolled with another login key since,
        DEVICE_REVOKED, DEVICE_SUSPENDED, INCARNATION_LIMIT.
        """
        async with transaction(self._pool) as connection:
            found = await self._tokens.proven(connection, request.device, proof, "POST", PATH, body)
            await cuts.lock_device(connection, request.device)
            newest = await self._newest(connection, request.device)
            if newest["author"] != found.author:
                raise Problem(DEVICE_REPLACED, device=found.device, author=newest["author"])
            check_not_revoked(found)
            await suspensions.check(connection, found.device, self._real_clock(), is_drain=False)
            keys = _proven(request, found.login_key)
            if newest["event_key"] == keys.event and newest["wrap_key"] == keys.wrap:
                return await self._registration.answer(connection, _newcomer(request, found, keys), found.author, newest["shard"])
            await self._check_replaced(connection, request)
            await self._check_limit(connection, found.device)
            return await self._registration.register(connection, _newcomer(request, found, keys))

    async def _newest(self, connection: Connection, device: str) -> asyncpg.Record:
        row = await connection.fetchrow(
            "SELECT author, event_key, wrap_key, shard FROM authors WHERE device = $1 ORDER BY incarnation DESC LIMIT 1", device
        )
        if row is None:
            raise LookupError(f"the device {device} was proven and has no author")
        return row

    async def _check_replaced(self, connection: Connection, request: IncarnationRequest) -> None:
        device = await connection.fetchval("SELECT device FROM authors WHERE author = $1", request.replaces)
        if device != request.device:
            raise Problem(ENROLMENT_PROOF, reason=f"{request.replaces} is no author of the device")

    async def _check_limit(self, connection: Connection, device: str) -> None:
        since_ms = self._clock() - WINDOW_H * 3_600_000
        count = await connection.fetchval(
            "SELECT count(*) FROM authors WHERE device = $1 AND incarnation > 1 AND registered_at_ms > $2", device, since_ms
        )
        if count >= INCARNATIONS_MAX:
            raise Problem(INCARNATION_LIMIT, device=device, count=count, hours=WINDOW_H)


def _proven(request: IncarnationRequest, login_key: str) -> ProvenKeys:
    """The new keys, certified by the login key that made the request. Problem ENROLMENT_PROOF else."""
    try:
        event, wrap = from_base64url(request.event_key), from_base64url(request.wrap_key)
        check_certification(nkey_user_public(login_key), event, wrap, from_base64url(request.certification))
        proof = from_base64url(request.proof)
    except CryptoFault as fault:
        raise Problem(ENROLMENT_PROOF, reason=str(fault)) from fault
    if len(event) != KEY_BYTES or len(wrap) != KEY_BYTES:
        raise Problem(ENROLMENT_PROOF, reason="a key has an impossible length")
    statement = incarnation_statement(request.device, request.replaces, request.event_key, request.wrap_key)
    if not verify(event, statement, proof):
        raise Problem(ENROLMENT_PROOF, reason="the event key did not sign what it replaces")
    return ProvenKeys(login_key, event, wrap, request.certification)


def _newcomer(request: IncarnationRequest, found: Incarnation, keys: ProvenKeys) -> Newcomer:
    return Newcomer(
        device=found.device,
        agency=found.agency,
        technician=found.technician,
        keys=keys,
        author=incarnation_author(found.device, keys.event),
        replaces=request.replaces,
    )
