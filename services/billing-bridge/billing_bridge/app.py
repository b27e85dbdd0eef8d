"""Wiring of the billing bridge, read from top to bottom: database, batches, delivery, HTTP, what it hears, the relay.

HTTP answers from the first moment; what needs the broker waits for it, whatever starts first. It holds no rule.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from fastapi import FastAPI
from nats.aio.msg import Msg

from billing_bridge import api, collect
from billing_bridge.authoring import random_uuid7, read_key
from billing_bridge.batches import Batches
from billing_bridge.config import MIGRATIONS, SERVICE, Settings
from billing_bridge.delivery import Delivery
from zb_chassis import http, lifecycle, outbox
from zb_chassis.claims import Credentials
from zb_chassis.clock import clock_of
from zb_chassis.consuming import Subscription
from zb_chassis.database import Pool, is_ready, open_pool, transaction, waited_out
from zb_chassis.identity import TokenVerifier
from zb_chassis.messaging import Hears, Messaging
from zb_chassis.migrate import CHASSIS_MIGRATIONS, upgrade
from zb_contracts.subjects import BILLING, DEADLETTER, EVIDENCE, INTERVENTIONS, OFFICE, REFERENCE

TITLE: Final = "Zone Blanche billing bridge"
DELIVERY_INTERVAL_S: Final = 60.0
OUTBOX_KEPT_S: Final = BILLING.max_age_s + 86_400.0
"""Longer than any stream keeps what was sent: one that the broker lost is told again."""
MESSAGES_AT_ONCE: Final = 16
NEEDED: Final = (INTERVENTIONS, EVIDENCE, REFERENCE, OFFICE, DEADLETTER)


async def migrate(settings: Settings) -> list[str]:
    """Bring the database up to date; returns the migrations that were applied."""
    return await upgrade(settings.database_url, [CHASSIS_MIGRATIONS, MIGRATIONS])


async def serve(settings: Settings) -> None:
    """Run until SIGTERM."""
    key = read_key(settings.keys_dir)
    credentials = Credentials.read(settings.nats_creds)
    clock = clock_of(settings.clock_file)
    await migrate(settings)
    pool = await open_pool(settings.database_url, application_name=SERVICE)
    try:
        batches = Batches(pool, key, clock, random_uuid7)
        delivery = Delivery(pool, settings.delivery_dir, clock)
        messages = Messaging(SERVICE, settings.nats_url, credentials, pool, [BILLING], NEEDED, hears(pool))
        app = application(settings, pool, batches, delivery, messages.ready)
        tasks = {"messages": messages.run, "deliverer": deliverer(delivery, pool)}
        await lifecycle.serve(app, settings.http_host, settings.http_port, tasks)
    finally:
        await pool.close()


def application(
    settings: Settings, pool: Pool, batches: Batches, delivery: Delivery, ready: Callable[[], Awaitable[None]]
) -> FastAPI:
    """The HTTP application."""

    async def both_ready() -> None:
        if not await is_ready(pool):
            raise RuntimeError("the database does not answer")
        await ready()

    app = http.application(TITLE, [api.making(pool, batches, delivery), api.reading(pool)], ready=both_ready)
    app.state.verifier = TokenVerifier(settings.oidc_issuer, settings.oidc_audience)
    return app


def hears(pool: Pool) -> Hears:
    """The three subscriptions: merged states, evidence, reference data."""

    async def on_state(message: Msg) -> None:
        async with transaction(pool) as connection:
            await collect.state_announced(connection, message.data)

    async def on_evidence(message: Msg) -> None:
        async with transaction(pool) as connection:
            await collect.evidence_announced(connection, message.data)

    async def on_reference(message: Msg) -> None:
        async with transaction(pool) as connection:
            await collect.reference_published(connection, (message.headers or {}).get("ce-type", ""), message.data)

    return [
        (Subscription(stream, SERVICE, batch_max=MESSAGES_AT_ONCE), handle)
        for stream, handle in ((INTERVENTIONS, on_state), (EVIDENCE, on_evidence), (REFERENCE, on_reference))
    ]


def deliverer(delivery: Delivery, pool: Pool) -> lifecycle.Task:
    """Delivers what a crash or a full disk left behind, at the start and then now and then; forgets old sent messages."""

    async def run(stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with waited_out("deliveries"):
                await delivery.deliver_waiting()
                async with transaction(pool) as connection:
                    await outbox.prune(connection, older_than_s=OUTBOX_KEPT_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), DELIVERY_INTERVAL_S)

    return run
