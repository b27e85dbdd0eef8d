"""The read model: lists without documents, deltas that never go back, limits that hold whoever signed."""

import secrets
from pathlib import Path

import pytest

from zb_contracts import canonical
from zb_contracts.problems import Problem
from zb_contracts.sync import SCOPE_DOCUMENT_BYTES_MAX, ScopeDelta, ScopeDocument
from zb_contracts.times import format_time_ms
from zb_device.database import open_database
from zb_device.listed import Listed, Which
from zb_device.reading import Document, ReadModel, Scope, database_path

KEY = bytes(range(32))
NINE_MS = 1_795_338_000_000
DAY_MS = 86_400_000
BOILER, CELLAR, LIFT = "intervention:leaky-boiler", "intervention:dry-cellar", "intervention:slow-lift"
MANY = 2_000


def state(title: str = "Leaky boiler", planned_ms: int | None = NINE_MS, status: str = "planned", padding: str = "") -> bytes:
    """What a list and a reader need of a state; the read model asks for no more."""
    fields = {"title": {"value": title}, "instructions": {"value": padding}}
    if planned_ms is not None:
        fields["planned_start"] = {"value": format_time_ms(planned_ms)}
    return canonical.encode({"status": status, "fields": fields})


def given(stream: str, change: int, content: bytes | None = None, *, known: int = 1) -> ScopeDocument:
    return ScopeDocument(id=stream, change=change, vector={"office-main": known}, content=state() if content is None else content)


def gone(stream: str, change: int) -> ScopeDocument:
    return ScopeDocument(id=stream, change=change, vector={}, content=None)


def delta(*documents: ScopeDocument, **what) -> ScopeDelta:
    alive = sum(document.content is not None for document in documents)
    usual = {"epoch": "epoch-1", "full": False, "more": False, "count": alive}
    return ScopeDelta(**(usual | {"cursor": documents[-1].change if documents else 0, "documents": documents} | what))


def line(stream: str, title: str, planned_ms: int | None = NINE_MS, status: str = "planned") -> Listed:
    return Listed(stream=stream, planned_ms=planned_ms, status=status, title=title)


@pytest.fixture
def reading(tmp_path: Path):
    """A read model with the boiler and the cellar."""
    model = ReadModel(tmp_path, "tech-anna", KEY)
    model.apply(delta(given(BOILER, 1, known=5), given(CELLAR, 2, state("Dry cellar", NINE_MS + DAY_MS), known=5), full=True))
    yield model
    model.close()


def refused(reading: ReadModel, attack: ScopeDelta, code: str, healing: int = 0) -> None:
    """Nothing of it is taken."""
    before = (reading.scope(), [reading.document(stream) for stream in reading.ids("intervention")])
    with pytest.raises(Problem) as caught:
        reading.apply(attack, healing)
    assert caught.value.code == code
    assert (reading.scope(), [reading.document(stream) for stream in reading.ids("intervention")]) == before


def test_a_list_is_in_the_order_of_the_plan_and_of_one_day_where_a_span_is_given(reading):
    reading.apply(delta(given(LIFT, 3, state("Slow lift", None, "unplanned")), count=3))
    assert reading.listed() == [
        line(BOILER, "Leaky boiler"),
        line(CELLAR, "Dry cellar", NINE_MS + DAY_MS),
        line(LIFT, "Slow lift", None, "unplanned"),
    ]
    assert [one.stream for one in reading.listed(which=Which(from_ms=NINE_MS, until_ms=NINE_MS + DAY_MS))] == [BOILER]
    assert [one.stream for one in reading.listed(which=Which(status="unplanned"))] == [LIFT]
    assert [one.stream for one in reading.listed(which=Which(limit=2))] == [BOILER, CELLAR]
    assert reading.listed("site") == []


def test_a_list_reads_no_document(reading):
    plans = [
        reading._db.execute(f"explain query plan {query}").fetchall()
        for query in (
            "select line from documents indexed by documents_listed where id > 'a' and id < 'z'",
            "select count(*) from documents",
        )
    ]
    assert all("COVERING INDEX documents_listed" in str(plan) for plan in plans)


def test_two_thousand_interventions_are_listed_from_an_index_and_no_document_is_read(tmp_path):
    model = ReadModel(tmp_path, "tech-anna", KEY)
    for first in range(0, MANY, 500):
        documents = [
            given(f"intervention:{number:05}", number + 1, state(f"Boiler {number}", padding=secrets.token_hex(1500)))
            for number in range(first, first + 500)
        ]
        model.apply(delta(*documents, full=not first, more=first + 500 < MANY, count=MANY))
    model.close()

    model = ReadModel(tmp_path, "tech-anna", KEY)
    said: list[str] = []
    model._db.set_trace_callback(said.append)
    listed = model.listed()
    model._db.set_trace_callback(None)
    assert (len(listed), model.document("intervention:01234") is not None, model.scope().complete) == (MANY, True, True)
    first, *_ = (step[3] for step in model._db.execute(f"explain query plan {said[0]}"))
    assert "USING COVERING INDEX documents_listed" in first
    model.close()


