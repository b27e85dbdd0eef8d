"""Signed test vectors, built from fixed seeds: what every implementation of the protocol has to agree with.

The committed files under contracts/vectors are what counts; this module shows how they were made, and a test proves that it
still makes the same bytes. Keys in it are public knowledge and must never sign anything else.
"""

import base64
import hashlib
from typing import Any, Final

import msgspec
from nacl import bindings

from zb_contracts import canonical, ledger_leaf, merkle, notes
from zb_contracts.enrolment import incarnation_author, incarnation_statement, request_statement, vouch
from zb_contracts.envelope import GENESIS, PAYLOAD_TYPE, Anchor, Header, SignedEvent, digest, sign_event
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, dsse_pae
from zb_contracts.scope_vectors import scope_vectors
from zb_contracts.sealed import seal, to_base64url
from zb_contracts.segment import encode_sealed_segment, encode_segment, message_id
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, SyncAnswer, SyncRequest, answer_payload

Vector = dict[str, Any]

EVENT_KEY: Final = SigningKey.from_seed(bytes(range(32)))
LOGIN_KEY: Final = SigningKey.from_seed(bytes(range(32, 64)))
WRAP_KEY: Final = WrapKey.from_private(bytes(range(64, 96)))
LEDGER_KEY: Final = SigningKey.from_seed(bytes(range(96, 128)))
SUBJECT_KEY: Final = bytes(range(128, 160))
STREAM: Final = "intervention:0192f000-0000-7000-8000-000000000042"
SESSION_TEXT: Final = "a.session.token"
"""Its text is what counts; a real one is a JWT."""
ANCHOR: Final = Anchor(id="anchor-1", server_time="2026-03-16T08:00:00.000Z")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def vectors() -> dict[str, Any]:
    """File name -> content, JSON-serialisable."""
    events = chain()
    return {
        "keys": _keys(),
        "events": [_event(name, event) for name, event in events.items()] + _broken(events["start"]),
        "segments": _segment(list(events.values())),
        "sealed": _sealed(),
        "tree": _tree(list(events.values())),
        "sync": _sync(),
        "scope": scope_vectors(),
    }


def chain() -> dict[str, SignedEvent]:
    """Three linked events of one author on one stream: start, a comment beyond ASCII, done."""
    bodies = {
        "start": ("intervention.started.v1", {}),
        "comment": ("intervention.comment_added.v1", {"text": 'fuite "légère" — 温水\n\u0007'}),
        "done": ("intervention.done.v1", {"work_done": "Seal replaced."}),
    }
    events: dict[str, SignedEvent] = {}
    prev, visit = GENESIS, ""
    for seq, (name, (kind, value)) in enumerate(bodies.items(), 1):
        body = canonical.encode(value)
        identity = f"0192f000-0000-7000-8000-{seq:012x}"
        visit = visit or identity
        header = Header(
            id=identity,
            author="dev-1-a",
            seq=seq,
            prev=prev,
            type=kind,
            stream=STREAM,
            visit=visit,
            actor="tech-ana",
            token="token-1",  # noqa: S106 - an id, not a secret
            at=f"2026-03-16T09:0{seq}:00.000Z",
            boot="boot-1",
            elapsed_ms=seq * 60_000 + 3_600_000,
            anchor=ANCHOR,
            seen={"office-main": 7, **({"dev-1-a": seq - 1} if seq > 1 else {})},
            body_sha256=digest(body),
            body_type="application/json",
        )
        events[name] = sign_event(EVENT_KEY, header, body)
        prev = digest(events[name].header)
    return events


def _keys() -> Vector:
    statement = certification_statement(LOGIN_KEY.public, EVENT_KEY.public, WRAP_KEY.public)
    return {
        "event": {"seed": EVENT_KEY.seed.hex(), "public": EVENT_KEY.public.hex(), "kid": EVENT_KEY.kid},
        "login": {"seed": LOGIN_KEY.seed.hex(), "public": LOGIN_KEY.public.hex()},
        "wrap": {"private": WRAP_KEY.private.hex(), "public": WRAP_KEY.public.hex(), "kid": WRAP_KEY.kid},
        "ledger": {"seed": LEDGER_KEY.seed.hex(), "public": LEDGER_KEY.public.hex(), "kid": LEDGER_KEY.kid},
        "certification": {"statement": b64(statement), "signature": b64(LOGIN_KEY.sign(statement))},
        "request": _request(),
        "session": {"token": SESSION_TEXT, "word": vouch(SESSION_TEXT, LEDGER_KEY).model_dump()},
        "incarnation": _incarnation(),
        "sealed_box": {"plain": "6b6579", "box": _box(b"key", WRAP_KEY.public).hex()},
    }


def _request() -> Vector:
    """The proof of one HTTP request: the creation of an upload, whose headers are covered."""
    request = {"method": "POST", "path": "/v1/uploads", "body": "", "time": "2026-03-16T09:00:00.000Z"}
    headers = {"Upload-Length": "1024", "Upload-Metadata": f"sha256 {b64(b'0' * 64)},mime {b64(b'image/jpeg')}"}
    statement = request_statement(request["method"], request["path"], b"", request["time"], headers)
    return {**request, "headers": headers, "statement": b64(statement), "signature": b64(LOGIN_KEY.sign(statement))}


