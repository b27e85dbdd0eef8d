"""The keys folder of one machine: seeds generated once and read again at every later start; files that hold secrets.

Folder 0700, files 0600. It does not say what the keys may do (accounts.py does), and it never prints one.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from zb_chassis.claims import ClaimError, Kind, Nkey


class KeysError(RuntimeError):
    """The folder cannot be used; the message says what to do."""


def private_folder(path: Path) -> Path:
    """The folder, made with 0700 where it is missing. Raises KeysError when others may read or write it.

    To pass through it is no reading: as root, the way to PostgreSQL's folder is opened like that (`run_as`).
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o066:
        raise KeysError(f"others may read {path}, which holds secrets: run chmod 700 on it")
    return path


def write_secret(path: Path, content: bytes) -> None:
    """Writes a file with 0600, whole or not at all, durable before it returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_or_generate(folder: Path, names: Mapping[str, Kind]) -> dict[str, Nkey]:
    """The keys by name; those that the folder lacks are generated. Raises KeysError for a damaged or misplaced seed."""
    private_folder(folder)
    return {name: _load_or_generate(folder / f"{name}.seed", kind) for name, kind in names.items()}


def _load_or_generate(path: Path, kind: Kind) -> Nkey:
    if not path.exists():
        key = Nkey.generate(kind)
        write_secret(path, key.seed + b"\n")
        return key
    if path.stat().st_mode & 0o077:
        raise KeysError(f"others may read the secret {path}: run chmod 600 on it")
    try:
        key = Nkey.from_seed(path.read_bytes().strip())
    except ClaimError as error:
        raise KeysError(f"{path} is damaged: restore it from a backup ({error})") from error
    if key.kind is not kind:
        raise KeysError(f"{path} holds a key of kind {key.kind.name.lower()}, not {kind.name.lower()}: restore it")
    return key
