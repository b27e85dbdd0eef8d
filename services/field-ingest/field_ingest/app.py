"""Wiring of field-ingest, read from top to bottom: what a process of these roles consists of, and how it starts and stops.

Roles: `api` (HTTP), `admission` (FIELD and OFFICE to the ledger), `projector` (ledger to states, scope, announcements), `sync`
(answers to devices). One process may have all; each can have its own, any number of them.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import structlog
from fastapi import FastAPI
from nats.aio.client import Client

from field_ingest import api
from field_ingest.admission.admitting import Admission
from field_ingest.admission.depots import Stores
from field_ingest.admission.flood import FloodWatch
from field_ingest.admission.intake import ACK_WAIT_S, Intake
from field_ingest.admission.routing import prepare_consumers, prepare_streams, readings
from field_ingest.admission.verification import Verifier
from field_ingest.audit import dossier_api, reading_api
from field_ingest.backlog import Backlog
from field_ingest.config import MIGRATIONS, SERVICE, Settings
from field_ingest.devices.acts import Fleet
from field_ingest.devices.agencies import AgencyTree
from field_ingest.devices.codes import Codes
from field_ingest.devices.counts import FleetCounts
from field_ingest.devices.enrolment import Enrolment
from field_ingest.devices.fleet_api import INVITATIONS_PATH, Desk, fleet_router
from field_ingest.devices.handovers import Handovers
from field_ingest.devices.holds import Holds
from field_ingest.devices.incarnations import Incarnations
from field_ingest.devices.invitations import INVITATIONS_BYTES_MAX
from field_ingest.devices.registration import Registration
from field_ingest.devices.scope_statements import ScopeStatements
from field_ingest.devices.suspensions import Suspensions
from field_ingest.devices.tokens import Tokens
from field_ingest.housekeeping import keep_house
from field_ingest.ids import uuid7
from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.checkpoints import Checkpoints
from field_ingest.ledger.founding import found
from field_ingest.ledger.healing import after_lost_streams, rewind
from field_ingest.ledger.key_watch import KeyWatch
from field_ingest.ledger.keyring import KeyRing, read_keys
from field_ingest.ledger.postgres import PostgresLedger
from field_ingest.ledger.shards import chosen
from field_ingest.ledger.signing import LedgerAuthor
from field_ingest.projection.folding import Folds
from field_ingest.projection.hints import Hints
from field_ingest.projection.projecting import Following, Projection
from field_ingest.projection.projector import Projector
from field_ingest.projection.reference import ReferenceReader
from field_ingest.projection.scoping import Scopes
from field_ingest.projection.store import PostgresReadStore
from field_ingest.proof.log_api import log_router
from field_ingest.proof.witnessing import Witnessing, read_witnesses
from field_ingest.sync.arrivals import Arrivals
from field_ingest.sync.responder import SyncResponder
from field_ingest.sync.store import PostgresSyncStore
from field_ingest.sync.subscriber import SESSIONS_MAX, SyncSubscriber
from zb_chassis import access_log, broker, lifecycle, logs, migrate, telemetry
from zb_chassis.claims import Credentials
from zb_chassis.clock import Clock, clock_of, system_clock
from zb_chassis.consuming import DeadLetters, Subscription
from zb_chassis.database import Pool, is_ready, open_pool
from zb_chassis.http import application
from zb_chassis.identity import TokenVerifier
from zb_chassis.lifecycle import Task
from zb_chassis.relay import Relay
from zb_chassis.retelling import tell_again
from zb_chassis.subscriber import faststream_broker
from zb_contracts.problems import UNAVAILABLE, Problem
from zb_contracts.subjects import INTERVENTIONS

BODY_BYTES_MAX: Final = 64 * 1024
"""Of an HTTP request: enrolment and sessions are asked for by strangers, and nothing that they ask is larger."""

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every role of a process shares."""

    settings: Settings
    keys: KeyRing
    pool: Pool
    clock: Clock
    signer: LedgerAuthor
    checkpoints: Checkpoints


async def run(settings: Settings, roles: frozenset[str]) -> None:
    """Serve these roles until SIGTERM. Raises with a sentence when it cannot start."""
    logs.configure(SERVICE, form=settings.log_format, level=settings.log_level)
    telemetry.configure(SERVICE)
    keys = read_keys(settings.keys_dir)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.database_url, application_name=SERVICE)
        stack.push_async_callback(pool.close)
        parts = await started(settings, keys, pool)
        app = build(parts, roles)
        tasks: dict[str, Task] = {"keys": KeyWatch(settings.keys_dir, keys.ledger).run}
        tasks |= {role: task for role, task in _tasks(parts, stack).items() if role in roles}
        await lifecycle.serve(app, settings.http_host, settings.http_port, tasks)


