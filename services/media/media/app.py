"""Wiring of media, read from top to bottom: database, files, HTTP, the reader of merged states, the relay, the sweeper.

HTTP answers from the first moment; what needs the broker waits for it, whatever starts first. It holds no rule.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog
from fastapi import FastAPI
from nats.aio.msg import Msg

from media import api, evidence, tus
from media.config import MIGRATIONS, SERVICE, Settings
from media.erasures import Erasures, erasures
from media.files import FileStore
from media.handovers import Handovers
from media.uploads import Uploads
from zb_chassis import access_log, http, lifecycle, outbox
from zb_chassis.claims import Credentials
from zb_chassis.clock import Clock, clock_of, system_clock
from zb_chassis.consuming import Subscription
from zb_chassis.database import Pool, is_ready, open_pool, transaction, waited_out
from zb_chassis.devices import Devices, DeviceSigner
from zb_chassis.identity import TokenVerifier
from zb_chassis.messaging import Hears, Messaging
from zb_chassis.migrate import CHASSIS_MIGRATIONS, upgrade
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.subjects import DEADLETTER, EVIDENCE, INTERVENTIONS, REFERENCE

TITLE: Final = "Zone Blanche media"
SWEEP_INTERVAL_S: Final = 600.0
OUTBOX_KEPT_S: Final = EVIDENCE.max_age_s + 86_400.0
"""Longer than the stream keeps what was sent: one that the broker lost is told again."""
STATES_AT_ONCE: Final = 16
NEEDED: Final = (INTERVENTIONS, REFERENCE, DEADLETTER)

log: Final = structlog.get_logger(__name__)


async def migrate(settings: Settings) -> list[str]:
    """Bring the database up to date; returns the migrations that were applied."""
    return await upgrade(settings.database_url, [CHASSIS_MIGRATIONS, MIGRATIONS])


async def serve(settings: Settings) -> None:
    """Run until SIGTERM."""
    devices = Devices(DeviceSigner.read(settings.keys_dir))
    handovers = Handovers.read(settings.keys_dir, system_clock)
    credentials = Credentials.read(settings.nats_creds)
    clock = clock_of(settings.clock_file)
    await migrate(settings)
    pool = await open_pool(settings.database_url, application_name=SERVICE)
    try:
        files = FileStore(settings.files_dir)
        uploads = Uploads(pool, files, settings.limits, handovers, clock)
        erasing = Erasures(pool, files, erasures(settings.data_dir), clock)
        # Before anybody can ask: database and files may be older than the last erasure.
        await erasing.again()
        messages = Messaging(SERVICE, settings.nats_url, credentials, pool, [EVIDENCE], NEEDED, hears(pool, clock, erasing))
        app = application(settings, pool, files, uploads, erasing, devices, clock, messages.ready)
        tasks = {
            "messages": messages.run,
            "sweeper": sweeper(uploads, erasing, pool),
            "access-log": lambda stop: access_log.forget_old(pool, clock, days=settings.access_log_days, stop=stop),
        }
        await lifecycle.serve(app, settings.http_host, settings.http_port, tasks)
    finally:
        await pool.close()


def application(
    settings: Settings,
    pool: Pool,
    files: FileStore,
    uploads: Uploads,
    erasing: Erasures,
    devices: Devices,
    clock: Clock,
    ready: Callable[[], Awaitable[None]],
) -> FastAPI:
    """The HTTP application."""

    async def both_ready() -> None:
        if not await is_ready(pool):
            raise RuntimeError("the database does not answer")
        await ready()

    routers = [tus.router(uploads, devices), api.router(pool, files, erasing, clock), access_log.router(pool, clock)]
    app = http.application(TITLE, routers, ready=both_ready)
    app.state.verifier = TokenVerifier(settings.oidc_issuer, settings.oidc_audience)
    return app


def hears(pool: Pool, clock: Clock, erasing: Erasures) -> Hears:
    """Merged states of interventions; of reference data, which pictures are erased."""

    async def on_state(message: Msg) -> None:
        announced = InterventionAnnounced.model_validate_json(message.data)
        async with transaction(pool) as connection:
            await evidence.state_announced(connection, announced, clock())

    async def on_reference(message: Msg) -> None:
        await erasing.announced((message.headers or {}).get("ce-type", ""), message.data)

    return [
        (Subscription(INTERVENTIONS, SERVICE, batch_max=STATES_AT_ONCE), on_state),
        (Subscription(REFERENCE, SERVICE, batch_max=STATES_AT_ONCE), on_reference),
    ]


def sweeper(uploads: Uploads, erasing: Erasures, pool: Pool) -> lifecycle.Task:
    """Drops expired uploads, what was erased, and old sent messages, now and then."""

    async def run(stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with waited_out("sweeping"):
                while await uploads.sweep():
                    log.info("expired uploads dropped")
                await erasing.again()
                async with transaction(pool) as connection:
                    await outbox.prune(connection, older_than_s=OUTBOX_KEPT_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SWEEP_INTERVAL_S)

    return run
