"""The shard's Merkle tree over what is stored: full tiles of 256 and, below them, the leaf hashes of the ledger's rows.

It fetches, and where somebody asks often keeps, the subtree hashes that `zb_contracts.merkle` asks for, and makes the tiles that
an append completes. What a leaf says is `zb_contracts.ledger_leaf`'s matter.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from zb_chassis.database import Connection, Pool
from zb_contracts import merkle
from zb_contracts.merkle import Node, Subtree, SubtreeHash

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILES_KEPT_MAX: Final = 256
"""Of a memory: the newest 60,000 leaves and what is above them, in about 15 MiB."""


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
    """The hash of each of these complete subtrees, read for this call alone."""
    return await TreeMemory().subtrees(connection, shard, nodes)


class _Tile:
    """The first entries of a tile, and the hashes above them that were asked for."""

    __slots__ = ("entries", "nodes")

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.nodes: dict[tuple[int, int], bytes] = {}

    def hash_of(self, level: int, number: int) -> bytes:
        """The subtree (level, number), counted within the tile. IndexError where the tile has not so many entries."""
        if level == 0:
            return self.entries[number]
        found = self.nodes.get((level, number))
        if found is None:
            below = level - 1, number << 1
            found = self.nodes[level, number] = merkle.node_hash(self.hash_of(*below), self.hash_of(below[0], below[1] + 1))
        return found


class TreeMemory:
    """Subtree hashes that a reader keeps, because they never change: the tiles that it met last, at most `tiles_max`.

    A ledger that gives up rows (`zb heal`) is not served meanwhile: whoever keeps a memory starts anew with it.
    """

    def __init__(self, tiles_max: int = TILES_KEPT_MAX) -> None:
        self._tiles: dict[tuple[int, int, int], _Tile] = {}  # by shard, height and number; the last used at the end
        self._tiles_max = tiles_max

    async def subtrees(self, database: Connection | Pool, shard: int, nodes: set[Node]) -> SubtreeHash:
        """The hash of each of these complete subtrees. KeyError for one that the shard's tree does not have."""
        ends: dict[int, dict[int, int]] = {}  # height -> tile -> how many of its entries the nodes need
        for node in nodes:
            height, tile, _, end = _place(node)
            needed = ends.setdefault(height, {})
            needed[tile] = max(needed.get(tile, 0), end)
        tiles: dict[tuple[int, int], _Tile] = {}
        for height, needed in ends.items():
            kept = {tile: self._tile(shard, height, tile) for tile in needed}
            if lacking := [tile for tile, end in needed.items() if len(kept[tile].entries) < end]:
                await _fill(database, shard, height, {tile: kept[tile] for tile in lacking})
            tiles |= {(height, tile): one for tile, one in kept.items()}
        hashes = {node: _hash_in(tiles, node) for node in nodes}
        return lambda level, number: hashes[Node(level, number)]

    def _tile(self, shard: int, height: int, number: int) -> _Tile:
        key = shard, height, number
        tile = self._tiles[key] = self._tiles.pop(key) if key in self._tiles else _Tile()
        while len(self._tiles) > self._tiles_max:
            del self._tiles[next(iter(self._tiles))]
        return tile


def _place(node: Node) -> tuple[int, int, int, int]:
    """Where the subtree lies: its tile's height and number, and the tile's entries [first, end) that it covers."""
    height, within = divmod(node.level, TILE_HEIGHT)
    tile, first = divmod(node.number << within, TILE_WIDTH)
    return height, tile, first, first + (1 << within)


def _hash_in(tiles: Mapping[tuple[int, int], _Tile], node: Node) -> bytes:
    height, tile, first, _ = _place(node)
    within = node.level % TILE_HEIGHT
    try:
        return tiles[height, tile].hash_of(within, first >> within)
    except IndexError as fault:
        raise KeyError(f"the tree has no subtree {node}") from fault


async def _fill(database: Connection | Pool, shard: int, height: int, tiles: Mapping[int, _Tile]) -> None:
    """Read what these tiles lack, as far as the tree goes."""
    spans = [(number * TILE_WIDTH + len(tile.entries), (number + 1) * TILE_WIDTH) for number, tile in tiles.items()]
    for position, found in (await _entries(database, shard, height, spans)).items():
        number, within = divmod(position, TILE_WIDTH)
        if within == len(tiles[number].entries):  # another reader may have brought it meanwhile
            tiles[number].entries.append(found)


async def _entries(database: Connection | Pool, shard: int, height: int, spans: list[tuple[int, int]]) -> dict[int, bytes]:
    """The hashes [first, end) of the tiles at `height`: of leaves at 0, above it the roots of the tiles below."""
    firsts, ends = [first for first, _ in spans], [end for _, end in spans]
    # OFFSET 0 keeps each span a walk along the index. As a plain join it reads the whole shard once a span, as soon as the
    # planner believes the ledger to be as small as it was when it last looked (seen at 1,000 events/s).
    if height == 0:
        rows = await database.fetch(
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
        rows = await database.fetch(
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