def _incarnation() -> Vector:
    keys = (to_base64url(EVENT_KEY.public), to_base64url(WRAP_KEY.public))
    statement = incarnation_statement("dev-1", "dev-1-a", *keys)
    return {
        "device": "dev-1",
        "replaces": "dev-1-a",
        "author": incarnation_author("dev-1", EVENT_KEY.public),
        "statement": b64(statement),
        "proof": b64(EVENT_KEY.sign(statement)),
    }


def _box(data: bytes, recipient: bytes) -> bytes:
    # crypto_box_seal with a fixed ephemeral key, so that the vector stays the same; never do this outside a vector.
    ephemeral = WrapKey.from_private(bytes([7]) * 32)
    nonce = hashlib.blake2b(ephemeral.public + recipient, digest_size=24).digest()
    return ephemeral.public + bindings.crypto_box(data, nonce, recipient, ephemeral.private)


def _event(name: str, event: SignedEvent) -> Vector:
    return {
        "name": name,
        "public": EVENT_KEY.public.hex(),
        "header": event.header.decode(),
        "header_sha256": digest(event.header),
        "body": event.body.decode(),
        "signed_bytes": b64(dsse_pae(PAYLOAD_TYPE, event.header)),
        "signature": event.signature.hex(),
        "problem": None,
    }


def _broken(good: SignedEvent) -> list[Vector]:
    """Each differs from a good event in one thing and has to be refused with the problem that is named."""
    spaced = good.header.replace(b'","', b'", "', 1)
    twice = good.header.replace(b'"v":1,', b'"v":1,"v":1,')
    cases = {
        "tampered-body": (good._replace(body=b'{"a":1}'), "event.body_mismatch"),
        "tampered-signature": (good._replace(signature=bytes(64)), "event.signature_invalid"),
        "tampered-time": (good._replace(header=good.header.replace(b"09:01", b"08:01")), "event.signature_invalid"),
        "not-canonical": (good._replace(header=spaced), "event.header_malformed"),
        "duplicate-key": (good._replace(header=twice), "event.header_malformed"),
        "sequence-too-large": (
            good._replace(header=good.header.replace(b'"seq":1', b'"seq":9007199254740993')),
            "event.header_malformed",
        ),
        "star-author": (good._replace(header=good.header.replace(b'"dev-1-a"', b'"*"')), "event.header_malformed"),
    }
    return [{**_event(name, event), "problem": code} for name, (event, code) in cases.items()]


def _segment(events: list[SignedEvent]) -> Vector:
    return {
        "bytes": b64(encode_segment(events)),
        "events": len(events),
        "message_id": message_id(events),
        "resend_message_id": message_id(events, "00" * 16),
        "sealed_bytes": b64(
            encode_sealed_segment([_box(msgspec.msgpack.encode(tuple(event)), WRAP_KEY.public) for event in events])
        ),
    }


def _sealed() -> Vector:
    event_id, field, value = "0192f000-0000-7000-8000-000000000001", "signer", "Mme Fournier"
    sealed = seal(SUBJECT_KEY, "subject-leaky-boiler", event_id, field, value, bytes(range(12)))
    return {"key": SUBJECT_KEY.hex(), "event": event_id, "field": field, "value": value, **sealed.model_dump(mode="json")}


def _tree(events: list[SignedEvent]) -> Vector:
    leaves = [
        ledger_leaf.leaf_bytes(
            kind="admitted",
            header_hash=hashlib.sha256(event.header).digest(),
            signature=event.signature,
            received_at_ms=1_773_655_200_000 + number,
            facts=canonical.encode({"late": False}),
        )
        for number, event in enumerate(events)
    ]
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    root = merkle.root_of(hashes)
    checkpoint = notes.Checkpoint("zone-blanche.example/0", len(leaves), root)
    signer = notes.NoteSigner("zone-blanche.example/0", LEDGER_KEY)
    return {
        "leaves": [leaf.decode() for leaf in leaves],
        "leaf_hashes": [value.hex() for value in hashes],
        "root": root.hex(),
        "checkpoint": notes.sign_checkpoint(checkpoint, signer),
        "verifier": signer.verifier.to_text(),
    }


def _sync() -> Vector:
    request = SyncRequest(nonce="0123456789abcdef0123456789abcdef", author="dev-1-a", mark=0, head=3)
    answer = SyncAnswer(nonce=request.nonce, author="dev-1-a", anchor=ANCHOR, shard=0, mark=3)
    document = sign_document(ANSWER_TYPE, answer_payload(answer), LEDGER_KEY)
    return {
        "request": b64(msgspec.msgpack.encode(request)),
        "answer_payload": b64(document.payload),
        "answer_type": ANSWER_TYPE,
        "kid": document.kid,
        "signature": document.signature.hex(),
    }
