"""Registration: proven keys become an author of the ledger, as a device's first or next incarnation.

Row, `device.enrolled.v1`, and the `device.revoked.v1` of what it replaces commit in the caller's transaction; what a replaced
incarnation still sends is held, never lost. Who may register (a code, a login key) is decided by enrolment.py and
incarnations.py.
"""

from dataclasses import dataclass

import asyncpg

from field_ingest.devices import about, cuts
from field_ingest.devices.tokens import Tokens
from field_ingest.ids import uuid7
from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.keyring import INGEST, KeyRing
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.shards import shard_of
from field_ingest.ledger.signing import LedgerAuthor, Statement
from zb_chassis.clock import Clock
from zb_chassis.database import Connection
from zb_contracts.enrolment import EnrolmentAnswer
from zb_contracts.envelope import GENESIS
from zb_contracts.events.devices import DeviceEnrolled, DeviceRevoked
from zb_contracts.problems import ENROLMENT_PROOF, Problem
from zb_contracts.sealed import to_base64url


@dataclass(frozen=True, slots=True)
class ProvenKeys:
    """A device's public keys, each proven: `login` as NKey text, `certification` the login key's word for the others."""

    login: str
    event: bytes
    wrap: bytes
    certification: str


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An incarnation to be. `author` None: it gets the next number of its device. `replaces` as the device says it."""

    device: str
    agency: str
    technician: str | None
    keys: ProvenKeys
    author: str | None = None
    replaces: str | None = None
    model: str | None = None


class Registration:
    """Makes authors of devices, and says what they pin. `clock` (perhaps a story's) dates the ledger."""

    def __init__(self, keys: KeyRing, signer: LedgerAuthor, tokens: Tokens, *, shards: int, clock: Clock) -> None:
        self._keys = keys
        self._signer = signer
        self._tokens = tokens
        self._shards = shards
        self._clock = clock

    async def register(self, connection: Connection, new: Newcomer) -> EnrolmentAnswer:
        """Register the newcomer in the caller's transaction. ENROLMENT_PROOF for an event key that has an author."""
        await cuts.lock_device(connection, new.device)
        before = await connection.fetch(
            "SELECT author, incarnation, shard, revoked_at_ms FROM authors WHERE device = $1 ORDER BY incarnation", new.device
        )
        await PostgresTransaction(connection).lock_authors([*(row["author"] for row in before), INGEST])
        if await connection.fetchval("SELECT true FROM authors WHERE event_key = $1", new.keys.event):
            raise Problem(ENROLMENT_PROOF, reason="the event key belongs to another incarnation already")
        incarnation = before[-1]["incarnation"] + 1 if before else 1
        author = new.author or f"{new.device}-i{incarnation}"
        shard = before[0]["shard"] if before else shard_of(new.device, self._shards)
        await self._insert(connection, new, author, incarnation, shard)
        await about.begin(connection, new.device, incarnation, model=new.model, told_at_ms=self._clock())
        replaced = [row["author"] for row in before if row["revoked_at_ms"] is None]
        await connection.execute(
            "UPDATE authors SET revoked_at_ms = $2, revoked_cause = 'replaced' WHERE author = ANY ($1)", replaced, self._clock()
        )
        replaces = new.replaces or (before[-1]["author"] if before else None)
        bodies = [
            _enrolled(new, author, shard, replaces),
            *(DeviceRevoked(device=new.device, author=name, cause="replaced") for name in replaced),
        ]
        stream = f"device:{new.device}"
        await self._signer.state(PostgresTransaction(connection), [Statement(stream, body) for body in bodies])
        return await self.answer(connection, new, author, shard)

    async def answer(self, connection: Connection, new: Newcomer, author: str, shard: int) -> EnrolmentAnswer:
        """What a registered device pins, with a new session."""
        session = await self._tokens.mint(connection, author, new.device, new.keys.login, new.technician)
        now_ms = self._clock()
        anchor = Anchors(self._keys.ledger).anchor(uuid7(now_ms), now_ms)
        return EnrolmentAnswer(
            device=new.device,
            author=author,
            agency=new.agency,
            technician=new.technician,
            shard=shard,
            shards=self._shards,
            log_origin=await connection.fetchval("SELECT origin FROM shards WHERE shard = $1", shard),
            root_key=to_base64url(self._keys.root_public),
            keys=self._keys.certificates,
            token=session.token,
            word=session.word,
            anchor_id=anchor.id,
            server_time=anchor.server_time,
        )

    async def _insert(self, connection: Connection, new: Newcomer, author: str, incarnation: int, shard: int) -> None:
        try:
            await connection.execute(
                """
                INSERT INTO authors (author, kind, agency, device, incarnation, technician, event_key, wrap_key, login_key, shard,
                    head_hash, registered_at_ms)
                VALUES ($1, 'device', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                """,
                author,
                new.agency,
                new.device,
                incarnation,
                new.technician,
                new.keys.event,
                new.keys.wrap,
                new.keys.login,
                shard,
                bytes.fromhex(GENESIS),
                self._clock(),
            )
        except asyncpg.UniqueViolationError as fault:
            raise Problem(ENROLMENT_PROOF, reason="the event key or its id belongs to another incarnation already") from fault


def _enrolled(new: Newcomer, author: str, shard: int, replaces: str | None) -> DeviceEnrolled:
    return DeviceEnrolled(
        device=new.device,
        author=author,
        agency=new.agency,
        technician=new.technician,
        login_key=new.keys.login,
        event_key=to_base64url(new.keys.event),
        wrap_key=to_base64url(new.keys.wrap),
        certification=new.keys.certification,
        replaces=replaces,
        shard=shard,
        model=new.model,
    )
