"""A device that does not play by the rules, written from the protocol's page and the contracts alone.

It is enrolled like any other and holds real keys; what it does with them is `attack`'s choice. It keeps nothing on disk.
"""

import asyncio
import base64
import contextlib
from dataclasses import dataclass, field
from typing import Final

import httpx
from nats.aio.client import Client, RawCredentials
from nats.errors import Error as NatsError

from zb_chassis.claims import Credentials, Kind, Nkey
from zb_contracts import canonical, sync
from zb_contracts.enrolment import EnrolmentAnswer, EnrolmentRequest, enrolment_statement
from zb_contracts.envelope import GENESIS, Header, SignedEvent, digest, sign_event
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, nkey_user_text
from zb_contracts.segment import MESSAGE_ID_HEADER, encode_segment, message_id
from zb_contracts.signed import SignedDocument
from zb_contracts.subjects import field as field_subject
from zb_contracts.subjects import sync as sync_subject

REQUEST_TIMEOUT_S: Final = 5.0
REFUSAL_TIMEOUT_S: Final = 2.0


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Stranger:
    """Keys, an enrolment, a connection, and a chain that it can bend."""

    login: SigningKey = field(default_factory=SigningKey.generate)
    event: SigningKey = field(default_factory=SigningKey.generate)
    wrap: WrapKey = field(default_factory=WrapKey.generate)
    refusals: list[str] = field(default_factory=list)
    chain: list[SignedEvent] = field(default_factory=list)
    me: EnrolmentAnswer = field(init=False)
    client: Client = field(init=False)

    async def enrol(self, ingest_url: str, code: str) -> None:
        login = nkey_user_text(self.login.public)
        event, wrap = _text(self.event.public), _text(self.wrap.public)
        statement = certification_statement(self.login.public, self.event.public, self.wrap.public)
        request = EnrolmentRequest(
            code=code,
            login_key=login,
            event_key=event,
            wrap_key=wrap,
            certification=_text(self.login.sign(statement)),
            proof=_text(self.event.sign(enrolment_statement(code, login, event, wrap))),
            model="unknown",
        )
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{ingest_url}/v1/enrolments", json=request.model_dump(mode="json", exclude_none=True))
        self.me = EnrolmentAnswer.model_validate_json(answer.raise_for_status().content)

    async def connect(self, nats_url: str) -> None:
        self.client = Client()
        credentials = Credentials(self.me.token, Nkey.generate(Kind.USER, self.login.seed))
        await self.client.connect(
            nats_url,
            user_credentials=RawCredentials(credentials.text()),
            inbox_prefix=f"_INBOX.{self.me.device}",
            error_cb=self._refused,
            allow_reconnect=False,
        )

    async def _refused(self, error: Exception) -> None:
        self.refusals.append(str(error))

    async def is_refused(self, subject: str, payload: bytes) -> str:
        """What the broker says to a request on `subject`; empty when it let it through. A refusal comes beside a time-out."""
        before = len(self.refusals)
        request = asyncio.create_task(self.client.request(subject, payload, timeout=REFUSAL_TIMEOUT_S))
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await request
        return self.refusals[before] if len(self.refusals) > before else ""

    def compose(
        self, at: str, *, seen: dict[str, int] | None = None, text: str = "hello", fork_of: int | None = None
    ) -> SignedEvent:
        """The next event of its chain, or another one with the number `fork_of`, signed with its real key."""
        before = self.chain if fork_of is None else self.chain[: fork_of - 1]
        seq = len(before) + 1
        body = canonical.encode({"text": text})
        header = Header(
            id=f"0192f000-{seq:04x}-7000-8000-{digest(body + self.event.public)[:12]}",
            author=self.me.author,
            seq=seq,
            prev=digest(before[-1].header) if before else GENESIS,
            type="shift.noted.v1",
            stream=f"shift:{self.me.device}",
            visit=None,
            actor=self.me.technician,
            token=None,
            at=at,
            boot=None,
            elapsed_ms=None,
            anchor=None,
            seen=seen or {},
            body_sha256=digest(body),
            body_type="application/json",
        )
        return sign_event(self.event, header, body)

    async def publish(self, events: list[SignedEvent], nonce: str | None = None) -> None:
        """A segment on its own subject, acknowledged by the broker."""
        headers = {MESSAGE_ID_HEADER: message_id(events, nonce)}
        await self.client.request(field_subject(self.me.device), encode_segment(events), REQUEST_TIMEOUT_S, headers=headers)

    async def receipts(self, nonce: str) -> sync.SyncAnswer:
        """One sync as itself, from the beginning."""
        request = sync.SyncRequest(nonce=nonce, author=self.me.author, mark=0, head=len(self.chain))
        subject = sync_subject(self.me.device, self.me.technician or "drain")
        answer = await self.client.request(subject, sync.pack(request), REQUEST_TIMEOUT_S)
        document: SignedDocument = sync.unpack_document(answer.data)
        return sync.read_answer(document.payload)

    async def close(self) -> None:
        await self.client.close()


def spoilt(event: SignedEvent) -> SignedEvent:
    """The event with one bit of its signature turned."""
    return event._replace(signature=bytes([event.signature[0] ^ 1]) + event.signature[1:])
