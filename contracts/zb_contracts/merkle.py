"""RFC 6962 Merkle trees: hashing, the frontier that a log appends to, and proofs of inclusion and consistency.

It owns no storage. Proofs are made from the hashes of complete subtrees, which a caller hands over by (level, number);
`nodes_for_inclusion` and `nodes_for_consistency` say which ones, so that a database fetches them in one query. Level 0
are leaf hashes; the subtree (level, number) covers the leaves from `number << level` up to `(number + 1) << level`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Self

from zb_contracts.faults import ProofInvalid, TreeMalformed

HASH_BYTES: Final = 32
TREE_SIZE_MAX: Final = 2**63 - 1
PROOF_HASHES_MAX: Final = 64
"""No honest proof in a tree within TREE_SIZE_MAX is longer."""
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

_SIZE_BYTES: Final = 8


class Node(NamedTuple):
    """The place of a complete subtree: the `number`th (from 0) of its level, from leaf `number << level` on."""

    level: int
    number: int


class Subtree(NamedTuple):
    """A complete subtree and its hash, which never changes any more."""

    level: int
    number: int
    hash: bytes


SubtreeHash = Callable[[int, int], bytes]
"""(level, number) -> the hash of that complete subtree."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees' hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes; EMPTY_ROOT for none."""
    level = [_checked_hash(one) for one in leaf_hashes]
    while len(level) > 1:
        # Pair by pair, level by level; one without a partner rises as it is. An answer's proofs ask for thousands of them.
        paired = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[len(paired) * 2 :]
    return level[0] if level else EMPTY_ROOT


class Frontier:
    """All that a log needs to append and to know its root: the hashes of at most 63 complete subtrees."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # the largest first, one for each bit of `size`

    def append(self, leaf: bytes) -> list[Subtree]:
        """Takes the next leaf hash; the subtrees that it completes, itself first, for whoever stores them."""
        if self.size >= TREE_SIZE_MAX:
            raise TreeMalformed(f"the tree is full at {self.size} leaves")
        level, number, top = 0, self.size, _checked_hash(leaf)
        complete = [Subtree(level, number, top)]
        while number & 1:
            top = node_hash(self._peaks.pop(), top)
            level, number = level + 1, number >> 1
            complete.append(Subtree(level, number, top))
        self._peaks.append(top)
        self.size += 1
        return complete

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        top = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            top = node_hash(peak, top)
        return top

    def copy(self) -> Self:
        """A frontier that goes its own way from here."""
        other = type(self)()
        other.size, other._peaks = self.size, list(self._peaks)
        return other

    def to_bytes(self) -> bytes:
        """The size (8 bytes, big-endian), then the peaks, the largest first."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The frontier that `to_bytes` wrote. TreeMalformed for bytes that it never writes."""
        size, peaks = int.from_bytes(data[:_SIZE_BYTES], "big"), data[_SIZE_BYTES:]
        if len(data) < _SIZE_BYTES or size > TREE_SIZE_MAX or len(peaks) != size.bit_count() * HASH_BYTES:
            raise TreeMalformed(f"{len(data)} bytes are no frontier of {size} leaves")
        return cls._of(size, [peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)])

    @classmethod
    def from_subtrees(cls, size: int, subtree_hash: SubtreeHash) -> Self:
        """The frontier of a tree of `size` leaves, from its stored subtrees."""
        _check_size(size)
        return cls._of(size, [subtree_hash(*node) for node in _complete_nodes(0, size)])

    @classmethod
    def _of(cls, size: int, peaks: list[bytes]) -> Self:
        frontier = cls()
        frontier.size, frontier._peaks = size, [_checked_hash(peak) for peak in peaks]
        return frontier


# --- Making proofs ---


def root_at(size: int, subtree_hash: SubtreeHash) -> bytes:
    """The root that the tree had at `size` leaves."""
    return Frontier.from_subtrees(size, subtree_hash).root()


def inclusion_proof(index: int, size: int, subtree_hash: SubtreeHash) -> list[bytes]:
    """RFC 6962's audit path, from the leaf up, of leaf `index` in the tree of `size` leaves."""
    return [_range_hash(begin, end, subtree_hash) for begin, end in _inclusion_ranges(index, size)]


def inclusion_proofs(indexes: Iterable[int], size: int, subtree_hash: SubtreeHash) -> list[list[bytes]]:
    """An audit path for each index, in their order; each range is hashed once, though paths share most of it."""
    known: dict[tuple[int, int], bytes] = {}
    proofs = []
    for index in indexes:
        path = _inclusion_ranges(index, size)
        for begin, end in path:
            if (begin, end) not in known:
                known[begin, end] = _range_hash(begin, end, subtree_hash)
        proofs.append([known[part] for part in path])
    return proofs


def consistency_proof(old_size: int, new_size: int, subtree_hash: SubtreeHash) -> list[bytes]:
    """RFC 6962's proof that the first `old_size` leaves of the tree of `new_size` leaves are the old tree.

    Empty for equal sizes. TreeMalformed from 0: every tree continues the empty one, there is nothing to prove.
    """
    return [_range_hash(begin, end, subtree_hash) for begin, end in _consistency_ranges(old_size, new_size)]


