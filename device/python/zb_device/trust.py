"""What the device believes: answers signed by a ledger key that the pinned root certified, histories that only grow.

Pure: bytes and remembered checkpoint in, verified values or a Problem out. Whoever calls reports the Problem and applies nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from zb_contracts.enrolment import TokenWord, TrustedKey, certificate_of, is_vouched
from zb_contracts.faults import CryptoFault
from zb_contracts.healing import Healing, read_healing
from zb_contracts.keys import KeyCertificate, KeyPurpose, verify_certificate
from zb_contracts.ledger_leaf import leaf_hash, read_leaf
from zb_contracts.merkle import verify_consistency, verify_inclusion
from zb_contracts.notes import Checkpoint, NoteVerifier, verify_checkpoint
from zb_contracts.problems import SYNC_SIGNATURE_INVALID, SYNC_SPLIT_VIEW, SYNC_WRONG_NONCE, Problem
from zb_contracts.signed import SignedDocument, verify_document
from zb_contracts.sync import ANSWER_TYPE, CERTIFICATES_MAX, Receipt, SyncAnswer, Verdict, read_answer
from zb_device.faults import Refused
from zb_device.settings import LedgerView, Pinned, Session

KEYS_MAX: Final = CERTIFICATES_MAX + 4
"""Certificates that a device keeps: the ledger's keys through all rotations, and escrow's."""

# A held event that a supervisor let in is admitted, and its row says held for ever.
_ROW_KINDS: Final[Mapping[Verdict, frozenset[str]]] = {
    Verdict.ADMITTED: frozenset({"admitted", "held"}),
    Verdict.DUPLICATE: frozenset({"admitted", "held"}),
    Verdict.HELD: frozenset({"held"}),
    Verdict.REFUSED: frozenset({"refusal"}),
}


def learned(pinned: Pinned, certificates: Iterable[KeyCertificate]) -> Pinned:
    """With what the root says of keys that the device did not know. SYNC_SIGNATURE_INVALID for what the root did not say.

    Of two words on one key the one that ends it sooner stands: nobody can give a rotated key back its time by repeating an old
    certificate, in whatever order they come.
    """
    known = {one.kid: one for one in pinned.certificates}
    for one in certificates:
        try:
            verify_certificate(pinned.root_key, one, purpose=one.purpose, at_ms=one.not_before_ms)
        except CryptoFault as fault:
            raise Problem(SYNC_SIGNATURE_INVALID) from fault
        known[one.kid] = min(known.get(one.kid, one), one, key=lambda word: word.not_after_ms or math.inf)
    if len(known) > KEYS_MAX:
        raise Problem(SYNC_SIGNATURE_INVALID)
    return msgspec.structs.replace(pinned, certificates=tuple(known.values()))


def ledger_keys(pinned: Pinned, real_ms: int) -> dict[str, bytes]:
    """The ledger keys in force, by key id."""
    keys = {}
    for certificate in pinned.certificates:
        if certificate.purpose == KeyPurpose.LEDGER:
            try:
                public = verify_certificate(pinned.root_key, certificate, purpose=KeyPurpose.LEDGER, at_ms=real_ms)
            except CryptoFault:
                # Out of its time: this key simply does not count; with none left, every answer is refused and reported.
                continue
            keys[certificate.kid] = public
    return keys


def vouches(pinned: Pinned, session: Session) -> bool:
    """Whether a ledger key that was in force when the token was issued gave its word for it."""
    if not session.kid:
        return False
    word = TokenWord.model_construct(kid=session.kid, signature=session.word)
    return is_vouched(session.token, word, ledger_keys(pinned, session.issued_ms))


def pinned_certificates(root: bytes, keys: Sequence[TrustedKey], at_ms: int) -> tuple[KeyCertificate, ...]:
    """The server's keys, each certified by this root, one of each purpose in force. Refused else.

    Ledger keys that have ended are kept: else an old certificate could give them back their time.
    """
    try:
        certificates = tuple(certificate_of(key) for key in keys)
        for certificate in certificates:
            verify_certificate(root, certificate, purpose=certificate.purpose, at_ms=certificate.not_before_ms)
    except CryptoFault as fault:
        raise Refused(f"the answer's keys are not certified by its root: {fault}", problem="enrolment.keys") from fault
    in_force = {one.purpose for one in certificates if one.not_before_ms <= at_ms < (one.not_after_ms or math.inf)}
    if not {KeyPurpose.LEDGER, KeyPurpose.ESCROW} <= in_force or len(certificates) > KEYS_MAX:
        raise Refused("the answer lacks a ledger key or an escrow key that is in force", problem="enrolment.keys")
    return certificates


def open_answer(document: SignedDocument, keys: Mapping[str, bytes], *, nonce: str, pinned: Pinned) -> SyncAnswer:
    """The answer, if one of these keys signed it and it answers this question of this author."""
    try:
        payload = verify_document(ANSWER_TYPE, document, keys)
    except CryptoFault as fault:
        raise Problem(SYNC_SIGNATURE_INVALID) from fault
    answer = read_answer(payload)
    if answer.nonce != nonce or answer.author != pinned.author:
        raise Problem(SYNC_WRONG_NONCE)
    return answer


def next_view(view: LedgerView, answer: SyncAnswer, keys: Mapping[str, bytes], origin: str) -> LedgerView:
    """The view after the answer's checkpoint. SYNC_SPLIT_VIEW unless it continues what the device saw before."""
    return next_history(view, answer, keys, origin)[0]


