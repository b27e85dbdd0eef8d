"""The ledger's signed word that it lost rows: about one log, by a ledger key, and about no more than it names."""

import msgspec
import pytest

from zb_contracts.faults import DocumentMalformed, DocumentUnverified
from zb_contracts.healing import Healing, read_healing, sign_healing
from zb_contracts.keys import SigningKey
from zb_contracts.signed import SignedDocument, sign_document
from zb_contracts.sync import ANSWER_TYPE

KEY = SigningKey.from_seed(bytes(32))
ORIGIN = "ledger.example/0"
WORD = Healing(
    number=1, origin=ORIGIN, kept=40, kept_root="ab" * 32, abandoned=90, abandoned_root="cd" * 32, at="2026-11-22T10:05:00.000Z"
)


def test_a_statement_is_read_as_it_was_signed() -> None:
    assert read_healing(sign_healing(WORD, KEY), {KEY.kid: KEY.public}, ORIGIN) == WORD


def test_another_key_another_log_another_type_and_another_byte_are_refused() -> None:
    document = sign_healing(WORD, KEY)
    other = SigningKey.from_seed(bytes([1] * 32))
    with pytest.raises(DocumentUnverified):
        read_healing(document, {other.kid: other.public}, ORIGIN)
    with pytest.raises(DocumentMalformed, match="about another log"):
        read_healing(document, {KEY.kid: KEY.public}, "ledger.example/1")
    with pytest.raises(DocumentUnverified):
        read_healing(sign_document(ANSWER_TYPE, document.payload, KEY), {KEY.kid: KEY.public}, ORIGIN)
    changed = SignedDocument(document.kid, document.payload.replace(b'"kept":40', b'"kept":39'), document.signature)
    assert changed.payload != document.payload
    with pytest.raises(DocumentUnverified):
        read_healing(changed, {KEY.kid: KEY.public}, ORIGIN)


@pytest.mark.parametrize("change", [{"number": 0}, {"kept": -1}, {"kept_root": "ab"}, {"v": 2}, {"more": 1}, {"abandoned": "90"}])
def test_a_signed_statement_that_says_something_impossible_is_refused(change: dict[str, object]) -> None:
    payload = msgspec.json.encode(msgspec.to_builtins(WORD) | change)
    with pytest.raises(DocumentMalformed):
        read_healing(
            sign_document("application/vnd.zoneblanche.ledger-healed.v1+json", payload, KEY), {KEY.kid: KEY.public}, ORIGIN
        )


def test_heads_within_what_was_kept_or_beyond_what_was_published_are_not_abandoned() -> None:
    assert [WORD.abandons(size) for size in (0, 40, 41, 90, 91)] == [False, False, True, True, False]
    unknown = msgspec.structs.replace(WORD, abandoned=None)
    assert [unknown.abandons(size) for size in (40, 41, 10**6)] == [False, True, True]
