"""A second implementation of a device, from docs/PROTOCOL.md, the schemas and the vectors alone: it uses nothing of our code.

It enrols at the real platform, signs and sends a segment, asks, and verifies answer, checkpoint, receipt and proofs by itself.
Only the code of an administrator comes from the platform's own tools. `agrees` holds its bytes against the vectors first.
"""

import base64
import binascii
import hashlib
import json
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec.msgpack
import nats
import pytest
import zstandard
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from zb.play.stage import Stage, in_thread

VECTORS = Path(__file__).resolve().parent.parent / "contracts" / "vectors"
TYPE = "application/vnd.zoneblanche."
DEADLINE_S = 60.0


# --- The bytes ---


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def pae(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %b %d %b" % (len(TYPE + kind), (TYPE + kind).encode(), len(payload), payload)


def lengths(*parts: bytes | str) -> bytes:
    plain = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in plain)


def nkey(public: bytes) -> str:
    body = bytes([20 << 3]) + public
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode()


def kid(public: bytes) -> str:
    return sha256(public).hex()[:16]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uuid7() -> str:
    value = (int(time.time() * 1000) << 80) | 7 << 76 | 2 << 62 | int.from_bytes(os.urandom(7), "big")
    return str(uuid.UUID(int=value))


def root_of(leaf: bytes, position: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162, 2.1.3.2: the root to which an audit path leads."""
    node, last = sha256(b"\x00" + leaf), size - 1
    for sibling in path:
        assert last > 0
        if position % 2 or position == last:
            node = sha256(b"\x01" + sibling + node)
            while position % 2 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        position, last = position >> 1, last >> 1
    assert last == 0
    return node


def head_of(note: str, origin: str, ledger: bytes) -> tuple[int, bytes]:
    """Size and root of a C2SP checkpoint that this ledger key signed."""
    text, _, signatures = note.partition("\n\n")
    key_id = sha256(origin.encode() + b"\n\x01" + ledger)[:4]
    lines = [line.rpartition(" ") for line in signatures.splitlines()]
    signed = [base64.b64decode(line[2]) for line in lines if line[0] == f"\u2014 {origin}"]
    (signature,) = [one[4:] for one in signed if one[:4] == key_id]
    VerifyKey(ledger).verify((text + "\n").encode(), signature)
    named, size, root = text.split("\n")[:3]
    assert named == origin
    return int(size), base64.b64decode(root)


# --- The device ---


class Handheld:
    """One device with one author, in memory."""

    def __init__(self) -> None:
        self.login, self.event, self.wrap = SigningKey.generate(), SigningKey.generate(), PrivateKey.generate()
        self.seq, self.prev, self.size = 0, "0" * 64, 0

    def enrolment(self, code: str) -> dict[str, str]:
        login, event, wrap = self.login.verify_key.encode(), self.event.verify_key.encode(), self.wrap.public_key.encode()
        texts = (code, nkey(login), base64url(event), base64url(wrap))
        return {
            "code": code,
            "login_key": texts[1],
            "event_key": texts[2],
            "wrap_key": texts[3],
            "certification": base64url(self.login.sign(pae("certification.v1", lengths(login, event, wrap))).signature),
            "proof": base64url(self.event.sign(lengths("zb-enrolment-v1", *texts)).signature),
        }

    def pin(self, answer: dict[str, Any]) -> None:
        """Believe the server's keys only as far as the root certified them."""
        self.answer = answer
        self.keys: dict[tuple[str, str], bytes] = {}
        for key in answer["keys"]:
            end = "" if key["not_after_ms"] is None else str(key["not_after_ms"])
            statement = lengths(raw(key["public"]), key["kid"], key["purpose"], str(key["not_before_ms"]), end)
            VerifyKey(raw(answer["root_key"])).verify(pae("key-certificate.v1", statement), raw(key["signature"]))
            assert key["kid"] == kid(raw(key["public"]))
            self.keys[key["purpose"], key["kid"]] = raw(key["public"])

    def record(self, type_name: str, stream: str, body: dict[str, Any]) -> list[bytes]:
        self.seq += 1
        data, event_id = canonical(body), uuid7()
        header = canonical(
            {
                "v": 1,
                "id": event_id,
                "author": self.answer["author"],
                "seq": self.seq,
                "prev": self.prev,
                "type": type_name,
                "stream": stream,
                "visit": event_id if type_name == "intervention.started.v1" else None,
                "actor": self.answer["technician"],
                "token": None,
                "at": now(),
                "boot": None,
                "elapsed_ms": None,
                "anchor": {"id": self.answer["anchor_id"], "server_time": self.answer["server_time"]},
                "seen": {},
                "body_sha256": sha256(data).hex(),
                "body_type": "application/json",
            }
        )
        self.prev = sha256(header).hex()
        return [header, data, self.event.sign(pae("event.v1+json", header)).signature]

    async def connect(self, url: str) -> nats.NATS:
        device = self.answer["device"]
        return await nats.connect(
            url,
            name=device,
            user_jwt_cb=lambda: bytearray(self.answer["token"].encode()),
            signature_cb=lambda nonce: base64.b64encode(self.login.sign(nonce.encode()).signature),
            inbox_prefix=f"_INBOX.{device}".encode(),
            allow_reconnect=False,
        )

    async def send(self, client: nats.NATS, events: list[list[bytes]]) -> None:
        author = self.answer["author"]
        message_id = f"{author}:{self.seq - len(events) + 1}-{self.seq}:{self.prev[:32]}"
        data = msgspec.msgpack.encode(events)
        stored = await client.request(f"field.v1.{self.answer['device']}", data, timeout=10, headers={"Nats-Msg-Id": message_id})
        assert "error" not in json.loads(stored.data)

    async def ask(self, client: nats.NATS) -> dict[str, Any]:
        """The answer, if a ledger key of our root signed it for this question."""
        nonce = os.urandom(16).hex()
        request = {"nonce": nonce, "author": self.answer["author"], "mark": 0, "head": self.seq, "wants_scope": False}
        packed = zstandard.compress(msgspec.msgpack.encode(request))
        subject = f"sync.v1.{self.answer['device']}.{self.answer['technician']}"
        reply = await client.request(subject, packed, timeout=10)
        document = msgspec.msgpack.decode(zstandard.decompress(reply.data))
        ledger = self.keys["ledger", document["kid"]]
        VerifyKey(ledger).verify(pae("sync-answer.v1+msgpack", document["payload"]), document["signature"])
        answer: dict[str, Any] = msgspec.msgpack.decode(document["payload"])
        assert (answer["nonce"], answer["author"]) == (nonce, self.answer["author"])
        return answer

    def believe(self, answer: dict[str, Any], events: list[list[bytes]]) -> list[str]:
        """The verdicts of these events, each proven to be a row under a head that the ledger signed."""
        (ledger,) = [public for (purpose, _), public in self.keys.items() if purpose == "ledger"]
        size, root = head_of(answer["checkpoint"], self.answer["log_origin"], ledger)
        for receipt, event in zip(answer["receipts"], events, strict=True):
            leaf = json.loads(receipt["leaf"])
            assert leaf["header_sha256"] == receipt["header_sha256"] == sha256(event[0]).hex()
            assert leaf["signature"] == event[2].hex()
            assert root_of(receipt["leaf"], receipt["position"], size, receipt["inclusion"]) == root
        return [receipt["verdict"] for receipt in answer["receipts"]]


def agrees() -> None:
    """The vectors say whether it agrees with the other implementations, byte by byte."""
    keys = json.loads((VECTORS / "keys.json").read_text())
    login, event = (SigningKey(bytes.fromhex(keys[name]["seed"])) for name in ("login", "event"))
    statement = lengths(*(bytes.fromhex(keys[name]["public"]) for name in ("login", "event", "wrap")))
    assert base64.b64decode(keys["certification"]["signature"]) == login.sign(pae("certification.v1", statement)).signature
    assert keys["event"]["kid"] == kid(event.verify_key.encode())
    request = keys["request"]
    covered = [request["headers"].get(f"Upload-{name}", "") for name in ("Length", "Metadata", "Checksum", "Offset")]
    body = sha256(request["body"].encode()).hex()
    told = lengths("zb-request-v1", request["method"], request["path"], body, request["time"], *covered)
    assert base64.b64decode(request["signature"]) == login.sign(told).signature
    tree = json.loads((VECTORS / "tree.json").read_text())
    leaves = [sha256(b"\x00" + leaf.encode()) for leaf in tree["leaves"]]
    assert root_of(tree["leaves"][0].encode(), 0, 3, [leaves[1], leaves[2]]).hex() == tree["root"]
    assert root_of(tree["leaves"][2].encode(), 2, 3, [sha256(b"\x01" + leaves[0] + leaves[1])]).hex() == tree["root"]


async def test_a_device_written_from_the_protocol_alone_gets_a_receipt_that_it_can_verify(platform: Stage) -> None:
    agrees()
    url = platform.url("field-ingest", "enrolment-codes")
    issued = await in_thread(platform.person("administrator").post, url, {"agency": "main", "technician": "emil"})
    handheld = Handheld()
    async with httpx.AsyncClient(base_url=platform.stack.services["field-ingest"].url) as http:
        enrolled = await http.post("/v1/enrolments", json=handheld.enrolment(issued["code"]))
    assert enrolled.status_code in (200, 201), enrolled.text
    handheld.pin(enrolled.json())

    stream = f"intervention:{uuid.uuid4()}"
    client = await handheld.connect(platform.stack.nats.url)
    try:
        events = [handheld.record("intervention.started.v1", stream, {})]
        events.append(handheld.record("intervention.comment_added.v1", stream, {"text": "l'eau coule déjà"}))
        await handheld.send(client, events)
        answer = await handheld.ask(client)
        deadline = time.monotonic() + DEADLINE_S
        while len(answer.get("receipts", ())) < len(events):
            assert time.monotonic() < deadline, answer
            answer = await handheld.ask(client)
    finally:
        await client.close()

    assert handheld.believe(answer, events) == ["admitted", "admitted"]
    answer["receipts"][1]["leaf"] = answer["receipts"][1]["leaf"].replace(b'"admitted"', b'"held"')
    with pytest.raises(AssertionError):
        handheld.believe(answer, events)
