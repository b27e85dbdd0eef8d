"""The keys folder, as field-ingest reads it at start: ledger keys, its own author's key, certificates, device signer.

Every file is checked as it is read; a wrong one is a sentence that names it. It writes nothing and prints no secret.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from field_ingest.ledger.ledger_keys import LedgerKey, LedgerKeys
from zb_chassis.claims import ClaimError, Nkey
from zb_contracts.enrolment import TrustedKey, certificate_of
from zb_contracts.events.values import Base64, Id
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KEY_BYTES, KeyCertificate, KeyPurpose, SigningKey, WrapKey, verify_certificate
from zb_contracts.sealed import from_base64url, to_base64url

INGEST: Final = "ingest"
"""The name of the ledger's own author."""

T = TypeVar("T")


class KeysUnusable(RuntimeError):
    """A file of the keys folder is missing or damaged; the message names it."""


class ServerAuthor(BaseModel):
    """A line of authors.json: a server-side author and its public key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    author: Id
    kind: Literal["office", "service"]
    agency: Id | None = None
    event_key: Base64


class _DeviceSigner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    signer: str
    account: str


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Everything field-ingest signs with or hands out. Secrets are not part of the representation."""

    root_public: bytes
    ledger: LedgerKeys = field(repr=False)
    escrow: WrapKey = field(repr=False)
    """Opens the segments of locked devices."""
    escrow_certificate: TrustedKey
    ingest: SigningKey = field(repr=False)
    authors: tuple[ServerAuthor, ...]
    device_signer: Nkey
    device_account: str
    """Public key of the account in which devices live."""
    custody: bytes
    """X25519, public: to it devices seal the subject keys that they hand in."""
    media: bytes
    """X25519, public: to it the keys of files are passed on that their device cannot open any more."""

    @property
    def certificates(self) -> tuple[TrustedKey, ...]:
        """The root's word on each key that devices have to trust, as it is handed out; of ended ledger keys, too."""
        return (*map(trusted_key, self.ledger.certificates), self.escrow_certificate)


def read_keys(folder: Path) -> KeyRing:
    """The keys of this folder. KeysUnusable with the file's name for whatever is wrong."""
    signer = _read(folder / "device-signer.pub", _DeviceSigner.model_validate_json)
    authors = _read(folder / "authors.json", TypeAdapter(tuple[ServerAuthor, ...]).validate_json)
    root = _read(folder / "root.pub", _key_bytes)
    ring = KeyRing(
        root_public=root,
        ledger=_read(folder / "ledger.json", lambda text: _ledger_keys(text, root)),
        escrow=_read(folder / "escrow.json", lambda text: WrapKey(bytes.fromhex(json.loads(text)["private"]))),
        escrow_certificate=_read(folder / "escrow.pub.json", TrustedKey.model_validate_json),
        ingest=_read(folder / "authors" / f"{INGEST}.seed", lambda text: SigningKey(_key_bytes(text))),
        authors=authors,
        device_signer=_read(folder / "device-signer.seed", lambda text: Nkey.from_seed(text.strip().encode())),
        device_account=signer.account,
        custody=_read(folder / "custody.pub", _key_bytes),
        media=_read(folder / "media-wrap.pub", _key_bytes),
    )
    _check(ring, folder)
    return ring


def _check(ring: KeyRing, folder: Path) -> None:
    own = next((author for author in ring.authors if author.author == INGEST), None)
    if own is None or from_base64url(own.event_key) != ring.ingest.public:
        raise KeysUnusable(f"{folder / 'authors.json'} does not name the public key of authors/{INGEST}.seed")


def trusted_key(certificate: KeyCertificate) -> TrustedKey:
    """A ledger key's certificate as files and HTTP spell it."""
    return TrustedKey(
        kid=certificate.kid,
        purpose="ledger",
        public=to_base64url(certificate.public),
        not_before_ms=certificate.not_before_ms,
        not_after_ms=certificate.not_after_ms,
        signature=to_base64url(certificate.signature),
    )


def _ledger_keys(text: str, root: bytes) -> LedgerKeys:
    """{"keys": [{"seed", "certificate"}, ...]}; a folder from before the first rotation has one such pair alone."""
    stored = json.loads(text)
    return LedgerKeys([_ledger_key(one, root) for one in stored.get("keys", [stored])])


def _ledger_key(stored: dict[str, Any], root: bytes) -> LedgerKey:
    certificate = certificate_of(TrustedKey.model_validate(stored["certificate"]))
    verify_certificate(root, certificate, purpose=KeyPurpose.LEDGER, at_ms=certificate.not_before_ms)
    key = SigningKey(bytes.fromhex(stored["seed"])) if stored["seed"] else None
    if key and key.public != certificate.public:
        raise ValueError("a certificate is for another key than the seed beside it")
    return LedgerKey(certificate, key)


def _key_bytes(text: str) -> bytes:
    raw = bytes.fromhex(text.strip())
    if len(raw) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(raw)}")
    return raw


def _read(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text("utf-8"))
    except OSError as error:
        raise KeysUnusable(f"the key file {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError, CryptoFault, ClaimError) as error:
        # The message of a parser may quote what it read, which may be a secret.
        raise KeysUnusable(f"the key file {path} is damaged ({type(error).__name__}): restore it from a backup") from error