async def started(settings: Settings, keys: KeyRing, pool: Pool) -> Parts:
    """Check the ledger against what it published, found what is missing. Raises LedgerBehind, NoKeyInForce, founding's."""
    log.info("the ledger signs", kid=keys.ledger.signing.kid, certificates=len(keys.ledger.certificates))
    clock = clock_of(settings.clock_file)
    signer = LedgerAuthor(keys.ingest, clock)
    checkpoints = Checkpoints(keys.ledger, settings.data_dir, clock)
    async with pool.acquire() as connection:
        await checkpoints.check_start(connection)
    await found(pool, shards=settings.shards, log_name=settings.log_name, authors=keys.authors, signer=signer, clock=clock)
    return Parts(settings, keys, pool, clock, signer, checkpoints)


def build(parts: Parts, roles: frozenset[str]) -> FastAPI:
    """The HTTP application: health for every process, the endpoints for those with the role `api`."""

    async def ready() -> None:
        if not await is_ready(parts.pool):
            raise Problem(UNAVAILABLE, what="the database")

    settings = parts.settings
    tokens = Tokens(parts.keys, system_clock, hours=settings.token_hours)
    registration = Registration(parts.keys, parts.signer, tokens, shards=settings.shards, clock=parts.clock)
    enrolment = Enrolment(parts.pool, registration, real_clock=system_clock)
    incarnations = Incarnations(parts.pool, registration, tokens, clock=parts.clock, real_clock=system_clock)
    tree = AgencyTree(parts.pool)
    desk = Desk(
        pool=parts.pool,
        tree=tree,
        codes=Codes(parts.pool, system_clock),
        fleet=Fleet(parts.pool, parts.signer, clock=parts.clock, real_clock=system_clock),
        holds=Holds(parts.pool, parts.signer),
        clock=parts.clock,
        real_clock=system_clock,
    )
    routers = [
        api.enrolment_router(parts.pool, enrolment, incarnations, tokens),
        api.time_router(parts.keys, system_clock),
        api.handovers_router(Handovers(parts.pool, tokens, parts.keys, system_clock)),
        api.statements_router(ScopeStatements(parts.pool, tokens, parts.keys, system_clock, settings.custody_url)),
        fleet_router(desk),
        api.ledger_router(parts.pool, parts.checkpoints, tree),
        reading_api.router(parts.pool, parts.clock),
        dossier_api.router(parts.pool, parts.clock),
        access_log.router(parts.pool, parts.clock),
        log_router(parts.pool, parts.checkpoints, parts.keys.ledger),
    ]
    app = application(
        "Zone Blanche field-ingest",
        routers if "api" in roles else [],
        ready=ready,
        body_bytes_max=BODY_BYTES_MAX,
        larger_bodies={INVITATIONS_PATH: INVITATIONS_BYTES_MAX},
    )
    app.state.verifier = TokenVerifier(settings.oidc_issuer, settings.oidc_audience)
    return app


def _tasks(parts: Parts, stack: AsyncExitStack) -> dict[str, Task]:
    """The background task of each role."""

    async def admission(stop: asyncio.Event) -> None:
        verifier = stack.enter_context(Verifier(parts.keys.escrow))
        await _admission(
            parts, Admission(PostgresLedger(parts.pool), verifier, parts.clock, anchors=Anchors(parts.keys.ledger)), stop
        )

    async def projector(stop: asyncio.Event) -> None:
        await _projection(parts, stop)

    async def sync(stop: asyncio.Event) -> None:
        await _sync(parts, stop)

    async def witnesses(stop: asyncio.Event) -> None:
        asked = read_witnesses(parts.settings.witnesses)
        await (Witnessing(parts.pool, parts.checkpoints, asked).run(stop) if asked else stop.wait())

    async def api(stop: asyncio.Event) -> None:
        await access_log.forget_old(parts.pool, parts.clock, days=parts.settings.access_log_days, stop=stop)

    return {"api": api, "admission": admission, "projector": projector, "sync": sync, "witnesses": witnesses}


