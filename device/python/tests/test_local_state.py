"""What the technician sees: the server's document with the device's own work over it, at once and without a network."""

import msgspec
import pytest

from zb_contracts.envelope import Header
from zb_contracts.events import AuthorKind
from zb_contracts.events.fieldwork import CommentAdded, Done, Measured, PartUsed, Started
from zb_contracts.events.office import Assigned, Cancelled, InterventionCreated, Planned, Policy, RequestMade, VisitAbandoned
from zb_contracts.events.places import ShiftStarted, StockMoved
from zb_contracts.events.registry import type_of
from zb_contracts.merge.causality import MergeEvent, merge_event
from zb_contracts.merge.fold import fold
from zb_contracts.merge.headers import narrowed
from zb_contracts.times import format_time_ms, parse_time_ms
from zb_device.commands import run
from zb_device.faults import InterventionUnknown, Locked, RecordInvalid, VisitRefused
from zb_device.listed import Listed, Which
from zb_device.reading import ReadModel
from zb_device.standing import Standing

BOILER = "intervention:leaky-boiler"
UUID = "01900000-0000-7000-8000-00000000000{}"


def office(seq: int, body) -> MergeEvent:
    header = Header(
        id=UUID.format(seq),
        author="office-main",
        seq=seq,
        prev="0" * 64,
        type=type_of(body).name,
        stream=BOILER,
        visit=None,
        actor=None,
        token=None,
        at=format_time_ms(1_795_000_000_000 + seq),
        boot=None,
        elapsed_ms=None,
        anchor=None,
        seen={"office-main": seq - 1} if seq > 1 else {},
        body_sha256="0" * 64,
        body_type="application/json",
    )
    return MergeEvent(narrowed(header), body, AuthorKind.OFFICE)


def stocked(body):
    """An office's event on the van."""
    event = office(1, body)
    return MergeEvent(msgspec.structs.replace(event.header, stream="stock:van-tech-anna"), body, event.kind)


PLANNED = [
    office(1, InterventionCreated(reference="R-1", kind="repair", title="Leaky boiler", site="site-1", agency="main")),
    office(2, Planned(planned_start="2026-11-22T14:00:00.000Z", duration_min=60, policy=Policy(version=1))),
    office(3, Assigned(assignee="tech-anna")),
]


async def test_what_was_recorded_is_shown_at_once_over_the_servers_document(device, platform):
    platform.put_document(BOILER, PLANNED)
    await device.sync()
    platform.connected = False

    await device.record(Started(), stream=BOILER)
    await run(device, "use_part", {"intervention": "leaky-boiler", "part": "seal-12", "quantity": "2"})
    state = device.intervention("leaky-boiler")

    assert (state.status, state.fields["title"].value) == ("in_progress", "Leaky boiler")
    assert [line.kind for line in state.lines] == ["part"]
    assert len(device.state(BOILER).pending) == 2
    assert device.state("stock:van-tech-anna").state.quantities == {"seal-12": "-2"}


async def test_events_repeat_the_documents_vector_in_seen(device, platform):
    platform.put_document(BOILER, PLANNED)
    await device.sync()
    await device.record(Started(), stream=BOILER)
    device.lock()
    await device.record(Done(), stream=BOILER)
    await device.sync()

    assert [row.event.header.seen for row in platform.rows] == [
        {"office-main": 3},
        {"office-main": 3, "dev-1-a": 1},
    ]


async def test_a_movement_of_stock_names_nobody_that_the_device_knows(device, platform):
    """A sum needs no order of knowledge, and a depot's vector would grow with everybody who ever took a part."""
    van = "stock:van-tech-anna"
    loaded = StockMoved(part="seal-12", quantity="8", cause="loaded")
    platform.put_document(BOILER, PLANNED)
    platform.put_document(van, [stocked(loaded)])
    await device.sync()
    await device.record(Started(), stream=BOILER)
    await run(device, "use_part", {"intervention": "leaky-boiler", "part": "seal-12", "quantity": "2"})
    await device.sync()

    state = device.state(van).state
    assert (state.quantities, state.movement_count) == ({"seal-12": "6"}, 2)
    (moved,) = [row.event.header for row in platform.rows if row.event.header.stream == van]
    assert moved.seen == {}


async def test_once_the_document_covers_all_it_is_shown_as_it_is(device, platform):
    await device.record(Started(), stream=BOILER)
    await device.record(Done(), stream=BOILER)
    await device.sync()
    platform.put_document(BOILER, [*PLANNED, *platform.own_events(BOILER)])
    await device.sync()

    found = device.state(BOILER)

    assert (found.pending, found.state.status) == ((), "done")
    assert found.state == fold(BOILER, [*PLANNED, *platform.own_events(BOILER)])


