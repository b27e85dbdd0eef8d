"""The keys of the platform: Ed25519 to sign, X25519 to wrap, and who vouches for which.

It owns key ids, the bytes that are signed (DSSE PAE, length-prefixed statements), the login key's certification of a
device's event and wrap key, and the root's certificates. It stores no key and reads no clock: times are arguments.
Randomness enters only in `generate` and in sealing a box.
"""

import base64
import binascii
import hashlib
import re
from enum import StrEnum
from typing import Final, Self

import msgspec
from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from zb_contracts.faults import (
    BoxUnopened,
    CertificateInvalid,
    CertificateNotInForce,
    CertificationInvalid,
    KeyMalformed,
)

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
BOX_OVERHEAD_BYTES: Final = 48
LOGIN_NONCE_BYTES_MAX: Final = 64

CERTIFICATION_TYPE: Final = "application/vnd.zoneblanche.certification.v1"
CERTIFICATE_TYPE: Final = "application/vnd.zoneblanche.key-certificate.v1"

_NKEY_USER_PREFIX: Final = 20 << 3
_NKEY_ACCOUNT_PREFIX: Final = 0
_PLAIN_NONCE: Final = re.compile(rb"[A-Za-z0-9_-]{1,%d}={0,2}" % LOGIN_NONCE_BYTES_MAX)


