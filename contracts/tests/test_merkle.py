"""Merkle trees: the published cases, and every small tree against RFC 6962's recursive definition, word for word."""

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zb_contracts import merkle
from zb_contracts.faults import ProofInvalid, TreeMalformed
from zb_contracts.merkle import Frontier, Node, leaf_hash, node_hash

SIZE_MAX = 40
LEAVES = [leaf_hash(b"event-%d" % number) for number in range(SIZE_MAX)]


@cache
def defined_root(begin: int, end: int) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if begin == end:
        return merkle.EMPTY_ROOT
    if end - begin == 1:
        return LEAVES[begin]
    split = 1
    while split * 2 < end - begin:
        split *= 2
    return node_hash(defined_root(begin, begin + split), defined_root(begin + split, end))


def subtree_hash(level: int, index: int) -> bytes:
    end = (index + 1) << level
    assert end <= SIZE_MAX, "a subtree was asked for that is not complete"
    return defined_root(index << level, end)


def published(kind: str) -> dict[str, dict[str, Any]]:
    """Cases of transparency-dev/merkle, which lie beside the repository where they were fetched."""
    for folder in Path(__file__).resolve().parents:
        file = folder.parent / "shared" / "data" / "merkle-vectors" / f"{kind}.json"
        if file.is_file():
            cases: dict[str, dict[str, Any]] = json.loads(file.read_text())
            return cases
    pytest.skip("the published merkle-vectors are not on this machine (shared/data/merkle-vectors)")


def decoded(case: dict[str, Any], *names: str) -> Iterator[bytes]:
    for name in names:
        yield base64.b64decode(case[name])


def is_consistent(case: dict[str, Any]) -> bool:
    old_root, new_root = decoded(case, "root1", "root2")
    proof = [base64.b64decode(one) for one in case["proof"] or []]
    try:
        merkle.verify_consistency(case["size1"], case["size2"], old_root, new_root, proof)
    except ProofInvalid:
        return False
    return True


def is_included(case: dict[str, Any]) -> bool:
    leaf, root = decoded(case, "leafHash", "root")
    proof = [base64.b64decode(one) for one in case["proof"] or []]
    try:
        merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
    except ProofInvalid:
        return False
    return True


def test_published_consistency_cases() -> None:
    cases = published("consistency")
    assert len(cases) > 50
    assert [path for path, case in cases.items() if is_consistent(case) == case["wantErr"]] == []


def test_published_inclusion_cases() -> None:
    cases = published("inclusion")
    assert len(cases) > 50
    assert [path for path, case in cases.items() if is_included(case) == case["wantErr"]] == []


def test_hashes_are_those_of_rfc_6962() -> None:
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


@pytest.mark.parametrize("size", range(SIZE_MAX + 1))
def test_the_root_of_every_small_tree_is_the_defined_one(size: int) -> None:
    assert merkle.root_of(LEAVES[:size]) == defined_root(0, size)
    assert merkle.root_at(size, subtree_hash) == defined_root(0, size)


def test_appending_tells_every_complete_subtree_once() -> None:
    frontier, told = Frontier(), {}
    for size, leaf in enumerate(LEAVES, 1):
        for level, index, value in frontier.append(leaf):
            assert (level, index) not in told
            told[level, index] = value
        complete = {(level, index) for level in range(7) for index in range(size >> level)}
        assert set(told) == complete
    assert all(value == subtree_hash(level, index) for (level, index), value in told.items())


@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_every_inclusion_proof_holds_and_no_other_leaf_passes(size: int) -> None:
    root = defined_root(0, size)
    proofs = merkle.inclusion_proofs(range(size), size, subtree_hash)
    for index, proof in enumerate(proofs):
        assert proof == merkle.inclusion_proof(index, size, subtree_hash)
        merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
        for other in {(index + 1) % size, index ^ 1, size - 1, size, -1} - {index}:
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(LEAVES[index], other, size, proof, root)
        for changed in mutations(proof):
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(LEAVES[index], index, size, changed, root)


@pytest.mark.parametrize("new_size", range(1, SIZE_MAX + 1))
def test_every_consistency_proof_holds_and_no_split_view_passes(new_size: int) -> None:
    new_root = defined_root(0, new_size)
    for old_size in range(1, new_size + 1):
        old_root = defined_root(0, old_size)
        proof = merkle.consistency_proof(old_size, new_size, subtree_hash)
        merkle.verify_consistency(old_size, new_size, old_root, new_root, proof)
        forked = merkle.root_of([*LEAVES[: old_size - 1], leaf_hash(b"another event")])
        for old, new in ((forked, new_root), (old_root, forked)):
            with pytest.raises(ProofInvalid):
                merkle.verify_consistency(old_size, new_size, old, new, proof)
        for changed in mutations(proof):
            with pytest.raises(ProofInvalid):
                merkle.verify_consistency(old_size, new_size, old_root, new_root, changed)


def mutations(proof: list[bytes]) -> Iterator[list[bytes]]:
    """A proof that is too long, too short, or has one other byte."""
    yield [*proof, LEAVES[0]]
    yield [LEAVES[0], *proof]
    for at, one in enumerate(proof):
        yield proof[:at] + proof[at + 1 :]
        yield [*proof[:at], bytes([one[0] ^ 1]) + one[1:], *proof[at + 1 :]]
        yield [*proof[:at], one[:-1], *proof[at + 1 :]]


