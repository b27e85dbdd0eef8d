"""Session tokens as text: what a NATS user JWT says of this device, and what the device keeps of it, without a network.

Pure. The JWT's own signature is the broker's to judge, at every connect; off line a token counts where the ledger gave its word
for it (`trust.vouches`).
"""

import base64
import binascii
from typing import Annotated, Final

import msgspec

from zb_contracts.enrolment import TokenWord
from zb_contracts.subjects import DRAIN, ID_PATTERN
from zb_device.faults import Refused
from zb_device.settings import Session

TOKEN_BYTES_MAX: Final = 16 * 1024
SESSION_S_MAX: Final = 72 * 3600
_TAG: Final = "t:"

Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Nats(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] = ()


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    sub: str
    name: str
    exp: Seconds
    iat: Seconds
    nats: _Nats = _Nats()


_claims = msgspec.json.Decoder(_Claims)


def session_of(text: str, word: TokenWord | None, *, device: str, login: str) -> Session:
    """What the device keeps of a token that was made for it and its login key (`U...`), for 72 h at most. Refused for any other.

    The id of a token is its `jti` in lower case, as headers spell ids. Whether the word holds is asked of `trust`.
    """
    claims = _read(text)
    if claims.name != device or claims.sub != login:
        raise _refused("it is another device's")
    if not claims.iat < claims.exp <= claims.iat + SESSION_S_MAX:
        raise _refused("it lasts too long, or never began")
    tags = (tag.removeprefix(_TAG) for tag in claims.nats.tags if tag.startswith(_TAG))
    technician, token_id = next(tags, DRAIN), claims.jti.lower()
    if not ID_PATTERN.fullmatch(token_id) or not ID_PATTERN.fullmatch(technician):
        raise _refused("it has an impossible id or technician")
    return Session(
        token=text,
        token_id=token_id,
        technician=None if technician == DRAIN else technician,
        expires_ms=claims.exp * 1000,
        issued_ms=claims.iat * 1000,
        kid=word.kid if word else "",
        word=word.signature if word else "",
    )


def read_again(kept: Session, *, device: str, login: str) -> Session:
    """The session as its token says it, whatever the store says beside it. Refused as `session_of`."""
    session = session_of(kept.token, None, device=device, login=login)
    return msgspec.structs.replace(session, kid=kept.kid, word=kept.word)


def _read(text: str) -> _Claims:
    if len(text) > TOKEN_BYTES_MAX:
        raise _refused(f"it has {len(text)} characters")
    try:
        part = text.split(".")[1]
        return _claims.decode(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (IndexError, ValueError, binascii.Error, msgspec.DecodeError) as fault:
        raise _refused(str(fault)) from fault


def _refused(reason: str) -> Refused:
    return Refused(f"the server's session token cannot be taken: {reason}", problem="session.token")
