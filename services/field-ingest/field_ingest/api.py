"""HTTP in, HTTP out: enrolment and tokens for devices; rejects for administrators, marks for auditors. The fleet: fleet_api.py.

Each endpoint states its role. It parses, calls one function of the field, and answers; refusals are Problems and become RFC
9457 documents at the chassis' edge.
"""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ValidationError

from field_ingest.admission import rejects
from field_ingest.devices.agencies import AgencyTree
from field_ingest.devices.enrolment import Enrolment
from field_ingest.devices.handovers import Handovers
from field_ingest.devices.incarnations import Incarnations
from field_ingest.devices.people import Reach, listed, person_id
from field_ingest.devices.scope_statements import ScopeStatements
from field_ingest.devices.tokens import Person, Proof, Tokens
from field_ingest.ledger.checkpoints import Checkpoints
from field_ingest.ledger.keyring import KeyRing
from zb_chassis.clock import Clock
from zb_chassis.database import Pool, transaction
from zb_chassis.http import PUBLIC, named_faults, stated
from zb_chassis.identity import ALL_AGENCIES, Principal, Role, TokenVerifier, allow
from zb_contracts.enrolment import (
    DEVICE_HEADER,
    PERSON_HEADER,
    PROOF_HEADER,
    PROOF_TIME_HEADER,
    EnrolmentAnswer,
    EnrolmentRequest,
    IncarnationRequest,
    TokenAnswer,
    TokenRequest,
    TrustedKey,
)
from zb_contracts.events.values import Id
from zb_contracts.handover import PATH as HANDOVER_PATH
from zb_contracts.handover import HandoverRequest, SignedHandover
from zb_contracts.problems import DEVICE_PROOF_INVALID, FORBIDDEN, INPUT_INVALID, INPUT_NOT_FOUND, Problem
from zb_contracts.server_time import NONCE_PATTERN, TimeAnswer, sign_time
from zb_contracts.subject_keys import STATEMENT_PATH, SignedStatement, StatementRequest
from zb_contracts.subjects import SHARDS_MAX

"""The OIDC access token of a technician who signs in on a device of a pool."""

M = TypeVar("M", bound=BaseModel)

Overseer = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR, Role.AUDITOR)]
Auditor = Annotated[Principal, allow(Role.AUDITOR, Role.INTEGRATOR, Role.FLEET_ADMINISTRATOR)]


async def _device_proof(request: Request) -> Proof:
    """The proof's headers; what they prove is checked with the body."""
    values = [request.headers.get(name, "") for name in (DEVICE_HEADER, PROOF_HEADER, PROOF_TIME_HEADER)]
    if not all(values):
        raise Problem(DEVICE_PROOF_INVALID, reason=f"{DEVICE_HEADER}, {PROOF_HEADER} and {PROOF_TIME_HEADER} are needed")
    return Proof(*values)


DeviceProof = Annotated[Proof, Depends(stated("device", _device_proof))]


def enrolment_router(pool: Pool, enrolment: Enrolment, incarnations: Incarnations, tokens: Tokens) -> APIRouter:
    """How a device comes in, and stays."""
    router = APIRouter(prefix="/v1", tags=["enrolment"])

    @router.post("/enrolments", status_code=201, dependencies=[PUBLIC])
    async def enrol(body: EnrolmentRequest) -> EnrolmentAnswer:
        """Enrol the device that holds the code. The same request again gets the same answer."""
        return await enrolment.enrol(body)

    @router.post("/tokens")
    async def renew(request: Request, proof: DeviceProof) -> TokenAnswer:
        """A session token for a device that proves its login key; one of a pool names its technician in Zb-Person."""
        body = await request.body()
        wanted = _signed_body(TokenRequest, body)
        person = await _person(request)
        async with transaction(pool) as connection:
            return await tokens.renew(connection, wanted, proof, body, person=person)

    @router.post("/incarnations", status_code=201)
    async def incarnate(request: Request, proof: DeviceProof) -> EnrolmentAnswer:
        """A new event key for a device whose store is behind the ledger. The same request again gets an answer again."""
        body = await request.body()
        return await incarnations.begin(_signed_body(IncarnationRequest, body), proof, body)

    return router


