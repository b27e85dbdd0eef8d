"""Keys, boxes, certification and certificates: what each promises, and each way to cheat."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zb_contracts import keys
from zb_contracts.faults import (
    BoxUnopened,
    CertificateInvalid,
    CertificateNotInForce,
    CertificationInvalid,
    CryptoFault,
    KeyMalformed,
)
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, WrapKey

ROOT = SigningKey.from_seed(b"root".ljust(32, b"."))
LEDGER = SigningKey.from_seed(b"ledger".ljust(32, b"."))
LOGIN = SigningKey.from_seed(bytes(range(32)))
EVENT = SigningKey.from_seed(b"event".ljust(32, b"."))
WRAP = WrapKey.from_private(b"wrap".ljust(32, b"."))

# RFC 8032, 7.1, test 2.
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_signature_is_the_one_of_rfc_8032() -> None:
    key = SigningKey.from_seed(RFC_SEED)
    assert key.public == RFC_PUBLIC
    assert key.seed == RFC_SEED
    assert key.sign(b"\x72") == RFC_SIGNATURE
    assert keys.verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE)


@given(st.binary(max_size=200), st.integers(0, 63), st.integers(1, 255))
def test_a_changed_signature_or_message_is_not_valid(message: bytes, at: int, flip: int) -> None:
    signature = EVENT.sign(message)
    changed = bytearray(signature)
    changed[at] ^= flip
    assert keys.verify(EVENT.public, message, signature)
    assert not keys.verify(EVENT.public, message, bytes(changed))
    assert not keys.verify(EVENT.public, message + b"!", signature)
    assert not keys.verify(LEDGER.public, message, signature)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_verify_never_raises_whatever_the_lengths(public: bytes, signature: bytes) -> None:
    assert not keys.verify(public, b"leaky-boiler", signature)


def test_a_signature_does_not_hide_a_part_of_the_message() -> None:
    """The binding joins signature and message: bytes must not move from one to the other."""
    signed = EVENT.sign(b"leaky-boiler")
    assert not keys.verify(EVENT.public, b"eaky-boiler", signed + b"l")
    assert not keys.verify(EVENT.public, signed[-1:] + b"leaky-boiler", signed[:-1])


def test_the_secret_is_not_in_the_repr() -> None:
    assert EVENT.seed.hex() not in repr(EVENT)
    assert repr(EVENT) == f"SigningKey(kid='{EVENT.kid}')"
    assert repr(WRAP) == f"WrapKey(kid='{WRAP.kid}')"


def test_generated_keys_differ_and_a_key_id_is_16_hex_digits() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public
    assert WrapKey.generate().public != WrapKey.generate().public
    assert keys.kid(RFC_PUBLIC) == "39f713d0a644253f"
    assert len(keys.kid(b"")) == 16


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    wrong = b"x" * length
    for attempt in (
        lambda: SigningKey.from_seed(wrong),
        lambda: WrapKey.from_private(wrong),
        lambda: keys.seal_to(wrong, b""),
        lambda: keys.open_sealed(wrong, b"x" * 60),
        lambda: keys.nkey_user_text(wrong),
        lambda: keys.certification_statement(LOGIN.public, EVENT.public, wrong),
        lambda: keys.certify(ROOT, wrong, KeyPurpose.LEDGER, not_before_ms=0),
    ):
        with pytest.raises(KeyMalformed):
            attempt()


@given(st.binary(max_size=500))
def test_a_sealed_box_opens_for_its_key_alone(data: bytes) -> None:
    box = keys.seal_to(WRAP.public, data)
    assert len(box) == len(data) + keys.BOX_OVERHEAD_BYTES
    assert keys.open_sealed(WRAP.private, box) == data
    with pytest.raises(BoxUnopened):
        keys.open_sealed(WrapKey.generate().private, box)
    with pytest.raises(BoxUnopened):
        keys.open_sealed(WRAP.private, box[:-1] + bytes([box[-1] ^ 1]))


@pytest.mark.parametrize("length", [0, 47])
def test_a_box_that_is_too_short_is_refused(length: int) -> None:
    with pytest.raises(BoxUnopened):
        keys.open_sealed(WRAP.private, b"x" * length)


def test_nothing_is_sealed_to_a_degenerate_key() -> None:
    with pytest.raises(KeyMalformed):
        keys.seal_to(bytes(32), b"customer-key")


def test_pae_is_the_published_example() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert keys.dsse_pae("http://example.com/HelloWorld", b"hello world") == expected


@given(st.lists(st.binary(max_size=9), max_size=5), st.lists(st.binary(max_size=9), max_size=5))
def test_length_prefixed_parts_are_never_ambiguous(left: list[bytes], right: list[bytes]) -> None:
    assert (keys.length_prefixed(*left) == keys.length_prefixed(*right)) == (left == right)


def test_a_login_key_certifies_exactly_its_two_keys() -> None:
    signature = LOGIN.sign(keys.certification_statement(LOGIN.public, EVENT.public, WRAP.public))
    keys.check_certification(LOGIN.public, EVENT.public, WRAP.public, signature)
    for swapped in (
        (LOGIN.public, LEDGER.public, WRAP.public),
        (LOGIN.public, EVENT.public, EVENT.public),
        (LOGIN.public, WRAP.public, EVENT.public),
        (LEDGER.public, EVENT.public, WRAP.public),
    ):
        with pytest.raises(CertificationInvalid):
            keys.check_certification(*swapped, signature)


def test_a_server_cannot_pass_a_certification_off_as_a_login_nonce() -> None:
    assert keys.login_nonce_is_plain(b"hmJ3K8EvZ0Fq3Zg")
    assert keys.login_nonce_is_plain(b"hmJ3K8EvZ0Fq3Zg=")
    statement = keys.certification_statement(LOGIN.public, EVENT.public, WRAP.public)
    for hostile in (statement, b"", b"a" * 65, b"DSSEv1 1", b"abc\n"):
        assert not keys.login_nonce_is_plain(hostile)


def test_an_nkey_is_read_as_the_nats_tools_write_it() -> None:
    text = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
    assert keys.nkey_user_text(LOGIN.public) == text
    assert keys.nkey_user_public(text) == LOGIN.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "U",
        "é" * 56,
        "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKL",
        "uab2cb576phbbpq5odorrz2lycmwpzgwgcn2kdk7dxoimzaskuy3rlkk",
        "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
    ],
)
def test_a_wrong_nkey_is_refused(text: str) -> None:
    with pytest.raises(KeyMalformed):
        keys.nkey_user_public(text)


def ledger_certificate() -> KeyCertificate:
    return keys.certify(ROOT, LEDGER.public, KeyPurpose.LEDGER, not_before_ms=1_000, not_after_ms=2_000)


@pytest.mark.parametrize("at_ms", [1_000, 1_999])
def test_a_certificate_holds_in_its_time(at_ms: int) -> None:
    certificate = ledger_certificate()
    assert certificate.kid == LEDGER.kid
    assert keys.verify_certificate(ROOT.public, certificate, purpose=KeyPurpose.LEDGER, at_ms=at_ms) == LEDGER.public


@pytest.mark.parametrize("at_ms", [0, 999, 2_000, 10**13])
def test_a_certificate_does_not_hold_outside_its_time(at_ms: int) -> None:
    with pytest.raises(CertificateNotInForce):
        keys.verify_certificate(ROOT.public, ledger_certificate(), purpose=KeyPurpose.LEDGER, at_ms=at_ms)


def test_an_open_certificate_has_no_end() -> None:
    certificate = keys.certify(ROOT, LEDGER.public, KeyPurpose.OFFICE, not_before_ms=0)
    assert keys.verify_certificate(ROOT.public, certificate, purpose=KeyPurpose.OFFICE, at_ms=10**15) == LEDGER.public


@pytest.mark.parametrize(
    "change",
    [
        {"public": EVENT.public, "kid": EVENT.kid},
        {"public": EVENT.public},
        {"public": b"short"},
        {"kid": "0" * 16},
        {"purpose": KeyPurpose.ESCROW},
        {"not_before_ms": 0},
        {"not_after_ms": None},
        {"not_after_ms": 20_000},
        {"signature": b""},
        {"signature": bytes(64)},
    ],
)
def test_a_changed_certificate_is_refused(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(ledger_certificate(), **change)
    for purpose in (KeyPurpose.LEDGER, KeyPurpose.ESCROW):
        with pytest.raises(CertificateInvalid):
            keys.verify_certificate(ROOT.public, changed, purpose=purpose, at_ms=1_500)


def test_a_certificate_is_for_one_purpose_and_from_one_root() -> None:
    with pytest.raises(CertificateInvalid, match="is for ledger, not for escrow"):
        keys.verify_certificate(ROOT.public, ledger_certificate(), purpose=KeyPurpose.ESCROW, at_ms=1_500)
    with pytest.raises(CertificateInvalid):
        keys.verify_certificate(LEDGER.public, ledger_certificate(), purpose=KeyPurpose.LEDGER, at_ms=1_500)


@pytest.mark.parametrize(("begin", "end"), [(-1, None), (5, 5), (5, 4)])
def test_a_certificate_that_is_never_in_force_is_not_made(begin: int, end: int | None) -> None:
    with pytest.raises(KeyMalformed):
        keys.certify(ROOT, LEDGER.public, KeyPurpose.LEDGER, not_before_ms=begin, not_after_ms=end)


def test_a_certificate_travels_as_json_and_msgpack() -> None:
    certificate = ledger_certificate()
    assert msgspec.json.decode(msgspec.json.encode(certificate), type=KeyCertificate) == certificate
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(certificate), type=KeyCertificate) == certificate


def test_every_fault_has_a_code_of_its_own() -> None:
    kinds = CryptoFault.__subclasses__()
    assert len(kinds) >= 13
    assert len({kind.code for kind in kinds} | {CryptoFault.code}) == len(kinds) + 1
