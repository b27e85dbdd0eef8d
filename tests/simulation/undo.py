"""Transactions over plain dictionaries and lists: what was changed since `begin` can be taken back.

One transaction at a time, as the steps of a simulation are; it is what makes the stores in memory all or nothing. It knows no
row's meaning.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")
_ABSENT: Any = object()


class Undo:
    """The changes of the transaction under way."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []

    def put(self, table: MutableMapping[K, V], key: K, value: V) -> None:
        before = table.get(key, _ABSENT)
        table[key] = value
        self._steps.append(lambda: _restore(table, key, before))

    def drop(self, table: MutableMapping[K, V], key: K) -> None:
        before = table.pop(key, _ABSENT)
        self._steps.append(lambda: _restore(table, key, before))

    def append(self, rows: list[V], row: V) -> None:
        rows.append(row)
        self._steps.append(lambda: _pop(rows))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or when the block raises nothing."""
        self._steps.clear()
        try:
            yield
        except BaseException:
            while self._steps:
                self._steps.pop()()
            raise


def _restore(table: MutableMapping[K, V], key: K, before: V) -> None:
    if before is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = before


def _pop(rows: list[V]) -> None:
    rows.pop()