def handovers_router(handovers: Handovers) -> APIRouter:
    """Evidence of devices that cannot open it any more."""
    router = APIRouter(tags=["enrolment"])

    @router.post(HANDOVER_PATH)
    async def hand_over(request: Request, proof: DeviceProof) -> SignedHandover:
        """The key of a file that an event of the device names, from escrow to the evidence store, good for some minutes."""
        body = await request.body()
        return await handovers.hand_over(_signed_body(HandoverRequest, body), proof, body)

    return router


def statements_router(statements: ScopeStatements) -> APIRouter:
    """What a device brings to the custody of subject keys."""
    router = APIRouter(tags=["enrolment"])

    @router.post(STATEMENT_PATH)
    async def state(request: Request, proof: DeviceProof) -> SignedStatement:
        """The ledger's word on what the technician's device holds, good for some minutes."""
        body = await request.body()
        return await statements.state(_signed_body(StatementRequest, body), proof, body)

    return router


def time_router(keys: KeyRing, real_clock: Clock) -> APIRouter:
    """The server's time, for devices whose clock is wrong, and the keys that sign it."""
    router = APIRouter(prefix="/v1", tags=["enrolment"])

    @router.get("/time", dependencies=[PUBLIC])
    async def time(nonce: Annotated[str, Query(pattern=NONCE_PATTERN)]) -> TimeAnswer:
        """Real time, signed by the ledger key for this nonce."""
        return sign_time(nonce, real_clock(), keys.ledger.signing)

    @router.get("/keys", dependencies=[PUBLIC])
    async def server_keys() -> tuple[TrustedKey, ...]:
        """The server's keys, each with the root's word on it, and on ledger keys that have ended."""
        return keys.certificates

    return router


def ledger_router(pool: Pool, checkpoints: Checkpoints, tree: AgencyTree) -> APIRouter:
    """What auditors read of the ledger: of the caller's agencies, and all below them."""
    router = APIRouter(prefix="/v1", tags=["ledger"])

    @router.get("/rejects")
    async def list_rejects(who: Overseer, subject: Annotated[str | None, Query(max_length=100)] = None) -> dict[str, Any]:
        """What was set aside as unsigned or misplaced: counts, and the newest samples without their bytes."""
        agencies = listed(await tree.reach(who))
        async with pool.acquire() as connection:
            return {
                "counts": await rejects.counts(connection, agencies=agencies),
                "samples": await rejects.listed(connection, agencies=agencies, subject=subject),
            }

    @router.get("/ledger/{author}")
    async def mark(author: Id, caller: Auditor) -> dict[str, Any]:
        """How far an author's chain goes, and what it waits for; of an agency's authors to its people and those above."""
        row = await pool.fetchrow(
            """
            SELECT author, kind, agency, device, shard, mark, encode(head_hash, 'hex') AS head_sha256, revoked_at_ms,
                stopped_seq, stopped_code, stopped_message, gap_at_ms, stray_refusals
            FROM authors WHERE author = $1
            """,
            author,
        )
        reach = await tree.reach(caller)
        if row is None or (reach is not None and row["agency"] not in (None, *reach)):
            raise Problem(INPUT_NOT_FOUND, what="author", id=author)
        return dict(row)

    @router.get("/checkpoints/latest")
    async def latest(_: Auditor, shard: Annotated[int, Query(ge=0, lt=SHARDS_MAX)]) -> dict[str, Any]:
        """The newest checkpoint of a shard: a signed note."""
        checkpoint = await checkpoints.current(pool, shard)
        if checkpoint is None:
            raise Problem(INPUT_NOT_FOUND, what="checkpoint of shard", id=shard)
        return {"shard": shard, "size": checkpoint.size, "root": checkpoint.root.hex(), "note": checkpoint.note}

    return router


def _signed_body(kind: type[M], body: bytes) -> M:
    """The message in a body that a device signed byte for byte. Problem INPUT_INVALID."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as fault:
        raise Problem(INPUT_INVALID, errors=tuple(named_faults(fault.errors()))) from fault


async def _person(request: Request) -> Person | None:
    """The technician whose OIDC token stands in PERSON_HEADER; None without one. Problems of the token, FORBIDDEN."""
    token = request.headers.get(PERSON_HEADER)
    if token is None:
        return None
    verifier: TokenVerifier = request.app.state.verifier
    who = await verifier.verify(token)
    if Role.TECHNICIAN not in who.roles:
        raise Problem(FORBIDDEN, roles=Role.TECHNICIAN)
    return Person(person_id(who.subject), _agencies(who))


def _agencies(who: Principal) -> Reach:
    return None if ALL_AGENCIES in who.agencies else who.agencies
