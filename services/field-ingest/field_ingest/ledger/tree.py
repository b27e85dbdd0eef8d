"""The shard's Merkle tree over what is stored: full tiles of 256 and, below them, the leaf hashes of the ledger's rows.

It fetches the subtree hashes that `zb_contracts.merkle` asks for and makes the tiles that an append completes. What a leaf
says is `zb_contracts.ledger_leaf`'s matter.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from zb_chassis.database import Connection
from zb_contracts import merkle
from zb_contracts.merkle import Node, Subtree, SubtreeHash

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT


async def inclusion_proofs(connection: Connection, shard: int, positions: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
    """An audit path for each position, in their order, in the tree that the shard had at `size` leaves."""
    hashes = await subtrees(connection, shard, merkle.nodes_for_inclusion(positions, size))
    return [tuple(path) for path in merkle.inclusion_proofs(positions, size, hashes)]


async def consistency_proof(connection: Connection, shard: int, old_size: int, new_size: int) -> tuple[bytes, ...]:
    """The proof that the tree at `new_size` only adds to the one at `old_size`; empty from 0, where nothing is proven."""
    if old_size == 0:
        return ()
    hashes = await subtrees(connection, shard, merkle.nodes_for_consistency(old_size, new_size))
    return tuple(merkle.consistency_proof(old_size, new_size, hashes))


async def root_at(connection: Connection, shard: int, size: int) -> bytes:
    """The root that the shard's tree had at `size` leaves, from what is stored. KeyError when it has not so many."""
    nodes = set[Node]()
    at = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            nodes.add(Node(level, at >> level))
            at += 1 << level
    return merkle.root_at(size, await subtrees(connection, shard, nodes))


async def store_tiles(connection: Connection, shard: int, complete: Iterable[Subtree]) -> None:
    """Store the full tiles among the subtrees that an append completed; its rows are written already."""
    for subtree in complete:
        height, within = divmod(subtree.level, TILE_HEIGHT)
        if within or not height:
            continue
        level = height - 1
        first = subtree.number * TILE_WIDTH
        hashes = (await _entries(connection, shard, level, [(first, first + TILE_WIDTH)])).values()
        await connection.execute(
            "INSERT INTO tiles (shard, level, tile, hashes, root) VALUES ($1, $2, $3, $4, $5)",
            shard,
            level,
            subtree.number,
            b"".join(hashes),
            subtree.hash,
        )


async def subtrees(connection: Connection, shard: int, nodes: set[Node]) -> SubtreeHash:
    """The hash of each of these complete subtrees."""
    heights: dict[int, list[Node]] = {}
    for node in nodes:
        heights.setdefault(node.level // TILE_HEIGHT, []).append(node)
    hashes: dict[Node, bytes] = {}
    for height, wanted in heights.items():
        spans = {node: _span(node, height) for node in wanted}
        entries = await _entries(connection, shard, height, list(spans.values()))
        for node, (first, end) in spans.items():
            hashes[node] = merkle.root_of([entries[number] for number in range(first, end)])
    return lambda level, number: hashes[Node(level, number)]


def _span(node: Node, height: int) -> tuple[int, int]:
    """The entries of the tiles at this height that the subtree covers: a complete power of two of them."""
    within = node.level - height * TILE_HEIGHT
    return node.number << within, (node.number + 1) << within


async def _entries(connection: Connection, shard: int, height: int, spans: list[tuple[int, int]]) -> dict[int, bytes]:
    """The hashes [first, end) of the tiles at `height`: of leaves at 0, above it the roots of the tiles below."""
    firsts, ends = [first for first, _ in spans], [end for _, end in spans]
    # OFFSET 0 keeps each span a walk along the index. As a plain join it reads the whole shard once a span, as soon as the
    # planner believes the ledger to be as small as it was when it last looked (seen at 1,000 events/s).
    if height == 0:
        rows = await connection.fetch(
            """
            SELECT l.position AS number, l.leaf_hash AS hash FROM unnest($2::bigint[], $3::bigint[]) AS span (first, past)
            CROSS JOIN LATERAL (
                SELECT position, leaf_hash FROM ledger
                WHERE shard = $1 AND position >= span.first AND position < span.past ORDER BY position OFFSET 0
            ) l ORDER BY l.position
            """,
            shard,
            firsts,
            ends,
        )
    else:
        rows = await connection.fetch(
            """
            SELECT t.tile AS number, t.root AS hash FROM unnest($2::bigint[], $3::bigint[]) AS span (first, past)
            CROSS JOIN LATERAL (
                SELECT tile, root FROM tiles
                WHERE shard = $1 AND level = $4 AND tile >= span.first AND tile < span.past ORDER BY tile OFFSET 0
            ) t ORDER BY t.tile
            """,
            shard,
            firsts,
            ends,
            height - 1,
        )
    return {row["number"]: row["hash"] for row in rows}
