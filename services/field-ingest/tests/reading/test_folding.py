"""What the projection keeps in memory between its batches: a limit over all streams, whatever their length."""

from field_ingest.projection.folding import FOLD_WEIGHT, Folds, by_stream
from field_ingest.projection.ports import LedgerRow
from zb_contracts import canonical
from zb_contracts.envelope import BODY_TYPE, GENESIS, Header, digest
from zb_contracts.merge.places import MOVEMENTS_SHOWN_MAX

DEVICE = "d-leaky-boiler-i1"


def row(position: int, stream: str, type_name: str, body: bytes) -> LedgerRow:
    event_id = f"01a206ff-7658-7000-8000-{position:012x}"
    header = Header(
        id=event_id, author=DEVICE, seq=position + 1, prev=GENESIS, type=type_name, stream=stream, visit=None, actor="tech-anna",
        token=None, at="2026-11-23T06:02:15.000Z", boot=None, elapsed_ms=None, anchor=None, seen={}, body_sha256=digest(body),
        body_type=BODY_TYPE,
    )  # fmt: skip
    data = canonical.encode(header)
    return LedgerRow(0, position, "admitted", event_id, DEVICE, "device", position + 1, stream, type_name, data, body, 0, False)


def comments(first: int, streams: int) -> list[LedgerRow]:
    """One comment on each of so many interventions."""
    return [
        row(number, f"intervention:{number}", "intervention.comment_added.v1", b'{"text":"The boiler leaks."}')
        for number in range(first, first + streams)
    ]


def movements(count: int) -> list[LedgerRow]:
    body = canonical.encode({"cause": "counted", "part": "VALVE-15", "quantity": "1"})
    return [row(number, "stock:depot-north", "stock.moved.v1", body) for number in range(count)]


def test_the_folds_that_were_touched_last_are_kept_and_the_others_go() -> None:
    folds = Folds(kept_max=10 * (FOLD_WEIGHT + 1))
    folds.add(by_stream(comments(0, 10)))
    assert folds.missing([f"intervention:{number}" for number in range(10)]) == []
    folds.add(by_stream(comments(10, 4)))
    assert folds.missing([f"intervention:{number}" for number in range(14)]) == [f"intervention:{n}" for n in range(4)]


def test_what_was_forgotten_makes_room() -> None:
    folds = Folds(kept_max=10 * (FOLD_WEIGHT + 1))
    folds.add(by_stream(comments(0, 10)))
    folds.forget(["intervention:0", "intervention:1"])
    folds.add(by_stream(comments(10, 2)))
    assert folds.missing([f"intervention:{number}" for number in range(12)]) == ["intervention:0", "intervention:1"]


def test_a_long_stream_counts_for_what_is_in_memory_of_it() -> None:
    folds = Folds(kept_max=MOVEMENTS_SHOWN_MAX + FOLD_WEIGHT + 10 * (FOLD_WEIGHT + 1))
    folded, faults = folds.add(by_stream([*movements(1_000), *comments(1_000, 10)]))
    assert faults == {}
    assert folded["stock:depot-north"].events == 1_000
    assert folds.missing(folded) == []
