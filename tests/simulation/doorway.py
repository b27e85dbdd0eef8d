"""field-ingest's HTTP as a device meets it: session tokens and new incarnations, over a network that loses both ways.

Requests and answers are the contracts'; the proofs, which need no store, are what the device made. Who may have what is decided
as simply as the simulation needs: a revoked device gets a drain session and no new incarnation.
"""

from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from tests.fixtures.session_tokens import session_token
from tests.simulation.ingest import Ingest
from tests.simulation.keys import CERTIFICATES, LEDGER, ROOT, key_of, login_key_of
from tests.simulation.network import Line
from tests.simulation.world import DAY_MS, Killed
from zb_contracts.enrolment import (
    EnrolmentAnswer,
    IncarnationRequest,
    TokenAnswer,
    TokenRequest,
    TrustedKey,
    incarnation_author,
    incarnation_statement,
    vouch,
)
from zb_contracts.keys import nkey_user_text, verify
from zb_contracts.problems import DEVICE_REVOKED, INPUT_NOT_FOUND
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.server_time import sign_time
from zb_contracts.subject_keys import STATEMENT_PATH
from zb_contracts.subjects import DRAIN
from zb_contracts.times import format_time_ms

SESSION_MS: Final = DAY_MS
_KEYS: Final = tuple(
    TrustedKey(
        kid=one.kid,
        purpose=one.purpose.value,
        public=to_base64url(one.public),
        not_before_ms=one.not_before_ms,
        not_after_ms=one.not_after_ms,
        signature=to_base64url(one.signature),
    )
    for one in CERTIFICATES
)


def device_token(device: str, technician: str | None, expires_ms: int) -> str:
    """A session's token, signed by this world's issuer; nobody here verifies it as the broker would, the device does."""
    return session_token(
        key_of("session signer"),
        login_key=nkey_user_text(login_key_of(device).public),
        device=device,
        technician=technician or DRAIN,
        token_id=f"TOKEN-{device}-{expires_ms}",
        issued_s=(expires_ms - SESSION_MS) // 1000,
        expires_s=expires_ms // 1000,
    )


class Doorway:
    """Stands where a device has its HTTP client. `is_refused`: a person's session is not to be had now."""

    def __init__(self, ingest: Ingest, line: Line, technician: str) -> None:
        self._ingest, self._line, self._technician = ingest, line, technician
        self._world = line.world
        self.is_refused: Callable[[], bool] = lambda: False

    async def request(self, method: str, url: str, *, content: bytes, params: dict[str, str] | None, **_: Any) -> httpx.Response:
        """One request. httpx.ConnectError when it or its answer is lost."""
        if method == "GET":
            return self._time(params or {})
        if url == STATEMENT_PATH:
            # There is no custody here. No dice are thrown for it, so that the seeds that are kept mean what they meant.
            return _response(*_refused(INPUT_NOT_FOUND.code))
        await self._world.pause(self._world.dice.randint(20, 400))
        if not self._line.up or self._world.faults.bites("request lost"):
            raise httpx.ConnectError("no network")
        status, answer = self._tokens(content) if url == "/v1/tokens" else self._incarnations(content)
        if self._world.faults.bites("answer lost"):
            raise httpx.ConnectError("no answer")
        return _response(status, answer)

    def _time(self, params: dict[str, str]) -> httpx.Response:
        """The time, signed, where there is a network."""
        if not self._line.up:
            raise httpx.ConnectError("no network")
        answer = sign_time(params["nonce"], self._world.now_ms, LEDGER).model_dump_json()
        return _response(200, answer.encode())

    def _tokens(self, content: bytes) -> tuple[int, bytes]:
        asked = TokenRequest.model_validate_json(content)
        if asked.technician is not None and (self.is_refused() or self._is_revoked(asked.device)):
            return _refused("session.refused")
        expires_ms = self._world.now_ms + SESSION_MS
        token = device_token(asked.device, asked.technician, expires_ms)
        answer = TokenAnswer(token=token, expires_at=format_time_ms(expires_ms), word=vouch(token, LEDGER))
        return 200, answer.model_dump_json().encode()

    def _incarnations(self, content: bytes) -> tuple[int, bytes]:
        asked = IncarnationRequest.model_validate_json(content)
        if self._is_revoked(asked.device):
            return _refused(DEVICE_REVOKED.code)
        event_key = from_base64url(asked.event_key)
        statement = incarnation_statement(asked.device, asked.replaces, asked.event_key, asked.wrap_key)
        if not verify(event_key, statement, from_base64url(asked.proof)):
            raise Killed  # a device that cannot prove its own key is a fault of the simulation itself
        author = incarnation_author(asked.device, event_key)
        if author not in self._ingest.ledger.authors:
            self._ingest.enrol_device(author, asked.device, self._technician, event_key)
        return 201, self._answer(asked.device, author)

    def _answer(self, device: str, author: str) -> bytes:
        ledger, now_ms = self._ingest.ledger, self._world.now_ms
        shard, token = ledger.authors[author].shard, device_token(device, self._technician, now_ms + SESSION_MS)
        answer = EnrolmentAnswer(
            device=device,
            author=author,
            agency="main",
            technician=self._technician,
            shard=shard,
            shards=len(ledger.shards),
            log_origin=ledger.shards[shard].origin,
            root_key=to_base64url(ROOT.public),
            keys=_KEYS,
            token=token,
            word=vouch(token, LEDGER),
            anchor_id=self._world.uuid7(now_ms),
            server_time=format_time_ms(now_ms),
        )
        return answer.model_dump_json().encode()

    def _is_revoked(self, device: str) -> bool:
        authors = self._ingest.ledger.authors.values()
        return any(author.device == device and author.revoked_at_ms is not None for author in authors)


def _response(status: int, content: bytes) -> httpx.Response:
    return httpx.Response(status, content=content, request=httpx.Request("POST", "http://ingest"))


def _refused(code: str) -> tuple[int, bytes]:
    problem: dict[str, Any] = {"code": code, "title": "refused"}
    return 403, msgspec.json.encode(problem)
