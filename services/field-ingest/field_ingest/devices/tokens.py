"""Session tokens of devices: NATS user tokens under the scoped signing key of the devices' account, for 24 to 72 hours.

A device proves its login key for each; no earlier token is needed, so an expired one stops nobody. A revoked device gets a
drain session only: it may send what it has and collect receipts; a suspended one waits (suspensions.py). Times here are real
time, never a story's: the broker checks them. What a session may do is the account's template, not the token's.
"""

import base64
import json
from dataclasses import dataclass
from typing import Final

from field_ingest.devices import cuts, suspensions, wipes
from field_ingest.ledger.keyring import KeyRing
from zb_chassis import claims
from zb_chassis.clock import Clock
from zb_chassis.database import Connection
from zb_contracts import subjects
from zb_contracts.enrolment import PROOF_AGE_MAX_S, TokenAnswer, TokenRequest, TokenWord, request_statement, vouch
from zb_contracts.faults import SealMalformed
from zb_contracts.keys import nkey_user_public, verify
from zb_contracts.problems import DEVICE_PROOF_INVALID, DEVICE_PROOF_TIME, DEVICE_REVOKED, FORBIDDEN, RATE_LIMITED, Problem
from zb_contracts.sealed import from_base64url
from zb_contracts.times import format_time_ms, parse_time_ms

HOURS_MIN: Final = 24
HOURS_MAX: Final = 72
KEPT_MS: Final = 90 * 86_400_000
"""How long a token is remembered after its end. An event that names one later is noted with the fact `unknown`; who ever had a
session on the device is remembered for good (device_people)."""
TOKENS_MAX: Final = 1_000
"""Of one incarnation within WINDOW_MS: a device whose sessions are refused asks for a drain every five minutes."""
WINDOW_MS: Final = 86_400_000
PRUNED_MAX: Final = 100
"""Forgotten tokens for each new one: more than come, and never a long transaction."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request carries to show the device's login key: the signature and the time it names."""

    device: str
    signature: str
    time: str


