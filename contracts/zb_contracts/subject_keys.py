"""Data subjects' keys between a device and custody: what the ledger vouches for, what is given, what is handed in.

A *scope statement* is the ledger's signed word, for some minutes, on which documents a technician's device holds and on its wrap
key; custody believes that and no device. Keys travel in boxes only. It opens no box, stores nothing and reads no clock.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from zb_contracts.events.values import Base64, Code, Id, Sha256, Uuid
from zb_contracts.faults import DocumentMalformed, StatementEnded
from zb_contracts.keys import SigningKey
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.signed import SignedDocument, sign_document, verify_document
from zb_contracts.sync import DOCUMENTS_MAX
from zb_contracts.times import TimeText

STATEMENT_TYPE: Final = "application/vnd.zoneblanche.scope-statement.v1+json"
STATEMENT_VALID_MS: Final = 15 * 60_000
"""A device that may hold nothing any more gets no other one: so long what it had is still believed."""
STATEMENT_CHARACTERS_MAX: Final = 256 * 1024
KEYS_MAX: Final = 256
"""Keys in one answer; `more` asks for another round."""
HELD_MAX: Final = 4_096
"""Keys that a device names as held."""
DEPOSITS_MAX: Final = 64
"""Keys that a device hands in at once."""

STATEMENT_PATH: Final = "/v1/scope-statements"
KEYS_PATH: Final = "/v1/subject-keys"
DEPOSITS_PATH: Final = "/v1/subject-keys/deposits"

Purpose = Literal["contact", "signer", "position", "service-position"]
Stream = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,32}:[A-Za-z0-9._-]{1,128}$")]
Milliseconds = Annotated[int, Field(ge=0, le=2**53 - 1)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StatementRequest(_Message):
    """What a device asks the ledger, under its login key's proof, for a technician who has a session on it."""

    device: Id
    technician: Id


class ScopeStatement(_Message):
    """Which documents the device holds, to which key it may be given theirs, and where custody is. Times are real time."""

    v: Literal[1] = 1
    device: Id
    author: Id
    technician: Id
    wrap_key: Base64
    documents: Annotated[tuple[Stream, ...], Field(max_length=DOCUMENTS_MAX)]
    custody_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]{1,500}$")]
    custody_key: Base64
    """X25519: keys that the device hands in are sealed to it."""
    issued_at: TimeText
    ends_ms: Milliseconds


class SignedStatement(_Message):
    """`payload` (base64url of the statement's JSON) as the ledger key `kid` signed it, as STATEMENT_TYPE."""

    kid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    payload: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=STATEMENT_CHARACTERS_MAX)]
    signature: Base64


class KeysRequest(_Message):
    """The statement, and which keys the device has."""

    device: Id
    statement: SignedStatement
    held: Annotated[tuple[Code, ...], Field(max_length=HELD_MAX)] = ()


class DeliveredKey(_Message):
    """A subject's key in a box for the wrap key. From `used_from_ms` to `used_until_ms` the device seals under it."""

    kid: Code
    subject: Id
    purpose: Purpose
    wrapped: Base64
    used_from_ms: Milliseconds | None = None
    used_until_ms: Milliseconds | None = None


class KeysAnswer(_Message):
    """What the device lacks, and what it has to forget: out of its scope, or destroyed."""

    keys: Annotated[tuple[DeliveredKey, ...], Field(max_length=KEYS_MAX)]
    gone: Annotated[tuple[Code, ...], Field(max_length=HELD_MAX)]
    more: bool = False


class Deposit(_Message):
    """A key that was made on the device, in a box for custody: what is sealed under it, by whom, when (wall clock).

    `file`: a picture that shows the same person, erased together with the key.
    """

    kid: Code
    purpose: Purpose
    actor: Id
    stream: Stream
    event: Uuid
    fields: Annotated[tuple[Code, ...], Field(min_length=1, max_length=8)]
    at_ms: Milliseconds
    recipient_kid: Code
    wrapped: Base64
    file: Sha256 | None = None


class DepositRequest(_Message):
    """Keys that custody is to keep from now on. The same one again changes nothing."""

    device: Id
    deposits: Annotated[tuple[Deposit, ...], Field(min_length=1, max_length=DEPOSITS_MAX)]


class DepositRefused(_Message):
    """A key that custody does not take, and the code of the Problem."""

    kid: Code
    code: str


class DepositAnswer(_Message):
    """What custody keeps now; the device forgets its boxes of them."""

    taken: tuple[Code, ...]
    refused: tuple[DepositRefused, ...] = ()


def sign_statement(statement: ScopeStatement, key: SigningKey) -> SignedStatement:
    """The statement under a ledger key."""
    document = sign_document(STATEMENT_TYPE, statement.model_dump_json().encode(), key)
    return SignedStatement(kid=document.kid, payload=to_base64url(document.payload), signature=to_base64url(document.signature))


def read_statement(signed: SignedStatement, keys: Mapping[str, bytes], now_ms: int) -> ScopeStatement:
    """What one of these ledger keys stated, and is still good at `now_ms`. A CryptoFault else."""
    document = SignedDocument(signed.kid, from_base64url(signed.payload), from_base64url(signed.signature))
    try:
        statement = ScopeStatement.model_validate_json(verify_document(STATEMENT_TYPE, document, keys))
    except ValidationError as fault:
        raise DocumentMalformed("a ledger key signed something that is no scope statement") from fault
    if now_ms >= statement.ends_ms:
        raise StatementEnded(f"the scope statement of {statement.device} ended at {statement.ends_ms}")
    return statement