@given(st.data())
def test_the_nodes_that_are_named_are_the_nodes_that_are_asked_for(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, merkle.TREE_SIZE_MAX))
    indexes = data.draw(st.lists(st.integers(0, size - 1), max_size=5))
    old_size = data.draw(st.integers(1, size))
    asked: set[Node] = set()

    def recording(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size
        asked.add(Node(level, index))
        return hashed(level, index)

    proofs = merkle.inclusion_proofs(indexes, size, recording)
    assert asked == merkle.nodes_for_inclusion(indexes, size)
    asked.clear()
    proofs.append(merkle.consistency_proof(old_size, size, recording))
    assert asked == merkle.nodes_for_consistency(old_size, size)
    assert max(map(len, proofs)) <= merkle.PROOF_HASHES_MAX


def hashed(level: int, index: int) -> bytes:
    return leaf_hash(b"%d/%d" % (level, index))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=300), st.data())
def test_a_log_that_grows_proves_its_past(leaves: list[bytes], data: st.DataObject) -> None:
    stored: dict[tuple[int, int], bytes] = {}
    roots = [merkle.EMPTY_ROOT]
    frontier = Frontier()
    for leaf in leaves:
        stored.update({(level, index): value for level, index, value in frontier.append(leaf_hash(leaf))})
        roots.append(frontier.root())

    def provider(level: int, index: int) -> bytes:
        return stored[level, index]

    new_size = data.draw(st.integers(1, len(leaves)))
    old_size = data.draw(st.integers(1, new_size))
    index = data.draw(st.integers(0, new_size - 1))
    proof = merkle.consistency_proof(old_size, new_size, provider)
    merkle.verify_consistency(old_size, new_size, roots[old_size], roots[new_size], proof)
    path = merkle.inclusion_proof(index, new_size, provider)
    merkle.verify_inclusion(leaf_hash(leaves[index]), index, new_size, path, roots[new_size])


@given(st.integers(0, SIZE_MAX), st.integers(0, SIZE_MAX))
def test_a_frontier_goes_on_after_it_was_written_down(size: int, more: int) -> None:
    frontier = Frontier.from_subtrees(size, subtree_hash)
    again = Frontier.from_bytes(frontier.to_bytes())
    for leaf in LEAVES[size : size + more]:
        again.append(leaf)
    assert frontier.size == size
    assert frontier.root() == defined_root(0, size)
    assert again.size == min(size + more, SIZE_MAX)
    assert again.root() == defined_root(0, again.size)


def test_a_copy_goes_its_own_way() -> None:
    frontier = Frontier.from_subtrees(5, subtree_hash)
    frontier.copy().append(LEAVES[5])
    assert (frontier.size, frontier.root()) == (5, defined_root(0, 5))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        bytes(9),
        (1).to_bytes(8, "big"),
        (1).to_bytes(8, "big") + bytes(31),
        (2).to_bytes(8, "big") + bytes(64),
        (2**63).to_bytes(8, "big") + bytes(32),
    ],
)
def test_other_bytes_are_no_frontier(data: bytes) -> None:
    with pytest.raises(TreeMalformed):
        Frontier.from_bytes(data)


def test_a_full_tree_takes_no_more() -> None:
    full = Frontier.from_bytes(merkle.TREE_SIZE_MAX.to_bytes(8, "big") + bytes(32 * 63))
    with pytest.raises(TreeMalformed, match="full"):
        full.append(LEAVES[0])


def test_what_no_tree_has_is_refused() -> None:
    for attempt in (
        lambda: Frontier().append(b"not a hash"),
        lambda: merkle.inclusion_proof(5, 5, subtree_hash),
        lambda: merkle.inclusion_proof(-1, 5, subtree_hash),
        lambda: merkle.inclusion_proof(0, 0, subtree_hash),
        lambda: merkle.inclusion_proof(0, 2**63, subtree_hash),
        lambda: merkle.consistency_proof(0, 5, subtree_hash),
        lambda: merkle.consistency_proof(6, 5, subtree_hash),
        lambda: merkle.root_at(-1, subtree_hash),
        lambda: merkle.inclusion_proof(0, 2, lambda _level, _index: b"short"),
    ):
        with pytest.raises(TreeMalformed):
            attempt()


def test_a_proof_over_the_limit_is_not_even_hashed() -> None:
    with pytest.raises(ProofInvalid, match="the limit is 64"):
        merkle.verify_inclusion(LEAVES[0], 0, 2**62, [LEAVES[0]] * 65, LEAVES[0])


def test_a_proof_says_the_size_of_its_tree() -> None:
    """A root alone does not: the proof of leaf 0 in a tree of 4 would do for 8, were its length not checked."""
    proof = merkle.inclusion_proof(0, 4, subtree_hash)
    with pytest.raises(ProofInvalid, match="too short"):
        merkle.verify_inclusion(LEAVES[0], 0, 8, proof, defined_root(0, 4))
    steps = merkle.consistency_proof(2, 4, subtree_hash)
    with pytest.raises(ProofInvalid, match="too short"):
        merkle.verify_consistency(2, 8, defined_root(0, 2), defined_root(0, 4), steps)
