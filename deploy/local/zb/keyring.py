"""The keys of one deployment: root, escrow, the event keys of the server-side authors, and the ledger's, which is rotated.

The root signs here and then stays behind: `hand_out` gives each service a folder with what it needs and no more. Folders
have 0700, secrets 0600; on a cluster the same files are one secret a service. The broker's own keys are `accounts`' matter.
"""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zb.accounts import Layout
from zb.keys import KeysError, private_folder, write_secret
from zb_contracts.keys import KeyCertificate, KeyPurpose, SigningKey, WrapKey, certify, kid
from zb_contracts.sealed import SUBJECT_KEY_BYTES
from zb_contracts.sync import CERTIFICATES_MAX

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
        "custody.pub",
        "media-wrap.pub",
    ),
    "scheduling": (
        "root.pub",
        "ledger.pub.json",
        "authors.json",
        "authors/office-*.seed",
        "subjects-master.key",
        "custody.key",
        "device-signer.pub",
    ),
    "media": ("root.pub", "media-wrap.key", "device-signer.pub"),
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
    _subjects_master(folder / "subjects-master.key")
    _box_key(folder, "custody.key", "custody.pub")
    _box_key(folder, "media-wrap.key", "media-wrap.pub")
    return Keyring(folder, root.public)


def add_device_signer(keyring: Keyring, layout: Layout) -> None:
    """Lay the broker's key that signs session tokens beside the others, as its users expect it."""
    signer = layout.keys["device-signer"]
    write_secret(keyring.folder / "device-signer.seed", signer.seed)
    _write_json(keyring.folder / "device-signer.pub", {"signer": signer.public, "account": layout.account("DEV")})


def rotate_ledger(folder: Path, root_seed: Path, *, overlap_ms: int, now_ms: int | None = None) -> list[dict[str, Any]]:
    """Give the ledger a new key, certified by the root from now on, and the newest one an end; all certificates, oldest first.

    Only here the root's seed is needed. KeysError when it is another root's, or there would be more certificates than a device
    is told of.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if not root_seed.exists():
        raise KeysError(f"{root_seed} is not there: the root's seed signs a new ledger key, bring it (--root)")
    root, path = _seed(root_seed), folder / "ledger.json"
    if root.public.hex() != (folder / "root.pub").read_text().strip():
        raise KeysError(f"{root_seed} is not the seed of the root in {folder / 'root.pub'}, which devices pinned")
    stored = json.loads(path.read_text())
    before: list[dict[str, Any]] = stored.get("keys", [stored])
    if len(before) >= CERTIFICATES_MAX:
        raise KeysError(f"the ledger has had {len(before)} keys already, devices are told of {CERTIFICATES_MAX} at most")
    ended = [_ending(root, one, now_ms + overlap_ms) for one in before]
    keys = [*ended, _new_ledger_key(root, now_ms)]
    _write_json(path, {"keys": keys})
    _publish_ledger_keys(folder, keys)
    return [one["certificate"] for one in keys]


def _ending(root: SigningKey, stored: dict[str, Any], end_ms: int) -> dict[str, Any]:
    """The stored key with an end, unless it has one. Its seed stays: it vouches for the anchors that it gave out."""
    old = stored["certificate"]
    if old["not_after_ms"] is not None:
        return stored
    public = base64.urlsafe_b64decode(old["public"] + "=")
    assert kid(public) == old["kid"]
    certificate = certify(root, public, KeyPurpose.LEDGER, not_before_ms=old["not_before_ms"], not_after_ms=end_ms)
    return {**stored, "certificate": certificate_json(certificate)}


def hand_out(keyring: Keyring, service: str, folder: Path) -> Path:
    """Copy what `service` needs into its own folder; `add_device_signer` has been called."""
    private_folder(folder)
    private_folder(folder / "authors")
    for pattern in SHARES[service]:
        for source in keyring.folder.glob(pattern):
            write_secret(folder / source.relative_to(keyring.folder), source.read_bytes())
    return folder


def _subjects_master(path: Path) -> None:
    """The key under which data subjects' keys are stored."""
    if not path.exists():
        write_secret(path, secrets.token_bytes(SUBJECT_KEY_BYTES).hex().encode())


def _box_key(folder: Path, private: str, public_name: str) -> None:
    """A key for boxes that one service alone opens: custody's, to which devices seal the subject keys that they made; and the
    evidence store's, to which the keys of files are passed on that their device cannot open any more."""
    path = folder / private
    if not path.exists():
        write_secret(path, WrapKey.generate().private.hex().encode())
    public = WrapKey(bytes.fromhex(path.read_text())).public
    write_secret(folder / public_name, public.hex().encode())


def _publish_ledger_keys(folder: Path, keys: list[dict[str, Any]]) -> None:
    """The certificates alone, for those who check what the ledger signs."""
    _write_json(folder / "ledger.pub.json", [one["certificate"] for one in keys])


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
    if not path.exists():
        _write_json(path, {"keys": [_new_ledger_key(root, now_ms)]})
    stored = json.loads(path.read_text())
    _publish_ledger_keys(folder, stored.get("keys", [stored]))


def _new_ledger_key(root: SigningKey, now_ms: int) -> dict[str, Any]:
    key = SigningKey.generate()
    certificate = certify(root, key.public, KeyPurpose.LEDGER, not_before_ms=now_ms, not_after_ms=None)
    return {"seed": key.seed.hex(), "certificate": certificate_json(certificate)}


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
