"""The warden: tells the broker whose sessions end, from what was noted beside the ledger. A process of its own, because the key
that signs account claims could let anybody in: it holds that key, the system user's credentials and a role that reads cuts.

It decides nothing and remembers nothing: each round compares what is noted with what the broker has, so a restart, a lost claim
or a broker restored from a backup are repaired by the next round.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from field_ingest.devices import cuts
from field_ingest.ledger.keyring import KeysUnusable
from zb_chassis import broker, lifecycle, logs, telemetry
from zb_chassis.claims import ClaimError, Credentials, Kind, Nkey, checked_public
from zb_chassis.database import LOST, Pool, connect, open_pool
from zb_chassis.http import application
from zb_chassis.revocation import REVOCATIONS_MAX, TOKEN_LIFETIME_S_MAX, PushRefused, reconcile
from zb_contracts.problems import UNAVAILABLE, Problem

NAME: Final = "warden"
SIGNER_FILE: Final = "account-signer.seed"
ACCOUNT_FILE: Final = "devices-account.pub"
CHECK_S: Final = 15.0
"""Between two looks at the broker while nothing is noted: how long drift lasts."""
AGAIN_S: Final = 1.0
STALE_AFTER_S: Final = 60.0

PUSHED: Final = Counter("zb_warden_claims_pushed", "Account claims given to the broker")
FAILED: Final = Counter("zb_warden_rounds_failed", "Rounds that did not reach the database or the broker")
HELD: Final = Gauge("zb_warden_revocations", "Revocations in the claim that was pushed last")

NOT_NOW: Final = (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError, NatsError, PushRefused, ClaimError)
"""What a later round may find mended: servers away, tables not made yet, a claim that somebody else is replacing."""

log: Final = structlog.get_logger(__name__)


class Settings(BaseSettings):
    """What the warden is told: nothing that a service has."""

    model_config = SettingsConfigDict(env_prefix="ZB_WARDEN_", frozen=True, extra="ignore")

    database_url: str = Field(repr=False)
    """As a role that may enter field-ingest's database and was granted nothing in it."""
    nats_url: str
    nats_creds: Path
    """Of the system user."""
    keys_dir: Path
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=1, le=65535)
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Warden:
    """One account's revocations. `now_s` is real time in seconds."""

    def __init__(self, pool: Pool, signer: Nkey, account: str, now_s: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._signer = signer
        self._account = account
        self._now_s = now_s
        self._wake = asyncio.Event()
        self._agreed_at_s = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the broker had every cut not long ago."""
        return self._now_s() - self._agreed_at_s < STALE_AFTER_S

    def wake(self, *_: Any) -> None:
        """A cut was noted: do not wait."""
        self._wake.set()

    async def round(self, system: Client) -> bool:
        """Compare and push what is missing; whether anything was. Raises what NOT_NOW lists."""
        now_s = self._now_s()
        wanted = await cuts.newest(self._pool, int(now_s) - TOKEN_LIFETIME_S_MAX, REVOCATIONS_MAX + 1)
        held = await reconcile(system, self._signer, self._account, wanted, now=now_s)
        self._agreed_at_s = now_s
        if held is not None:
            PUSHED.inc()
            HELD.set(held)
            log.info("the broker was told whose sessions end", revocations=held)
        return held is not None

    async def run(self, system: Client, stop: asyncio.Event) -> None:
        """A round for each notice and every CHECK_S, until `stop` is set."""
        while not stop.is_set():
            self._wake.clear()
            pause_s = CHECK_S
            try:
                await self.round(system)
            except NOT_NOW as fault:
                FAILED.inc()
                log.warning("the broker could not be told, it is tried again", error=str(fault) or type(fault).__name__)
                pause_s = AGAIN_S
            with suppress(TimeoutError):
                await asyncio.wait_for(lifecycle.unless(stop, self._wake.wait()), pause_s)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM. KeysUnusable when a key file is missing or damaged."""
    logs.configure(NAME, form=settings.log_format, level=settings.log_level)
    telemetry.configure(NAME)
    signer, account = read_keys(settings.keys_dir)
    credentials = Credentials.read(settings.nats_creds)
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.database_url, application_name=NAME, size_max=2)
        stack.push_async_callback(pool.close)
        warden = Warden(pool, signer, account)

        async def ready() -> None:
            if not warden.agrees:
                raise Problem(UNAVAILABLE, what="the broker or the database")

        async def cutting(stop: asyncio.Event) -> None:
            await _cut(warden, settings.nats_url, credentials, stop)

        async def listening(stop: asyncio.Event) -> None:
            await _listen(warden, settings.database_url, stop)

        app = application("Zone Blanche warden", [], ready=ready)
        await lifecycle.serve(app, settings.http_host, settings.http_port, {"warden": cutting, "listener": listening})


async def _cut(warden: Warden, nats_url: str, credentials: Credentials, stop: asyncio.Event) -> None:
    watch = broker.Watch(NAME)
    system = await lifecycle.unless(stop, broker.connect(nats_url, credentials, watch))
    if system is None:
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(warden.run(system, stop))
            tasks.create_task(lifecycle.unless(stop, watch.lost()))
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from faults  # the first one has the sentence; the other was cancelled for it
    finally:
        watch.stopping = True
        await system.close()


async def _listen(warden: Warden, dsn: str, stop: asyncio.Event) -> None:
    """Wake the warden when a cut is committed. While the connection is lost, its own clock does."""
    while not stop.is_set():
        connection = await lifecycle.unless(stop, connect(dsn, application_name=f"{NAME}-listener"))
        if connection is None:
            return
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _, gone=gone: gone.set())
        try:
            await connection.add_listener(cuts.CHANNEL, warden.wake)
            warden.wake()
            await lifecycle.unless(stop, gone.wait())
        except LOST as fault:
            log.warning("the listener lost the database", error=str(fault))
        finally:
            with suppress(*LOST, asyncpg.InterfaceError):
                await connection.close()


def read_keys(folder: Path) -> tuple[Nkey, str]:
    """The key that signs account claims, and the devices' account. KeysUnusable, naming the file."""
    signer_file, account_file = folder / SIGNER_FILE, folder / ACCOUNT_FILE
    try:
        signer = Nkey.from_seed(signer_file.read_bytes().strip())
        account = checked_public(account_file.read_text("ascii").strip(), Kind.ACCOUNT)
    except OSError as fault:
        raise KeysUnusable(f"the key file {fault.filename} cannot be read: {fault.strerror}") from fault
    except (ClaimError, ValueError) as fault:
        # The message of a parser may quote what it read, which may be a secret.
        raise KeysUnusable(f"a key file of {folder} is damaged: restore it from a backup") from fault
    if signer.kind is not Kind.OPERATOR:
        raise KeysUnusable(f"{signer_file} holds no key that signs accounts: restore it")
    return signer, account
