"""Personal values as events carry them: AES-256-GCM under a data subject's key, bound to one event and one field.

It owns the form `{"sealed": {"kid", "alg", "nonce", "ct"}}` and its opening. It does not know where subject keys live,
who may have them, or which fields are personal. The nonce is an argument: `fresh_nonce` is the edge where it is made,
and a nonce is used once with a key.
"""

import base64
import os
import re
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from zb_contracts.faults import SealBroken, SealMalformed
from zb_contracts.keys import length_prefixed

SUBJECT_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SEALED_VALUE_BYTES_MAX: Final = 16_384
"""The longest value that is sealed, in bytes of its UTF-8: a quarter of an event's body."""

KID_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
_BASE64URL: Final = r"^[A-Za-z0-9_-]*$"
_CT_CHARACTERS_MIN: Final = -(-TAG_BYTES * 4 // 3)
_CT_CHARACTERS_MAX: Final = -(-(SEALED_VALUE_BYTES_MAX + TAG_BYTES) * 4 // 3)


def to_base64url(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of unpadded base64url. SealMalformed unless `text` is the one way to write them."""
    if not re.fullmatch(_BASE64URL, text):
        raise SealMalformed("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise SealMalformed("base64url of an impossible length") from error
    # Stray bits in the last character would give one value two spellings, and two state hashes.
    if to_base64url(data) != text:
        raise SealMalformed("base64url that is not canonical")
    return data


def _canonical(text: str) -> str:
    from_base64url(text)
    return text


class SealedParts(BaseModel):
    """What stands inside `sealed`: key id, algorithm, nonce and ciphertext with tag, the last two as base64url."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kid: Annotated[str, StringConstraints(pattern=KID_PATTERN)]
    alg: Literal["A256GCM"] = "A256GCM"
    nonce: Annotated[str, StringConstraints(pattern=_BASE64URL, min_length=16, max_length=16), AfterValidator(_canonical)]
    ct: Annotated[
        str,
        StringConstraints(pattern=_BASE64URL, min_length=_CT_CHARACTERS_MIN, max_length=_CT_CHARACTERS_MAX),
        AfterValidator(_canonical),
    ]


class SealedValue(BaseModel):
    """A personal value in an event's body or a merged state, unreadable without its subject's key."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sealed: SealedParts

    @property
    def kid(self) -> str:
        return self.sealed.kid


def seal(key: bytes, kid: str, event_id: str, field: str, value: str, nonce: bytes) -> SealedValue:
    """`value` sealed under `key` (32 bytes, named `kid`), to be opened only as `field` of the event `event_id`.

    `nonce` is 12 bytes, never used before with this key. SealMalformed on wrong lengths, a value over
    SEALED_VALUE_BYTES_MAX or a text that UTF-8 cannot carry.
    """
    if len(nonce) != NONCE_BYTES:
        raise SealMalformed(f"the nonce has {len(nonce)} bytes, not {NONCE_BYTES}")
    plain = _utf8(value, "value")
    if len(plain) > SEALED_VALUE_BYTES_MAX:
        raise SealMalformed(f"the value has {len(plain)} bytes, the limit is {SEALED_VALUE_BYTES_MAX}")
    if not re.fullmatch(KID_PATTERN, kid):
        raise SealMalformed(f"not a key id: {kid[:80]!r}")
    ciphertext = _cipher(key).encrypt(nonce, plain, _additional_data(event_id, field))
    return SealedValue(sealed=SealedParts(kid=kid, nonce=to_base64url(nonce), ct=to_base64url(ciphertext)))


def open_sealed_value(key: bytes, event_id: str, field: str, value: SealedValue) -> str:
    """The personal value. SealBroken when the key, event or field is another one, or a byte was changed."""
    parts = value.sealed
    nonce, ciphertext = from_base64url(parts.nonce), from_base64url(parts.ct)
    try:
        return _cipher(key).decrypt(nonce, ciphertext, _additional_data(event_id, field)).decode()
    except InvalidTag as error:
        raise SealBroken(f"the sealed {field} of {event_id} does not open with the key {parts.kid}") from error
    except UnicodeDecodeError as error:
        raise SealBroken(f"the sealed {field} of {event_id} is no text") from error


def fresh_nonce() -> bytes:
    """12 random bytes. The edge: domain code takes nonces as arguments."""
    return os.urandom(NONCE_BYTES)


def fresh_subject_key() -> bytes:
    """32 random bytes: a new data subject's key. The edge, as above."""
    return os.urandom(SUBJECT_KEY_BYTES)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != SUBJECT_KEY_BYTES:
        raise SealMalformed(f"a subject key has {SUBJECT_KEY_BYTES} bytes, not {len(key)}")
    return AESGCM(key)


def _additional_data(event_id: str, field: str) -> bytes:
    return length_prefixed(_utf8(event_id, "event id"), _utf8(field, "field name"))


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SealMalformed(f"the {what} is no Unicode text") from error
