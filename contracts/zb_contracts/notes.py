"""Signed notes and checkpoints of a log, as C2SP's signed-note and tlog-checkpoint have them, with Ed25519 keys.

It writes and reads the text, strictly and within limits, and checks signatures of known keys. Signatures of others
(witnesses with other algorithms, rotated keys) are passed over, as the specification wants. Whether a checkpoint continues
an earlier one is not decided here: see `zb_contracts.merkle.verify_consistency`.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from zb_contracts.faults import KeyMalformed, NoteMalformed, NoteUnverified
from zb_contracts.keys import KEY_BYTES, SigningKey, verify
from zb_contracts.merkle import EMPTY_ROOT, HASH_BYTES, TREE_SIZE_MAX

NOTE_BYTES_MAX: Final = 128 * 1024
NOTE_SIGNATURES_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 255
EXTENSION_LINES_MAX: Final = 16

_KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A named Ed25519 public key (32 bytes). KeyMalformed for another length or a name that no note can carry."""

    name: str
    public: bytes

    algorithm: ClassVar[bytes] = b"\x01"
    """Ed25519 over the note's text."""

    def __post_init__(self) -> None:
        if not _is_key_name(self.name):
            raise KeyMalformed(f"not a key name: {self.name[:80]!r}")
        if len(self.public) != KEY_BYTES:
            raise KeyMalformed(f"an Ed25519 public key has {KEY_BYTES} bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name, newline, algorithm, public key), its first four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.algorithm + self.public).digest()[:_KEY_ID_BYTES]

    def to_text(self) -> str:
        """The verifier key as the public log tools write it: `<name>+<key id>+<key>`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.algorithm + self.public).decode()}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The key that `to_text` wrote. KeyMalformed for another algorithm, a wrong key id, or anything else."""
        parts = text.split("+", 2)  # base64 has plus signs of its own, names have none
        if len(parts) != 3:
            raise KeyMalformed("a verifier key has the form <name>+<key id>+<key>")
        raw = _from_base64(parts[2])
        if raw is None or raw[:1] != cls.algorithm:
            raise KeyMalformed(f"not a verifier key of the algorithm {cls.algorithm.hex()}")
        key = cls(parts[0], raw[1:])
        if key.key_id.hex() != parts[1]:
            raise KeyMalformed(f"the key id of {key.name} is {key.key_id.hex()}, not {parts[1][:16]!r}")
        return key


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A named private key. A log's name is its origin."""

    name: str
    key: SigningKey

    @property
    def verifier(self) -> NoteVerifier:
        return NoteVerifier(self.name, self.key.public)


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """A note's text and which of the known keys signed it (at least one)."""

    text: str
    signed_by: frozenset[NoteVerifier]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its name, number of leaves and root (32 bytes). NoteMalformed for values that no log has."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= TREE_SIZE_MAX or len(self.root) != HASH_BYTES:
            raise NoteMalformed(f"no tree has {self.size} leaves and a root of {len(self.root)} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise NoteMalformed("an empty tree has one root only, and this is another")
        if len(self.extensions) > EXTENSION_LINES_MAX:
            raise NoteMalformed(f"{len(self.extensions)} extension lines, the limit is {EXTENSION_LINES_MAX}")
        if any(not line or "\n" in line or _CONTROL.search(line) for line in (self.origin, *self.extensions)):
            raise NoteMalformed("an origin or extension is empty or more than one line")

    def to_text(self) -> str:
        """The note text that is signed."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The checkpoint in a note's text. NoteMalformed unless it is exactly one."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "":
            raise NoteMalformed("a checkpoint has at least three lines, each ended")
        origin, size, root = lines[:3]
        raw = _from_base64(root)
        if not _SIZE.fullmatch(size) or raw is None:
            raise NoteMalformed("the checkpoint's size or root cannot be read")
        return cls(origin, int(size), raw, tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, *signers: NoteSigner) -> str:
    """The checkpoint as a signed note. The log's own signer carries the origin as its name."""
    return sign_note(checkpoint.to_text(), *signers)


def verify_checkpoint(note: str, origin: str, verifiers: Iterable[NoteVerifier]) -> Checkpoint:
    """The checkpoint of the log `origin`, if a known key *of that name* signed it; witnesses alone do not do.

    NoteMalformed for what is no checkpoint, NoteUnverified for another log's or without the log's signature.
    """
    verified = verify_note(note, verifiers)
    checkpoint = Checkpoint.from_text(verified.text)
    if checkpoint.origin != origin:
        raise NoteUnverified(f"a checkpoint of {checkpoint.origin[:80]!r}, not of {origin!r}")
    if all(key.name != origin for key in verified.signed_by):
        raise NoteUnverified(f"no key of the log {origin!r} signed the checkpoint")
    return checkpoint


def sign_note(text: str, *signers: NoteSigner) -> str:
    """`text` (it ends with a newline) with a signature line each. NoteMalformed for a text that no note can carry."""
    if not signers:
        raise NoteMalformed("a note has at least one signature")
    if not text.endswith("\n"):
        raise NoteMalformed("a note's text ends with a newline")
    data = _note_bytes(text)
    lines = [signature_line(signer.name, signer.verifier.key_id, signer.key.sign(data)) for signer in signers]
    return f"{text}\n{''.join(lines)}"


def verify_note(note: str, verifiers: Iterable[NoteVerifier]) -> VerifiedNote:
    """The note's text, if at least one of these keys signed it and none of them signed something else.

    NoteMalformed for what is no note, NoteUnverified without a known signature or with a false one.
    """
    known = _by_name_and_id(verifiers)
    text, signatures = split_note(note)
    signed_by = set()
    for name, key_id, signature in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if not verify(key.public, text.encode(), signature):
            raise NoteUnverified(f"the signature of {name!r} is false")
        signed_by.add(key)
    if not signed_by:
        raise NoteUnverified("no key that we know signed the note")
    return VerifiedNote(text, frozenset(signed_by))


def is_signed_by(note: str, verifier: NoteVerifier) -> bool:
    """Whether this key signed the note, whoever else did. NoteMalformed for what is no note."""
    text, signatures = split_note(note)
    return any(
        (name, key_id) == (verifier.name, verifier.key_id) and verify(verifier.public, text.encode(), signature)
        for name, key_id, signature in signatures
    )


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The note's text, unverified, and of each signature line the name, key id and signature. NoteMalformed."""
    _note_bytes(note)
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n") or at + 2 == len(note):
        raise NoteMalformed("a note is a text, an empty line and signature lines")
    text, lines = note[: at + 1], note[at + 2 : -1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise NoteMalformed(f"the note has {len(lines)} signatures, the limit is {NOTE_SIGNATURES_MAX}")
    return text, list(_signatures(lines))


def signature_line(name: str, key_id: bytes, signature: bytes) -> str:
    """One signature line, ended."""
    return f"{_DASH}{name} {base64.b64encode(key_id + signature).decode()}\n"


def _signatures(lines: list[str]) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, key id and signature of each line."""
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        raw = _from_base64(encoded)
        if not line.startswith(_DASH) or not space or not _is_key_name(name) or raw is None:
            raise NoteMalformed(f"not a signature line: {line[:80]!r}")
        if len(raw) <= _KEY_ID_BYTES:
            raise NoteMalformed(f"the signature of {name[:80]!r} is empty")
        yield name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:]


def _by_name_and_id(verifiers: Iterable[NoteVerifier]) -> dict[tuple[str, bytes], NoteVerifier]:
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for key in verifiers:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise KeyMalformed(f"two keys of {key.name!r} share the key id {key.key_id.hex()}")
    return known


def _note_bytes(text: str) -> bytes:
    """The UTF-8 of a note, or of its text, within the limits."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise NoteMalformed("a note is Unicode text") from error
    if len(data) > NOTE_BYTES_MAX:
        raise NoteMalformed(f"the note has {len(data)} bytes, the limit is {NOTE_BYTES_MAX}")
    if _CONTROL.search(text):
        raise NoteMalformed("a note has no control character but the newline")
    return data


def _is_key_name(name: str) -> bool:
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or "+" in name or _CONTROL.search(name):
        return False
    return not any(character.isspace() or "\ud800" <= character <= "\udfff" for character in name)


def _from_base64(text: str) -> bytes | None:
    """The bytes of canonical standard base64, None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if base64.b64encode(raw).decode() == text else None
