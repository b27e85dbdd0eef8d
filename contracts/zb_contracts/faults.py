"""The faults of the cryptographic primitives (keys, sealed values, Merkle proofs, notes, signed documents), each once.

They are ValueErrors with a stable short code, so that a pydantic validator may raise them. What a fault means to somebody
outside (which problem, whether a retry helps) is decided at the edges, with `zb_contracts.problems`, not here.
"""

from typing import ClassVar


class CryptoFault(ValueError):
    """A key, signature, sealed value or proof that cannot be taken. `code` is stable; `str()` says what was wrong."""

    code: ClassVar[str] = "crypto.fault"


class KeyMalformed(CryptoFault):
    """Bytes or text that are no key of the kind asked for."""

    code = "crypto.key_malformed"


class BoxUnopened(CryptoFault):
    """A sealed box that this private key does not open, or that was changed."""

    code = "crypto.box_unopened"


class CertificationInvalid(CryptoFault):
    """A login key's certification of event and wrap key that does not verify."""

    code = "crypto.certification_invalid"


class CertificateInvalid(CryptoFault):
    """A root's certificate that does not verify, or is for another purpose or another key."""

    code = "crypto.certificate_invalid"


class CertificateNotInForce(CryptoFault):
    """A genuine certificate, outside its time."""

    code = "crypto.certificate_not_in_force"


class SealMalformed(CryptoFault):
    """Arguments that cannot be sealed: too long, a wrong key or nonce length, not Unicode text."""

    code = "crypto.seal_malformed"


class SealBroken(CryptoFault):
    """A sealed value under another key, of another event or field, or changed since."""

    code = "crypto.seal_broken"


class ProofInvalid(CryptoFault):
    """A Merkle proof that does not lead to the root."""

    code = "crypto.proof_invalid"


class TreeMalformed(CryptoFault):
    """A size, index, hash or serialised frontier that no tree has."""

    code = "crypto.tree_malformed"


class NoteMalformed(CryptoFault):
    """Bytes that are no signed note, or whose text is no checkpoint."""

    code = "crypto.note_malformed"


class NoteUnverified(CryptoFault):
    """A note without a valid signature of a key that we know, or with a false one."""

    code = "crypto.note_unverified"


class DocumentMalformed(CryptoFault):
    """Bytes that are no signed document, or one over its limits."""

    code = "crypto.document_malformed"


class DocumentUnverified(CryptoFault):
    """A document of an unknown key, or whose signature is not that key's for this type."""

    code = "crypto.document_unverified"


class StatementEnded(CryptoFault):
    """What a key stated was good once, and its time is over."""

    code = "crypto.statement_ended"
