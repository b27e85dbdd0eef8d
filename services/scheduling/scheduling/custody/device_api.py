"""HTTP for devices: the keys of whom their documents speak, and the keys that they made off line.

Each request carries a session and the login key's proof, and is read to its own limit. Which keys are given or taken is decided
in `deliveries` and `deposits`; people's endpoints are in `api`.
"""

from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError

from scheduling.custody.deliveries import Deliveries
from scheduling.custody.deposits import Deposits
from scheduling.desk import Desk
from zb_chassis.clock import system_clock
from zb_chassis.devices import Devices, DeviceSession
from zb_chassis.devices import Request as DeviceRequest
from zb_chassis.http import named_faults, stated
from zb_contracts.faults import CryptoFault
from zb_contracts.problems import INPUT_INVALID, INPUT_TOO_LARGE, STATEMENT_REFUSED, Problem
from zb_contracts.subject_keys import (
    DEPOSITS_PATH,
    KEYS_PATH,
    DepositAnswer,
    DepositRequest,
    KeysAnswer,
    KeysRequest,
    ScopeStatement,
    read_statement,
)

BODY_BYTES_MAX: Final = 1 << 20
M = TypeVar("M", bound=BaseModel)


def router(desk: Desk, devices: Devices) -> APIRouter:
    """The two exchanges."""
    routes = APIRouter(tags=["devices"])
    deliveries = Deliveries(desk.vault, desk.pool)
    deposits = Deposits(desk.vault, desk.pool, desk.keyring.custody)

    async def proven(request: Request) -> DeviceSession:
        devices.token(request.headers)  # before anything of a stranger's body is read
        body = await request.body()
        if len(body) > BODY_BYTES_MAX:
            raise Problem(INPUT_TOO_LARGE, limit=BODY_BYTES_MAX)
        return devices.session(DeviceRequest(request.method, request.url.path, request.headers, body))

    Session = Annotated[DeviceSession, Depends(stated("device", proven))]

    @routes.post(KEYS_PATH)
    async def exchange(request: Request, session: Session) -> KeysAnswer:
        """The keys that the device lacks, each in a box for its wrap key, and the names of those that it has to forget."""
        asked = _body(KeysRequest, await request.body())
        statement = _believed(desk, session, asked)
        return await deliveries.answer(statement, asked.held, desk.clock())

    @routes.post(DEPOSITS_PATH)
    async def deposit(request: Request, session: Session) -> DepositAnswer:
        """Keep keys that the device made. What is refused is named, the others are kept."""
        asked = _body(DepositRequest, await request.body())
        return await deposits.take(session, asked.deposits, desk.clock())

    return routes


def _believed(desk: Desk, session: DeviceSession, asked: KeysRequest) -> ScopeStatement:
    """What the ledger states of this session's device, in real time. Problem STATEMENT_REFUSED."""
    now_ms = system_clock()
    try:
        statement = read_statement(asked.statement, desk.keyring.ledger_keys(now_ms), now_ms)
    except CryptoFault as fault:
        raise Problem(STATEMENT_REFUSED, reason=str(fault)) from fault
    if (statement.device, statement.technician) != (session.device, session.technician):
        raise Problem(STATEMENT_REFUSED, reason="it is about another device or technician than the session")
    return statement


def _body(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as fault:
        raise Problem(INPUT_INVALID, errors=tuple(named_faults(fault.errors()))) from fault
