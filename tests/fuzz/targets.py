"""Every reader of bytes from outside: what it is given, what it may raise, good samples, and what must hold of what it takes.

A reader either takes its bytes or refuses them by one of `refusals`; anything else is a finding. What stands in a message's
place, order or chain is admission's matter and tested there.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard
from nats.js.api import RawStreamMsg
from pydantic import ValidationError

from field_ingest.admission import dead_letters
from field_ingest.admission.verification import read_offer, read_segment
from tests.fuzz.mutation import Form
from tests.fuzz.samples import (
    CLAIMS,
    DEAD,
    DOCUMENT,
    ENROLMENT,
    EVENTS,
    HASHES,
    LEAVES,
    NOW_S,
    PAYLOAD,
    PRICES,
    REQUEST,
    ROOT,
    SIGNER,
    STATE,
    TOKEN,
    TREE_OF_TWO,
    USER,
    VECTORS,
    VERIFIER,
    from_base64,
    frontier_of_three,
    written,
)
from zb_chassis import claims
from zb_chassis.claims import ClaimError, Credentials
from zb_contracts import announcements, canonical, envelope, keys, ledger_leaf, merkle, notes, segment, signed, sync
from zb_contracts.canonical import NotCanonical
from zb_contracts.enrolment import EnrolmentRequest, enrolment_statement
from zb_contracts.events import Opaque, read_body
from zb_contracts.faults import CryptoFault
from zb_contracts.problems import Problem
from zb_contracts.sealed import SealedValue, from_base64url
from zb_contracts.times import format_time_ms, parse_time_ms
from zb_contracts.vectors import EVENT_KEY, LEDGER_KEY, WRAP_KEY

BODY_TYPES: Final = (
    "intervention.done.v1",
    "intervention.comment_added.v1",
    "intervention.planned.v1",
    "intervention.photo_taken.v1",
    "device.enrolled.v1",
    "site.corrected.v1",
    "nothing.known.v9",
)
ANNOUNCEMENTS: Final = (
    announcements.InterventionAnnounced,
    announcements.EvidenceAnnounced,
    announcements.PriceListPublished,
    announcements.ContractsPublished,
    announcements.ChecklistPublished,
)

Refusals = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. `read` takes any bytes; `strict` says that no attack of `bombs.WHOLE` is a legal message to it.

    `makes_room` are bytes that it may allocate whatever the input's length, because the protocol lets a message unpack to them.
    """

    name: str
    read: Callable[[bytes], object]
    refusals: Refusals
    form: Form
    samples: tuple[bytes, ...]
    strict: bool = True
    makes_room: int = 0


def _canonical(data: bytes) -> None:
    assert canonical.encode(canonical.decode(data)) == data


def _header(data: bytes) -> None:
    header = envelope.parse_header(data)
    assert canonical.encode(header) == data
    assert len(header.seen) <= envelope.SEEN_AUTHORS_MAX
    assert 1 <= header.seq < 2**53
    assert format_time_ms(header.at_ms) == header.at
    assert isinstance(header.trusted_ms, int)


def _body(data: bytes) -> None:
    """A body is read by each type that there is: what does not fit is opaque, never a fault."""
    if len(data) > envelope.BODY_BYTES_MAX:
        raise NotCanonical("too large: refused before it is read")
    canonical.decode(data)
    for kind in BODY_TYPES:
        assert isinstance(read_body(kind, data), Opaque | object)


def _segment(data: bytes) -> None:
    found = read_segment(EVENT_KEY.public, read_offer(data, WRAP_KEY), WRAP_KEY)
    assert len(found.events) <= segment.SEGMENT_EVENTS_MAX
    for event in found.events:
        json.dumps([event.author, event.id, event.stream, event.type]).encode()


def _events(data: bytes) -> None:
    events = segment.decode_segment(data, WRAP_KEY.private)
    assert segment.decode_segment(segment.encode_segment(events)) == events


def _box(data: bytes) -> None:
    """What is inside a sealed box: its sender is unknown, so anybody may put anything there."""
    segment.open_event(WRAP_KEY.private, keys.seal_to(WRAP_KEY.public, data))


def _request(data: bytes) -> None:
    request = sync.unpack_request(data)
    assert sync.unpack_request(sync.pack(request)) == request


def _request_inside(data: bytes) -> None:
    _request(zstandard.ZstdCompressor().compress(data))


def _answer(data: bytes) -> None:
    document = sync.unpack_document(data)
    sync.read_answer(signed.verify_document(sync.ANSWER_TYPE, document, {LEDGER_KEY.kid: LEDGER_KEY.public}))


