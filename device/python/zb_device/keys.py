"""The device's three keys: login (NATS NKey), event (Ed25519), wrap (X25519), and what each may sign.

The login key signs nonces that a server chose, so it signs plain nonces only, and requests to HTTP services; the event key
signs events and nothing else. It holds keys in memory; `settings` keeps them in the encrypted store.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgspec

from zb_contracts.enrolment import (
    AUTHORIZATION_SCHEME,
    DEVICE_HEADER,
    NO_HEADERS,
    PROOF_HEADER,
    PROOF_TIME_HEADER,
    request_statement,
)
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, login_nonce_is_plain, nkey_user_text
from zb_contracts.sealed import to_base64url
from zb_contracts.times import format_time_ms
from zb_device.faults import NonceSuspicious


class StoredKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets as the encrypted store keeps them."""

    login_seed: bytes
    event_seed: bytes
    wrap_private: bytes

    def __repr__(self) -> str:
        return "StoredKeys()"


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """One incarnation's keys."""

    login: SigningKey
    event: SigningKey
    wrap: WrapKey

    @classmethod
    def generate(cls) -> Self:
        """Three new, independent keys."""
        return cls(SigningKey.generate(), SigningKey.generate(), WrapKey.generate())

    @classmethod
    def from_stored(cls, stored: StoredKeys) -> Self:
        return cls(SigningKey(stored.login_seed), SigningKey(stored.event_seed), WrapKey(stored.wrap_private))

    def stored(self) -> StoredKeys:
        return StoredKeys(login_seed=self.login.seed, event_seed=self.event.seed, wrap_private=self.wrap.private)

    @property
    def login_text(self) -> str:
        """The login key as a public NKey (`U...`)."""
        return nkey_user_text(self.login.public)

    def certification(self) -> bytes:
        """The login key's word for event and wrap key."""
        return self.login.sign(certification_statement(self.login.public, self.event.public, self.wrap.public))

    def answer_nonce(self, nonce: str) -> bytes:
        """The login signature that a NATS server asks for, base64. NonceSuspicious for what could be a statement of ours."""
        data = nonce.encode()
        if not login_nonce_is_plain(data):
            raise NonceSuspicious("the server asked the login key to sign something that is no login nonce")
        return base64.b64encode(self.login.sign(data))

    def request_headers(
        self,
        *,
        device: str,
        token: str,
        method: str,
        path: str,
        body: bytes,
        real_ms: int,
        covered: Mapping[str, str] = NO_HEADERS,
    ) -> dict[str, str]:
        """The headers by which one HTTP request proves the login key. `path` is without host and query.

        `covered` are the request's own headers; the proof covers those that say what an upload is.
        """
        time = format_time_ms(real_ms)
        proof = self.login.sign(request_statement(method, path, body, time, covered))
        return {
            "Authorization": f"{AUTHORIZATION_SCHEME} {token}",
            DEVICE_HEADER: device,
            PROOF_HEADER: to_base64url(proof),
            PROOF_TIME_HEADER: time,
        }