def test_a_full_resync_that_never_ends_takes_nothing_away(reading):
    reading.apply(delta(given(LIFT, 1), full=True, more=True, count=9))
    assert reading.ids("intervention") == [CELLAR, BOILER, LIFT]
    reading.apply(delta(given(BOILER, 3, known=6), count=2, cursor=3))
    assert reading.ids("intervention") == [BOILER, LIFT]
    assert reading.scope() == Scope("epoch-1", 3, (), True, round=2, size=2 * len(state()))


def test_a_full_resync_that_ends_before_the_place_where_the_device_was_is_a_rollback(reading):
    refused(reading, delta(given(BOILER, 1, known=5), full=True), "sync.rollback")
    reading.apply(delta(given(BOILER, 1, known=5), full=True, more=True, count=1))
    refused(reading, delta(cursor=1, count=1), "sync.rollback")
    # Beginning again does not make it forget where it was.
    reading.apply(delta(given(BOILER, 1, known=5), full=True, more=True, count=1))
    refused(reading, delta(cursor=1, count=1), "sync.rollback")
    assert reading.ids("intervention") == [CELLAR, BOILER]


@pytest.mark.parametrize(
    "attack",
    [
        delta(given(BOILER, 3, known=4)),
        delta(given(BOILER, 1, known=4), epoch="epoch-2", full=True),
        delta(given(BOILER, 2, known=6), cursor=2),
        delta(given(BOILER, 9, known=6), cursor=3),
        delta(given(BOILER, 4, known=6), given(CELLAR, 3, known=6), cursor=4),
        delta(cursor=1),
        delta(cursor=3, epoch="epoch-2"),
    ],
    ids=["older", "older in another epoch", "known number", "beyond the cursor", "disorder", "older cursor", "unasked epoch"],
)
def test_no_document_and_no_cursor_goes_back(reading, attack):
    refused(reading, attack, "sync.rollback")


def test_after_a_loss_that_the_ledger_signed_a_document_may_know_less(reading):
    reading.apply(delta(given(BOILER, 1, known=2), epoch="epoch-2", full=True), healing=1)
    assert reading.document(BOILER) == Document(BOILER, 1, {"office-main": 2}, state())
    assert (reading.ids("intervention"), reading.scope().healing) == ([BOILER], 1)
    refused(reading, delta(given(BOILER, 1, known=1), epoch="epoch-3", full=True), "sync.rollback", healing=1)


def test_more_than_a_scope_may_hold_is_refused_whoever_signed_it(reading, monkeypatch):
    huge = b" " * (SCOPE_DOCUMENT_BYTES_MAX + 1)
    refused(reading, delta(given(LIFT, 3, huge)), "sync.scope_limit")
    monkeypatch.setattr("zb_device.reading.SCOPE_DOCUMENTS_MAX", 2)
    refused(reading, delta(given(LIFT, 3), count=3), "sync.scope_limit")
    reading.apply(delta(gone(BOILER, 3), given(LIFT, 4), count=2))
    monkeypatch.setattr("zb_device.reading.SCOPE_BYTES_MAX", reading.scope().size)
    refused(reading, delta(given(LIFT, 5, state(padding="x")), count=2), "sync.scope_limit")


@pytest.mark.parametrize("content", [b"{", b"[]", state().replace(b"Z", b"X")])
def test_a_document_that_is_no_state_is_refused_by_name(reading, content):
    refused(reading, delta(given(LIFT, 3, content), count=3), "sync.malformed")


def test_bytes_are_counted_as_documents_come_change_and_go(reading):
    reading.apply(delta(gone(CELLAR, 3), given(BOILER, 4, state("x" * 100), known=6), count=1))
    assert reading.scope().size == len(state("x" * 100))
    reading.apply(delta(gone(BOILER, 5), cursor=5, count=0))
    assert reading.scope() == Scope("epoch-1", 5, (), True, round=1)


def test_a_read_model_of_the_version_before_gets_its_index(tmp_path):
    connection = open_database(database_path(tmp_path, "tech-anna"), KEY, "read")
    connection.executescript((Path(__file__).parent / "read-1.sql").read_text())
    connection.close()

    model = ReadModel(tmp_path, "tech-anna", KEY)
    assert model.listed() == [line(BOILER, "Leaky boiler")]
    assert model.scope() == Scope("epoch-1", 7, ("site:far-away",), True, size=len(state()))
    model.apply(delta(given(CELLAR, 8), count=2))
    assert (model.count(), model.scope().complete) == (2, True)
    model.close()
