"""Wiring of the billing bridge, read from top to bottom: database, batches, delivery, HTTP, what it hears, the relay.

HTTP answers from the first moment; what needs the broker waits for it, whatever starts first. It holds no rule.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from fastapi import FastAPI
from faststream.nats import NatsBroker, NatsMessage
from nats.aio.msg import Msg

from billing_bridge import api, collect
from billing_bridge.authoring import random_uuid7, read_key
from billing_bridge.batches import Batches
from billing_bridge.config import MIGRATIONS, SERVICE, Settings
from billing_bridge.delivery import Delivery
from zb_chassis import broker as brokers
from zb_chassis import http, lifecycle, outbox
from zb_chassis.claims import Credentials
from zb_chassis.clock import clock_of
from zb_chassis.consuming import DeadLetters, Handler, Subscription, handle_bounded
from zb_chassis.database import Connection, Pool, is_ready, open_pool, transaction
from zb_chassis.identity import TokenVerifier
from zb_chassis.migrate import CHASSIS_MIGRATIONS, upgrade
from zb_chassis.relay import Relay
from zb_chassis.streams import ensure_streams, wait_for_streams
from zb_chassis.telemetry import continued
from zb_contracts.subjects import BILLING, DEADLETTER, EVIDENCE, INTERVENTIONS, OFFICE, REFERENCE, StreamSpec

TITLE: Final = "Zone Blanche billing bridge"
DELIVERY_INTERVAL_S: Final = 60.0
OUTBOX_KEPT_S: Final = 7 * 86_400.0
MESSAGES_AT_ONCE: Final = 16
Collect = Callable[[Connection, Msg], Awaitable[None]]


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
        messages = Messages(settings.nats_url, credentials, pool)
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


def openapi() -> dict[str, Any]:
    """The OpenAPI document: of the routes alone, nothing stands behind them."""
    nothing: Any = None
    return http.application(TITLE, [api.making(nothing, nothing, nothing), api.reading(nothing)], ready=nothing).openapi()


class Messages:
    """What the bridge reads from the broker and tells it."""

    def __init__(self, url: str, credentials: Credentials, pool: Pool) -> None:
        self._url = url
        self._credentials = credentials
        self._pool = pool
        self._running = False

    async def ready(self) -> None:
        """Returns when messages are read; raises RuntimeError else."""
        if not self._running:
            raise RuntimeError("the broker is not connected yet")

    async def run(self, stop: asyncio.Event) -> None:
        """Read and relay until `stop`; raises when the broker closes the connection for good."""
        watch, reading = brokers.Watch(SERVICE), brokers.Watch(SERVICE)
        client = await brokers.connect(self._url, self._credentials, watch)
        broker = brokers.faststream_broker(self._url, self._credentials, reading)
        try:
            jetstream = client.jetstream()
            await ensure_streams(jetstream, [BILLING])
            await wait_for_streams(jetstream, [INTERVENTIONS, EVIDENCE, REFERENCE, OFFICE, DEADLETTER])
            for subscription in subscribe(broker, self._pool, DeadLetters(jetstream, SERVICE)):
                await subscription.prepare(jetstream)
            await broker.start()
            self._running = True
            relay = asyncio.create_task(Relay(self._pool, jetstream).run(stop))
            await _first(relay, asyncio.create_task(watch.lost()), asyncio.create_task(reading.lost()))
        finally:
            self._running = False
            watch.stopping = reading.stopping = True
            await broker.stop()
            await client.close()


def subscribe(broker: NatsBroker, pool: Pool, letters: DeadLetters) -> list[Subscription]:
    """The three subscriptions: merged states, evidence, reference data."""

    async def on_state(connection: Connection, message: Msg) -> None:
        await collect.state_announced(connection, message.data)

    async def on_evidence(connection: Connection, message: Msg) -> None:
        await collect.evidence_announced(connection, message.data)

    async def on_reference(connection: Connection, message: Msg) -> None:
        await collect.reference_published(connection, (message.headers or {}).get("ce-type", ""), message.data)

    wanted: tuple[tuple[StreamSpec, Collect], ...] = (
        (INTERVENTIONS, on_state),
        (EVIDENCE, on_evidence),
        (REFERENCE, on_reference),
    )
    return [_subscribe(broker, pool, letters, stream, take) for stream, take in wanted]


def _subscribe(broker: NatsBroker, pool: Pool, letters: DeadLetters, stream: StreamSpec, take: Collect) -> Subscription:
    async def in_transaction(message: Msg) -> None:
        async with transaction(pool) as connection:
            await take(connection, message)

    handle: Handler = in_transaction

    async def on_message(message: NatsMessage) -> None:
        raw = message.raw_message
        assert isinstance(raw, Msg)
        with continued(f"{stream.name} heard", raw.headers):
            await handle_bounded(raw, handle, letters)

    subscription = Subscription(stream, SERVICE, batch_max=MESSAGES_AT_ONCE)
    subscription.on(broker)(on_message)
    return subscription


def deliverer(delivery: Delivery, pool: Pool) -> lifecycle.Task:
    """Delivers what a crash or a full disk left behind, at the start and then now and then; forgets old sent messages."""

    async def run(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await delivery.deliver_waiting()
            async with transaction(pool) as connection:
                await outbox.prune(connection, older_than_s=OUTBOX_KEPT_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), DELIVERY_INTERVAL_S)

    return run


async def _first(*tasks: asyncio.Task[None]) -> None:
    """Waits until one of them ends, ends the others, and raises what it raised."""
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        task.result()