async def test_a_part_that_is_voided_goes_back_into_the_van(device):
    await device.record(Started(), stream=BOILER)
    line, moved = await run(device, "use_part", {"intervention": "leaky-boiler", "part": "seal-12", "quantity": "2.5"})
    assert (line["stream"], moved["stream"]) == (BOILER, "stock:van-tech-anna")

    await run(device, "void", {"intervention": "leaky-boiler", "line": line["id"], "reason": "not needed"})

    assert device.state("stock:van-tech-anna").state.quantities.get("seal-12", "0") == "0"
    assert device.intervention("leaky-boiler").lines[0].void is not None


async def test_a_step_that_does_not_fit_the_visit_is_refused_and_nothing_is_recorded(device):
    with pytest.raises(VisitRefused, match="open visit"):
        await device.record(Done(), stream=BOILER)
    await device.record(Started(), stream=BOILER)
    with pytest.raises(VisitRefused, match="not possible while working"):
        await device.record(Started(), stream=BOILER)
    assert device.parts.log.head().seq == 1


async def test_only_what_a_device_may_write_where_it_belongs_is_recorded(device):
    with pytest.raises(RecordInvalid, match="may not write"):
        await device.record(Assigned(assignee="tech-anna"), stream=BOILER)
    with pytest.raises(RecordInvalid, match="belongs on shift"):
        await device.record(ShiftStarted(), stream=BOILER)
    with pytest.raises(RecordInvalid, match="cannot be recorded"):
        await device.record(CommentAdded.model_construct(text="x" * 70_000), stream=BOILER)
    assert device.parts.log.head().seq == 0


async def test_a_locked_device_records_and_does_not_show(device):
    device.lock()
    await device.record(Started(), stream=BOILER)
    with pytest.raises(Locked):
        device.state(BOILER)


async def test_a_stream_that_nobody_knows_is_said_to_be_unknown(device):
    with pytest.raises(InterventionUnknown):
        device.intervention("no-such-thing")


# --- What others wrote ---


def other(seq: int, body, type_name: str = "") -> MergeEvent:
    """Another technician's device wrote on the boiler, and knew the plan."""
    event = office(seq + 4, body)
    header = msgspec.structs.replace(event.header, author="dev-2-a", seq=seq, seen={"office-main": 3})
    return MergeEvent(header, body, AuthorKind.DEVICE)


def is_as_the_merge_will_have_it(device, platform, *before: MergeEvent) -> None:
    """The state on the device is, before a sync, the one that the platform computes after it."""
    local = device.intervention("leaky-boiler")
    own = [merge_event(event, AuthorKind.DEVICE) for event in device.opened().own.of(BOILER)]
    merged = fold(BOILER, [*before, *own])
    for name in ("status", "fields", "lines", "requests", "visits", "conflicts"):
        assert getattr(local, name) == getattr(merged, name), name


async def test_what_another_device_wrote_is_corrected_and_withdrawn_at_once(device, platform):
    theirs = [other(1, PartUsed(part="seal-12", quantity="1")), other(2, Measured(quantity="pressure", value="1", unit="bar"))]
    platform.put_document(BOILER, [*PLANNED, *theirs])
    await device.sync()
    boiler, (part, measured) = device.work_on("leaky-boiler"), theirs
    await boiler.start()
    await boiler.measure("pressure", "1.5", "bar", replaces=measured.id)
    is_as_the_merge_will_have_it(device, platform, *PLANNED, *theirs)
    await boiler.void(part.id, "not on the van")
    is_as_the_merge_will_have_it(device, platform, *PLANNED, *theirs)
    assert [line.void is not None for line in device.intervention("leaky-boiler").lines] == [True, False]


async def test_the_offices_question_is_answered_on_the_screen_before_it_is_sent(device, platform):
    asked = [
        office(4, RequestMade(field="diagnosis", value="worn seal?")),
        office(5, RequestMade(field="work_done", value="all?")),
    ]
    platform.put_document(BOILER, [*PLANNED, *asked])
    await device.sync()
    boiler = device.work_on("leaky-boiler")
    await boiler.accept(asked[0].id)
    await boiler.decline(asked[1].id, "the pump remains")
    assert [request.status for request in boiler.state().requests] == ["accepted", "declined"]
    is_as_the_merge_will_have_it(device, platform, *PLANNED, *asked)


async def test_what_was_set_aside_is_read_on_the_screen_before_it_is_sent(device, platform):
    boiler = device.work_on("leaky-boiler")
    await boiler.start()
    await device.sync()
    cancelled = office(4, Cancelled(reason="the customer called"))
    platform.put_document(BOILER, [*PLANNED, *platform.own_events(BOILER), cancelled])
    await device.sync()
    (conflict,) = boiler.state().conflicts
    await boiler.acknowledge(cancelled.id, "cancelled")
    await boiler.acknowledge(conflict.events[0], conflict.code)
    assert boiler.state().conflicts[0].acknowledged
    is_as_the_merge_will_have_it(device, platform, *PLANNED, cancelled)


