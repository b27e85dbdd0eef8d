"""Enrolment, incarnations and session tokens over HTTP: the messages, and the proofs by which a device shows its keys.

A device proves each request to HTTP services with its login key (a signature over method, path, body hash, time and the headers
that say what an upload is), because a bearer token alone could be replayed by whoever reads a log. It does not hold key
material.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zb_contracts.events.values import Base64, Id, Name
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, dsse_pae, kid, length_prefixed, verify
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.subjects import checked_id
from zb_contracts.times import TimeText

PROOF_AGE_MAX_S: Final = 300
PROOF_HEADER: Final = "Zb-Proof"
PERSON_HEADER: Final = "Zb-Person"
"""Beside the proof, on a device of a pool: the access token of the technician who signs in."""
PROOF_TIME_HEADER: Final = "Zb-Proof-Time"
DEVICE_HEADER: Final = "Zb-Device"
AUTHORIZATION_SCHEME: Final = "Zb-Device"
"""`Authorization: Zb-Device <session token>`: the NATS user JWT of the session."""
WORD_TYPE: Final = "application/vnd.zoneblanche.session-token.v1+jwt"
COVERED_HEADERS: Final = ("Upload-Length", "Upload-Metadata", "Upload-Checksum", "Upload-Offset")
"""What a proof covers beside the body: without it, whoever captured a creation could declare another file under it."""
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolmentRequest(_Message):
    """What a device posts once. `proof` is the event key's signature over the statement of `enrolment_statement`."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z2-9-]{8,32}$")]
    login_key: Name
    event_key: Base64
    wrap_key: Base64
    certification: Base64
    proof: Base64
    replaces: Id | None = None
    model: Name | None = None


class IncarnationRequest(_Message):
    """What an enrolled device posts, under its login key's proof, to go on with a new event key: its store is behind the ledger.

    `replaces` is the author that its store was. `proof` is the new event key's signature over `incarnation_statement`.
    """

    device: Id
    replaces: Id
    event_key: Base64
    wrap_key: Base64
    certification: Base64
    proof: Base64


class TrustedKey(_Message):
    """A server key with the root's certificate over it. Keys and signatures are base64url without padding."""

    kid: Name
    purpose: Literal["ledger", "escrow"]
    public: Base64
    not_before_ms: int
    not_after_ms: int | None
    signature: Base64


def certificate_of(key: TrustedKey) -> KeyCertificate:
    """A certificate as files and HTTP spell it. SealMalformed for what is no base64url."""
    values = key.model_dump() | {"purpose": KeyPurpose(key.purpose)}
    return KeyCertificate(**values | {name: from_base64url(values[name]) for name in ("public", "signature")})


class TokenWord(_Message):
    """A ledger key's word for a session token: `signature` is over the token's text, as WORD_TYPE.

    The broker judges a token by its issuer's signature; a device that is off line believes the ledger alone.
    """

    kid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    signature: Base64


def vouch(token: str, key: SigningKey) -> TokenWord:
    """The ledger's word for a token that the platform issues."""
    return TokenWord(kid=key.kid, signature=to_base64url(key.sign(dsse_pae(WORD_TYPE, token.encode()))))


def is_vouched(token: str, word: TokenWord, keys: Mapping[str, bytes]) -> bool:
    """Whether one of these ledger keys, by key id, gave this word for this token."""
    public = keys.get(word.kid)
    try:
        return public is not None and verify(public, dsse_pae(WORD_TYPE, token.encode()), from_base64url(word.signature))
    except CryptoFault:
        return False


class EnrolmentAnswer(_Message):
    """Everything that the device pins and needs to begin, or to go on as a new incarnation."""

    device: Id
    author: Id
    agency: Id
    technician: Id | None
    shard: int
    shards: Annotated[int, Field(ge=1)]
    log_origin: Name
    """Origin line of the shard's checkpoints."""
    root_key: Base64
    keys: tuple[TrustedKey, ...]
    token: str
    """The first session token (NATS user JWT)."""
    word: TokenWord | None = None
    """The ledger's word for it; without one it opens the broker, and no reading off line."""
    anchor_id: Id
    server_time: TimeText


class TokenRequest(_Message):
    """Asks for a session token. `technician` None asks for a drain session: send and collect receipts, nothing else."""

    device: Id
    technician: Id | None = None


class TokenAnswer(_Message):
    token: str
    expires_at: TimeText
    word: TokenWord | None = None
    """As in `EnrolmentAnswer`."""


def enrolment_statement(code: str, login_key: str, event_key: str, wrap_key: str) -> bytes:
    """The bytes that the event key signs at enrolment: it binds the keys to the one-time code."""
    return _texts("zb-enrolment-v1", code, login_key, event_key, wrap_key)


def incarnation_statement(device: str, replaces: str, event_key: str, wrap_key: str) -> bytes:
    """The bytes that a new event key signs: it goes on where this author of this device ended."""
    return _texts("zb-incarnation-v1", device, replaces, event_key, wrap_key)


def incarnation_author(device: str, event_public: bytes) -> str:
    """The author of a new incarnation: the device and its event key's id, so that the device knows it without a network."""
    return checked_id(f"{device}-{kid(event_public)}")


def request_statement(method: str, path: str, body: bytes, time: str, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """The bytes that the login key signs for one HTTP request. `time` is what stands in PROOF_TIME_HEADER.

    Of `headers` the values of COVERED_HEADERS count, in that order, an empty text for one that the request lacks.
    """
    covered = (headers.get(name, "") for name in COVERED_HEADERS)
    return _texts("zb-request-v1", method.upper(), path, hashlib.sha256(body).hexdigest(), time, *covered)


def _texts(*parts: str) -> bytes:
    return length_prefixed(*(part.encode() for part in parts))
