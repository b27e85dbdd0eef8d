"""Partitions of the projection: which streams lie together, and which worker works on which of them.

Pure. A stream's partition follows from its name alone, in Python as in SQL (`stream_partition`); who works where follows
from the names of the workers that live. The row lock that keeps two workers off one partition is `store`'s.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

PARTITIONS_DEFAULT: Final = 8
PARTITIONS_MAX: Final = 64
"""One byte of the hash is used: with more, their sizes would differ too much."""
_REMEMBERED_MAX: Final = 8_192
"""Streams whose partition is not computed again: those of some steps, not of a whole ledger."""


@lru_cache(maxsize=_REMEMBERED_MAX)
def partition_of(stream: str, of: int) -> int:
    """The partition of a stream among `of`: the first byte of its name's SHA-256, modulo."""
    return hashlib.sha256(stream.encode()).digest()[0] % of


def assigned(workers: Sequence[str], worker: str, of: int) -> list[int]:
    """The partitions of `worker` among the workers that live, sorted by name; none where it is not one of them.

    Two workers that see each other's names agree. While they do not, one may find a partition locked, nothing worse.
    """
    if worker not in workers:
        return []
    return list(range(workers.index(worker), of, len(workers)))
