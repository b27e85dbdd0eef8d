"""Hears the office's reference data for as long as the projection runs: catalogues go into scopes.

The stream is scheduling's. A ledger whose office does not run yet projects all the same, so it is waited for without an end.
What a publication becomes is `catalogues`' matter.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from nats.js import JetStreamContext

from field_ingest.projection.catalogues import READER, hears
from zb_chassis import lifecycle
from zb_chassis.broker import Watch
from zb_chassis.claims import Credentials
from zb_chassis.consuming import DeadLetters
from zb_chassis.database import Pool
from zb_chassis.messaging import subscribe
from zb_chassis.streams import StreamMissing, wait_for_streams
from zb_chassis.subscriber import faststream_broker
from zb_contracts.subjects import REFERENCE

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReferenceReader:
    """Reads REFERENCE, under the service's durable, whichever process it is in."""

    pool: Pool
    url: str
    credentials: Credentials
    jetstream: JetStreamContext

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; raises BrokerLost when its connection is gone for good."""
        await lifecycle.unless(stop, self._stream())
        if stop.is_set():
            return
        watch = Watch(f"{READER}-reference")
        subscriber = faststream_broker(self.url, self.credentials, watch)
        heard = hears(self.pool)
        try:
            subscribe(subscriber, heard, DeadLetters(self.jetstream, READER))
            for subscription, _ in heard:
                await subscription.prepare(self.jetstream)
            await subscriber.start()
            await lifecycle.unless(stop, watch.lost())
        finally:
            watch.stopping = True
            await subscriber.stop()

    async def _stream(self) -> None:
        while True:
            try:
                await wait_for_streams(self.jetstream, [REFERENCE])
            except StreamMissing as fault:
                log.warning("no catalogues yet", fault=str(fault))
            else:
                return
