"""FastStream's broker on our connection: the same credentials, the same patience and the same alarms as broker.py's.

A module of its own, because FastStream is half a second of a program's start, and most programs only connect.
"""

from collections.abc import Sequence
from typing import Any

from faststream.nats import NatsBroker
from faststream.nats.security import NatsCredentials
from nats.aio.client import Client

from zb_chassis.broker import GRACEFUL_TIMEOUT_S, StrictClient, Watch, patience
from zb_chassis.claims import Credentials


def faststream_broker(
    url: str, credentials: Credentials, watch: Watch, *, middlewares: Sequence[Any] = (), **options: Any
) -> NatsBroker:
    """A FastStream broker, not connected yet, with the same patience; `options` are NatsBroker's own."""
    return _StrictBroker(
        url,
        security=NatsCredentials.from_raw(credentials.text()),
        graceful_timeout=GRACEFUL_TIMEOUT_S,
        middlewares=middlewares,
        logger=None,
        decoder=undecoded,
        **patience(credentials.name, watch),
        **options,
    )


async def undecoded(message: Any) -> Any:
    """The body as it came. FastStream would decode before a handler runs, and a body that is no JSON could then never be
    settled."""
    return message.body


class _StrictBroker(NatsBroker):
    """FastStream's broker on a StrictClient: its own would make nats-py's."""

    async def _connect(self) -> Client:
        client = StrictClient()
        await client.connect(**self._connection_kwargs)
        self.config.connect(client)
        return client
