"""Cosignatures of witnesses, as C2SP's tlog-cosignature and tlog-witness have them: who else saw this head of the log, and when.

It makes and checks cosignatures (Ed25519, `cosignature/v1`) and spells the request that a log sends to a witness. Whether a
witness may sign (the tree only grew) is `merkle.verify_consistency`'s matter and the witness's own state.
"""

import base64
import re
from dataclasses import dataclass
from typing import ClassVar, Final

from zb_contracts.faults import NoteMalformed
from zb_contracts.keys import SIGNATURE_BYTES, SigningKey, verify
from zb_contracts.merkle import HASH_BYTES, PROOF_HASHES_MAX
from zb_contracts.notes import NOTE_BYTES_MAX, NoteVerifier, signature_line, split_note

REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 8 * 1024
SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of the answer that names the witness's own size."""

_TIME_BYTES: Final = 8
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class WitnessVerifier(NoteVerifier):
    """A witness's name and public key; its key id and text carry the algorithm of cosignatures."""

    algorithm: ClassVar[bytes] = b"\x04"


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """What a log asks of a witness: that `note` continues the checkpoint of `old_size`, shown by `proof`."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    def to_text(self) -> str:
        """The request's body."""
        lines = [f"old {self.old_size}", *(base64.b64encode(one).decode() for one in self.proof)]
        return "\n".join(lines) + "\n\n" + self.note

    @classmethod
    def from_bytes(cls, data: bytes) -> "AddCheckpoint":
        """The request in these bytes. NoteMalformed unless it is exactly one."""
        if len(data) > REQUEST_BYTES_MAX:
            raise NoteMalformed(f"the request has {len(data)} bytes, the limit is {REQUEST_BYTES_MAX}")
        try:
            head, blank, note = data.decode().partition("\n\n")
        except UnicodeDecodeError as fault:
            raise NoteMalformed("a request is UTF-8 text") from fault
        first, *encoded = head.split("\n")
        old = _OLD.fullmatch(first)
        if not blank or old is None or len(encoded) > PROOF_HASHES_MAX:
            raise NoteMalformed("a request is the old size, at most 64 hashes, an empty line and a checkpoint")
        return cls(int(old[1]), tuple(_hash(one) for one in encoded), note)


def cosign(note: str, name: str, key: SigningKey, *, at_s: int) -> str:
    """The witness's signature line over a checkpoint note's text at this time (seconds since 1970). NoteMalformed."""
    text, _ = split_note(note)
    payload = at_s.to_bytes(_TIME_BYTES, "big") + key.sign(_message(text, at_s))
    return signature_line(name, WitnessVerifier(name, key.public).key_id, payload)


def cosigned_at(note: str, witness: WitnessVerifier) -> int | None:
    """When (seconds since 1970) this witness last cosigned the note; None when it did not, or its line is false."""
    text, signatures = split_note(note)
    times = []
    for name, key_id, payload in signatures:
        if (name, key_id) != (witness.name, witness.key_id) or len(payload) != _TIME_BYTES + SIGNATURE_BYTES:
            continue
        at_s = int.from_bytes(payload[:_TIME_BYTES], "big")
        if verify(witness.public, _message(text, at_s), payload[_TIME_BYTES:]):
            times.append(at_s)
    return max(times, default=None)


def _message(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _hash(encoded: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as fault:
        raise NoteMalformed("a proof's hashes are base64") from fault
    if len(raw) != HASH_BYTES or base64.b64encode(raw).decode() != encoded:
        raise NoteMalformed(f"a hash has {HASH_BYTES} bytes in standard base64")
    return raw
