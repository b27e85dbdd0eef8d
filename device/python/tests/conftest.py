"""A small platform for the device's tests: real keys, real signatures, a real Merkle log, real HTTP on loopback.

It is a second, tiny implementation of the server side of the protocol, written from PROTOCOL.md; what it is asked to do wrong
(`twist`) is what a hostile server would do.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from zb_contracts import merkle
from zb_contracts.enrolment import EnrolmentAnswer, EnrolmentRequest, TrustedKey, enrolment_statement, request_statement
from zb_contracts.envelope import GENESIS, Anchor, ParsedEvent, SignedEvent, check_signature, parse_event
from zb_contracts.events import AuthorKind
from zb_contracts.keys import (
    KeyCertificate,
    KeyPurpose,
    SigningKey,
    WrapKey,
    certify,
    check_certification,
    nkey_user_public,
    open_sealed,
    verify,
)
from zb_contracts.ledger_leaf import leaf_bytes
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import state_bytes
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.segment import decode_segment
from zb_contracts.signed import SignedDocument, sign_document
from zb_contracts.sync import (
    ANSWER_TYPE,
    Gap,
    Receipt,
    ScopeDelta,
    ScopeDocument,
    SyncAnswer,
    SyncRequest,
    Verdict,
    answer_payload,
    pack,
    unpack_request,
)
from zb_contracts.times import format_time_ms
from zb_device.clock import Clock
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.faults import Unreachable

ORIGIN = "zb.test/shard-0"
PIN = "271828"
CODE = "LEAKY-BOILER-2345"
T0 = 1_795_000_000_000


@dataclass
class Hands:
    """A clock that the test moves."""

    wall: int = T0
    elapsed: int = 5_000
    boot: str = "boot-1"

    def clock(self) -> Clock:
        return Clock(
            wall_ms=lambda: self.wall,
            elapsed_ms=lambda: self.elapsed,
            real_ms=lambda: time.time_ns() // 1_000_000,
            boot=self.boot,
        )

    def pass_ms(self, ms: int) -> None:
        self.wall += ms
        self.elapsed += ms


@dataclass
class Row:
    """One row of the little ledger."""

    event: ParsedEvent
    kind: str
    code: str | None
    leaf: bytes


@dataclass
class Platform:
    """Enrolment, tokens, admission, sync and uploads in memory."""

    root: SigningKey = field(default_factory=SigningKey.generate)
    ledger: SigningKey = field(default_factory=SigningKey.generate)
    escrow: WrapKey = field(default_factory=WrapKey.generate)
    url: str = ""
    nats_url: str = "nats://127.0.0.1:1"
    technician: str | None = "tech-anna"
    event_key: bytes = b""
    login_key: str = ""
    enrolments: int = 0
    lose_answers: int = 0
    rows: list[Row] = field(default_factory=list)
    refuse: dict[int, str] = field(default_factory=dict)
    hold_from: int | None = None
    drop_segments: int = 0
    published: list[tuple[str, bytes]] = field(default_factory=list)
    requests: list[SyncRequest] = field(default_factory=list)
    documents: dict[str, ScopeDocument] = field(default_factory=dict)
    epoch: str = "epoch-1"
    change: int = 0
    server_ms: int = T0
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    fail_patches: int = 0
    corrupt_uploads: bool = False
    twist: Callable[[SyncAnswer], SyncAnswer] = lambda answer: answer
    seal_with: Callable[[SyncAnswer], SignedDocument] | None = None
    connected: bool = True
    token: Callable[[str, str, str], str] | None = None
    """(login key, device, technician) -> a session token; a test with a real broker brings its issuer."""

    # --- Enrolment and tokens ---

    def invitation(self) -> Invitation:
        return Invitation(CODE, Places(self.url, self.nats_url, self.url))

    def enrol(self, body: bytes) -> dict[str, Any]:
        request = EnrolmentRequest.model_validate_json(body)
        login = nkey_user_public(request.login_key)
        event, wrap = from_base64url(request.event_key), from_base64url(request.wrap_key)
        check_certification(login, event, wrap, from_base64url(request.certification))
        statement = enrolment_statement(request.code, request.login_key, request.event_key, request.wrap_key)
        assert verify(event, statement, from_base64url(request.proof))
        assert self.event_key in (b"", event), "the code was used with other keys"
        self.event_key, self.login_key = event, request.login_key
        self.enrolments += 1
        keys = (self.certificate(KeyPurpose.LEDGER, self.ledger.public), self.certificate(KeyPurpose.ESCROW, self.escrow.public))
        answer = EnrolmentAnswer(
            device="dev-1",
            author="dev-1-a",
            agency="main",
            technician=self.technician,
            shard=0,
            shards=1,
            log_origin=ORIGIN,
            root_key=to_base64url(self.root.public),
            keys=tuple(_trusted(key) for key in keys),
            token=self.make_token(self.technician or "drain"),
            anchor_id="anchor-0",
            server_time=format_time_ms(self.server_ms),
        )
        return answer.model_dump(mode="json")

    def certificate(self, purpose: KeyPurpose, public: bytes) -> KeyCertificate:
        return certify(self.root, public, purpose, not_before_ms=0)

    def make_token(self, technician: str) -> str:
        if self.token:
            return self.token(self.login_key, "dev-1", technician)
        claims = {
            "jti": secrets.token_hex(16).upper(),
            "sub": self.login_key,
            "name": "dev-1",
            "exp": int(time.time()) + 48 * 3600,
            "nats": {"tags": [f"t:{technician}"]},
        }
        return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"

    def check_proof(self, method: str, path: str, headers: Any, body: bytes) -> None:
        statement = request_statement(method, path, body, headers["Zb-Proof-Time"])
        assert verify(nkey_user_public(self.login_key), statement, from_base64url(headers["Zb-Proof"]))

    # --- Admission ---

    def admit(self, data: bytes) -> None:
        for signed in self._opened(data):
            event = parse_event(signed)
            check_signature(self.event_key, event)
            seq = event.header.seq
            if seq <= self.mark:
                continue
            if seq != self.mark + 1:
                return
            assert event.header.prev == (self.rows[-1].event.header_hash.hex() if self.rows else GENESIS)
            kind, code = "admitted", None
            if seq in self.refuse:
                kind, code = "refusal", self.refuse[seq]
            elif self.hold_from is not None and seq >= self.hold_from:
                kind, code = "held", "event.held"
            leaf = leaf_bytes(
                kind=kind,
                header_hash=event.header_hash,
                signature=signed.signature,
                received_at_ms=self.server_ms,
                facts=b"{}",
            )
            self.rows.append(Row(event, kind, code, leaf))

    def _opened(self, data: bytes) -> list[SignedEvent]:
        decoded = msgspec.msgpack.decode(data)
        if isinstance(decoded, dict):
            return [SignedEvent(*msgspec.msgpack.decode(open_sealed(self.escrow.private, box))) for box in decoded["sealed"]]
        return decode_segment(data)

    @property
    def mark(self) -> int:
        return len(self.rows)

    def tree(self) -> Callable[[int, int], bytes]:
        hashes = [merkle.leaf_hash(row.leaf) for row in self.rows]
        return lambda level, number: merkle.root_of(hashes[number << level : (number + 1) << level])

    # --- Sync ---

    def answer(self, data: bytes) -> bytes:
        request = unpack_request(data)
        self.requests.append(request)
        size, tree = len(self.rows), self.tree()
        root = merkle.root_at(size, tree)
        note = sign_checkpoint(Checkpoint(ORIGIN, size, root), NoteSigner(ORIGIN, self.ledger))
        answer = SyncAnswer(
            nonce=request.nonce,
            author=request.author,
            anchor=Anchor(f"anchor-{len(self.requests)}", format_time_ms(self.server_ms)),
            shard=0,
            mark=self.mark,
            receipts=tuple(self._receipt(at, size, tree) for at in range(request.mark, size)),
            checkpoint=note,
            consistency=tuple(merkle.consistency_proof(request.checkpoint_size, size, tree)) if request.checkpoint_size else (),
            gap=Gap(first=self.mark + 1, nonce="ab" * 16) if request.head > self.mark and self.published else None,
            scope=self._scope(request),
        )
        answer = self.twist(answer)
        document = self.seal_with(answer) if self.seal_with else sign_document(ANSWER_TYPE, answer_payload(answer), self.ledger)
        return pack(document)

    def _receipt(self, at: int, size: int, tree: Callable[[int, int], bytes]) -> Receipt:
        row = self.rows[at]
        verdict = {"admitted": Verdict.ADMITTED, "held": Verdict.HELD, "refusal": Verdict.REFUSED}[row.kind]
        return Receipt(
            seq=row.event.header.seq,
            id=row.event.header.id,
            verdict=verdict,
            position=at,
            code=row.code,
            message=f"because {row.code}" if row.code else None,
            header_sha256=row.event.header_hash.hex(),
            inclusion=tuple(merkle.inclusion_proof(at, size, tree)),
            leaf=row.leaf,
        )

    def _scope(self, request: SyncRequest) -> ScopeDelta:
        alive = [document for document in self.documents.values() if document.content is not None]
        full = request.scope_epoch != self.epoch or (request.scope_cursor == self.change and request.scope_count != len(alive))
        after = 0 if full else request.scope_cursor
        documents = sorted((d for d in self.documents.values() if d.change > after), key=lambda d: d.change)
        if full:
            documents = [document for document in documents if document.content is not None]
        return ScopeDelta(
            epoch=self.epoch, cursor=self.change, full=full, documents=tuple(documents), count=len(alive), more=False
        )

    def put_document(self, stream: str, events: list[MergeEvent]) -> None:
        """A document as the projector would send it after these events."""
        state = fold(stream, events)
        self.change += 1
        self.documents[stream] = ScopeDocument(id=stream, change=self.change, vector=state.vector, content=state_bytes(state))

    def drop_document(self, stream: str) -> None:
        self.change += 1
        self.documents[stream] = ScopeDocument(id=stream, change=self.change, vector={}, content=None)

    def own_events(self, stream: str) -> list[MergeEvent]:
        """The device's admitted events of a stream, for a document."""
        from zb_contracts.merge.causality import merge_event

        return [
            merge_event(row.event, AuthorKind.DEVICE)
            for row in self.rows
            if row.kind == "admitted" and row.event.header.stream == stream
        ]


