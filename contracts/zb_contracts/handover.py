"""A file that its device can no longer open, on its way to the evidence store: encrypted chunks, the ledger's word on its key.

The device keeps each file's key in a box for escrow. field-ingest opens that box where an event of the device names the file, and
seals the key to the evidence store, which alone opens it: a handover, signed by a ledger key, good for one file of one device and
some minutes. It holds no key material and reads no clock.
"""

import base64
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zb_contracts.enrolment import TrustedKey, certificate_of
from zb_contracts.events.values import Base64, Id, Sha256
from zb_contracts.faults import DocumentMalformed, SealBroken, StatementEnded
from zb_contracts.keys import KeyPurpose, SigningKey, open_sealed, seal_to, verify_certificate
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.signed import SignedDocument, sign_document, verify_document

PATH: Final = "/v1/file-handovers"
HANDOVER_TYPE: Final = "application/vnd.zoneblanche.file-handover.v1+json"
VALID_MS: Final = 15 * 60_000
METADATA_KEY: Final = "handover"
"""Of `Upload-Metadata`: the handover as JSON."""
CHUNK_TYPE: Final = "application/vnd.zoneblanche.sealed-chunk"
"""`Content-Type` of a part that is one encrypted chunk; its `Upload-Offset` is that of the bytes in the clear."""
CHUNK_BYTES: Final = 1024 * 1024
"""In the clear; the last chunk of a file is shorter."""
PIECE_BYTES: Final = 64 * 1024
NONCE_BYTES: Final = 12
FILE_BYTES_MAX: Final = 2**31
"""As events may name a file."""
CHUNK_OVERHEAD_BYTES: Final = NONCE_BYTES + 16


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HandoverRequest(_Message):
    """What a device asks under its login key's proof; `box` is the file's key, sealed to escrow."""

    device: Id
    sha256: Sha256
    box: Base64


class Handover(_Message):
    """That an event of the device names the file, and the file's key in a box for the evidence store. Times are real time."""

    v: Literal[1] = 1
    device: Id
    sha256: Sha256
    length_bytes: Annotated[int, Field(ge=1, le=FILE_BYTES_MAX)]
    box: Base64
    ends_ms: Annotated[int, Field(ge=0, le=2**53 - 1)]


class SignedHandover(_Message):
    """`payload` (base64url of the handover's JSON) under a ledger key, with the root's word on that key."""

    key: TrustedKey
    payload: Base64
    signature: Base64


def sign_handover(handover: Handover, key: SigningKey, certificate: TrustedKey) -> SignedHandover:
    """The handover under a ledger key."""
    document = sign_document(HANDOVER_TYPE, handover.model_dump_json().encode(), key)
    return SignedHandover(key=certificate, payload=to_base64url(document.payload), signature=to_base64url(document.signature))


def read_handover(text: str, root: bytes, now_ms: int) -> Handover:
    """What a ledger key that this root certifies handed over, good at `now_ms`. A CryptoFault else."""
    try:
        signed = SignedHandover.model_validate_json(text)
        certificate = certificate_of(signed.key)
        public = verify_certificate(root, certificate, purpose=KeyPurpose.LEDGER, at_ms=now_ms)
        document = SignedDocument(certificate.kid, from_base64url(signed.payload), from_base64url(signed.signature))
        handover = Handover.model_validate_json(verify_document(HANDOVER_TYPE, document, {certificate.kid: public}))
    except ValidationError as fault:
        raise DocumentMalformed("that is no handover of a file") from fault
    if now_ms >= handover.ends_ms:
        raise StatementEnded(f"the handover of {handover.sha256} ended at {handover.ends_ms}")
    return handover


def passed_on(escrow_private: bytes, box: str, recipient_public: bytes) -> str:
    """The key in a box for escrow, in one for the recipient. A CryptoFault where it is not a box for escrow."""
    return to_base64url(seal_to(recipient_public, open_sealed(escrow_private, from_base64url(box))))


def sealed_chunk(key: bytes, nonce: bytes, sha256: str, number: int, part: bytes) -> bytes:
    """Chunk `number` (0, 1 ...) of a file, encrypted: nonce, AES-256-GCM."""
    return b"".join(sealed_pieces(key, nonce, sha256, number, part))


def sealed_pieces(key: bytes, nonce: bytes, sha256: str, number: int, part: bytes | memoryview) -> Iterator[bytes]:
    """The same chunk in pieces of PIECE_BYTES, for whoever writes it while others wait."""
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(_name(sha256, number))
    for at in range(0, len(part), PIECE_BYTES):
        yield (b"" if at else nonce) + encryptor.update(part[at : at + PIECE_BYTES])
    yield encryptor.finalize() + encryptor.tag


def opened_chunk(key: bytes, sha256: str, number: int, data: bytes) -> bytes:
    """The bytes of a chunk. SealBroken where it was changed, or is another one."""
    try:
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _name(sha256, number))
    except (InvalidTag, ValueError) as fault:
        raise SealBroken(f"chunk {number} of {sha256} is not what its key sealed") from fault


def metadata_value(signed: SignedHandover) -> str:
    """As it stands in `Upload-Metadata`."""
    return base64.b64encode(signed.model_dump_json().encode()).decode()


def _name(sha256: str, number: int) -> bytes:
    # Binds a chunk to its place: chunks cannot be swapped between files or within one.
    return f"{sha256}.{number}".encode()
