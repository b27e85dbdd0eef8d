"""Session tokens as text: what the NATS user JWT says, and whether its signature and its subject hold, without a network.

Pure. Whose signature counts is `sessions`' matter: the broker judges that at every connect, the device remembers the account.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from zb_contracts.faults import KeyMalformed
from zb_contracts.keys import nkey_account_public, verify
from zb_contracts.subjects import DRAIN, ID_PATTERN
from zb_device.faults import Refused
from zb_device.settings import Session

TOKEN_BYTES_MAX: Final = 16 * 1024
ALGORITHM: Final = "ed25519-nkey"
_TAG: Final = "t:"

Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Nats(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] = ()
    issuer_account: str = ""


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    sub: str
    name: str
    exp: Seconds
    iat: Seconds = 0
    iss: str = ""
    nats: _Nats = _Nats()


class _Head(msgspec.Struct, frozen=True):
    alg: str = ""


_claims = msgspec.json.Decoder(_Claims)
_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its text says. `verified` says what of it holds."""

    text: str
    claims: _Claims

    @property
    def account(self) -> str:
        """The account for which its signer signs: the devices', for the whole life of a deployment."""
        return self.claims.nats.issuer_account

    @property
    def session(self) -> Session:
        """What the device keeps. The id of a token is its `jti` in lower case, as headers spell ids."""
        tags = (tag.removeprefix(_TAG) for tag in self.claims.nats.tags if tag.startswith(_TAG))
        technician, token_id = next(tags, DRAIN), self.claims.jti.lower()
        if len(self.text) > TOKEN_BYTES_MAX or not ID_PATTERN.fullmatch(token_id) or not ID_PATTERN.fullmatch(technician):
            raise _refused("it has an impossible id or technician")
        person = None if technician == DRAIN else technician
        return Session(token=self.text, token_id=token_id, technician=person, expires_ms=self.claims.exp * 1000)


def read_token(text: str) -> Token:
    """The token, its signature unread. Refused for text that is none."""
    try:
        return Token(text, _claims.decode(_decoded(text.split(".")[1])))
    except (IndexError, ValueError, msgspec.DecodeError) as fault:
        raise _refused(str(fault)) from fault


def verified(text: str, *, device: str, login: str, account: str | None) -> Token:
    """The token, if whoever it names as its signer signed it, for this device and its login key (`U...`). Refused else.

    `account` is the one that signed for this device before; None where there was none yet.
    """
    token = read_token(text)
    head, _, rest = text.partition(".")
    signed, _, signature = text.rpartition(".")
    try:
        algorithm = _head.decode(_decoded(head)).alg
        holds = verify(nkey_account_public(token.claims.iss), signed.encode(), _decoded(signature)) and "." in rest
    except (KeyMalformed, ValueError, msgspec.DecodeError) as fault:
        raise _refused(str(fault)) from fault
    if algorithm != ALGORITHM or not holds:
        raise _refused("its signature does not hold")
    if token.claims.name != device or token.claims.sub != login:
        raise _refused("it is another device's")
    if account is not None and token.account != account:
        raise _refused("another account's signer signed it")
    return token


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as fault:
        raise ValueError(str(fault)) from fault


def _refused(reason: str) -> Refused:
    return Refused(f"the server's session token cannot be taken: {reason}", problem="session.token")
