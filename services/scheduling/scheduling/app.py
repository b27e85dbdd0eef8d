"""The service's wiring, top to bottom: databases, keys, HTTP, the outbox's relay, and the board's subscription.

Nothing here decides. HTTP works as soon as the database does; the broker may come later, and what was decided until then waits
in the outbox.
"""

import asyncio
from typing import Final

import asyncpg
import structlog
from eventsourcing.persistence import OperationalError
from fastapi import FastAPI, Request, Response
from nats.aio.msg import Msg

from scheduling import api, intake_api
from scheduling.board import take_announcement
from scheduling.config import CUSTODY_MIGRATIONS, MIGRATIONS, SERVICE, Settings
from scheduling.custody import api as custody_api
from scheduling.custody import device_api
from scheduling.custody.erasure import Erasure
from scheduling.custody.journal import deletions
from scheduling.custody.vault import Vault
from scheduling.desk import Desk
from scheduling.ids import random_uuid7
from scheduling.keys import Keyring
from scheduling.planning import Policy
from zb_chassis import access_log, inbox, lifecycle, logs, outbox, telemetry
from zb_chassis.claims import Credentials
from zb_chassis.clock import clock_of
from zb_chassis.consuming import Subscription
from zb_chassis.database import Pool, is_ready, open_pool, transaction, waited_out
from zb_chassis.devices import Devices, DeviceSigner
from zb_chassis.http import application, problem_response
from zb_chassis.identity import TokenVerifier
from zb_chassis.messaging import Hears, Messaging
from zb_chassis.migrate import upgrade
from zb_contracts.problems import UNAVAILABLE, Problem
from zb_contracts.segment import MESSAGE_ID_HEADER
from zb_contracts.subjects import DEADLETTER, INTERVENTIONS, OFFICE, REFERENCE

PASSING: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    OperationalError,
    OSError,
)
"""What the database may raise that a later try can mend; the transaction left nothing behind."""
OUTBOX_KEPT_S: Final = (OFFICE.max_age_s + 86_400.0) * 2
"""Longer than the broker keeps segments, so that a rewound ledger could still be given them."""
INBOX_KEPT_S: Final = INTERVENTIONS.max_age_s + 86_400.0
"""Longer than the broker could deliver an announcement again."""
HOUSEKEEPING_S: Final = 3_600.0
STATES_AT_ONCE: Final = 16
NEEDED: Final = (INTERVENTIONS, OFFICE, DEADLETTER)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM. Raises what keeps the service from starting, with a sentence that says what to do."""
    logs.configure(SERVICE, form=settings.log_format, level=settings.log_level)
    telemetry.configure(SERVICE)
    keyring, devices = Keyring(settings.keys_dir), Devices(DeviceSigner.read(settings.keys_dir))
    credentials = Credentials.read(settings.nats_creds)
    pool = await open_pool(settings.database_url, application_name=SERVICE)
    keys = await open_pool(settings.custody_url, application_name=f"{SERVICE}-custody")
    try:
        await upgrade(settings.database_url, MIGRATIONS)
        await upgrade(settings.custody_url, CUSTODY_MIGRATIONS)
        vault = Vault(keys, keyring.subjects_master, deletions(settings.data_dir), random_uuid7)
        # Before anybody can ask: the database may be an older one than the last deletion.
        if lived := await vault.forget_again():
            structlog.get_logger().warning("keys that had been destroyed were destroyed again", keys=lived)
        desk = Desk(pool, keyring, clock_of(settings.clock_file), random_uuid7, vault)
        app = build(desk, settings.policy, TokenVerifier(settings.oidc_issuer, settings.oidc_audience), devices)
        messages = Messaging(SERVICE, settings.nats_url, credentials, pool, [REFERENCE], NEEDED, hears(pool))

        async def housekeeping(stop: asyncio.Event) -> None:
            await keep_house(pool, stop)

        tasks: dict[str, lifecycle.Task] = {
            "messages": messages.run,
            "housekeeping": housekeeping,
            "custody": Erasure(desk).keep,
            "access-log": lambda stop: access_log.forget_old(pool, desk.clock, days=settings.access_log_days, stop=stop),
        }
        await lifecycle.serve(app, settings.http_host, settings.http_port, tasks)
    finally:
        await pool.close()
        await keys.close()


def build(desk: Desk, policy: Policy, verifier: TokenVerifier, devices: Devices) -> FastAPI:
    """The HTTP application."""

    async def ready() -> None:
        if not await is_ready(desk.pool):
            raise Problem(UNAVAILABLE, what="the database")

    routers = [
        api.router(desk, policy),
        intake_api.router(desk),
        custody_api.router(desk),
        device_api.router(desk, devices),
        access_log.router(desk.pool, desk.clock),
    ]
    app = application("Zone Blanche scheduling", routers, ready=ready)
    app.state.verifier = verifier
    for fault in PASSING:
        app.add_exception_handler(fault, _unavailable)
    return app


async def _unavailable(request: Request, fault: Exception) -> Response:
    """The database is away, or another command of the agency took too long: the same request may work later."""
    structlog.get_logger().warning("database not available", path=request.url.path, fault=type(fault).__name__)
    return problem_response(UNAVAILABLE, UNAVAILABLE.message.format(what="the database"))


def hears(pool: Pool) -> Hears:
    """The one subscription: merged states of interventions, for the board."""

    async def on_state(message: Msg) -> None:
        meta = message.metadata
        message_id = (message.headers or {}).get(MESSAGE_ID_HEADER) or f"{meta.stream}:{meta.sequence.stream}"
        await take_announcement(pool, message_id, message.data)

    return [(Subscription(INTERVENTIONS, SERVICE, batch_max=STATES_AT_ONCE), on_state)]


async def keep_house(pool: Pool, stop: asyncio.Event) -> None:
    """Forget old sent messages and old marks, now and then."""
    while not stop.is_set():
        async with waited_out("housekeeping"), transaction(pool) as connection:
            await outbox.prune(connection, older_than_s=OUTBOX_KEPT_S)
            await inbox.prune(connection, older_than_s=INBOX_KEPT_S)
        await lifecycle.unless(stop, asyncio.sleep(HOUSEKEEPING_S))
