"""Signed documents: bytes, who signed them, and for which type. Sync answers, scope documents and commands travel so.

The signature is over DSSE's PAE, so a document of one type never passes for another. It does not say which keys to
trust: the caller brings public keys by key id, from certificates (`zb_contracts.keys`), and reads the payload itself.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from zb_contracts.faults import DocumentMalformed, DocumentUnverified
from zb_contracts.keys import SIGNATURE_BYTES, SigningKey, dsse_pae, verify

PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024
TYPE_CHARACTERS_MAX: Final = 255


class SignedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`payload` as it was signed, byte for byte, by the Ed25519 key `kid`. Its type is known from the place."""

    kid: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    payload: Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_BYTES_MAX)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


def sign_document(payload_type: str, payload: bytes, key: SigningKey) -> SignedDocument:
    """`payload` signed as `payload_type` (a media type). DocumentMalformed over PAYLOAD_BYTES_MAX or without a type."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise DocumentMalformed(f"the payload has {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    if not 0 < len(payload_type) <= TYPE_CHARACTERS_MAX or not payload_type.isascii():
        raise DocumentMalformed(f"a type has 1 to {TYPE_CHARACTERS_MAX} ASCII characters: {payload_type[:80]!r}")
    return SignedDocument(key.kid, payload, key.sign(dsse_pae(payload_type, payload)))


def verify_document(payload_type: str, document: SignedDocument, public_keys_by_kid: Mapping[str, bytes]) -> bytes:
    """The payload, if one of these keys signed it as `payload_type`; DocumentUnverified else."""
    public = public_keys_by_kid.get(document.kid)
    if public is None:
        raise DocumentUnverified(f"no key that we trust has the id {document.kid!r}")
    if not verify(public, dsse_pae(payload_type, document.payload), document.signature):
        raise DocumentUnverified(f"the key {document.kid} did not sign this as {payload_type}")
    return document.payload
