"""A service's life on the broker: its relay and its subscriptions, from the connection to the drain.

The relay runs as soon as the service's own streams are there; listening waits for the streams of others, so services start in
any order. What a lost stream held of the service's own is told again. It ends the process when the broker closes the connection
for good. What is heard, the service says.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from faststream.nats import NatsBroker, NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from zb_chassis import lifecycle
from zb_chassis.broker import Watch, connect
from zb_chassis.claims import Credentials
from zb_chassis.consuming import DeadLetters, Handler, Subscription, handle_bounded
from zb_chassis.database import Pool
from zb_chassis.relay import Relay, RelayLimits
from zb_chassis.retelling import tell_again
from zb_chassis.streams import ensure_streams, wait_for_streams
from zb_chassis.subscriber import faststream_broker
from zb_chassis.telemetry import continued
from zb_contracts.subjects import StreamSpec

Hears = Sequence[tuple[Subscription, Handler]]
"""What a service hears, and what it does with one message of it; a fault of the handler is a failed try."""

RELAY_LIMITS: Final = RelayLimits(lease_s=6.0, publish_timeout_s=3.0)
"""After a kill -9 the next process publishes once the old lease has run out: people should not wait longer for it."""


@dataclass
class Messaging:
    """`owned` streams are created here, `needed` ones are waited for."""

    service: str
    url: str
    credentials: Credentials
    pool: Pool
    owned: Sequence[StreamSpec]
    needed: Sequence[StreamSpec]
    hears: Hears
    _listening: bool = field(default=False, init=False)

    async def ready(self) -> None:
        """Returns when messages are heard; raises RuntimeError else."""
        if not self._listening:
            raise RuntimeError("the broker is not connected yet")

    async def run(self, stop: asyncio.Event) -> None:
        """Relay and listen until `stop`; raises BrokerLost or BrokerRefused with a sentence."""
        watch, reading = Watch(self.service), Watch(self.service)
        client = await lifecycle.unless(stop, connect(self.url, self.credentials, watch))
        if client is None:
            return
        subscriber = faststream_broker(self.url, self.credentials, reading)
        try:
            await self._until_stopped(client, subscriber, (watch, reading), stop)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group  # one sentence for whoever supervises; the others were ended for it
        finally:
            self._listening = False
            watch.stopping = reading.stopping = True
            await subscriber.stop()
            await client.close()

    async def _until_stopped(self, client: Client, subscriber: NatsBroker, watches: Iterable[Watch], stop: asyncio.Event) -> None:
        jetstream = client.jetstream()
        await ensure_streams(jetstream, self.owned)
        await tell_again(self.pool, jetstream, self.owned)
        async with asyncio.TaskGroup() as tasks:
            ending = [tasks.create_task(watch.lost()) for watch in watches]
            ending.append(tasks.create_task(self._listen(jetstream, subscriber)))
            tasks.create_task(Relay(self.pool, jetstream, limits=RELAY_LIMITS).run(stop))
            await stop.wait()
            for task in ending:
                task.cancel()

    async def _listen(self, jetstream: JetStreamContext, subscriber: NatsBroker) -> None:
        await wait_for_streams(jetstream, self.needed)
        await tell_again(self.pool, jetstream, self.needed)
        subscribe(subscriber, self.hears, DeadLetters(jetstream, self.service))
        for subscription, _ in self.hears:
            await subscription.prepare(jetstream)
        await subscriber.start()
        self._listening = True


def subscribe(broker: NatsBroker, hears: Hears, letters: DeadLetters) -> None:
    """Declare the subscriptions on a broker that is not started yet. Each message is handled within bounded tries."""
    for subscription, handle in hears:
        _subscribe(broker, subscription, handle, letters)


def _subscribe(broker: NatsBroker, subscription: Subscription, handle: Handler, letters: DeadLetters) -> None:
    @subscription.on(broker)  # type: ignore[untyped-decorator]
    async def on_message(message: NatsMessage) -> None:
        raw = message.raw_message
        assert isinstance(raw, Msg)
        with continued(f"{subscription.stream.name} heard", raw.headers):
            await handle_bounded(raw, handle, letters)
