"""The way to the broker: publish a segment, ask for a sync, hear a hint. One NATS connection, opened when it is needed.

The login key signs plain nonces only. Reconnecting is ours, not the library's: a failed call closes the connection and is
Unreachable, and whoever called has a retry timer of its own. Nothing here decides what is sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from zb_contracts import subjects
from zb_contracts.segment import MESSAGE_ID_HEADER
from zb_device.faults import NonceSuspicious, Refused, SessionEnded, Unreachable
from zb_device.keys import DeviceKeys
from zb_device.settings import Pinned, Session

CONNECT_TIMEOUT_S: Final = 5
PUBLISH_TIMEOUT_S: Final = 5.0
ASK_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 20
PER_SUBJECT_FULL: Final = 10077
"""JetStream's code when a device's own quota is full: admitted messages leave with time, so waiting helps."""

Hinted = Callable[[], None]


class Transport(Protocol):
    """What a sync round needs of the network. Unreachable means: try later, nothing is lost."""

    async def publish(self, data: bytes, message_id: str) -> None:
        """Return when the broker has stored the message or had it already."""
        ...

    async def ask(self, request: bytes) -> bytes:
        """One request, one answer."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class NatsTransport:
    """A device's connection under its session token. `session` is read at each connect, so a renewed token is used."""

    pinned: Pinned
    keys: DeviceKeys
    session: Callable[[], Session]
    hinted: Hinted = lambda: None
    _client: Client | None = field(default=None, init=False)
    _token: str = field(default="", init=False)
    _last_error: str = field(default="", init=False)
    _turn: int = field(default=0, init=False)
    """Which of the broker's addresses is tried first: another one after each that did not answer."""

    async def publish(self, data: bytes, message_id: str) -> None:
        """Unreachable without a network, Refused with may_retry when the device's quota on the broker is full."""
        check_stored(
            await self._request(subjects.field(self.pinned.device), data, PUBLISH_TIMEOUT_S, {MESSAGE_ID_HEADER: message_id})
        )

    async def ask(self, request: bytes) -> bytes:
        """The answer of the sync responder, unread."""
        technician = self.session().technician or subjects.DRAIN
        return await self._request(subjects.sync(self.pinned.device, technician), request, ASK_TIMEOUT_S, None)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.close()
            except (NatsError, OSError) as fault:
                self._last_error = str(fault)

    async def _request(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None) -> bytes:
        client = await self._connected()
        try:
            message: Msg = await client.request(subject, data, timeout=timeout_s, headers=headers)
        except (NatsError, OSError, TimeoutError) as fault:
            reason = self._last_error or str(fault) or type(fault).__name__
            self._turn += 1
            await self.close()
            # A refused publish looks like a time-out; the reason came on the error callback.
            raise Unreachable(f"no answer on {subject}: {reason}") from fault
        return bytes(message.data)

    async def _connected(self) -> Client:
        session = self.session()
        wanted = session.token
        if self._client is not None and self._client.is_connected and self._token == wanted:
            return self._client
        await self.close()
        self._last_error = ""
        suspicious: list[NonceSuspicious] = []

        def sign(nonce: str) -> bytes:
            try:
                return self.keys.answer_nonce(nonce)
            except NonceSuspicious as fault:
                suspicious.append(fault)
                raise

        try:
            client = await self._connect(session, sign)
        except (NatsError, OSError, TimeoutError, NonceSuspicious) as fault:
            if suspicious:
                raise suspicious[0] from fault
            said = self._last_error or str(fault) or type(fault).__name__
            # "expired" and "revoked" come as an authorization violation, too: in a connect the broker says no more.
            kind = SessionEnded if "auth" in said.lower() else Unreachable
            raise kind(f"the broker cannot be reached: {said}") from fault
        await client.subscribe(subjects.hint(self.pinned.device), cb=self._on_hint)
        self._client, self._token = client, wanted
        return client

    def _addresses(self) -> list[str]:
        """A depot's broker and the hub's, say, separated by commas: the next one to be tried first."""
        addresses = self.pinned.nats_url.split(",")
        turn = self._turn % len(addresses)
        return addresses[turn:] + addresses[:turn]

    async def _connect(self, session: Session, sign: Callable[[str], bytes]) -> Client:
        client = Client()
        addresses = self._addresses()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S * len(addresses)):
                await client.connect(
                    addresses,
                    dont_randomize=True,
                    name=self.pinned.device,
                    user_jwt_cb=lambda: bytearray(session.token.encode()),
                    signature_cb=sign,
                    inbox_prefix=f"_INBOX.{self.pinned.device}".encode(),
                    allow_reconnect=False,
                    # The library tries a dead address for minutes unless it is told not to: the retry timer is ours.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                )
        except BaseException:
            await client.close()
            raise
        return client

    async def _on_error(self, fault: Exception) -> None:
        self._last_error = str(fault)

    async def _on_hint(self, _: Msg) -> None:
        # The body is ignored: a hint only says "ask again".
        self.hinted()


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Stored(msgspec.Struct, frozen=True):
    """JetStream's acknowledgement of a publish: where the message is, or why not."""

    stream: str = ""
    seq: int = 0
    error: _Error | None = None


_stored = msgspec.json.Decoder(_Stored)


def check_stored(answer: bytes) -> None:
    """Returns when the broker says that it stored the message. Refused with its reason, Unreachable for anything else."""
    try:
        stored = _stored.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Unreachable(f"what came back is no acknowledgement of the broker: {fault}") from fault
    if stored.error is not None:
        full = stored.error.code == 503 or stored.error.err_code == PER_SUBJECT_FULL
        text = f"the broker did not take the segment: {stored.error.description} ({stored.error.err_code})"
        raise Refused(text, problem="broker.full" if full else "broker.refused", may_retry=full)
    if not stored.stream or stored.seq < 1:
        raise Unreachable("what came back is no acknowledgement of the broker")


@dataclass(slots=True)
class NoTransport:
    """A device whose network is switched off by its user: everything is Unreachable."""

    async def publish(self, data: bytes, message_id: str) -> None:
        raise Unreachable("the network is switched off")

    async def ask(self, request: bytes) -> bytes:
        raise Unreachable("the network is switched off")

    async def close(self) -> None:
        await asyncio.sleep(0)
