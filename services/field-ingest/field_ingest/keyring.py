"""The keys folder, as field-ingest reads it at start: ledger key, its own author's key, certificates, device signer.

Every file is checked as it is read; a wrong one is a sentence that names it. It writes nothing and prints no secret.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from zb_chassis.claims import ClaimError, Nkey
from zb_contracts.enrolment import TrustedKey
from zb_contracts.events.values import Base64, Id
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import KEY_BYTES, SigningKey, WrapKey
from zb_contracts.sealed import from_base64url

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
    ledger: SigningKey = field(repr=False)
    ledger_certificate: TrustedKey
    escrow: WrapKey = field(repr=False)
    """Opens the segments of locked devices."""
    escrow_certificate: TrustedKey
    ingest: SigningKey = field(repr=False)
    authors: tuple[ServerAuthor, ...]
    device_signer: Nkey
    device_account: str
    """Public key of the account in which devices live."""


def read_keys(folder: Path) -> KeyRing:
    """The keys of this folder. KeysUnusable with the file's name for whatever is wrong."""
    ledger = _read(folder / "ledger.json", json.loads)
    signer = _read(folder / "device-signer.pub", _DeviceSigner.model_validate_json)
    authors = _read(folder / "authors.json", TypeAdapter(tuple[ServerAuthor, ...]).validate_json)
    ring = KeyRing(
        root_public=_read(folder / "root.pub", _key_bytes),
        ledger=_read(folder / "ledger.json", lambda _: SigningKey(bytes.fromhex(ledger["seed"]))),
        ledger_certificate=_read(folder / "ledger.json", lambda _: TrustedKey.model_validate(ledger["certificate"])),
        escrow=_read(folder / "escrow.json", lambda text: WrapKey(bytes.fromhex(json.loads(text)["private"]))),
        escrow_certificate=_read(folder / "escrow.pub.json", TrustedKey.model_validate_json),
        ingest=_read(folder / "authors" / f"{INGEST}.seed", lambda text: SigningKey(_key_bytes(text))),
        authors=authors,
        device_signer=_read(folder / "device-signer.seed", lambda text: Nkey.from_seed(text.strip().encode())),
        device_account=signer.account,
    )
    _check(ring, folder)
    return ring


def _check(ring: KeyRing, folder: Path) -> None:
    own = next((author for author in ring.authors if author.author == INGEST), None)
    if own is None or from_base64url(own.event_key) != ring.ingest.public:
        raise KeysUnusable(f"{folder / 'authors.json'} does not name the public key of authors/{INGEST}.seed")
    if from_base64url(ring.ledger_certificate.public) != ring.ledger.public:
        raise KeysUnusable(f"the certificate in {folder / 'ledger.json'} is for another key than the seed beside it")


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
    except (ValueError, KeyError, TypeError, ValidationError, CryptoFault, ClaimError) as error:
        # The message of a parser may quote what it read, which may be a secret.
        raise KeysUnusable(f"the key file {path} is damaged ({type(error).__name__}): restore it from a backup") from error
