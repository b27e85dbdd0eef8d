"""Shards: which one a new author gets, and which of them a process admits. Pure.

The number of shards is fixed at the first start (founding.py), an author's shard when it becomes one: it is written to the
author's row and never computed again. How the broker sorts messages by the same rule is routing.py's matter.
"""

from typing import Final

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


def shard_of(name: str, shards: int) -> int:
    """The shard of a new author: of a device's id, so that all its incarnations share one, or of a server-side author's name.

    FNV-1a (32 bits) modulo `shards`, as the broker's own `partition` computes it from the last token of a subject.
    """
    digest = _FNV_OFFSET
    for byte in name.encode():
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFF_FFFF
    return digest % shards


def chosen(text: str, shards: int) -> tuple[int, ...]:
    """The shards that a list like `0,1` names, in order; all for an empty one. ValueError with a sentence."""
    if not text.strip():
        return tuple(range(shards))
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"shards are numbers separated by commas, not {text!r}") from None
    if numbers[0] < 0 or numbers[-1] >= shards:
        raise ValueError(f"the ledger has the shards 0 to {shards - 1}: {text!r} names another")
    return tuple(numbers)
