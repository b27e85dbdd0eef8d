"""The vectors of scopes: a life of deltas with what a device has to make of each, and a catalogue under its hash.

A part of `vectors`. The outcomes are written down here by the protocol's page, and an implementation is held to them; no rule is
applied in this module.
"""

import base64
from typing import Any, Final

from zb_contracts import canonical
from zb_contracts.catalogues import packed, reference_bytes

BOILER: Final = "intervention:0192f000-0000-7000-8000-000000000042"
CELLAR: Final = "intervention:0192f000-0000-7000-8000-000000000043"
SITE: Final = "site:s-1"
CHECKLIST: Final = {"checklist": "boiler", "items": [], "title": "Chaudière", "version": 3}

Step = dict[str, Any]


def scope_vectors() -> Step:
    """Steps in order, each applied to what the ones before left; and the catalogue."""
    found = packed("checklist", "boiler", 3, canonical.encode(CHECKLIST))
    return {
        "steps": _steps(),
        "catalogue": {
            "content": canonical.encode(CHECKLIST).decode(),
            "document": found.reference.document,
            "reference": reference_bytes(found.reference).decode(),
        },
    }


def _steps() -> list[Step]:
    both, boiler, cellar = [BOILER, CELLAR], [BOILER], [CELLAR]
    return [
        _step("first", _delta(2, _doc(BOILER, 1, 5), _doc(CELLAR, 2, 5), full=True), both, 2),
        _step("a change and a tombstone", _delta(4, _gone(CELLAR, 3), _doc(BOILER, 4, 6)), boiler, 4),
        _step("an older cursor", _delta(3), boiler, 4, "sync.rollback"),
        _step("a known number", _delta(4, _doc(BOILER, 4, 7)), boiler, 4, "sync.rollback"),
        _step("a document that knows less", _delta(5, _doc(BOILER, 5, 5)), boiler, 4, "sync.rollback"),
        _step("an epoch nobody asked for", _delta(9, epoch="e-2"), boiler, 4, "sync.rollback"),
        _step(
            "it knows less in another epoch", _delta(1, _doc(BOILER, 1, 5), full=True, epoch="e-2"), boiler, 4, "sync.rollback"
        ),
        _step("no state", _delta(5, _doc(SITE, 5, 1, b"{")), boiler, 4, "sync.malformed"),
        _step("no reference", _delta(5, _doc("catalogue:parts/main", 5, 0, b"{}")), boiler, 4, "sync.catalogue_invalid"),
        _step("a resync begins", _delta(1, _doc(CELLAR, 1, 6), full=True, more=True), both, 1),
        _step("and would end too early", _delta(3), both, 1, "sync.rollback"),
        _step("and ends", _delta(5), cellar, 5),
        _step("what is left out changes", _delta(6, omitted=["intervention:x"], omitted_count=1), cellar, 6),
        _step("after a loss", _delta(1, _doc(CELLAR, 1, 2), full=True, epoch="e-3"), cellar, 1, healing=1),
    ]


def _step(name: str, delta: Step, documents: list[str], cursor: int, outcome: str = "applied", *, healing: int = 0) -> Step:
    """`documents` and `cursor`: what the device has after it. `healing`: the newest loss that the ledger told of."""
    return {
        "name": name,
        "delta": delta,
        "healing": healing,
        "outcome": outcome,
        "documents": documents,
        "cursor": cursor,
    }


def _delta(cursor: int, *documents: Step, full: bool = False, more: bool = False, epoch: str = "e-1", **told: Any) -> Step:
    alive = 2 if more else 1 + (cursor == 2)
    return {
        "epoch": epoch,
        "cursor": cursor,
        "full": full,
        "documents": list(documents),
        "count": alive,
        "more": more,
        "omitted": [],
        "omitted_count": 0,
    } | told


def _doc(stream: str, change: int, known: int, content: bytes | None = None) -> Step:
    if content is None:
        content = canonical.encode({"fields": {"title": {"value": f"state {known}"}}, "status": "planned"})
    vector = {"office-main": known} if known else {}
    return {"id": stream, "change": change, "vector": vector, "content": base64.b64encode(content).decode()}


def _gone(stream: str, change: int) -> Step:
    return {"id": stream, "change": change, "vector": {}, "content": None}
