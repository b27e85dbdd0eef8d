"""The keys of one deployment, made once: root, ledger, escrow, and the event keys of the server-side authors.

The root signs here and then stays behind: no service is given `root.seed`. Everything lies in one folder with 0700, each secret
with 0600; on a cluster the same files are a secret. The broker's keys (operator, accounts, users) are `accounts`' matter.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, WrapKey, certify

SERVICE_AUTHORS: Final = ("ingest", "billing-bridge")


@dataclass(frozen=True, slots=True)
class Keyring:
    """Where the keys lie. `root_public` is what devices and verifiers pin."""

    folder: Path
    root_public: bytes


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def load_or_create(folder: Path, agencies: tuple[str, ...], now_ms: int) -> Keyring:
    """The keyring of `folder`; made if there is none, and completed where an agency's office has no key yet."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = _seed(folder / "root.seed")
    (folder / "root.pub").write_text(root.public.hex())
    _ledger_key(folder, root, now_ms)
    _escrow_key(folder, root, now_ms)
    _author_keys(folder, agencies)
    return Keyring(folder, root.public)


def _seed(path: Path) -> SigningKey:
    if path.exists():
        return SigningKey.from_seed(bytes.fromhex(path.read_text().strip()))
    key = SigningKey.generate()
    write_secret(path, key.seed.hex())
    return key


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it is never there with wider rights, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _ledger_key(folder: Path, root: SigningKey, now_ms: int) -> None:
    path = folder / "ledger.json"
    if path.exists():
        return
    key = SigningKey.generate()
    certificate = certify(root, key.public, KeyPurpose.LEDGER, not_before_ms=now_ms, not_after_ms=None)
    write_secret(path, json.dumps({"seed": key.seed.hex(), "certificate": certificate_json(certificate)}, indent=2))


def _escrow_key(folder: Path, root: SigningKey, now_ms: int) -> None:
    path = folder / "escrow.json"
    if path.exists():
        return
    key = WrapKey.generate()
    certificate = certificate_json(certify(root, key.public, KeyPurpose.ESCROW, not_before_ms=now_ms, not_after_ms=None))
    write_secret(path, json.dumps({"private": key.private.hex(), "certificate": certificate}, indent=2))
    (folder / "escrow.pub.json").write_text(json.dumps(certificate, indent=2))


def certificate_json(certificate: KeyCertificate) -> dict[str, Any]:
    """A certificate as it stands in JSON: bytes in base64url."""
    return {
        "kid": certificate.kid,
        "public": base64url(certificate.public),
        "purpose": str(certificate.purpose),
        "not_before_ms": certificate.not_before_ms,
        "not_after_ms": certificate.not_after_ms,
        "signature": base64url(certificate.signature),
    }


def _author_keys(folder: Path, agencies: tuple[str, ...]) -> None:
    authors: list[dict[str, str | None]] = []
    for name in SERVICE_AUTHORS:
        key = _seed(folder / "authors" / f"{name}.seed")
        authors.append({"author": name, "kind": "service", "agency": None, "event_key": base64url(key.public)})
    for agency in agencies:
        key = _seed(folder / "authors" / f"office-{agency}.seed")
        authors.append({"author": f"office-{agency}", "kind": "office", "agency": agency, "event_key": base64url(key.public)})
    (folder / "authors.json").write_text(json.dumps(authors, indent=2))
