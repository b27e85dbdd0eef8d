"""Which device calls: its session token, and the proof that the request comes from the holder of its login key.

The token is the NATS user JWT of the session, signed by the deployment's device signer; both are checked in real time, never
by a story's clock. A drain session names no technician. It stores nothing and asks nobody.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zb_chassis.claims import ClaimError, Claims, Kind, checked_public, decode
from zb_contracts.enrolment import (
    AUTHORIZATION_SCHEME,
    PROOF_AGE_MAX_S,
    PROOF_HEADER,
    PROOF_TIME_HEADER,
    request_statement,
)
from zb_contracts.faults import KeyMalformed
from zb_contracts.keys import nkey_user_public, verify
from zb_contracts.problems import DEVICE_PROOF_INVALID, DEVICE_PROOF_TIME, UNAUTHENTICATED, Problem
from zb_contracts.subjects import DRAIN, ID_PATTERN
from zb_contracts.times import format_time_ms, parse_time_ms

SIGNER_FILE: Final = "device-signer.pub"
TECHNICIAN_TAG: Final = "t:"


class SignerUnusable(Exception):
    """The file that names the devices' signer is missing or damaged; the message names it."""


@dataclass(frozen=True, slots=True)
class Request:
    """The part of an HTTP request that a proof covers. `headers` are looked up whatever the case of their names."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class DeviceSigner:
    """The keys that a session token must name: its signer, and the account of the devices."""

    signer: str
    account: str

    @classmethod
    def read(cls, keys_dir: Path) -> "DeviceSigner":
        """From the keys folder. SignerUnusable."""
        path = keys_dir / SIGNER_FILE
        try:
            content = json.loads(path.read_text())
            return cls(checked_public(content["signer"], Kind.ACCOUNT), checked_public(content["account"], Kind.ACCOUNT))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise SignerUnusable(f"{path} does not name the signer and the account of devices: {fault}") from fault


@dataclass(frozen=True, slots=True)
class DeviceSession:
    """Who sent a proven request. `technician` None: a drain session."""

    device: str
    technician: str | None


class Devices:
    """Tells which device sent a request. `now_s` is real time, in seconds since 1970."""

    def __init__(self, signer: DeviceSigner, now_s: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._now_s = now_s

    def token(self, headers: Mapping[str, str]) -> Claims:
        """The verified session token: enough to look at a request's size, not to act on it. Problem UNAUTHENTICATED."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != AUTHORIZATION_SCHEME.lower() or not token:
            raise Problem(UNAUTHENTICATED, reason=f"send `Authorization: {AUTHORIZATION_SCHEME} <session token>`")
        try:
            claims = decode(token.strip(), now=self._now_s(), issuers=[self._signer.signer])
        except ClaimError as fault:
            raise Problem(UNAUTHENTICATED, reason=str(fault)) from fault
        if claims.kind != "user" or claims.nats.get("issuer_account") != self._signer.account:
            raise Problem(UNAUTHENTICATED, reason="the token is not a device's session")
        if claims.expires_at is None or not ID_PATTERN.fullmatch(claims.name):
            raise Problem(UNAUTHENTICATED, reason="the token names no device, or never ends")
        return claims

    def device(self, request: Request) -> str:
        """The device's id, when token and proof hold. Problems as `session`."""
        return self.session(request).device

    def session(self, request: Request) -> DeviceSession:
        """The session, when token and proof hold. Problem UNAUTHENTICATED, DEVICE_PROOF_INVALID or DEVICE_PROOF_TIME."""
        claims = self.token(request.headers)
        at = request.headers.get(PROOF_TIME_HEADER.lower(), "")
        self._check_age(at)
        statement = request_statement(request.method, request.path, request.body, at, request.headers)
        try:
            proof = _unpadded(request.headers.get(PROOF_HEADER.lower(), ""))
            login_key = nkey_user_public(claims.subject)
        except (binascii.Error, ValueError, KeyMalformed) as fault:
            raise Problem(DEVICE_PROOF_INVALID, reason=f"{PROOF_HEADER} is no signature in base64url") from fault
        if not verify(login_key, statement, proof):
            raise Problem(DEVICE_PROOF_INVALID, reason="the signature is not the login key's over this request")
        return DeviceSession(claims.name, _technician(claims))

    def _check_age(self, at: str) -> None:
        now_ms = int(self._now_s() * 1000)
        try:
            age_ms = now_ms - parse_time_ms(at)
        except ValueError as fault:
            raise Problem(DEVICE_PROOF_INVALID, reason=f"{PROOF_TIME_HEADER} is {fault}") from fault
        if abs(age_ms) > PROOF_AGE_MAX_S * 1000:
            raise Problem(DEVICE_PROOF_TIME, time=at, now=format_time_ms(now_ms), limit_s=PROOF_AGE_MAX_S)


def _technician(claims: Claims) -> str | None:
    """Whose session it is, as its one tag says. Problem UNAUTHENTICATED for an id that is none."""
    named = [tag.removeprefix(TECHNICIAN_TAG) for tag in claims.tags if tag.startswith(TECHNICIAN_TAG)]
    technician = named[0] if len(named) == 1 else DRAIN
    if not ID_PATTERN.fullmatch(technician):
        raise Problem(UNAUTHENTICATED, reason="the token names no technician")
    return None if technician == DRAIN else technician


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
