"""A witness signs one history only, whatever a log asks, and remembers it through a restart."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from zb.cli import main
from zb.witness import Witness, WitnessError
from zb_contracts import merkle
from zb_contracts.cosignatures import SIZE_TYPE, AddCheckpoint, cosigned_at
from zb_contracts.faults import NoteMalformed
from zb_contracts.keys import SigningKey
from zb_contracts.notes import Checkpoint, NoteSigner, NoteVerifier, sign_checkpoint

ORIGIN = "log.example/0"
KEY = SigningKey.from_seed(b"the key of a log that is watched")
LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(20)]


def root(size: int) -> bytes:
    return merkle.root_of(LEAVES[:size])


def subtree(level: int, number: int) -> bytes:
    return merkle.root_of(LEAVES[number << level : (number + 1) << level])


def request(old: int, size: int, *, key: SigningKey = KEY, origin: str = ORIGIN, top: bytes | None = None) -> bytes:
    proof = tuple(merkle.consistency_proof(old, size, subtree)) if 0 < old <= size else ()
    note = sign_checkpoint(Checkpoint(origin, size, top or root(size)), NoteSigner(origin, key))
    return AddCheckpoint(old, proof, note).to_text().encode()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    one = Witness.make(tmp_path / "witness", "council.example/witness")
    one.watch(NoteVerifier(ORIGIN, KEY.public))
    return Witness(tmp_path / "witness", now_s=lambda: 1_795_000_000)


def test_it_cosigns_a_log_that_grows(witness: Witness) -> None:
    for old, size in ((0, 3), (3, 3), (3, 17), (17, 20)):
        answer = witness.add(request(old, size))
        assert answer.status == 200
        note = request(old, size).decode().partition("\n\n")[2]
        assert cosigned_at(note + answer.body, witness.verifier) == 1_795_000_000
        assert cosigned_at(note.replace(f"\n{size}\n", "\n4\n", 1) + answer.body, witness.verifier) is None


def test_it_signs_no_second_history(witness: Witness, tmp_path: Path) -> None:
    witness.add(request(0, 7))
    again = Witness(tmp_path / "witness")
    other = bytes(32)
    for asked, status in (
        (request(0, 9), 409),
        (request(5, 9), 409),
        (request(7, 7, top=other), 409),
        (request(7, 9, top=other), 422),
        (request(7, 5), 400),
        (request(7, 9, key=SigningKey.generate()), 403),
        (request(0, 3, origin="log.example/1"), 404),
        (b"old 7\n", 400),
        (b"old -1\n\nnote", 400),
        (b"\xff\xfe", 400),
        (request(7, 9) + b"x" * 200_000, 400),
    ):
        answer = again.add(asked)
        assert answer.status == status, answer.body
        assert "\u2014" not in answer.body
        if status == 409:
            assert (answer.body, answer.media_type) == ("7\n", SIZE_TYPE)
    assert [log.size for log in again.logs()] == [7]
    assert again.add(request(7, 9)).status == 200


def test_from_nothing_nothing_is_proved(witness: Witness) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, root(3)), NoteSigner(ORIGIN, KEY))
    assert witness.add(AddCheckpoint(0, (bytes(32),), note).to_text().encode()).status == 422


def test_a_rotated_key_of_the_log_is_watched_too(witness: Witness) -> None:
    new = SigningKey.from_seed(b"the next key of the watched log.")
    witness.add(request(0, 7))
    assert witness.add(request(7, 9, key=new)).status == 403
    witness.watch(NoteVerifier(ORIGIN, new.public))
    assert witness.add(request(7, 9, key=new)).status == 200
    assert [(log.size, len(log.keys)) for log in witness.logs()] == [(9, 2)]


@pytest.mark.parametrize(
    "text", ["old 1\nno base64\n\nnote", "old 1\nAAAA\n\nnote", "new 1\n\nnote", "old 1\n\n".replace("\n\n", "\n")]
)
def test_a_request_has_one_form(text: str) -> None:
    with pytest.raises(NoteMalformed):
        AddCheckpoint.from_bytes(text.encode())


def test_the_command_makes_a_witness_once(tmp_path: Path) -> None:
    run, folder = CliRunner(), str(tmp_path / "witness")
    made = run.invoke(main, ["witness", "init", folder, "--name", "council.example/witness"])
    assert (made.exit_code, made.output.startswith("council.example/witness+")) == (0, True)
    assert run.invoke(main, ["witness", "init", folder, "--name", "x"]).exit_code == 1
    assert run.invoke(main, ["witness", "watch", folder, "nonsense"]).exit_code == 2
    assert run.invoke(main, ["witness", "watch", folder, NoteVerifier(ORIGIN, KEY.public).to_text()]).exit_code == 0
    assert ORIGIN in run.invoke(main, ["witness", "show", folder]).output
    with pytest.raises(WitnessError, match="zb witness init"):
        Witness(tmp_path / "nowhere")
