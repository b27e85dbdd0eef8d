"""Signed notes and checkpoints: the published examples, and every way in which text can lie."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zb_contracts import notes
from zb_contracts.faults import KeyMalformed, NoteMalformed, NoteUnverified
from zb_contracts.keys import SigningKey
from zb_contracts.merkle import EMPTY_ROOT, leaf_hash
from zb_contracts.notes import Checkpoint, NoteSigner, NoteVerifier

ORIGIN = "zoneblanche.example/ledger/0"
LOG = NoteSigner(ORIGIN, SigningKey.from_seed(b"ledger".ljust(32, b".")))
ROTATED = NoteSigner(ORIGIN, SigningKey.from_seed(b"rotated".ljust(32, b".")))
WITNESS = NoteSigner("witness.example/w1", SigningKey.from_seed(b"witness".ljust(32, b".")))
STRANGER = NoteSigner("stranger.example", SigningKey.from_seed(b"stranger".ljust(32, b".")))
HEAD = Checkpoint(ORIGIN, 7, leaf_hash(b"leaky-boiler"))

# The example of golang.org/x/mod/sumdb/note, whose format C2SP took over.
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_published_note_is_verified() -> None:
    key = NoteVerifier.from_text(PUBLISHED_KEY)
    verified = notes.verify_note(PUBLISHED_NOTE, [key])
    assert verified.text == PUBLISHED_NOTE.partition("\n\n")[0] + "\n"
    assert verified.signed_by == {key}
    assert key.to_text() == PUBLISHED_KEY


def test_the_form_of_a_checkpoint() -> None:
    root = base64.b64encode(HEAD.root).decode()
    note = notes.sign_checkpoint(HEAD, LOG)
    text, _, signature = note.partition("\n\n")
    assert text == f"{ORIGIN}\n7\n{root}"
    assert signature.startswith(f"\u2014 {ORIGIN} ")
    assert len(base64.b64decode(signature.split(" ")[2])) == 68
    assert notes.verify_checkpoint(note, ORIGIN, [LOG.verifier]) == HEAD


@given(
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=3),
)
def test_every_checkpoint_comes_back(size: int, root: bytes, extensions: list[str]) -> None:
    head = Checkpoint(ORIGIN, size, root, tuple(extensions))
    note = notes.sign_checkpoint(head, LOG, WITNESS)
    assert notes.verify_checkpoint(note, ORIGIN, [WITNESS.verifier, LOG.verifier]) == head


def test_the_empty_log_has_a_checkpoint() -> None:
    head = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert notes.verify_checkpoint(notes.sign_checkpoint(head, LOG), ORIGIN, [LOG.verifier]) == head
    with pytest.raises(NoteMalformed):
        Checkpoint(ORIGIN, 0, HEAD.root)


def test_signatures_of_strangers_are_passed_over() -> None:
    note = notes.sign_checkpoint(HEAD, STRANGER, LOG, ROTATED, WITNESS)
    verified = notes.verify_note(note, [LOG.verifier, WITNESS.verifier])
    assert verified.signed_by == {LOG.verifier, WITNESS.verifier}
    unknown_algorithm = note + "\u2014 pq.example " + base64.b64encode(b"id==" + bytes(2420)).decode() + "\n"
    assert notes.verify_checkpoint(unknown_algorithm, ORIGIN, [LOG.verifier]) == HEAD


def test_a_rotated_key_of_the_log_will_do() -> None:
    note = notes.sign_checkpoint(HEAD, ROTATED)
    assert notes.verify_checkpoint(note, ORIGIN, [LOG.verifier, ROTATED.verifier]) == HEAD


def test_a_witness_alone_does_not_speak_for_the_log() -> None:
    note = notes.sign_checkpoint(HEAD, WITNESS)
    with pytest.raises(NoteUnverified, match="no key of the log"):
        notes.verify_checkpoint(note, ORIGIN, [LOG.verifier, WITNESS.verifier])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    for verifiers in ([], [ROTATED.verifier], [STRANGER.verifier]):
        with pytest.raises(NoteUnverified, match="no key that we know"):
            notes.verify_note(notes.sign_checkpoint(HEAD, LOG), verifiers)


def test_one_false_signature_of_a_known_key_spoils_the_note() -> None:
    false_line = notes.sign_note("another text\n", WITNESS).partition("\n\n")[2]
    with pytest.raises(NoteUnverified, match="is false"):
        notes.verify_note(notes.sign_checkpoint(HEAD, LOG) + false_line, [LOG.verifier, WITNESS.verifier])


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = Checkpoint("zoneblanche.example/ledger/1", 7, HEAD.root)
    with pytest.raises(NoteUnverified, match="not of"):
        notes.verify_checkpoint(notes.sign_checkpoint(other, LOG), ORIGIN, [LOG.verifier])


@given(st.data())
def test_one_changed_character_is_noticed(data: st.DataObject) -> None:
    note = notes.sign_checkpoint(HEAD, LOG)
    at = data.draw(st.integers(0, len(note) - 1))
    character = data.draw(st.sampled_from("A0+/= \n\t\u2014x").filter(lambda other: other != note[at]))
    with pytest.raises((NoteMalformed, NoteUnverified)):
        notes.verify_checkpoint(note[:at] + character + note[at + 1 :], ORIGIN, [LOG.verifier])


@given(st.text(max_size=60) | st.text("\n\u2014 aA0+=", max_size=30))
def test_no_text_does_worse_than_a_named_fault(text: str) -> None:
    with pytest.raises((NoteMalformed, NoteUnverified)):
        notes.verify_note(text, [LOG.verifier])


SIGNATURE = notes.sign_checkpoint(HEAD, LOG).partition("\n\n")[2]
TEXT = HEAD.to_text()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}{SIGNATURE}",
        f"{TEXT}\n{SIGNATURE[:-1]}",
        f"{TEXT}\n{SIGNATURE}\n",
        f"{TEXT}\n{SIGNATURE}garbage\n",
        f"{TEXT}\n{SIGNATURE}\u2014 name\n",
        f"{TEXT}\n{SIGNATURE}\u2014  AAAAAAA=\n",
        f"{TEXT}\n{SIGNATURE}\u2014 name AAAA\n",
        f"{TEXT}\n{SIGNATURE}\u2014 na+me AAAAAAA=\n",
        f"{TEXT}\n{SIGNATURE}\u2014 na\u00a0me AAAAAAA=\n",
        f"{TEXT}\n{SIGNATURE}\u2014 name AAAAAAA\n",
        f"{TEXT}\n{SIGNATURE}\u2014 name AAAAAAB=\n",
        f"{TEXT}\n{SIGNATURE}- name AAAAAAA=\n",
        f"{TEXT}\n{SIGNATURE.replace('=', '= ')}",
        f"{TEXT}\r\n\n{SIGNATURE}",
        f"{TEXT}\ud800\n\n{SIGNATURE}",
        f"{TEXT}\n{SIGNATURE * (notes.NOTE_SIGNATURES_MAX + 1)}",
        f"{'x' * notes.NOTE_BYTES_MAX}\n\n{SIGNATURE}",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteMalformed):
        notes.verify_note(note, [LOG.verifier])


ROOT_LINE = base64.b64encode(HEAD.root).decode()


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        f"{ORIGIN}\n7\n",
        f"\n7\n{ROOT_LINE}\n",
        f"{ORIGIN}\n07\n{ROOT_LINE}\n",
        f"{ORIGIN}\n-7\n{ROOT_LINE}\n",
        f"{ORIGIN}\n+7\n{ROOT_LINE}\n",
        f"{ORIGIN}\n7 \n{ROOT_LINE}\n",
        f"{ORIGIN}\n\u0667\n{ROOT_LINE}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT_LINE}\n",
        f"{ORIGIN}\n{10**30}\n{ROOT_LINE}\n",
        f"{ORIGIN}\n0\n{ROOT_LINE}\n",
        f"{ORIGIN}\n7\n{ROOT_LINE[:-1]}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(HEAD.root[:31]).decode()}\n",
        f"{ORIGIN}\n7\n{ROOT_LINE}\n\nafter an empty line\n",
        f"{ORIGIN}\n7\n{ROOT_LINE}\n" + "extension\n" * 17,
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteMalformed):
        notes.verify_checkpoint(notes.sign_note(text, LOG), ORIGIN, [LOG.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n", "x" * notes.NOTE_BYTES_MAX + "\n"])
def test_a_text_that_no_note_can_carry_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformed):
        notes.sign_note(text, LOG)


def test_a_note_without_signers_is_not_made() -> None:
    with pytest.raises(NoteMalformed):
        notes.sign_note("text\n")


@pytest.mark.parametrize("origin", ["", "two\nlines", "tab\t"])
def test_an_origin_is_one_line(origin: str) -> None:
    with pytest.raises(NoteMalformed):
        Checkpoint(origin, 7, HEAD.root)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "\ud800", "x" * 256])
def test_a_key_name_that_no_note_can_carry_is_refused(name: str) -> None:
    with pytest.raises(KeyMalformed):
        NoteVerifier(name, LOG.key.public)


@given(st.binary(min_size=32, max_size=32))
def test_a_verifier_key_goes_both_ways(public: bytes) -> None:
    key = NoteVerifier(ORIGIN, public)
    assert NoteVerifier.from_text(key.to_text()) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        PUBLISHED_KEY.replace("c74f", "c74e"),
        PUBLISHED_KEY.replace("c74f", "C74F"),
        PUBLISHED_KEY.replace("Peter", "Paul"),
        PUBLISHED_KEY.replace("+AR", "+BR"),
        PUBLISHED_KEY[:-4],
        PUBLISHED_KEY + "\n",
    ],
)
def test_a_wrong_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(KeyMalformed):
        NoteVerifier.from_text(text)
