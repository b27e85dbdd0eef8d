"""NATS identities: NKeys and JWT v2 claims (operator, account, user), in pure Python.

Owns keys, the encoding and the verification of a claim, and the credentials of a user. Time is an argument everywhere.
It does not know who may do what (the account layout does: deploy/local/zb/accounts.py, the Helm chart) and it talks to
no server: revocation.py does.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

Json = dict[str, Any]

TOKEN_BYTES_MAX: Final = 1_048_576
"""A claim larger than the broker's largest message could never be pushed."""

SHOWN_CHARACTERS_MAX: Final = 80

NO_LIMIT: Final = -1


class Kind(Enum):
    """What a key stands for; the value is the NKey prefix byte."""

    OPERATOR = nkeys.PREFIX_BYTE_OPERATOR
    ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
    USER = nkeys.PREFIX_BYTE_USER

    @property
    def letter(self) -> str:
        """The first letter of a public key of this kind."""
        return self.name[0]


class ClaimError(ValueError):
    """A key, token or credentials file that cannot be accepted; the message says why, never with a secret in it."""


@dataclass(frozen=True, slots=True)
class Nkey:
    """An Ed25519 key pair in NATS' encoding. The seed is secret and never part of the representation."""

    kind: Kind
    public: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, kind: Kind, entropy: bytes | None = None) -> "Nkey":
        """A new key; `entropy` (32 bytes) makes it reproducible, without it the system's random source is asked."""
        return cls.from_seed(bytes(nkeys.encode_seed(entropy or os.urandom(32), kind.value)))

    @classmethod
    def from_seed(cls, seed: bytes) -> "Nkey":
        """The pair of a seed (`SO...`, `SA...`, `SU...`). Raises ClaimError."""
        try:
            prefix, _ = nkeys.decode_seed(seed)
            pair = nkeys.from_seed(seed)
            return cls(Kind(prefix), pair.public_key.decode(), bytes(seed))
        except (nkeys.NkeysError, ValueError, IndexError, TypeError) as error:
            raise ClaimError("not an NKey seed of an operator, account or user") from error

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature."""
        signature: bytes = nkeys.from_seed(self.seed).sign(message)
        return signature


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token. `issued_at` and `expires_at` are seconds since 1970; `nats` is the claim's own part."""

    issuer: str
    subject: str
    name: str
    issued_at: int
    expires_at: int | None
    nats: Json

    @property
    def kind(self) -> str:
        """`operator`, `account` or `user`."""
        return str(self.nats["type"])

    @property
    def tags(self) -> tuple[str, ...]:
        """The user tags, such as `t:<technician>`."""
        return tuple(self.nats.get("tags", ()))


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a user may publish and subscribe. Nothing listed: nothing allowed (NATS itself would allow everything)."""

    publish: Sequence[str] = ()
    publish_not: Sequence[str] = ()
    subscribe: Sequence[str] = ()

    def as_claim(self) -> Json:
        """The `pub` and `sub` objects of a user claim or of a scope's template."""
        publish: Json = {"allow": list(self.publish)} if self.publish else {"deny": [">"]}
        if self.publish and self.publish_not:
            publish["deny"] = list(self.publish_not)
        subscribe: Json = {"allow": list(self.subscribe)} if self.subscribe else {"deny": [">"]}
        return {"pub": publish, "sub": subscribe}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a user connects: its token and its seed. The seed is secret and never part of the representation."""

    token: str = field(repr=False)
    key: Nkey

    @classmethod
    def parse(cls, text: str) -> "Credentials":
        """From the text of a credentials file. Raises ClaimError."""
        found = re.findall(r"-{3,}BEGIN [A-Z ]+-{3,}\s+(\S+)\s+-{3,}END [A-Z ]+-{3,}", text)
        if len(found) != 2:
            raise ClaimError("a credentials file holds one token and one seed")
        return cls(found[0], Nkey.from_seed(found[1].encode()))

    @classmethod
    def read(cls, path: Path) -> "Credentials":
        """From a credentials file. Raises ClaimError, naming the file."""
        try:
            return cls.parse(path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError, ClaimError) as error:
            raise ClaimError(f"credentials file {path}: {error}") from error

    @property
    def name(self) -> str:
        """The user's name, as its token says (unverified: the broker verifies)."""
        return str(_parts(self.token)[1].get("name", ""))

    def text(self) -> str:
        """The credentials file: secret."""
        return (
            f"-----BEGIN NATS USER JWT-----\n{self.token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.key.seed.decode()}\n------END USER NKEY SEED------\n"
        )


def encode(
    signer: Nkey,
    subject: str,
    name: str,
    kind: Kind,
    body: Mapping[str, Any],
    *,
    issued_at: int,
    expires_at: int | None = None,
) -> str:
    """A signed claim about `subject` (a public key). Same arguments, same token."""
    claims: Json = {
        "iat": issued_at,
        "iss": signer.public,
        "name": name,
        "nats": {**body, "type": kind.name.lower(), "version": 2},
        "sub": checked_public(subject, kind),
    }
    if expires_at is not None:
        claims["exp"] = expires_at
    claims["jti"] = base64.b32encode(hashlib.sha256(_json(claims)).digest()).decode().rstrip("=")
    signed = f"{_b64(_json({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_b64(_json(claims))}"
    return f"{signed}.{_b64(signer.sign(signed.encode()))}"