def _answer_inside(data: bytes) -> None:
    """A payload that the ledger did sign: the device checks its receipts' proofs, leaves and checkpoint."""
    answer = sync.read_answer(data)
    parse_time_ms(answer.anchor.server_time)
    checkpoint = notes.verify_checkpoint(answer.checkpoint or "", VERIFIER.name, [VERIFIER])
    for receipt in answer.receipts:
        ledger_leaf.read_leaf(receipt.leaf)
        leaf, place = merkle.leaf_hash(receipt.leaf), receipt.position or 0
        merkle.verify_inclusion(leaf, place, checkpoint.size, receipt.inclusion, checkpoint.root)


class _Proof(msgspec.Struct, array_like=True):
    first: int
    second: int
    one: bytes
    other: bytes
    path: list[bytes]


def _inclusion(data: bytes) -> None:
    proof = msgspec.msgpack.decode(data, type=_Proof)
    merkle.verify_inclusion(proof.one, proof.first, proof.second, proof.path, proof.other)


def _consistency(data: bytes) -> None:
    proof = msgspec.msgpack.decode(data, type=_Proof)
    merkle.verify_consistency(proof.first, proof.second, proof.one, proof.other, proof.path)


def _note(data: bytes) -> None:
    checkpoint = notes.verify_checkpoint(_text(data), VERIFIER.name, [VERIFIER])
    assert notes.Checkpoint.from_text(checkpoint.to_text()) == checkpoint


def _checkpoint(data: bytes) -> None:
    checkpoint = notes.Checkpoint.from_text(_text(data))
    assert checkpoint.to_text() == _text(data)


def _verifier(data: bytes) -> None:
    assert notes.NoteVerifier.from_text(_text(data)).to_text() == _text(data)


def _document(data: bytes) -> None:
    document = msgspec.msgpack.decode(data, type=signed.SignedDocument)
    signed.verify_document(sync.ANSWER_TYPE, document, {LEDGER_KEY.kid: LEDGER_KEY.public})


def _certificate(data: bytes) -> None:
    certificate = msgspec.msgpack.decode(data, type=keys.KeyCertificate)
    keys.verify_certificate(LEDGER_KEY.public, certificate, purpose=keys.KeyPurpose.ESCROW, at_ms=1)


def _leaf(data: bytes) -> None:
    assert bytes(ledger_leaf.read_leaf(data).facts) in data


def _frontier(data: bytes) -> None:
    assert merkle.Frontier.from_bytes(data).to_bytes() == data


def _enrolment(data: bytes) -> None:
    request = EnrolmentRequest.model_validate_json(data)
    login = keys.nkey_user_public(request.login_key)
    event, wrap = from_base64url(request.event_key), from_base64url(request.wrap_key)
    keys.check_certification(login, event, wrap, from_base64url(request.certification))
    statement = enrolment_statement(request.code, request.login_key, request.event_key, request.wrap_key)
    keys.verify(event, statement, from_base64url(request.proof))


def _sealed(data: bytes) -> None:
    value = SealedValue.model_validate_json(data)
    from_base64url(value.sealed.ct)


def _announced(data: bytes) -> None:
    for kind in ANNOUNCEMENTS:
        try:
            kind.model_validate_json(data)
        except ValidationError:
            continue
        return
    raise Problem(envelope.HEADER_MALFORMED, reason="no announcement")


def _token(data: bytes) -> None:
    found = claims.decode(data.decode("latin-1"), now=NOW_S, issuers=[SIGNER.public])
    assert found.kind == "user"
    assert all(isinstance(tag, str) for tag in found.tags)


def _claims(data: bytes) -> None:
    """A token whose signature holds: what stands in it is the issuer's, who may be another version, or mistaken."""
    head = base64.urlsafe_b64encode(b'{"alg":"ed25519-nkey","typ":"JWT"}').rstrip(b"=")
    signed_part = head + b"." + base64.urlsafe_b64encode(data).rstrip(b"=")
    signature = base64.urlsafe_b64encode(SIGNER.sign(signed_part)).rstrip(b"=")
    found = claims.decode((signed_part + b"." + signature).decode(), now=NOW_S, issuers=[SIGNER.public])
    assert isinstance(found.issued_at, int)
    assert all(isinstance(tag, str) for tag in found.tags)
    assert found.expires_at is None or found.expires_at > NOW_S


def _credentials(data: bytes) -> None:
    assert isinstance(Credentials.parse(data.decode("latin-1")).name, str)


def _letter(data: bytes) -> None:
    """The headers of a dead letter: whoever writes to DEADLETTER chose them."""
    headers = msgspec.json.decode(data, type=dict[str, str])
    letter = dead_letters._letter(RawStreamMsg("deadletter.v1.media", 7, data, headers=headers))
    json.dumps([letter.summary(NOW_S * 1000), letter.whole(NOW_S * 1000)])


