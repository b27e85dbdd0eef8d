"""Signed documents: the payload comes back only for the right type, the right key and the very bytes."""

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from zb_contracts import signed, sync
from zb_contracts.faults import DocumentMalformed, DocumentUnverified
from zb_contracts.keys import SigningKey
from zb_contracts.problems import Problem

LEDGER = SigningKey.from_seed(b"ledger".ljust(32, b"."))
STRANGER = SigningKey.from_seed(b"stranger".ljust(32, b"."))
TRUSTED = {LEDGER.kid: LEDGER.public}
ANSWER = "application/vnd.zoneblanche.sync-answer.v1+msgpack"


@given(st.binary(max_size=400))
def test_a_signed_payload_comes_back_as_it_was(payload: bytes) -> None:
    document = signed.sign_document(ANSWER, payload, LEDGER)
    travelled = sync.unpack_document(sync.pack(document))
    assert travelled == document
    assert signed.verify_document(ANSWER, travelled, TRUSTED) == payload


def test_an_answer_does_not_pass_for_a_command() -> None:
    document = signed.sign_document(ANSWER, b"wipe", LEDGER)
    with pytest.raises(DocumentUnverified, match="did not sign this as"):
        signed.verify_document("application/vnd.zoneblanche.command.v1+json", document, TRUSTED)


def test_a_stranger_signs_for_nobody() -> None:
    document = signed.sign_document(ANSWER, b"receipts", STRANGER)
    with pytest.raises(DocumentUnverified, match="no key that we trust"):
        signed.verify_document(ANSWER, document, TRUSTED)
    with pytest.raises(DocumentUnverified, match="did not sign"):
        signed.verify_document(ANSWER, msgspec.structs.replace(document, kid=LEDGER.kid), TRUSTED)


@given(st.sampled_from(["payload", "signature"]), st.integers(0, 63), st.integers(1, 255))
def test_one_changed_byte_is_noticed(part: str, at: int, flip: int) -> None:
    document = signed.sign_document(ANSWER, b"leaky-boiler".ljust(64, b"."), LEDGER)
    changed = bytearray(getattr(document, part))
    changed[at] ^= flip
    with pytest.raises(DocumentUnverified):
        signed.verify_document(ANSWER, msgspec.structs.replace(document, **{part: bytes(changed)}), TRUSTED)


def test_a_shortened_signature_is_not_valid() -> None:
    document = signed.sign_document(ANSWER, b"", LEDGER)
    for signature in (b"", document.signature[:-1], document.signature + b"!"):
        with pytest.raises(DocumentUnverified):
            signed.verify_document(ANSWER, msgspec.structs.replace(document, signature=signature), TRUSTED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80",
        msgspec.msgpack.encode({"kid": "x", "payload": b"", "signature": bytes(64)}),
        msgspec.msgpack.encode({"kid": "0" * 16, "payload": b"", "signature": bytes(63)}),
        msgspec.msgpack.encode({"kid": "0" * 16, "payload": "text", "signature": bytes(64)}),
        msgspec.msgpack.encode({"kid": "0" * 16, "payload": b"", "signature": bytes(64), "alg": "none"}),
        msgspec.msgpack.encode({"kid": "0" * 16, "payload": b"", "signature": bytes(64)}) + b"!",
        b"\x91" * 100_000,
        b"\x81\xa2\xff\xff\x00",
    ],
)
def test_other_bytes_are_no_document(data: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        sync.unpack_document(zstandard.compress(data))
    assert refusal.value.code == "sync.malformed"


def test_a_document_that_unpacks_to_too_much_is_refused_by_its_declared_size() -> None:
    bomb = zstandard.compress(bytes(sync.UNPACKED_BYTES_MAX + 1))
    assert len(bomb) < 1024
    with pytest.raises(Problem, match="the limit is 8388608"):
        sync.unpack_document(bomb)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_named_fault(data: bytes) -> None:
    for travelling in (data, zstandard.compress(data)):
        with pytest.raises(Problem):
            sync.unpack_document(travelling)


@pytest.mark.parametrize("payload_type", ["", "x" * 256, "application/é"])
def test_a_document_needs_a_type(payload_type: str) -> None:
    with pytest.raises(DocumentMalformed):
        signed.sign_document(payload_type, b"", LEDGER)


def test_a_payload_over_the_limit_is_not_signed() -> None:
    with pytest.raises(DocumentMalformed, match="the limit is 8388608"):
        signed.sign_document(ANSWER, bytes(signed.PAYLOAD_BYTES_MAX + 1), LEDGER)
