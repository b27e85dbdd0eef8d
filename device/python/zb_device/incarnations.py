"""Incarnations of one store: when the ledger is ahead of it, it goes on under a new event key, at once and without a network.

The new author's name follows from the key, so recording waits for nobody; the platform hears of it when it can be reached. The
log of the one before is closed: nothing is added, what it still has is sent and stays. Who decides that it is time is `syncing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx
import msgspec

from zb_contracts.enrolment import EnrolmentAnswer, IncarnationRequest, incarnation_author, incarnation_statement
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.sealed import from_base64url, to_base64url
from zb_device.clock import Clock
from zb_device.database import Connection, transaction
from zb_device.faults import Refused
from zb_device.keys import DeviceKeys
from zb_device.log import Log
from zb_device.sessions import Sessions
from zb_device.settings import Pinned, Problems, Settings, Unregistered
from zb_device.trust import learned, pinned_certificates

PATH: Final = "/v1/incarnations"


@dataclass(frozen=True, slots=True)
class Closed:
    """What the store was before. `reason` is the code for which it ended."""

    number: int
    author: str
    closed_ms: int
    reason: str


def closed_incarnations(connection: Connection) -> tuple[Closed, ...]:
    """Oldest first; the current incarnation's number follows the last one's."""
    rows = connection.execute("select number, author, closed_ms, reason from incarnations order by number")
    return tuple(Closed(*row) for row in rows)


def fresh_keys() -> tuple[SigningKey, WrapKey]:
    """Event and wrap key of a new incarnation, from the system's randomness."""
    return SigningKey.generate(), WrapKey.generate()


@dataclass(frozen=True, slots=True)
class Succession:
    """How the current incarnation of a store is followed by the next. `fresh` makes its event and wrap key."""

    connection: Connection
    settings: Settings
    log: Log
    pinned: Pinned
    keys: DeviceKeys
    sessions: Sessions
    clock: Clock
    fresh: Callable[[], tuple[SigningKey, WrapKey]] = fresh_keys

    def begin(self, reason: str) -> None:
        """Close the log and go on under new keys, in one transaction; the parts have to be opened anew."""
        fresh = DeviceKeys(self.keys.login, *self.fresh())
        author = incarnation_author(self.pinned.device, fresh.event.public)
        before, real_ms = self.pinned.author, self.clock.real_ms()
        with transaction(self.connection):
            self.connection.execute(
                "insert into incarnations (number, author, closed_ms, reason) values (?, ?, ?, ?)",
                (self.log.incarnation, before, real_ms, reason),
            )
            self.log.forget_beyond(before, self.log.agreed())
            Log(self.connection, self.pinned.escrow.public, self.log.incarnation + 1).begin(self.log.head())
            self.settings.put(fresh.stored())
            # Not the pinned values of the store's opening: ledger keys may have been learned since.
            self.settings.put(msgspec.structs.replace(self.settings.get(Pinned) or self.pinned, author=author))
            self.settings.put(Unregistered(replaces=before))
            text = f"the store is an old copy, or has one: {before} is closed, the device goes on as {author}"
            self.settings.put((self.settings.get(Problems) or Problems()).with_entry(real_ms, reason, text))

    async def register(self, client: httpx.AsyncClient) -> bool:
        """Tell the platform of the current incarnation, if it has not heard of it; the parts have to be opened anew then.

        Unreachable or Refused else; it may be repeated as often as answers are lost.
        """
        unregistered = self.settings.get(Unregistered)
        if unregistered is None:
            return False
        body = self._request(unregistered.replaces).model_dump_json().encode()
        answer = await self.sessions.post(client, PATH, body, EnrolmentAnswer)
        pinned = self._confirmed(answer)
        with transaction(self.connection):
            self.settings.put(pinned)
            self.settings.forget(Unregistered)
        return True

    def _request(self, replaces: str) -> IncarnationRequest:
        event, wrap = to_base64url(self.keys.event.public), to_base64url(self.keys.wrap.public)
        return IncarnationRequest(
            device=self.pinned.device,
            replaces=replaces,
            event_key=event,
            wrap_key=wrap,
            certification=to_base64url(self.keys.certification()),
            proof=to_base64url(self.keys.event.sign(incarnation_statement(self.pinned.device, replaces, event, wrap))),
        )

    def _confirmed(self, answer: EnrolmentAnswer) -> Pinned:
        pinned = self.settings.get(Pinned) or self.pinned
        if (answer.device, answer.author) != (pinned.device, pinned.author) or answer.log_origin != pinned.log_origin:
            raise Refused("the answer is about another incarnation", problem="incarnation.answer")
        if from_base64url(answer.root_key) != pinned.root_key:
            raise Refused("the platform's root is not the one that this device pinned", problem="enrolment.root")
        return learned(pinned, pinned_certificates(pinned.root_key, answer.keys, self.clock.real_ms()))
