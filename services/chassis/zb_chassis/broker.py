"""Connections to the broker: nats-py with credentials, with patience and with alarms. FastStream's are made in subscriber.py.

Owns connecting, reconnecting for ever and naming a refusal, and keeps what strangers write in headers from steering the
client. It creates no stream (streams.py) and acknowledges nothing (consuming.py).
"""

import asyncio
import re
from typing import Any, Final

import structlog
from nats import errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import Header

from zb_chassis.claims import Credentials

CONNECT_TIMEOUT_S: Final = 5
RECONNECT_WAIT_S: Final = 1
PENDING_BYTES_MAX: Final = 8 << 20
"""What a client keeps for sending while it reconnects; a publish beyond it fails instead of filling the memory."""
GRACEFUL_TIMEOUT_S: Final = 15.0

_REFUSALS: Final = ("authorization violation", "authentication expired", "authentication revoked", "account expired")

_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")

log: Final = structlog.get_logger(__name__)


class BrokerRefused(ConnectionError):
    """The broker does not accept these credentials: trying again will not help."""


class BrokerLost(ConnectionError):
    """The connection was closed for good by the broker; the process should end and be started again."""


class Watch:
    """The callbacks of one connection: errors to the log, a refusal or a final close to whoever waits for it."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.connecting = False
        """While true a refusal is raised out of the attempt; afterwards it can only be logged, and ends in `lost`."""
        self.stopping = False
        self.client: Client | None = None
        """The connection, once there is one: it knows why it was closed where no callback was told."""
        self._closed = asyncio.Event()
        self._last = ""

    async def on_error(self, error: Exception) -> None:
        """nats-py's error callback. A refused publish is known only here: to its caller it is a time-out."""
        self._last = str(error) or type(error).__name__
        refused = isinstance(error, errors.AuthorizationError) or any(word in self._last.lower() for word in _REFUSALS)
        log.warning("broker error", user=self.user, error=self._last, refused=refused)
        if refused and self.connecting:
            raise BrokerRefused(f"the broker refused {self.user}: {self._last}")

    async def on_disconnected(self) -> None:
        """nats-py's callback for a connection that it will try to mend."""
        log.info("broker disconnected", user=self.user)

    async def on_reconnected(self) -> None:
        """nats-py's callback for a mended connection."""
        log.info("broker reconnected", user=self.user)

    async def on_closed(self) -> None:
        """nats-py's callback for a connection that it gave up."""
        self._closed.set()

    async def lost(self) -> None:
        """Waits until the connection is closed for good. Raises BrokerLost unless `stopping` says that we wanted it."""
        await self._closed.wait()
        if not self.stopping:
            reason = self._last or "no reason given"
            if self.client is not None and self.client.last_error is not None:
                reason = str(self.client.last_error)
            raise BrokerLost(f"the broker closed the connection of {self.user}: {reason}")


class StrictClient(Client):
    """nats-py's client, for a connection on which strangers' messages arrive: the broker checks no header, nats-py trusts all.

    One header that it cannot read would end nats-py's reading for good, with the connection open; and a `Status` in a message
    would pass for a word of the broker, so that a pull drops the message unsettled or stops. Both were tried.
    """

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except (ValueError, IndexError) as fault:  # UnicodeDecodeError is a ValueError
            log.warning("headers that cannot be read are left out", user=self.options["name"], error=type(fault).__name__)
            return None
        return parsed

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None) -> Any:
        # What the broker says itself asks for no answer; what it hands on of others carries where to acknowledge or answer.
        if headers and reply:
            # A name that cannot be written would keep the message out of the dead letters, for ever.
            headers = {name: value for name, value in headers.items() if name != Header.STATUS and _HEADER_NAME.fullmatch(name)}
        return super()._build_message(sid, subject, reply, data, headers)

    def jetstream(self, **options: Any) -> JetStreamContext:
        return _JetStream(self, **options)


class _JetStream(JetStreamContext):
    """nats-py's JetStream, whose pulls end in one kind of time-out.

    On a busy machine `fetch` also raises asyncio's, which FastStream does not expect: it then drops what it had in hand, and a
    batch comes again only after its ack wait (measured: one batch in five at a load of three a core).
    """

    async def pull_subscribe_bind(self, *arguments: Any, **options: Any) -> JetStreamContext.PullSubscription:
        subscription = await super().pull_subscribe_bind(*arguments, **options)
        fetch = subscription.fetch

        async def patient(*arguments: Any, **options: Any) -> list[Msg]:
            try:
                return await fetch(*arguments, **options)
            except TimeoutError as fault:
                raise errors.TimeoutError from fault

        subscription.fetch = patient  # type: ignore[method-assign]
        return subscription


def inbox_prefix(user: str) -> str:
    """Where a user may receive answers: nobody else can listen there, and the user nowhere else."""
    return f"_INBOX.{user}"


async def connect(url: str, credentials: Credentials, watch: Watch | None = None) -> Client:
    """A connection as the credentials' user; waits for a broker that is not there yet. Raises BrokerRefused."""
    watch = watch or Watch(credentials.name)
    client = StrictClient()
    watch.connecting = True
    try:
        secret = RawCredentials(credentials.text())
        await client.connect(url, user_credentials=secret, **patience(credentials.name, watch))
    except BaseException:
        watch.stopping = True
        await client.close()
        raise
    finally:
        watch.connecting = False
    watch.client = client
    return client


def patience(user: str, watch: Watch) -> dict[str, Any]:
    """nats-py's options of every connection."""
    return {
        "name": user,
        "inbox_prefix": inbox_prefix(user),
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_WAIT_S,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "pending_size": PENDING_BYTES_MAX,
        "error_cb": watch.on_error,
        "disconnected_cb": watch.on_disconnected,
        "reconnected_cb": watch.on_reconnected,
        "closed_cb": watch.on_closed,
    }