class Wire:
    """The transport between a device and the platform, which a test can cut."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    async def publish(self, data: bytes, message_id: str) -> None:
        self._check()
        self.platform.published.append((message_id, data))
        if self.platform.drop_segments:
            self.platform.drop_segments -= 1
            return
        self.platform.admit(data)

    async def ask(self, request: bytes) -> bytes:
        self._check()
        answer = self.platform.answer(request)
        if self.platform.lose_answers:
            self.platform.lose_answers -= 1
            raise Unreachable("the answer was lost")
        return answer

    async def close(self) -> None:
        return None

    def _check(self) -> None:
        if not self.platform.connected:
            raise Unreachable("no signal")


def _trusted(key: KeyCertificate) -> TrustedKey:
    return TrustedKey(
        kid=key.kid,
        purpose=key.purpose.value,  # type: ignore[arg-type]
        public=to_base64url(key.public),
        not_before_ms=key.not_before_ms,
        not_after_ms=key.not_after_ms,
        signature=to_base64url(key.signature),
    )


class _Handler(BaseHTTPRequestHandler):
    platform: Platform
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests say what happened, not the server."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/v1/enrolments":
            answer = self.platform.enrol(body)
            if self.platform.lose_answers:
                self.platform.lose_answers -= 1
                self.close_connection = True
                self.connection.close()
                return
            self._send(200, json.dumps(answer).encode(), Content_Type="application/json")
            return
        self.platform.check_proof("POST", self.path, self.headers, body)
        if self.path == "/v1/tokens":
            token = self.platform.make_token(json.loads(body).get("technician") or "drain")
            self._send(200, json.dumps({"token": token, "expires_at": format_time_ms(T0)}).encode())
            return
        pairs = dict(pair.split(" ") for pair in self.headers["Upload-Metadata"].split(","))
        sha256 = base64.b64decode(pairs["sha256"]).decode()
        self.platform.uploads.setdefault(sha256, (int(self.headers["Upload-Length"]), b""))
        self._send(201, Location=f"/v1/uploads/{sha256}", Tus_Resumable="1.0.0")

    def do_HEAD(self) -> None:
        self.platform.check_proof("HEAD", self.path, self.headers, b"")
        length, data = self.platform.uploads.get(self.path.rsplit("/", 1)[1], (0, b""))
        self._send(200 if length else 404, Upload_Offset=str(len(data)), Upload_Length=str(length))

    def do_PATCH(self) -> None:
        body = self._body()
        self.platform.check_proof("PATCH", self.path, self.headers, body)
        sha256 = self.path.rsplit("/", 1)[1]
        length, data = self.platform.uploads[sha256]
        checksum = base64.b64decode(self.headers["Upload-Checksum"].split(" ")[1])
        assert hashlib.sha256(body).digest() == checksum
        assert int(self.headers["Upload-Offset"]) == len(data)
        if self.platform.fail_patches:
            # Half of the part arrives, then the network goes.
            self.platform.fail_patches -= 1
            self.platform.uploads[sha256] = (length, data + body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        data += body
        if len(data) == length and (self.platform.corrupt_uploads or hashlib.sha256(data).hexdigest() != sha256):
            del self.platform.uploads[sha256]
            self._send(460, json.dumps({"code": "media.hash", "detail": "another hash"}).encode())
            return
        self.platform.uploads[sha256] = (length, data)
        if len(data) == length:
            self.platform.files[sha256] = data
        self._send(204, Upload_Offset=str(len(data)), Tus_Resumable="1.0.0")


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    handler = type("Handler", (_Handler,), {"platform": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest_asyncio.fixture
async def device(platform: Platform, hands: Hands, tmp_path: Path) -> AsyncIterator[Device]:
    """An enrolled, unlocked device of tech-anna, on the little platform."""
    made = await Device.enrol(tmp_path / "device", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    yield made
    await made.close()