def decode(token: str, *, now: float, issuers: Sequence[str] | None = None) -> Claims:
    """The claims of a token whose signature, issuer and expiry hold. Raises ClaimError.

    `issuers` are the public keys that may sign it; None trusts whoever the token names (for reading one's own).
    """
    header, claims, signed, signature = _parts(token)
    if header.get("alg") != "ed25519-nkey":
        raise ClaimError(f"token algorithm {_shown(header.get('alg'))} is not ed25519-nkey")
    issuer = str(claims.get("iss", ""))
    if issuers is not None and issuer not in issuers:
        raise ClaimError(f"token signed by {_shown(issuer)}, which is not a trusted issuer")
    verify(issuer, signed, signature)
    expires_at = claims.get("exp")
    if expires_at is not None and (not isinstance(expires_at, int) or now >= expires_at):
        raise ClaimError(f"token of {_shown(claims.get('name'))} expired at {_shown(expires_at)}")
    nats, issued_at = claims.get("nats"), claims.get("iat", 0)
    if not isinstance(nats, dict) or nats.get("version") != 2 or str(nats.get("type")) not in _KINDS:
        raise ClaimError("token is not a NATS claim of version 2")
    if not isinstance(issued_at, int) or not _are_texts(nats.get("tags", [])):
        raise ClaimError("the token's time of issue is no whole number, or its tags are no texts")
    subject = checked_public(str(claims.get("sub", "")), _KINDS[str(nats["type"])])
    return Claims(issuer, subject, str(claims.get("name", "")), issued_at, expires_at, nats)


def verify(public: str, message: bytes, signature: bytes) -> None:
    """Raises ClaimError unless `signature` over `message` is by the key `public`."""
    try:
        VerifyKey(raw_public(public)).verify(message, signature)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise ClaimError("signature does not match") from error


def raw_public(public: str) -> bytes:
    """The 32 bytes of a public key. Raises ClaimError when its checksum is wrong."""
    try:
        raw = base64.b32decode(public + "=" * (-len(public) % 8))
    except (binascii.Error, ValueError) as error:
        raise ClaimError(f"not a public NKey: {_shown(public)}") from error
    if len(raw) != 35 or nkeys.crc16(raw[:33]) != int.from_bytes(raw[33:], "little"):
        raise ClaimError(f"not a public NKey: {_shown(public)}")
    return raw[1:33]


def checked_public(public: str, kind: Kind) -> str:
    """The public key itself, when it is one of that kind. Raises ClaimError."""
    raw_public(public)
    if not public.startswith(kind.letter):
        raise ClaimError(f"{public} is not a public key of kind {kind.name.lower()}")
    return public


def operator(key: Nkey, name: str, *, system_account: str, signing_keys: Sequence[str], issued_at: int) -> str:
    """The operator's claim about itself: accounts count only when one of its signing keys signed them."""
    body = {"system_account": system_account, "signing_keys": list(signing_keys), "strict_signing_key_usage": True}
    return encode(key, key.public, name, Kind.OPERATOR, body, issued_at=issued_at)


def scope(key: str, role: str, permissions: Permissions, *, subscriptions_max: int, payload_bytes_max: int) -> Json:
    """A scoped signing key: its users get exactly this template, and may carry no permissions of their own."""
    limits = {"subs": subscriptions_max, "data": NO_LIMIT, "payload": payload_bytes_max}
    return {"kind": "user_scope", "key": key, "role": role, "template": permissions.as_claim() | limits}


def user(
    signer: Nkey,
    account: str,
    public: str,
    name: str,
    permissions: Permissions,
    *,
    issued_at: int,
    expires_at: int | None = None,
) -> str:
    """A user of `account` with permissions of its own, signed by a plain signing key of that account."""
    limits = {"subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT}
    body = {"issuer_account": account} | permissions.as_claim() | limits
    return encode(signer, public, name, Kind.USER, body, issued_at=issued_at, expires_at=expires_at)


def scoped_user(
    signer: Nkey,
    account: str,
    public: str,
    name: str,
    *,
    tags: Sequence[str] = (),
    issued_at: int,
    expires_at: int | None = None,
) -> str:
    """A user under a scoped signing key: no permissions in the token, the scope's template decides."""
    body: Json = {"issuer_account": account} | ({"tags": list(tags)} if tags else {})
    return encode(signer, public, name, Kind.USER, body, issued_at=issued_at, expires_at=expires_at)


def with_revocations(account: Claims, revocations: Mapping[str, int], *, prune_before: int) -> Json:
    """The account's claim with more revoked users (public key -> tokens issued until then are void, seconds).

    Those older than `prune_before` are dropped: no token issued then can still be valid. Without pruning, 90,000 of
    them would exceed the broker's largest message.
    """
    merged: dict[str, int] = {key: int(at) for key, at in account.nats.get("revocations", {}).items()}
    for key, at in revocations.items():
        merged[key] = max(at, merged.get(key, 0))
    kept = {key: at for key, at in sorted(merged.items()) if at >= prune_before}
    body = {key: value for key, value in account.nats.items() if key not in ("type", "version", "revocations")}
    return body | ({"revocations": kept} if kept else {})


def _shown(value: object) -> str:
    """A stranger's value in a message of ours: not all of it."""
    return repr(value)[:SHOWN_CHARACTERS_MAX]


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_KINDS: Final = {kind.name.lower(): kind for kind in Kind}


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _parts(token: str) -> tuple[Json, Json, bytes, bytes]:
    """Header, claims, signed bytes, signature."""
    pieces = token.split(".")
    if len(pieces) != 3 or len(token) > TOKEN_BYTES_MAX:
        raise ClaimError("not a token: three parts separated by dots are expected")
    try:
        header, claims = json.loads(_unb64(pieces[0])), json.loads(_unb64(pieces[1]))
        signature = _unb64(pieces[2])
    except (ValueError, RecursionError) as error:
        raise ClaimError("not a token: its parts are not base64 JSON") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ClaimError("not a token: its parts are not JSON objects")
    return header, claims, f"{pieces[0]}.{pieces[1]}".encode(), signature
