"""The keys of one deployment, made once: root, ledger, escrow, and the event keys of the server-side authors.

The root signs here and then stays behind: `hand_out` gives each service a folder with what it needs and no more. Folders
have 0700, secrets 0600; on a cluster the same files are one secret a service. The broker's own keys are `accounts`' matter.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb.accounts import Layout
from zb.keys import private_folder, write_secret
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, WrapKey, certify

SERVICE_AUTHORS: Final = ("ingest", "billing-bridge")

# What each service is given, as patterns below the folder. Nobody is given `root.seed`.
SHARES: Final[Mapping[str, tuple[str, ...]]] = {
    "field-ingest": (
        "root.pub",
        "ledger.json",
        "escrow.json",
        "escrow.pub.json",
        "authors.json",
        "authors/ingest.seed",
        "device-signer.seed",
        "device-signer.pub",
    ),
    "scheduling": ("root.pub", "escrow.pub.json", "authors.json", "authors/office-*.seed"),
    "media": ("root.pub", "device-signer.pub"),
    "billing-bridge": ("root.pub", "authors/billing-bridge.seed"),
}


@dataclass(frozen=True, slots=True)
class Keyring:
    """Where the keys lie. `root_public` is what devices and verifiers pin."""

    folder: Path
    root_public: bytes


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def load_or_create(folder: Path, agencies: tuple[str, ...], now_ms: int) -> Keyring:
    """The keyring of `folder`; made if there is none, and completed where an agency's office has no key yet."""
    private_folder(folder)
    private_folder(folder / "authors")
    root = _seed(folder / "root.seed")
    write_secret(folder / "root.pub", root.public.hex().encode())
    _ledger_key(folder, root, now_ms)
    _escrow_key(folder, root, now_ms)
    _author_keys(folder, agencies)
    return Keyring(folder, root.public)


def add_device_signer(keyring: Keyring, layout: Layout) -> None:
    """Lay the broker's key that signs session tokens beside the others, as its users expect it."""
    signer = layout.keys["device-signer"]
    write_secret(keyring.folder / "device-signer.seed", signer.seed)
    _write_json(keyring.folder / "device-signer.pub", {"signer": signer.public, "account": layout.account("DEV")})


def hand_out(keyring: Keyring, service: str, folder: Path) -> Path:
    """Copy what `service` needs into its own folder; `add_device_signer` has been called."""
    private_folder(folder)
    private_folder(folder / "authors")
    for pattern in SHARES[service]:
        for source in keyring.folder.glob(pattern):
            write_secret(folder / source.relative_to(keyring.folder), source.read_bytes())
    return folder


def _write_json(path: Path, value: object) -> None:
    write_secret(path, json.dumps(value, indent=2).encode())


def _seed(path: Path) -> SigningKey:
    if path.exists():
        return SigningKey.from_seed(bytes.fromhex(path.read_text().strip()))
    key = SigningKey.generate()
    write_secret(path, key.seed.hex().encode())
    return key


def _ledger_key(folder: Path, root: SigningKey, now_ms: int) -> None:
    path = folder / "ledger.json"
    if path.exists():
        return
    key = SigningKey.generate()
    certificate = certify(root, key.public, KeyPurpose.LEDGER, not_before_ms=now_ms, not_after_ms=None)
    _write_json(path, {"seed": key.seed.hex(), "certificate": certificate_json(certificate)})


def _escrow_key(folder: Path, root: SigningKey, now_ms: int) -> None:
    path = folder / "escrow.json"
    if path.exists():
        return
    key = WrapKey.generate()
    certificate = certificate_json(certify(root, key.public, KeyPurpose.ESCROW, not_before_ms=now_ms, not_after_ms=None))
    _write_json(path, {"private": key.private.hex(), "certificate": certificate})
    _write_json(folder / "escrow.pub.json", certificate)


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
    _write_json(folder / "authors.json", authors)