async def test_own_lines_and_visits_that_the_platform_knows_better_stay_as_it_has_them(device, platform):
    """Own events alone do not know that the office ended a visit, or that somebody corrected a line."""
    boiler = device.work_on("leaky-boiler")
    platform.put_document(BOILER, PLANNED)
    await device.sync()
    await boiler.start()
    measured = await boiler.measure("pressure", "1", "bar")
    await device.sync()
    own = platform.own_events(BOILER)
    seen = {"office-main": 3, "dev-1-a": 2}
    corrected = other(1, Measured(quantity="pressure", value="2", unit="bar", replaces=measured.id))
    ended = office(4, VisitAbandoned(visit=own[0].id, reason="the device was destroyed"))
    later = [MergeEvent(msgspec.structs.replace(one.header, seen=seen), one.body, one.kind) for one in (corrected, ended)]
    platform.put_document(BOILER, [*PLANNED, *own, *later])
    await device.sync()
    await boiler.ask("planned_start", "2026-11-25T08:00:00.000Z")
    is_as_the_merge_will_have_it(device, platform, *PLANNED, *later)


# --- The list of the day ---

TWO_MS, DAY_MS = parse_time_ms("2026-11-22T14:00:00.000Z"), 86_400_000
PLANNED_LINE = Listed(
    stream=BOILER, planned_ms=TWO_MS, status="assigned", title="Leaky boiler", reference="R-1", kind="repair", site="site-1"
)


async def test_the_list_shows_what_was_recorded_a_moment_ago_and_opens_nothing_else(device, platform, monkeypatch):
    for name in ("dry-cellar", "slow-lift"):
        platform.put_document(f"intervention:{name}", platform.own_events(f"intervention:{name}"))
    platform.put_document(BOILER, PLANNED)
    await device.sync()
    assert device.listed()[0] == PLANNED_LINE
    await device.record(Started(), stream=BOILER)
    looked_at: list[str] = []
    document = ReadModel.document
    monkeypatch.setattr(ReadModel, "document", lambda model, stream: looked_at.append(stream) or document(model, stream))

    started, *others = device.listed()
    assert started == msgspec.structs.replace(PLANNED_LINE, status="in_progress", pending=True)
    assert [line.id for line in others] == ["dry-cellar", "slow-lift"]
    assert looked_at == [BOILER]


async def test_once_the_document_covers_all_the_list_opens_none(device, platform, monkeypatch):
    await device.record(Started(), stream=BOILER)
    await device.sync()
    platform.put_document(BOILER, [*PLANNED, *platform.own_events(BOILER)])
    await device.sync()
    monkeypatch.setattr(ReadModel, "document", None)
    assert device.listed() == [msgspec.structs.replace(PLANNED_LINE, status="in_progress")]


async def test_a_list_by_status_and_day_goes_by_what_the_technician_did(device, platform):
    platform.put_document(BOILER, PLANNED)
    await device.sync()
    await device.record(Started(), stream=BOILER)
    await device.record(Started(), stream="intervention:dry-cellar")
    assert device.listed(which=Which(status="assigned", limit=1)) == []
    assert [line.id for line in device.listed(which=Which(status="in_progress"))] == ["leaky-boiler", "dry-cellar"]
    for from_ms, expected in ((TWO_MS, ["leaky-boiler"]), (TWO_MS + 1, []), (TWO_MS - DAY_MS, [])):
        day = Which(from_ms=from_ms, until_ms=from_ms + DAY_MS - (from_ms < TWO_MS))
        assert [line.id for line in device.listed(which=day)] == expected
    (line,) = [one for one in await run(device, "list", {"planned_from": "2026-11-22T00:00:00.000Z"})]
    assert (line["intervention"], line["planned_at"], line["pending"]) == ("leaky-boiler", "2026-11-22T14:00:00.000Z", True)


async def test_what_the_ledger_refused_whole_is_in_no_list_and_stands_in_the_way_of_none(device, platform):
    """A list, and an outbox, used to fail for the one stream of which nothing stood."""
    platform.refuse[1] = "event.type_not_allowed"
    await device.record(Started(), stream=BOILER)
    await device.sync()
    assert device.listed() == []
    (event,) = device.outbox().events
    assert (event.state, event.stream) == (Standing.REFUSED, BOILER)


async def test_a_screen_gets_personal_values_open_and_a_program_sealed(device, platform):
    await device.site("site-1").change(contact="Odile Martin", notes="mind the dog")
    shown = device.shown("site:site-1")
    assert {name: register["value"] for name, register in shown["fields"].items()} == {
        "contact": "Odile Martin",
        "notes": "mind the dog",
    }
    assert "Odile" not in repr(device.state("site:site-1"))
