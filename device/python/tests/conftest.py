"""The little platform over HTTP on loopback, a clock that the test moves, and an enrolled device."""

import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from pydantic import BaseModel

from tests.fixtures.little_platform import PIN, Hands, Platform, Wire
from zb_contracts.enrolment import PERSON_HEADER
from zb_contracts.handover import CHUNK_TYPE
from zb_contracts.handover import PATH as HANDOVER_PATH
from zb_contracts.subject_keys import DEPOSITS_PATH, KEYS_PATH, STATEMENT_PATH
from zb_device import vault
from zb_device.device import Device

PATIENCE_S = 20
STOP_NOTICED_S = 0.01
"""Between two looks of a server whether it is to stop: each test waits for one, and Python's own is half a second."""


class _Handler(BaseHTTPRequestHandler):
    platform: Platform
    refuse_uploads: ClassVar[list[tuple[int, str]]] = []
    """Status and code with which the evidence store refuses the next creations of an upload."""
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
        if self.path.startswith("/wire/"):
            self._wire(body)
        elif self.path == "/v1/enrolments":
            self._enrol(body)
        elif not self.platform.check_proof("POST", self.path, self.headers, body):
            self._refuse(401, "access.device_proof_time")
        elif self.path == "/v1/incarnations":
            self._incarnate(body)
        elif self.path in (STATEMENT_PATH, KEYS_PATH, DEPOSITS_PATH):
            self._subject_keys(body)
        elif self.path == "/v1/tokens":
            self._token(json.loads(body).get("technician"))
        elif self.path == HANDOVER_PATH:
            self._hand_over(body)
        else:
            self._begin_upload()

    def _lose(self) -> None:
        """The network goes before the answer came."""
        self.close_connection = True
        self.connection.close()

    def _wire(self, body: bytes) -> None:
        """The broker, for devices in processes of their own."""
        if self.path == "/wire/publish":
            self.platform.published.append((self.headers["Message-Id"], body))
            self.platform.admit(body)
            self._send(200)
        else:
            self._send(200, self.platform.answer(body))

    def _enrol(self, body: bytes) -> None:
        answer = self.platform.enrol(body)
        if self.platform.lose_answers:
            self.platform.lose_answers -= 1
            self._lose()
        else:
            self._send(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _incarnate(self, body: bytes) -> None:
        if self.platform.refuse_incarnations:
            self._refuse(429, self.platform.refuse_incarnations)
            return
        answer = self.platform.incarnate(body)
        if self.platform.lose_incarnations:
            self.platform.lose_incarnations -= 1
            self._lose()
        else:
            self._send(201, json.dumps(answer).encode(), Content_Type="application/json")

    def _token(self, technician: str | None) -> None:
        if self.platform.lose_tokens:
            self.platform.lose_tokens -= 1
            self._lose()
        elif self.platform.refuse_person and technician:
            self._refuse(403, self.platform.refuse_person)
        elif self.platform.is_pool and technician and self.headers.get(PERSON_HEADER) != f"token-of-{technician}":
            self._refuse(403, "access.forbidden")
        else:
            self._send(200, self.platform.give_token(technician or "drain").model_dump_json().encode())

    def _hand_over(self, body: bytes) -> None:
        handover = self.platform.hand_over(body)
        if handover is None:
            self._refuse(404, "media.unnamed")
        else:
            self._send(200, handover.encode(), Content_Type="application/json")

    def _begin_upload(self) -> None:
        if self.refuse_uploads:
            status, code = self.refuse_uploads.pop()
            self._refuse(status, code)
            return
        pairs = dict(pair.split(" ") for pair in self.headers["Upload-Metadata"].split(","))
        sha256 = base64.b64decode(pairs["sha256"]).decode()
        if "handover" in pairs:
            word = base64.b64decode(pairs["handover"]).decode()
            self.platform.take_handover(sha256, word, self.platform.root.public, self.platform.real_ms())
        self.platform.uploads.setdefault(sha256, (int(self.headers["Upload-Length"]), b""))
        self._send(201, Location=f"/v1/uploads/{sha256}", Tus_Resumable="1.0.0")

    def _subject_keys(self, body: bytes) -> None:
        custody, ledger = self.platform.custody, self.platform.ledger
        if not custody.url:
            self._refuse(404, "input.not_found")
            return
        if self.path == STATEMENT_PATH:
            answer: BaseModel = custody.state(body, ledger)
        else:
            answer = custody.take(body) if self.path == DEPOSITS_PATH else custody.exchange(body, ledger)
        self._send(200, answer.model_dump_json().encode(), Content_Type="application/json")

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, json.dumps({"code": code, "detail": f"refused with {code}"}).encode())

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?nonce=")
        if path == "/v1/keys":
            self._send(200, json.dumps(self.platform.server_keys()).encode(), Content_Type="application/json")
            return
        assert path == "/v1/time"
        self._send(200, json.dumps(self.platform.time(query)).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.platform.check_proof("HEAD", self.path, self.headers, b"")
        length, data = self.platform.uploads.get(self.path.rsplit("/", 1)[1], (0, b""))
        self._send(200 if length else 404, Upload_Offset=str(len(data)), Upload_Length=str(length))

    def do_PATCH(self) -> None:
        body = self._body()
        self.platform.parts_begun.release()
        self.platform.takes_parts.wait(PATIENCE_S)
        self.platform.check_proof("PATCH", self.path, self.headers, body)
        sha256 = self.path.rsplit("/", 1)[1]
        length, data = self.platform.uploads[sha256]
        is_sealed = self.headers["Content-Type"] == CHUNK_TYPE
        checksum = base64.b64decode(self.headers["Upload-Checksum"].split(" ")[1])
        assert hashlib.sha256(body).digest() == checksum
        assert int(self.headers["Upload-Offset"]) == len(data)
        if self.platform.fail_patches:
            # Half of the part arrives, then the network goes.
            self.platform.fail_patches -= 1
            self.platform.uploads[sha256] = (length, data + body[: len(body) // 2])
            self._lose()
            return
        data += self.platform.opened_chunk(sha256, len(data), body) if is_sealed else body
        if len(data) == length and (self.platform.corrupt_uploads or hashlib.sha256(data).hexdigest() != sha256):
            del self.platform.uploads[sha256]
            self._send(460, json.dumps({"code": "media.hash", "detail": "another hash"}).encode())
            return
        self.platform.uploads[sha256] = (length, data)
        if len(data) == length:
            self.platform.files[sha256] = data
        self._send(204, Upload_Offset=str(len(data)), Tus_Resumable="1.0.0")


@pytest.fixture(autouse=True)
def cheap_stretching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PINs are stretched with little work, but where another process or an older program is to open the same store."""
    if "full_stretching" not in request.keywords:
        monkeypatch.setattr(vault, "ARGON2_MEMORY_KIB", 64)
        monkeypatch.setattr(vault, "ARGON2_PASSES", 1)


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    handler = type("Handler", (_Handler,), {"platform": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(STOP_NOTICED_S,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def refused_uploads() -> Iterator[list[tuple[int, str]]]:
    """What the evidence store says to the next creations of an upload instead of taking them: (status, code)."""
    yield _Handler.refuse_uploads
    _Handler.refuse_uploads.clear()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def wire(platform: Platform) -> Wire:
    """Another transport to the same platform."""
    return Wire(platform)


@pytest_asyncio.fixture
async def device(platform: Platform, hands: Hands, tmp_path: Path) -> AsyncIterator[Device]:
    """An enrolled, unlocked device of tech-anna, on the little platform."""
    made = await Device.enrol(tmp_path / "device", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    yield made
    await made.close()
