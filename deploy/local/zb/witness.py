"""A witness of transparency logs (C2SP tlog-witness): it cosigns a checkpoint when the log only grew since the last one it saw.

For somebody who is not the log's operator: a works council, a customer, an auditor. It keeps its own state, one file a log,
written before a cosignature leaves. It knows nothing of Zone Blanche's events, and a log cannot make it sign two histories.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from zb.keys import private_folder, write_secret
from zb_contracts.cosignatures import SIZE_TYPE, AddCheckpoint, WitnessVerifier, cosign
from zb_contracts.faults import CryptoFault, KeyMalformed, NoteMalformed, ProofInvalid
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import verify_consistency
from zb_contracts.notes import Checkpoint, NoteVerifier, split_note, verify_checkpoint

KEY_FILE: Final = "witness.json"


class WitnessError(Exception):
    """The witness' folder cannot be used as asked; one sentence that says what to do."""


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What the witness keeps of one log: the keys that it trusts, and the last head that it cosigned."""

    origin: str
    keys: tuple[str, ...]
    size: int = 0
    root: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a log is told: an HTTP status, and a body."""

    status: int
    body: str = ""
    media_type: str = "text/plain; charset=utf-8"


class Witness:
    """One witness: its key, the logs that it watches, and the last head that it cosigned of each. `now_s`: seconds since 1970."""

    def __init__(self, folder: Path, *, now_s: Callable[[], int] = lambda: int(time.time())) -> None:
        try:
            made = json.loads((folder / KEY_FILE).read_text("utf-8"))
            self._key, self.name = SigningKey(bytes.fromhex(made["seed"])), str(made["name"])
        except (OSError, ValueError, KeyError, KeyMalformed) as fault:
            raise WitnessError(f"{folder} holds no witness: zb witness init makes one") from fault
        self._folder, self._now_s = folder, now_s

    @classmethod
    def make(cls, folder: Path, name: str) -> "Witness":
        """A new witness in a new folder. WitnessError when there is one, or for a name that no note can carry."""
        private_folder(folder)
        if (folder / KEY_FILE).exists():
            raise WitnessError(f"{folder} holds a witness already: its key is what others trust")
        key = SigningKey.generate()
        try:
            WitnessVerifier(name, key.public)
        except KeyMalformed as fault:
            raise WitnessError(str(fault)) from fault
        write_secret(folder / KEY_FILE, json.dumps({"name": name, "seed": key.seed.hex()}).encode())
        return cls(folder)

    @property
    def verifier(self) -> WitnessVerifier:
        return WitnessVerifier(self.name, self._key.public)

    def watch(self, key: NoteVerifier) -> None:
        """Trust this key of the log that it names; a further key of the same log is a rotation."""
        with self._locked(key.name) as file:
            log = _read(file) or Log(origin=key.name, keys=())
            _write(file, msgspec.structs.replace(log, keys=tuple(sorted({*log.keys, key.to_text()}))))

    def logs(self) -> list[Log]:
        """The logs that are watched."""
        return [log for file in sorted(self._folder.glob("log-*.json")) if (log := _read(file))]

    def add(self, data: bytes) -> Answer:
        """Decide on a log's request; a cosignature only leaves when the new head is on disk."""
        try:
            request = AddCheckpoint.from_bytes(data)
            checkpoint = Checkpoint.from_text(split_note(request.note)[0])
        except NoteMalformed as fault:
            return Answer(400, f"{fault}\n")
        with self._locked(checkpoint.origin) as file:
            log = _read(file)
            if log is None:
                return Answer(404, f"this witness does not watch {checkpoint.origin}\n")
            refusal = _refusal(request, checkpoint, log)
            if refusal is None:
                head = {"size": checkpoint.size, "root": checkpoint.root.hex(), "note": request.note}
                _write(file, msgspec.structs.replace(log, **head))
        return refusal or Answer(200, cosign(request.note, self.name, self._key, at_s=self._now_s()))

    @contextmanager
    def _locked(self, origin: str) -> Iterator[Path]:
        """The log's state file, nobody else's until the end: two requests at once never sign two histories."""
        file = self._folder / f"log-{sha256(origin.encode()).hexdigest()[:32]}.json"
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield file


def _refusal(request: AddCheckpoint, checkpoint: Checkpoint, log: Log) -> Answer | None:
    """Why not, with the status that tlog-witness gives it; None when the log only grew."""
    try:
        verify_checkpoint(request.note, checkpoint.origin, [NoteVerifier.from_text(key) for key in log.keys])
    except CryptoFault as fault:
        return Answer(403, f"{fault}\n")
    if request.old_size > checkpoint.size:
        return Answer(400, f"the old size {request.old_size} is beyond the checkpoint's {checkpoint.size}\n")
    own_size = Answer(409, f"{log.size}\n", SIZE_TYPE)
    if request.old_size != log.size:
        return own_size
    if log.size == 0:
        return Answer(422, "from nothing there is nothing to prove\n") if request.proof else None
    try:
        verify_consistency(log.size, checkpoint.size, bytes.fromhex(log.root), checkpoint.root, request.proof)
    except ProofInvalid as fault:
        # The same size with another root is the plainest form of two histories.
        return own_size if log.size == checkpoint.size else Answer(422, f"{fault}\n")
    return None


def _read(file: Path) -> Log | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Log)
    except FileNotFoundError:
        return None


def _write(file: Path, log: Log) -> None:
    """Durable before it returns: a witness that forgot its last head could be shown another history."""
    draft = file.with_suffix(".draft")
    with draft.open("wb") as out:
        out.write(msgspec.json.encode(log))
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
