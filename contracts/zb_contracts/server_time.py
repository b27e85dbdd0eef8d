"""The server's time, signed for who asked: how a device whose clock is wrong can prove itself again.

The question is a nonce, the answer echoes it, so that nobody between can give an old or a future time; a ledger key signs it.
It is real time, never a story's, and no anchor of an event. It reads no clock.
"""

from typing import Annotated, Final

import msgspec
from pydantic import BaseModel, ConfigDict, StringConstraints

from zb_contracts import canonical
from zb_contracts.events.values import Base64
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import SIGNATURE_BYTES, SigningKey, dsse_pae, verify
from zb_contracts.problems import SYNC_SIGNATURE_INVALID, SYNC_WRONG_NONCE, Problem
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.times import format_time_ms, parse_time_ms

TIME_TYPE: Final = "application/vnd.zoneblanche.server-time.v1+json"
NONCE_PATTERN: Final = r"^[a-f0-9]{32}$"


class TimeAnswer(BaseModel):
    """`payload` (base64url of canonical JSON {nonce, server_time}) as the ledger key `kid` signed it, as TIME_TYPE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    payload: Base64
    signature: Base64


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nonce: Annotated[str, msgspec.Meta(pattern=NONCE_PATTERN)]
    server_time: str


_decoder = msgspec.json.Decoder(_Payload)


def sign_time(nonce: str, now_ms: int, key: SigningKey) -> TimeAnswer:
    """The answer to a nonce, at this moment of real time."""
    payload = canonical.encode({"nonce": nonce, "server_time": format_time_ms(now_ms)})
    signature = key.sign(dsse_pae(TIME_TYPE, payload))
    return TimeAnswer(kid=key.kid, payload=to_base64url(payload), signature=to_base64url(signature))


def read_time_unverified(answer: TimeAnswer, nonce: str) -> int:
    """The time that the answer names (ms): which keys are in force then is asked before `check_time`. SYNC_WRONG_NONCE else."""
    try:
        payload = _decoder.decode(from_base64url(answer.payload))
        named_ms = parse_time_ms(payload.server_time)
    except (CryptoFault, msgspec.DecodeError, UnicodeDecodeError, ValueError) as fault:
        raise Problem(SYNC_SIGNATURE_INVALID) from fault
    if payload.nonce != nonce:
        raise Problem(SYNC_WRONG_NONCE)
    return named_ms


def check_time(answer: TimeAnswer, public: bytes | None) -> None:
    """Returns when this key (None: no key that we trust) signed the answer. SYNC_SIGNATURE_INVALID else."""
    try:
        payload, signature = from_base64url(answer.payload), from_base64url(answer.signature)
    except CryptoFault as fault:
        raise Problem(SYNC_SIGNATURE_INVALID) from fault
    if public is None or len(signature) != SIGNATURE_BYTES or not verify(public, dsse_pae(TIME_TYPE, payload), signature):
        raise Problem(SYNC_SIGNATURE_INVALID)