async def _admission(parts: Parts, admission: Admission, stop: asyncio.Event) -> None:
    """FIELD and OFFICE into the ledger: those shards that are this process'."""
    settings = parts.settings
    credentials = Credentials.read(settings.nats_creds)
    watch = broker.Watch(SERVICE)
    client = await lifecycle.unless(stop, broker.connect(settings.nats_url, credentials, watch))
    if client is None:
        return
    subscriber = faststream_broker(settings.nats_url, credentials, watch)
    mine = chosen(settings.admission_shards, settings.shards)
    log.info("admission begins", shards=mine, of=settings.shards)
    jetstream = client.jetstream()
    floods = FloodWatch(parts.pool, Suspensions(parts.pool, system_clock), settings.flood_limits, system_clock)
    intake = Intake(admission, DeadLetters(jetstream, SERVICE), _readings(settings, mine), noted=floods.note)
    intake.subscribe(subscriber)
    try:
        await prepare_streams(jetstream, settings.shards, settings.depot_names)
        await after_lost_streams(parts.pool, jetstream, parts.clock)
        await rewind(parts.pool, jetstream, _every_reading(settings))
        # Also those of shards that no process admits: what waits there is seen to wait.
        await prepare_consumers(jetstream, _every_reading(settings))
        await subscriber.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(floods.run(stop))
            tasks.create_task(Stores(client, settings.depot_names, parts.clock).run(stop))
            tasks.create_task(_until_lost(watch, stop))
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from faults  # the first one has the sentence; the others were cancelled for it
    finally:
        watch.stopping = True
        await intake.settle()
        await subscriber.stop()
        await client.close()


def _every_reading(settings: Settings) -> list[Subscription]:
    return _readings(settings, range(settings.shards))


def _readings(settings: Settings, shards: Iterable[int]) -> list[Subscription]:
    return readings(shards, batch_max=settings.batch_max, ack_wait_s=ACK_WAIT_S, depots=bool(settings.depot_names))


async def _projection(parts: Parts, stop: asyncio.Event) -> None:
    """The ledger into states, scope and announcements; catalogues; the outbox to the broker; hints to devices."""
    watch = broker.Watch(SERVICE)
    client = await _connected(parts, parts.settings.nats_creds, watch, stop)
    if client is None:
        return
    credentials = Credentials.read(parts.settings.nats_creds)
    try:
        jetstream = client.jetstream()
        await prepare_streams(jetstream, parts.settings.shards, parts.settings.depot_names)
        await tell_again(parts.pool, jetstream, [INTERVENTIONS])
        hints = Hints(client.publish)
        store = PostgresReadStore(parts.pool.acquire)
        limits, clock = parts.settings.scope_limits, parts.clock
        following = Following(parts.pool, Scopes(store, limits=limits, clock=clock, new_epoch=lambda: uuid4().hex), hints)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(parts.settings.projector_workers):
                projector = Projector(store, limits=limits, clock=clock, folds=Folds(parts.settings.folds_kept))
                tasks.create_task(Projection(parts.pool, store, projector, following, worker=uuid4().hex).run(stop))
            tasks.create_task(following.run(stop))
            tasks.create_task(hints.run(stop))
            tasks.create_task(keep_house(parts.pool, clock, stop))
            tasks.create_task(ReferenceReader(parts.pool, parts.settings.nats_url, credentials, jetstream).run(stop))
            tasks.create_task(Backlog(parts.pool, jetstream, _every_reading(parts.settings), clock).run(stop))
            tasks.create_task(FleetCounts(parts.pool, clock, system_clock).run(stop))
            tasks.create_task(Relay(parts.pool, jetstream).run(stop))
            tasks.create_task(_until_lost(watch, stop))
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from faults  # the first one has the sentence; the others were cancelled for it
    finally:
        watch.stopping = True
        await client.close()


async def _sync(parts: Parts, stop: asyncio.Event) -> None:
    """Answers to devices, as the responder's own user."""
    watch = broker.Watch(f"{SERVICE}-sync")
    client = await _connected(parts, parts.settings.nats_sync_creds, watch, stop)
    if client is None:
        return
    try:
        # A pool of its own: an answer leaves nothing behind in a session, and its reset would cost as much as the answer.
        name, size = f"{SERVICE}-sync", SESSIONS_MAX
        opening = open_pool(parts.settings.database_url, application_name=name, size_max=size, keeps_sessions=True)
        async with await opening as pool:
            store, arrivals = PostgresSyncStore(pool, parts.checkpoints), Arrivals(parts.pool)
            responder = SyncResponder(
                store, parts.keys.ledger, clock=parts.clock, new_id=lambda: uuid7(parts.clock()), arrivals=arrivals
            )
            subscriber = SyncSubscriber(client, responder)
            await subscriber.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(arrivals.run(stop))
                tasks.create_task(_until_lost(watch, stop))
            await subscriber.stop()
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from faults
    finally:
        watch.stopping = True
        await client.close()


async def _connected(parts: Parts, creds: Any, watch: broker.Watch, stop: asyncio.Event) -> Client | None:
    return await lifecycle.unless(stop, broker.connect(parts.settings.nats_url, Credentials.read(creds), watch))


async def _until_lost(watch: broker.Watch, stop: asyncio.Event) -> None:
    """Returns when `stop` is set; raises BrokerLost when the connection is gone for good before."""
    await lifecycle.unless(stop, watch.lost())
