"""Session tokens: the NATS user JWT with which a device opens the broker, its renewal, and what it says off line.

Renewal proves the login key and may be repeated as often as answers are lost: nothing rotates. Times of tokens are real time.
What a token opens off line is `reading_right`'s matter. An expired one never stops recording; a drain session (no technician)
sends and collects receipts.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx
import msgspec
from pydantic import BaseModel, ValidationError

from zb_contracts.enrolment import NO_HEADERS, PERSON_HEADER, TokenAnswer, TokenRequest
from zb_contracts.printable import printable
from zb_contracts.problems import DEVICE_PROOF_TIME, Problem
from zb_device.clock import Clock, RealMark, real_mark
from zb_device.database import Connection, transaction
from zb_device.faults import Refused, Unreachable
from zb_device.http import answered
from zb_device.keys import DeviceKeys
from zb_device.real_time import RealTime
from zb_device.settings import KeptSessions, Pinned, Problems, Session, Settings, SignedIn
from zb_device.tokens import session_of
from zb_device.trust import vouches

PATH: Final = "/v1/tokens"
RENEW_BEFORE_MS: Final = 6 * 3_600_000
TIMEOUT_S: Final = 20.0
UNVOUCHED: Final = "session.unvouched"

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The device's session: kept, renewed before it ends, exchanged for another technician's or a drain session."""

    connection: Connection
    settings: Settings
    pinned: Pinned
    keys: DeviceKeys
    clock: Clock
    real_time: RealTime

    def current(self) -> Session:
        """The newest token, perhaps expired. Refused before enrolment."""
        session = self.settings.get(Session)
        if session is None:
            raise Refused("the device has no session", problem="session.none")
        return session

    def sign_in(self, technician: str) -> None:
        """Note durably who works with the device."""
        with transaction(self.connection):
            self.settings.put(SignedIn(technician=technician))

    async def ensure(self, technician: str | None, client: httpx.AsyncClient) -> Session:
        """A session for this technician (None: drain) that lasts a while longer. Unreachable or Refused else.

        A token that is due for renewal but still good stays in use when the server cannot be reached.
        """
        session, now = self._kept(technician) or self.current(), self.clock.real_ms()
        fits = session.technician == technician
        if fits and now < session.expires_ms - RENEW_BEFORE_MS:
            self._take_up(session)
            return session
        try:
            return await self.renew(technician, client)
        except Unreachable:
            if fits and now < session.expires_ms:
                self._take_up(session)
                return session
            raise

    def _kept(self, technician: str | None) -> Session | None:
        """The newest token of a technician who worked here before another did: a pool's device gets none without the person."""
        return (self.settings.get(KeptSessions) or KeptSessions()).of(technician)

    def _take_up(self, session: Session) -> None:
        if session != self.current():
            with transaction(self.connection):
                self.settings.put(session)

    async def renew(self, technician: str | None, client: httpx.AsyncClient, person: str | None = None) -> Session:
        """A new token, kept durably. `person` is the technician's own access token, which a pool's device has to show."""
        body = TokenRequest(device=self.pinned.device, technician=technician).model_dump_json().encode()
        answer = await self.post(client, PATH, body, TokenAnswer, {PERSON_HEADER: person} if person else NO_HEADERS)
        session = session_of(answer.token, answer.word, device=self.pinned.device, login=self.keys.login_text)
        pinned = await self._knowing(session, client)
        with transaction(self.connection):
            keep(self.settings, session, pinned, self.clock)
        return session

    async def _knowing(self, session: Session, client: httpx.AsyncClient) -> Pinned:
        """What is pinned, with the key that vouches, where it was rotated since the last sync and can be asked for."""
        with suppress(Unreachable, Refused, Problem):
            # It keeps nobody from sending: where the key stays unknown nobody vouches, and `keep` tells that.
            if session.kid:
                return await self.real_time.knowing(session.kid, client)
        return self.settings.get(Pinned) or self.pinned

    async def post(
        self, client: httpx.AsyncClient, path: str, body: bytes, answer: type[M], beside: Mapping[str, str] = NO_HEADERS
    ) -> M:
        """One request under the login key's proof. Where the device's clock was too wrong for it, once more in real time."""
        url = self.pinned.ingest_url + path
        try:
            return await post(client, url, body, answer, {**self.proof("POST", path, body), **beside})
        except Refused as fault:
            if fault.problem != DEVICE_PROOF_TIME.code:
                raise
        await self.real_time.learn(client)
        return await post(client, url, body, answer, {**self.proof("POST", path, body), **beside})

    def proof(self, method: str, path: str, body: bytes, covered: Mapping[str, str] = NO_HEADERS) -> dict[str, str]:
        """The headers by which a request proves session and login key now. `path` is without host and query; `covered` are the
        request's own headers."""
        return self.keys.request_headers(
            device=self.pinned.device,
            token=self.current().token,
            method=method,
            path=path,
            body=body,
            real_ms=self.clock.real_ms(),
            covered=covered,
        )


def keep(settings: Settings, session: Session, pinned: Pinned, clock: Clock) -> None:
    """In the caller's transaction: the session, for its technician's reading too, and the time at which it was made.

    One for which the ledger does not vouch sends, if the broker takes it; it opens no reading, tells no time, and is told of.
    """
    settings.put(session)
    if not vouches(pinned, session):
        text = "the ledger does not vouch for the session token that came: it is used to send, and opens no reading"
        settings.put((settings.get(Problems) or Problems()).with_entry(clock.real_ms(), UNVOUCHED, text))
        return
    settings.put(real_mark(settings.get(RealMark), session.issued_ms, clock))
    if session.technician is not None:
        settings.put((settings.get(KeptSessions) or KeptSessions()).with_session(session))


async def post(client: httpx.AsyncClient, url: str, body: bytes, answer: type[M], headers: dict[str, str] | None = None) -> M:
    """One JSON request and its typed answer. Unreachable without a network or on 5xx; Refused with the problem's code."""
    said = {"Content-Type": "application/json", **(headers or {})}
    response = await answered(client, "POST", url, said, body=body, timeout_s=TIMEOUT_S)
    if response.status_code >= 400:
        raise refusal(response)
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as fault:
        raise Refused(f"the answer of {url} cannot be read: {fault.error_count()} faults", problem="session.answer") from fault


class _ProblemDocument(msgspec.Struct, frozen=True):
    """The part of an RFC 9457 problem document that we use."""

    code: str = ""
    type: str = ""
    title: str = ""
    detail: str = ""


def refusal(response: httpx.Response) -> Refused | Unreachable:
    """The fault that an HTTP answer of 400 or more stands for."""
    try:
        problem = msgspec.json.decode(response.content, type=_ProblemDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = _ProblemDocument()
    text = printable(problem.detail or problem.title or f"HTTP {response.status_code}")
    if response.status_code >= 500:
        return Unreachable(f"{response.request.url}: {text}")
    code = printable(problem.code or problem.type or f"http.{response.status_code}")
    return Refused(text, problem=code, may_retry=response.status_code in (408, 409, 425, 429, 460))