class SigningKey:
    """An Ed25519 private key. `seed` is the secret (32 bytes); `repr` does not show it."""

    __slots__ = ("_secret", "kid", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise KeyMalformed(f"an Ed25519 seed has {KEY_BYTES} bytes, not {len(seed)}")
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.kid = kid(self.public)

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's randomness."""
        return cls(bindings.randombytes(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of this seed (32 bytes), always the same. KeyMalformed on another length."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        return self._secret[:KEY_BYTES]

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature alone; the same message gives the same bytes."""
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


class WrapKey:
    """An X25519 private key, to which others seal boxes. `private` is the secret (32 bytes)."""

    __slots__ = ("kid", "private", "public")

    def __init__(self, private: bytes) -> None:
        if len(private) != KEY_BYTES:
            raise KeyMalformed(f"an X25519 private key has {KEY_BYTES} bytes, not {len(private)}")
        self.private = private
        self.public = bindings.crypto_scalarmult_base(private)
        self.kid = kid(self.public)

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's randomness."""
        return cls(bindings.randombytes(KEY_BYTES))

    @classmethod
    def from_private(cls, private: bytes) -> Self:
        """The key of these 32 bytes. KeyMalformed on another length."""
        return cls(private)

    def __repr__(self) -> str:
        return f"WrapKey(kid={self.kid!r})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `public` over `message`. Never raises on lengths: they are simply not valid."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def kid(public: bytes) -> str:
    """A public key's id: the first 16 hex digits of its SHA-256. It finds a key, it does not prove one."""
    return hashlib.sha256(public).hexdigest()[:16]


def length_prefixed(*parts: bytes) -> bytes:
    """The parts, each after its length as 4 bytes, big-endian: no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def dsse_pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed in place of `payload`: DSSE's pre-authentication encoding, which binds its type."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal_to(public: bytes, data: bytes) -> bytes:
    """A box that only the holder of `public`'s private key opens, 48 bytes longer than `data`; its sender is unknown.

    KeyMalformed when `public` is no X25519 key, or a degenerate one.
    """
    if len(public) != KEY_BYTES:
        raise KeyMalformed(f"an X25519 public key has {KEY_BYTES} bytes, not {len(public)}")
    try:
        return SealedBox(PublicKey(public)).encrypt(data)
    except CryptoError as error:
        raise KeyMalformed("nothing can be sealed to this X25519 key") from error


def open_sealed(private: bytes, data: bytes) -> bytes:
    """What `seal_to` was given. BoxUnopened for another key or changed bytes, KeyMalformed for a wrong length."""
    if len(private) != KEY_BYTES:
        raise KeyMalformed(f"an X25519 private key has {KEY_BYTES} bytes, not {len(private)}")
    if len(data) < BOX_OVERHEAD_BYTES:
        raise BoxUnopened(f"a sealed box has at least {BOX_OVERHEAD_BYTES} bytes, not {len(data)}")
    try:
        return SealedBox(PrivateKey(private)).decrypt(data)
    except CryptoError as error:
        raise BoxUnopened("the box is for another key, or was changed") from error


# --- The login key (NATS NKey) vouches for the device's other two keys ---


def certification_statement(login_public: bytes, event_public: bytes, wrap_public: bytes) -> bytes:
    """What the login key signs once at enrolment, so that its session's event and wrap key cannot be exchanged.

    All three are raw public keys of 32 bytes; KeyMalformed else. The statement can never be a login nonce that a
    client signs: see `login_nonce_is_plain`.
    """
    for name, public in (("login", login_public), ("event", event_public), ("wrap", wrap_public)):
        if len(public) != KEY_BYTES:
            raise KeyMalformed(f"the {name} key has {len(public)} bytes, not {KEY_BYTES}")
    return dsse_pae(CERTIFICATION_TYPE, length_prefixed(login_public, event_public, wrap_public))


def check_certification(login_public: bytes, event_public: bytes, wrap_public: bytes, signature: bytes) -> None:
    """Returns when the login key certified exactly these two keys; CertificationInvalid or KeyMalformed else."""
    if not verify(login_public, certification_statement(login_public, event_public, wrap_public), signature):
        raise CertificationInvalid("the login key did not certify these event and wrap keys")


def login_nonce_is_plain(nonce: bytes) -> bool:
    """Whether a client may sign this nonce of a server with its login key.

    The server chooses what is signed at login. One that is not short base64url could be a statement of ours, and
    the signature would then certify a stranger's event key: a client refuses to sign it.
    """
    return len(nonce) <= LOGIN_NONCE_BYTES_MAX and _PLAIN_NONCE.fullmatch(nonce) is not None


def nkey_user_public(text: str) -> bytes:
    """The raw 32 bytes in a user's public NKey (`U...`, 56 characters). KeyMalformed for anything else."""
    return _nkey_public(text, _NKEY_USER_PREFIX, "a user's public NKey (U..., 56 characters)")


def nkey_user_text(public: bytes) -> str:
    """A raw Ed25519 public key as a user's public NKey (`U...`). KeyMalformed on another length."""
    return _nkey_text(public, _NKEY_USER_PREFIX)


def nkey_account_text(public: bytes) -> str:
    """A raw Ed25519 public key as an account's public NKey (`A...`). KeyMalformed on another length."""
    return _nkey_text(public, _NKEY_ACCOUNT_PREFIX)


def _nkey_public(text: str, prefix: int, what: str) -> bytes:
    try:
        raw = base64.b32decode(text.encode("ascii"))
    except ValueError as error:
        raise KeyMalformed("an NKey is base32 text") from error
    if len(raw) != KEY_BYTES + 3 or raw[0] != prefix:
        raise KeyMalformed(f"not {what}")
    if binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") != raw[-2:]:
        raise KeyMalformed("the NKey's check sum is wrong")
    return raw[1:-2]


def _nkey_text(public: bytes, prefix: int) -> str:
    if len(public) != KEY_BYTES:
        raise KeyMalformed(f"a key has {KEY_BYTES} bytes, not {len(public)}")
    raw = bytes([prefix]) + public
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()


# --- The offline root vouches for the server side's keys ---


class KeyPurpose(StrEnum):
    """What a certified key may be used for: one thing only."""

    LEDGER = "ledger"
    ESCROW = "escrow"
    OFFICE = "office"
    SERVICE = "service"


class KeyCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root's word for one key: in force from `not_before_ms` (included) to `not_after_ms` (excluded, None: open).

    Times are milliseconds since 1970 UTC. An escrow key is X25519, the others are Ed25519.
    """

    kid: str
    public: bytes
    purpose: KeyPurpose
    not_before_ms: int
    not_after_ms: int | None
    signature: bytes

    @property
    def name(self) -> str:
        """Tells this word of the root from others on the same key: 16 hex digits. It finds a certificate, it proves none."""
        return hashlib.sha256(self.signature).hexdigest()[:16]


def certify(
    root: SigningKey, public: bytes, purpose: KeyPurpose, *, not_before_ms: int, not_after_ms: int | None = None
) -> KeyCertificate:
    """A certificate of `public`, signed by the root. KeyMalformed on a wrong length or an empty time."""
    if len(public) != KEY_BYTES:
        raise KeyMalformed(f"a public key has {KEY_BYTES} bytes, not {len(public)}")
    if not_before_ms < 0 or (not_after_ms is not None and not_after_ms <= not_before_ms):
        raise KeyMalformed("the certificate would never be in force")
    unsigned = KeyCertificate(kid(public), public, purpose, not_before_ms, not_after_ms, b"")
    return msgspec.structs.replace(unsigned, signature=root.sign(_certificate_statement(unsigned)))


def verify_certificate(root_public: bytes, certificate: KeyCertificate, *, purpose: KeyPurpose, at_ms: int) -> bytes:
    """The certified public key, if the root gave it for `purpose` and it is in force at `at_ms`.

    CertificateInvalid when it is not the root's word for this, CertificateNotInForce outside its time.
    """
    if len(certificate.public) != KEY_BYTES or certificate.kid != kid(certificate.public):
        raise CertificateInvalid(f"the id {certificate.kid[:32]!r} is not that of the certified key")
    if not verify(root_public, _certificate_statement(certificate), certificate.signature):
        raise CertificateInvalid(f"the root did not sign the certificate of {certificate.kid}")
    if certificate.purpose != purpose:
        raise CertificateInvalid(f"the key {certificate.kid} is for {certificate.purpose}, not for {purpose}")
    too_late = certificate.not_after_ms is not None and at_ms >= certificate.not_after_ms
    if at_ms < certificate.not_before_ms or too_late:
        raise CertificateNotInForce(f"the certificate of {certificate.kid} is not in force at {at_ms}")
    return certificate.public


def _certificate_statement(certificate: KeyCertificate) -> bytes:
    """The signed bytes: every field but the signature, as text, length-prefixed; an open end is the empty text."""
    end = "" if certificate.not_after_ms is None else str(certificate.not_after_ms)
    fields = (certificate.kid, certificate.purpose, str(certificate.not_before_ms), end)
    return dsse_pae(CERTIFICATE_TYPE, length_prefixed(certificate.public, *(field.encode() for field in fields)))