def _time(data: bytes) -> None:
    assert format_time_ms(parse_time_ms(_text(data))) == _text(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


_CRYPTO: Final = (CryptoFault, UnicodeDecodeError)
_PACKED_CRYPTO: Final = (CryptoFault, msgspec.DecodeError, UnicodeDecodeError, RecursionError)

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Target("canonical", _canonical, (NotCanonical,), Form.JSON, (EVENTS[0].header, EVENTS[1].body), strict=False),
        Target("header", _header, (Problem,), Form.JSON, tuple(event.header for event in EVENTS)),
        Target("body", _body, (NotCanonical,), Form.JSON, tuple(event.body for event in EVENTS), strict=False),
        Target("segment", _segment, (Problem,), Form.PACKED, (segment.encode_segment(EVENTS),)),
        Target(
            "events",
            _events,
            (Problem,),
            Form.PACKED,
            (segment.encode_segment(EVENTS), from_base64(VECTORS["segments"]["sealed_bytes"])),
        ),
        Target("sealed-event", _box, (Problem,), Form.PACKED, (msgspec.msgpack.encode(tuple(EVENTS[0])),)),
        Target("sync-request", _request, (Problem,), Form.BYTES, (zstandard.ZstdCompressor().compress(REQUEST),)),
        Target("sync-request-inside", _request_inside, (Problem,), Form.PACKED, (REQUEST,)),
        Target(
            "sync-answer", _answer, (Problem, CryptoFault), Form.BYTES, (sync.pack(DOCUMENT),), makes_room=sync.UNPACKED_BYTES_MAX
        ),
        Target("sync-answer-inside", _answer_inside, (Problem, CryptoFault, ValueError), Form.PACKED, (PAYLOAD,)),
        Target(
            "inclusion-proof",
            _inclusion,
            _PACKED_CRYPTO,
            Form.PACKED,
            (msgspec.msgpack.encode([0, 2, HASHES[0], TREE_OF_TWO, [HASHES[1]]]),),
        ),
        Target(
            "consistency-proof",
            _consistency,
            _PACKED_CRYPTO,
            Form.PACKED,
            (msgspec.msgpack.encode([2, 3, TREE_OF_TWO, ROOT, [HASHES[2]]]),),
        ),
        Target("note", _note, _CRYPTO, Form.BYTES, (VECTORS["tree"]["checkpoint"].encode(),)),
        Target("checkpoint", _checkpoint, _CRYPTO, Form.BYTES, (notes.Checkpoint("zb.test/0", 3, ROOT).to_text().encode(),)),
        Target("verifier-key", _verifier, _CRYPTO, Form.BYTES, (VECTORS["tree"]["verifier"].encode(),)),
        Target("signed-document", _document, _PACKED_CRYPTO, Form.PACKED, (msgspec.msgpack.encode(DOCUMENT),)),
        Target(
            "certificate",
            _certificate,
            _PACKED_CRYPTO,
            Form.PACKED,
            (msgspec.msgpack.encode(keys.certify(LEDGER_KEY, WRAP_KEY.public, keys.KeyPurpose.ESCROW, not_before_ms=0)),),
        ),
        Target("leaf", _leaf, (CryptoFault,), Form.JSON, tuple(LEAVES)),
        Target(
            "frontier", _frontier, (CryptoFault,), Form.BYTES, (merkle.Frontier().to_bytes(), frontier_of_three()), strict=False
        ),
        Target("enrolment", _enrolment, (ValidationError, CryptoFault), Form.JSON, (written(ENROLMENT),)),
        Target(
            "sealed-value",
            _sealed,
            (ValidationError, CryptoFault),
            Form.JSON,
            (written({"sealed": VECTORS["sealed"]["sealed"]}),),
        ),
        Target("announcement", _announced, (Problem,), Form.JSON, (written(STATE), written(PRICES))),
        Target("token", _token, (ClaimError,), Form.BYTES, (TOKEN.encode(),)),
        Target("claims", _claims, (ClaimError,), Form.JSON, (written(CLAIMS),)),
        Target("credentials", _credentials, (ClaimError,), Form.BYTES, (Credentials(TOKEN, USER).text().encode(),)),
        Target(
            "dead-letter",
            _letter,
            (msgspec.DecodeError, UnicodeDecodeError, RecursionError),
            Form.JSON,
            (written(DEAD),),
            strict=False,
        ),
        Target("time", _time, (ValueError,), Form.BYTES, (b"2026-03-16T08:00:00.000Z", b"0001-01-01T00:00:00.000Z")),
    )
}
