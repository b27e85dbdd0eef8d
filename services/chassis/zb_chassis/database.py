"""The way into a service's PostgreSQL: a pool whose sessions have named limits, and one transaction a message.

Owns how a connection is made and what a lost or refused one is called. READ COMMITTED is the isolation of every session:
positions come from locked rows, which a snapshot taken before the lock would read stale. It knows no table.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
import msgspec

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

T = TypeVar("T")

STATEMENT_TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 10.0
IDLE_IN_TRANSACTION_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
START_DEADLINE_S = 60.0
RETRY_DELAY_S = 0.25
POOL_SIZE_MAX = 10

# What passes by itself while services and servers start in any order.
NOT_YET = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
)
log = logging.getLogger(__name__)

# What a session may raise when its server goes away under it.
LOST = (OSError, asyncio.TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)


class DatabaseUnreachable(Exception):
    """No usable connection could be had before the deadline; the message names the server, never the password."""


@asynccontextmanager
async def waited_out(what: str) -> AsyncIterator[None]:
    """Round one turn of a task that comes again by itself: a database that is away is told, and the turn is over."""
    try:
        yield
    except LOST as fault:
        log.warning("%s waits for its next turn, the database is away: %s", what, type(fault).__name__)


async def open_pool(
    dsn: str,
    *,
    application_name: str,
    size_max: int = POOL_SIZE_MAX,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    deadline_s: float = START_DEADLINE_S,
    keeps_sessions: bool = False,
) -> Pool:
    """A pool of sessions named `application_name`, with jsonb as Python values; close it with `await pool.close()`.

    `keeps_sessions`: whoever gives a connection back changed nothing of its session (settings, locks, listening), so it is not
    reset, which costs as much as a short query; an open transaction is ended all the same. Tries again until `deadline_s` while
    the server is absent, starting, full, or has not got the database yet. Raises DatabaseUnreachable then, and at once when the
    server refuses the role or password.
    """

    async def attempt() -> Pool:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            init=_prepare_session,
            reset=_leave_as_it_is if keeps_sessions else None,
            server_settings=_session_settings(application_name, statement_timeout_s),
        )

    return await _patiently(dsn, attempt, deadline_s)


async def _leave_as_it_is(_: Any) -> None:
    """In the place of the statement that resets a session."""


async def connect(
    dsn: str, *, application_name: str, deadline_s: float = START_DEADLINE_S
) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection of its own, without time-outs on statements, had as patiently as a pool; the caller closes it."""

    async def attempt() -> "asyncpg.Connection[asyncpg.Record]":
        settings = {"application_name": application_name, "timezone": "UTC"}
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=settings)

    return await _patiently(dsn, attempt, deadline_s)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One READ COMMITTED transaction on a connection of the pool: committed at the end of the block, or not at all."""
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        yield connection


async def is_ready(pool: Pool, *, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
    """True when the database answers a query within `timeout_s`: for readiness probes."""
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await pool.fetchval("SELECT true"))
    except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def _patiently(dsn: str, attempt: Callable[[], Awaitable[T]], deadline_s: float) -> T:
    deadline = asyncio.get_running_loop().time() + deadline_s
    while True:
        try:
            return await attempt()
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
            raise DatabaseUnreachable(f"the database {_place(dsn)} refuses the role or its password") from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseUnreachable(f"the role may not enter the database {_place(dsn)}") from error
        except NOT_YET as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise DatabaseUnreachable(
                    f"the database {_place(dsn)} did not take a connection within {deadline_s:g} s: {_said(error)}"
                ) from error
            await asyncio.sleep(RETRY_DELAY_S)


def _session_settings(application_name: str, statement_timeout_s: float) -> dict[str, str]:
    return {
        "application_name": application_name,
        "default_transaction_isolation": "read committed",
        "statement_timeout": _milliseconds(statement_timeout_s),
        "lock_timeout": _milliseconds(LOCK_TIMEOUT_S),
        "idle_in_transaction_session_timeout": _milliseconds(IDLE_IN_TRANSACTION_TIMEOUT_S),
        "timezone": "UTC",
        "jit": "off",
        # Services look rows up: a plan that was made while a table was small, or without statistics, would read it whole.
        "enable_seqscan": "off",
    }


async def _prepare_session(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _place(dsn: str) -> str:
    """The DSN without its user and password."""
    return dsn.rsplit("@", 1)[-1].split("?", 1)[0].removeprefix("postgresql://")


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
