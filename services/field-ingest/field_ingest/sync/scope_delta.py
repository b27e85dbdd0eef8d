"""The scope's part of an answer: what moved after the device's cursor, and catalogues that it asked for, as far as there is room.

Pure. What belongs to a scope was decided in `projection.scope`; who may ask, in `responder`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from field_ingest.projection.scope_store import Change, Counter
from field_ingest.sync.ports import Moment, Since
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


def since(request: SyncRequest, counter: Counter | None) -> Since | None:
    """From where on the device lacks changes: all that is there where its order is another one, or it lost or invented
    documents; None where nothing moved."""
    now = counter or NO_ORDER
    if request.scope_epoch != now.epoch or request.scope_cursor > now.change:
        return Since(0, tombstones=False)
    if request.scope_cursor < now.change:
        return Since(request.scope_cursor, tombstones=True)
    return None if request.scope_count == now.documents else Since(0, tombstones=False)


def scope_delta(moment: Moment, wanted: Since | None, room: Room) -> tuple[ScopeDelta | None, bool]:
    """The changes that fit, and whether more wait. No delta where nothing moved, or where nothing fits any more."""
    if wanted is None:
        return None, False
    counter, found = moment.counter or NO_ORDER, moment.changes
    fit = room.fitting([_cost(change) for change in found[:DOCUMENTS_MAX]])
    documents, more = tuple(_document(change) for change in found[:fit]), fit < len(found)
    if more and not documents:
        return None, True
    return (
        ScopeDelta(
            epoch=counter.epoch,
            cursor=documents[-1].change if more else counter.change,
            full=not wanted.tombstones,
            documents=documents,
            count=counter.documents,
            more=more,
            omitted=counter.omitted,
            omitted_count=counter.omitted_count,
        ),
        more,
    )


def fitting_catalogues(found: Sequence[Catalogue], room: Room) -> tuple[tuple[Catalogue, ...], bool]:
    """The first of these for which there is room, and whether more wait."""
    fit = room.fitting([len(one.packed) + DOCUMENT_BYTES for one in found])
    return tuple(found[:fit]), fit < len(found)


def _cost(change: Change) -> int:
    return DOCUMENT_BYTES + len(change.document) + len(change.vector) + len(change.content or b"")


def _document(change: Change) -> ScopeDocument:
    return ScopeDocument(id=change.document, change=change.change, vector=_vector.decode(change.vector), content=change.content)
