"""Tiles of a shard's log as C2SP's tlog-tiles names and cuts them: 256 hashes each, partial ones at the right edge.

It reads what is stored (full tiles; below them the leaf hashes of rows, above them the roots of tiles) for the tree at a
size that somebody checkpointed. It signs nothing and proves nothing: `tree` makes proofs, `checkpoints` the heads.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from field_ingest.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from zb_chassis.database import Connection
from zb_contracts import ledger_leaf
from zb_contracts.merkle import HASH_BYTES

LEVELS_MAX: Final = 8
"""Of a tree that fits PostgreSQL's bigint: 8 levels of 8 bits."""
_PATH: Final = re.compile(r"tile/(0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class Tile(NamedTuple):
    """One tile: the hashes number * 256 to number * 256 + width of the complete subtrees of height 8 * level."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where C2SP's tlog-tiles puts it, e.g. `tile/0/x001/234` or `tile/1/000.p/17`."""
        groups = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{'/'.join(groups)}{partial}"


class NoSuchTile(LookupError):
    """The tree of that size has no such tile."""


def tile_at(path: str) -> Tile:
    """The tile of a path. NoSuchTile for what is no tile's path in its one spelling."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise NoSuchTile(f"not the path of a tile: {path[:100]!r}")
    number = int(found[2].replace("x", "").replace("/", ""))
    tile = Tile(int(found[1]), number, int(found[3] or TILE_WIDTH))
    if tile.path != path or tile.level >= LEVELS_MAX:
        raise NoSuchTile(f"not the path of a tile: {path[:100]!r}")
    return tile


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile of a tree of `size` leaves, the lowest level first."""
    level = 0
    while count := size >> (level * TILE_HEIGHT):
        full, rest = divmod(count, TILE_WIDTH)
        yield from (Tile(level, number) for number in range(full))
        if rest:
            yield Tile(level, full, rest)
        level += 1


def tiles_for(positions: Iterator[int] | list[int] | range, size: int) -> list[Tile]:
    """The tiles that prove these leaves in the tree of `size` leaves: theirs, those above, and the whole right edge."""
    wanted = set(_right_edge(size))
    for position in positions:
        number, level = position, 0
        while count := size >> (level * TILE_HEIGHT):
            number >>= TILE_HEIGHT
            width = min(TILE_WIDTH, count - number * TILE_WIDTH)
            if width <= 0:
                break
            tile = Tile(level, number, width)
            if tile in wanted and level:
                break
            wanted.add(tile)
            level += 1
    return sorted(wanted)


def _right_edge(size: int) -> Iterator[Tile]:
    """The partial tiles, from which the root is made."""
    level = 0
    while count := size >> (level * TILE_HEIGHT):
        full, rest = divmod(count, TILE_WIDTH)
        if rest:
            yield Tile(level, full, rest)
        level += 1


async def read_tile(connection: Connection, shard: int, tile: Tile, size: int) -> bytes:
    """The tile's hashes, one after the other. NoSuchTile unless the tree of `size` leaves has exactly this one."""
    first, end = tile.number * TILE_WIDTH, tile.number * TILE_WIDTH + tile.width
    if not 0 < tile.width <= TILE_WIDTH or end > size >> (tile.level * TILE_HEIGHT):
        raise NoSuchTile(f"a log of {size} rows has no {tile.path}")
    if tile.width == TILE_WIDTH:
        stored = await connection.fetchval(
            "SELECT hashes FROM tiles WHERE shard = $1 AND level = $2 AND tile = $3", shard, tile.level, tile.number
        )
        if stored is not None:
            return bytes(stored)
    source = (
        "SELECT leaf_hash FROM ledger WHERE shard = $1 AND position >= $2 AND position < $3 AND $4::int >= 0 ORDER BY position"
        if tile.level == 0
        else "SELECT root FROM tiles WHERE shard = $1 AND tile >= $2 AND tile < $3 AND level = $4 ORDER BY tile"
    )
    hashes = b"".join(row[0] for row in await connection.fetch(source, shard, first, end, max(0, tile.level - 1)))
    if len(hashes) != tile.width * HASH_BYTES:
        raise NoSuchTile(f"{tile.path} cannot be made from what is stored: the ledger is damaged, zb audit verify says where")
    return hashes


async def read_entries(connection: Connection, shard: int, tile: Tile, size: int) -> bytes:
    """The leaves under a tile of level 0, each after its length in 2 bytes (C2SP tlog-tiles). NoSuchTile as with tiles."""
    first, end = tile.number * TILE_WIDTH, tile.number * TILE_WIDTH + tile.width
    if tile.level or end > size:
        raise NoSuchTile(f"a log of {size} rows has no entries for {tile.path}")
    rows = await connection.fetch(
        """
        SELECT kind, header_hash, signature, received_at_ms, facts FROM ledger
        WHERE shard = $1 AND position >= $2 AND position < $3 ORDER BY position
        """,
        shard,
        first,
        end,
    )
    leaves = [ledger_leaf.leaf_bytes(**dict(row)) for row in rows]
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