def nodes_for_inclusion(indexes: Iterable[int], size: int) -> set[Node]:
    """Every complete subtree whose hash `inclusion_proofs` will ask for."""
    parts = {part for index in indexes for part in _inclusion_ranges(index, size)}
    return {node for begin, end in parts for node in _complete_nodes(begin, end)}


def nodes_for_consistency(old_size: int, new_size: int) -> set[Node]:
    """Every complete subtree whose hash `consistency_proof` will ask for."""
    return {node for begin, end in _consistency_ranges(old_size, new_size) for node in _complete_nodes(begin, end)}


# --- Checking proofs (RFC 9162, 2.1.3.2 and 2.1.4.2) ---


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Returns when the leaf hash `leaf` stands at `index` in the tree of `size` leaves; ProofInvalid else."""
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise ProofInvalid(f"there is no leaf {index} in a tree of {size}")
    _check_proof(proof)
    if len(leaf) != HASH_BYTES:
        raise ProofInvalid(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf)}")
    at, last, top = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if at & 1 or at == last:
            top = node_hash(sibling, top)
            at, last = _past_right_edge(at, last)
        else:
            top = node_hash(top, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the proof is too short")
    if top != root:
        raise ProofInvalid(f"leaf {index} is not in the tree of {size} with this root")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Returns when the new tree only adds to the old one; ProofInvalid else, and from size 0 (nothing is proven)."""
    if not 0 < old_size <= new_size <= TREE_SIZE_MAX:
        raise ProofInvalid(f"a tree of {new_size} leaves cannot be shown to continue one of {old_size}")
    _check_proof(proof)
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofInvalid(f"two different trees of {old_size} leaves")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)  # a complete subtree of the new tree: the proof leaves it out
    if not path:
        raise ProofInvalid("the proof is too short")
    old_top, new_top = _rebuilt_roots(old_size, new_size, path)
    if old_top != old_root or new_top != new_root:
        raise ProofInvalid(f"the tree of {new_size} leaves does not continue the one of {old_size}")


def _rebuilt_roots(old_size: int, new_size: int, path: list[bytes]) -> tuple[bytes, bytes]:
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_top = new_top = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if at & 1 or at == last:
            old_top, new_top = node_hash(sibling, old_top), node_hash(sibling, new_top)
            at, last = _past_right_edge(at, last)
        else:
            new_top = node_hash(new_top, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the proof is too short")
    return old_top, new_top


def _past_right_edge(at: int, last: int) -> tuple[int, int]:
    """Skips the levels at which the last node has no sibling and moves up unhashed."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _check_proof(proof: Sequence[bytes]) -> None:
    if len(proof) > PROOF_HASHES_MAX:
        raise ProofInvalid(f"the proof has {len(proof)} hashes, the limit is {PROOF_HASHES_MAX}")
    if any(len(one) != HASH_BYTES for one in proof):
        raise ProofInvalid(f"a hash of the proof has not {HASH_BYTES} bytes")


# --- Ranges of leaves [begin, end) that occur in proofs: aligned at the left, ragged at most at the right ---


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    _check_size(size)
    if not 0 <= index < size:
        raise TreeMalformed(f"there is no leaf {index} in a tree of {size}")
    begin, end, parts = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((begin, middle))
            begin = middle
    return parts[::-1]


def _consistency_ranges(old_size: int, new_size: int) -> list[tuple[int, int]]:
    _check_size(new_size)
    if not 0 < old_size <= new_size:
        raise TreeMalformed(f"no proof leads from {old_size} leaves to {new_size}")
    begin, end, parts = 0, new_size, []
    while end != old_size:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((begin, middle))
            begin = middle
    if begin:  # else the rest is the whole old tree, whose root the verifier has
        parts.append((begin, end))
    return parts[::-1]


def _range_hash(begin: int, end: int, subtree_hash: SubtreeHash) -> bytes:
    nodes = list(_complete_nodes(begin, end))
    top = _checked_hash(subtree_hash(*nodes[-1]))
    for node in reversed(nodes[:-1]):
        top = node_hash(_checked_hash(subtree_hash(*node)), top)
    return top


def _complete_nodes(begin: int, end: int) -> Iterator[Node]:
    """The complete subtrees of an aligned range, the largest first."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield Node(level, begin >> level)
        begin += 1 << level


def _split(count: int) -> int:
    """The largest power of two below `count`: RFC 6962's k."""
    return 1 << ((count - 1).bit_length() - 1)


def _check_size(size: int) -> None:
    if not 0 <= size <= TREE_SIZE_MAX:
        raise TreeMalformed(f"no tree has {size} leaves")


def _checked_hash(value: bytes) -> bytes:
    if len(value) != HASH_BYTES:
        raise TreeMalformed(f"a hash has {HASH_BYTES} bytes, not {len(value)}")
    return value
