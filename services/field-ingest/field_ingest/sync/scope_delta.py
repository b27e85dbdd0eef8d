"""The scope's part of an answer: what moved after the device's cursor, and catalogues that it asked for, as far as there is room.

It reads one snapshot (`ports`). What belongs to a scope was decided in `projection.scope`; who may ask, in `responder`.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from field_ingest.projection.scope_store import Change, Counter
from field_ingest.sync.ports import Snapshot
from zb_contracts.sync import DOCUMENTS_MAX, Catalogue, ScopeDelta, ScopeDocument, SyncRequest

NO_ORDER: Final = Counter("none", 0, 0, ())
"""The scope of a technician for whom nothing ever was in it."""
DOCUMENT_BYTES: Final = 64
"""What a document or a catalogue costs in an answer beside its id, its vector and its content."""

_vector: Final = msgspec.json.Decoder(dict[str, int])


class Room:
    """The bytes that are left in an answer. Its first item always fits, so that every round gets further."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._empty = True

    def fitting(self, costs: list[int]) -> int:
        """How many of the items, from the first on, the answer still takes."""
        for number, cost in enumerate(costs):
            if cost > self._left and not self._empty:
                return number
            self._left -= cost
            self._empty = False
        return len(costs)


@dataclass(frozen=True, slots=True)
class ScopeNews:
    """What an answer says of the scope. `waits`: more of it comes in the next round."""

    delta: ScopeDelta | None = None
    catalogues: tuple[Catalogue, ...] = ()
    waits: bool = False


def is_current(request: SyncRequest, counter: Counter | None) -> bool:
    """The device has all of the scope, and lacks no catalogue."""
    now = counter or NO_ORDER
    there = (request.scope_epoch, request.scope_cursor, request.scope_count)
    return there == (now.epoch, now.change, now.documents) and not request.catalogues


async def scope_news(snapshot: Snapshot, technician: str, request: SyncRequest, room: Room) -> ScopeNews:
    """The changes that fit, then the catalogues that fit. No delta where nothing moved, or where nothing fits any more."""
    delta, waits = await _delta(snapshot, technician, request, room)
    if waits or not request.catalogues:
        return ScopeNews(delta, waits=waits)
    found = await snapshot.catalogues(technician, request.catalogues)
    fit = room.fitting([len(one.packed) + DOCUMENT_BYTES for one in found])
    return ScopeNews(delta, tuple(found[:fit]), waits=fit < len(found))


async def _delta(snapshot: Snapshot, technician: str, request: SyncRequest, room: Room) -> tuple[ScopeDelta | None, bool]:
    counter = await snapshot.counter(technician) or NO_ORDER
    full = _needs_all(request, counter)
    if not full and request.scope_cursor == counter.change:
        return None, False
    cursor = 0 if full else request.scope_cursor
    found = await snapshot.changes_after(technician, cursor, DOCUMENTS_MAX + 1, tombstones=not full)
    fit = room.fitting([_cost(change) for change in found[:DOCUMENTS_MAX]])
    documents, more = tuple(_document(change) for change in found[:fit]), fit < len(found)
    if more and not documents:
        return None, True
    return (
        ScopeDelta(
            epoch=counter.epoch,
            cursor=documents[-1].change if more else counter.change,
            full=full,
            documents=documents,
            count=counter.documents,
            more=more,
            omitted=counter.omitted,
            omitted_count=counter.omitted_count,
        ),
        more,
    )


def _needs_all(request: SyncRequest, counter: Counter) -> bool:
    """Another change order, a cursor that this one never gave, or a device that lost or invented documents."""
    if request.scope_epoch != counter.epoch or request.scope_cursor > counter.change:
        return True
    return request.scope_cursor == counter.change and request.scope_count != counter.documents


def _cost(change: Change) -> int:
    return DOCUMENT_BYTES + len(change.document) + len(change.vector) + len(change.content or b"")


def _document(change: Change) -> ScopeDocument:
    return ScopeDocument(id=change.document, change=change.change, vector=_vector.decode(change.vector), content=change.content)