@dataclass(frozen=True, slots=True)
class Session:
    """A token, when it ends (ms, real time), and the ledger's word for it."""

    token: str
    expires_at_ms: int
    word: TokenWord


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The device that proved itself: which author, whose."""

    author: str
    device: str
    agency: str
    technician: str | None
    login_key: str
    revoked_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """A technician who signed in beside the device. `agencies` None: of all."""

    technician: str
    agencies: frozenset[str] | None

    def may_use(self, found: Incarnation) -> bool:
        return self.agencies is None or found.agency in self.agencies


class Tokens:
    """Mints session tokens. `clock` is real time in ms."""

    def __init__(self, keys: KeyRing, clock: Clock, *, hours: int = HOURS_MIN) -> None:
        if not HOURS_MIN <= hours <= HOURS_MAX:
            raise ValueError(f"a session token lives {HOURS_MIN} to {HOURS_MAX} hours, not {hours}")
        self._keys = keys
        self._clock = clock
        self._hours = hours

    async def mint(self, connection: Connection, author: str, device: str, login_key: str, technician: str | None) -> Session:
        """A session of the device for this technician, None for a drain; noted beside the ledger."""
        now_ms = self._clock()
        issued_at = max(now_ms // 1000, await cuts.earliest_issue_s(connection, login_key))
        expires_at = issued_at + self._hours * 3600
        token = claims.scoped_user(
            self._keys.device_signer,
            self._keys.device_account,
            login_key,
            subjects.checked_id(device),
            tags=(f"t:{subjects.checked_id(technician or subjects.DRAIN)}",),
            issued_at=issued_at,
            expires_at=expires_at,
        )
        await _note(connection, token_id(token), author, device, technician, now_ms, expires_at * 1000)
        await _prune(connection, now_ms)
        return Session(token, expires_at * 1000, vouch(token, self._keys.ledger.signing))

    async def renew(
        self, connection: Connection, request: TokenRequest, proof: Proof, body: bytes, *, person: Person | None = None
    ) -> TokenAnswer:
        """A new session for a device that proves its login key over this request.

        A technician's own device needs nothing else; a device of a pool needs its technician as `person`. Problems:
        DEVICE_PROOF_INVALID, DEVICE_PROOF_TIME, FORBIDDEN for another's technician, DEVICE_REVOKED for more than a drain,
        DEVICE_WIPING, DEVICE_SUSPENDED, RATE_LIMITED.
        """
        found = await self.proven(connection, request.device, proof, "POST", "/v1/tokens", body)
        if request.technician is not None:
            check_not_revoked(found)
            await wipes.check(connection, found.device, found.login_key)
        await suspensions.check(connection, found.device, self._clock(), is_drain=request.technician is None)
        if request.technician not in (None, _technician(found, person)) or request.technician == subjects.DRAIN:
            raise Problem(FORBIDDEN, roles=f"technician {request.technician}")
        await _check_count(connection, found.author, self._clock() - WINDOW_MS)
        session = await self.mint(connection, found.author, found.device, found.login_key, request.technician)
        return TokenAnswer(token=session.token, expires_at=format_time_ms(session.expires_at_ms), word=session.word)

    async def proven(self, connection: Connection, device: str, proof: Proof, method: str, path: str, body: bytes) -> Incarnation:
        """The newest incarnation of `device` whose login key signed this request, not long ago.

        Problems DEVICE_PROOF_INVALID and DEVICE_PROOF_TIME.
        """
        if proof.device != device:
            raise Problem(DEVICE_PROOF_INVALID, reason="header and body name different devices")
        statement, signature = self._statement(proof, method, path, body)
        rows = await connection.fetch(
            """
            SELECT author, device, agency, technician, login_key, revoked_at_ms FROM authors
            WHERE device = $1 AND login_key IS NOT NULL ORDER BY incarnation DESC
            """,
            device,
        )
        for row in rows:
            if verify(nkey_user_public(row["login_key"]), statement, signature):
                return Incarnation(**dict(row))
        raise Problem(DEVICE_PROOF_INVALID, reason="no key of this device made the signature")

    def _statement(self, proof: Proof, method: str, path: str, body: bytes) -> tuple[bytes, bytes]:
        try:
            age_ms = abs(self._clock() - parse_time_ms(proof.time))
            signature = from_base64url(proof.signature)
        except (ValueError, SealMalformed) as fault:
            raise Problem(DEVICE_PROOF_INVALID, reason="the proof's headers are missing or malformed") from fault
        if age_ms > PROOF_AGE_MAX_S * 1000:
            raise Problem(DEVICE_PROOF_TIME, time=proof.time, now=format_time_ms(self._clock()), limit_s=PROOF_AGE_MAX_S)
        return request_statement(method, path, body, proof.time), signature


async def _check_count(connection: Connection, author: str, since_ms: int) -> None:
    """Each is kept for months: RATE_LIMITED for a device that fills the table."""
    count = await connection.fetchval("SELECT count(*) FROM tokens WHERE author = $1 AND issued_at_ms > $2", author, since_ms)
    if count >= TOKENS_MAX:
        raise Problem(RATE_LIMITED, seconds=3_600)


async def _note(
    connection: Connection,
    token: str,
    author: str,
    device: str,
    technician: str | None,
    issued_at_ms: int,
    expires_at_ms: int,
) -> None:
    await connection.execute(
        """
        INSERT INTO tokens (token_id, author, technician, issued_at_ms, expires_at_ms) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (token_id) DO NOTHING
        """,
        token,
        author,
        technician,
        issued_at_ms,
        expires_at_ms,
    )
    if technician is not None:
        await connection.execute(
            "INSERT INTO device_people (device, technician, since_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            device,
            technician,
            issued_at_ms,
        )


async def _prune(connection: Connection, now_ms: int) -> None:
    # SKIP LOCKED: two mints at once forget different tokens instead of waiting for each other.
    await connection.execute(
        """
        DELETE FROM tokens WHERE token_id IN (
            SELECT token_id FROM tokens WHERE expires_at_ms < $1 ORDER BY expires_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        now_ms - KEPT_MS,
        PRUNED_MAX,
    )


def check_not_revoked(found: Incarnation) -> None:
    """Problem DEVICE_REVOKED."""
    if found.revoked_at_ms is not None:
        raise Problem(DEVICE_REVOKED, device=found.device, since=format_time_ms(found.revoked_at_ms))


def _technician(found: Incarnation, person: Person | None) -> str | None:
    """Whose sessions the device may have: its own technician's, or in a pool those of the person who signed in."""
    if found.technician is not None:
        return found.technician
    return person.technician if person is not None and person.may_use(found) else None


def token_id(token: str) -> str:
    """The id of a token of ours, as `token` of an event's header names it: its `jti` in lower case."""
    middle = token.split(".")[1]
    claim = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return str(claim["jti"]).lower()