def next_history(
    view: LedgerView, answer: SyncAnswer, keys: Mapping[str, bytes], origin: str
) -> tuple[LedgerView, Healing | None]:
    """The view after the answer's checkpoint, and the ledger's word that it lost rows which the device had verified.

    SYNC_SPLIT_VIEW unless the checkpoint continues what the device saw before, or the rows that a statement of the ledger,
    which the device has not taken before, says were kept.
    """
    if answer.checkpoint is None:
        return view, None
    checkpoint = _checkpoint(answer.checkpoint, keys, origin)
    told = _told(answer, keys, origin)
    number = max(view.healing, told.number if told else 0)
    after = LedgerView(size=checkpoint.size, root=checkpoint.root, note=answer.checkpoint, healing=number)
    if _continues(view.size, view.root, checkpoint, answer.consistency):
        return after, None
    proof = answer.healed.consistency if answer.healed else ()
    is_news = told is not None and told.number > view.healing and told.abandons(view.size)
    if is_news and told is not None and _continues(told.kept, bytes.fromhex(told.kept_root), checkpoint, proof):
        return after, told
    raise Problem(SYNC_SPLIT_VIEW, size=view.size)


def _continues(size: int, root: bytes, checkpoint: Checkpoint, proof: Sequence[bytes]) -> bool:
    """Whether the checkpoint's tree only adds to the one of this size and root."""
    if not size:
        return True
    try:
        verify_consistency(size, checkpoint.size, root, checkpoint.root, proof)
    except CryptoFault:
        return False
    return True


def _told(answer: SyncAnswer, keys: Mapping[str, bytes], origin: str) -> Healing | None:
    """What the answer's statement says. SYNC_SIGNATURE_INVALID where it has one that no ledger key signed about this log."""
    if answer.healed is None:
        return None
    try:
        return read_healing(answer.healed.document, keys, origin)
    except CryptoFault as fault:
        raise Problem(SYNC_SIGNATURE_INVALID) from fault


def check_receipt(receipt: Receipt, view: LedgerView) -> None:
    """Returns when the receipt is a row of the history that the device has verified. SYNC_SPLIT_VIEW else.

    A retryable refusal is no row: it proves nothing and settles nothing.
    """
    if receipt.verdict is Verdict.REFUSED and receipt.retryable:
        return
    try:
        leaf = read_leaf(receipt.leaf)
        about_it = leaf.header_sha256 == receipt.header_sha256 and leaf.kind in _ROW_KINDS[receipt.verdict]
        if not about_it or receipt.position is None:
            raise Problem(SYNC_SPLIT_VIEW, size=view.size)
        verify_inclusion(leaf_hash(receipt.leaf), receipt.position, view.size, receipt.inclusion, view.root)
    except CryptoFault as fault:
        raise Problem(SYNC_SPLIT_VIEW, size=view.size) from fault


def _checkpoint(note: str, keys: Mapping[str, bytes], origin: str) -> Checkpoint:
    try:
        return verify_checkpoint(note, origin, [NoteVerifier(origin, public) for public in keys.values()])
    except CryptoFault as fault:
        raise Problem(SYNC_SIGNATURE_INVALID) from fault
