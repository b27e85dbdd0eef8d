"""Enrolment and session tokens over HTTP: the messages, and the proofs by which a device shows its keys.

A device proves each request to HTTP services with its login key (a signature over method, path, body hash and time), because
a bearer token alone could be replayed by whoever reads a log. It does not hold key material.
"""

import hashlib
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zb_contracts.events.values import Base64, Id, Name
from zb_contracts.times import TimeText

PROOF_AGE_MAX_S: Final = 300
PROOF_HEADER: Final = "Zb-Proof"
PROOF_TIME_HEADER: Final = "Zb-Proof-Time"
DEVICE_HEADER: Final = "Zb-Device"
AUTHORIZATION_SCHEME: Final = "Zb-Device"
"""`Authorization: Zb-Device <session token>`: the NATS user JWT of the session."""


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


class TrustedKey(_Message):
    """A server key with the root's certificate over it. Keys and signatures are base64url without padding."""

    kid: Name
    purpose: Literal["ledger", "escrow"]
    public: Base64
    not_before_ms: int
    not_after_ms: int | None
    signature: Base64


class EnrolmentAnswer(_Message):
    """Everything that the device pins and needs to begin."""

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
    anchor_id: Id
    server_time: TimeText


class TokenRequest(_Message):
    """Asks for a session token. `technician` None asks for a drain session: send and collect receipts, nothing else."""

    device: Id
    technician: Id | None = None


class TokenAnswer(_Message):
    token: str
    expires_at: TimeText


def enrolment_statement(code: str, login_key: str, event_key: str, wrap_key: str) -> bytes:
    """The bytes that the event key signs at enrolment: it binds the keys to the one-time code."""
    parts = ("zb-enrolment-v1", code, login_key, event_key, wrap_key)
    return b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)


def request_statement(method: str, path: str, body: bytes, time: str) -> bytes:
    """The bytes that the login key signs for one HTTP request. `time` is what stands in PROOF_TIME_HEADER."""
    parts = ("zb-request-v1", method.upper(), path, hashlib.sha256(body).hexdigest(), time)
    return b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)
