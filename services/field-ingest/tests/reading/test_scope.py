"""Scopes: who may hold what, in which order it changes, and what the budget leaves out."""

from typing import Any

import pytest
from pydantic import ValidationError

from field_ingest.projection import scope_store
from field_ingest.projection.scope import OMITTED_LISTED_MAX, Member, ScopeLimits, select
from field_ingest.projection.scope_settings import ScopeSettings
from field_ingest.sync.ports import Moment, Since
from zb_contracts import canonical
from zb_contracts.events.fieldwork import CommentAdded, Done, Started
from zb_contracts.events.office import Assigned, InterventionCreated, Planned, Policy
from zb_contracts.events.places import EquipmentRegistered, SiteChanged, SiteRegistered, StockMoved
from zb_contracts.times import parse_time_ms

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
LIFT = "intervention:22222222-2222-4222-8222-222222222222"
VISIT = "019ac222-0000-7000-8000-000000000001"
DAY_MS = 86_400_000


def created(site: str = "site-1", equipment: str | None = None) -> InterventionCreated:
    return InterventionCreated(
        reference="W-1", kind="repair", title="leaky boiler", site=site, equipment=equipment, agency="main"
    )


def site() -> SiteRegistered:
    return SiteRegistered.model_validate(
        {"reference": "S-1", "name": "old town", "agency": "main", "address": {"town": "Lyon", "country": "FR"}}
    )


async def moment(company: Any, technician: str, cursor: int = 0) -> Moment:
    """What an answer would tell the technician."""
    author = await company.pool.fetchval("SELECT author FROM authors LIMIT 1")
    found = await company.sync_store().moment(author, technician, 0, 0, Since(cursor, tombstones=True))
    assert found is not None
    return found


async def changes(company: Any, technician: str, cursor: int = 0) -> list[tuple[str, bool]]:
    """What moved after the cursor, in order: document and whether it is alive."""
    found = (await moment(company, technician, cursor)).changes
    assert [change.change for change in found] == sorted({change.change for change in found})
    return [(change.document, change.content is not None) for change in found]


async def counter(company: Any, technician: str) -> scope_store.Counter:
    found = (await moment(company, technician)).counter
    assert found is not None
    return found


async def test_an_assignment_brings_the_intervention_its_site_its_equipment_and_the_vans_stock(
    company: Any, office: Any, camille: Any
) -> None:
    await company.record(office, "site:site-1", site())
    kit = EquipmentRegistered(reference="E-1", kind="boiler", label="boiler", site="site-1")
    await company.record(office, "equipment:kit-1", kit)
    await company.record(office, "site:elsewhere", site())
    await company.record(camille, "stock:van-camille", StockMoved(part="p-1", quantity="3", cause="loaded"))
    await company.record(office, BOILER, created(equipment="kit-1"))
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    assert {name for name, _ in await changes(company, "camille")} == {
        BOILER,
        "site:site-1",
        "equipment:kit-1",
        "stock:van-camille",
    }


async def test_a_site_that_is_registered_later_comes_after_its_intervention(company: Any, office: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    before = await counter(company, "camille")
    await company.record(office, "site:site-1", site())
    await company.project()
    assert await changes(company, "camille", before.change) == [("site:site-1", True)]


async def test_a_changed_document_moves_to_the_end_of_the_order_and_the_others_stay(company: Any, office: Any) -> None:
    await company.record(office, "site:site-1", site())
    for stream in (BOILER, LIFT):
        await company.record(office, stream, created())
        await company.record(office, stream, Assigned(assignee="camille"))
    await company.project()
    before = await counter(company, "camille")
    assert before.documents == 3
    await company.record(office, "site:site-1", SiteChanged(notes="mind the dog"))
    await company.project()
    assert await changes(company, "camille", before.change) == [("site:site-1", True)]
    assert (await counter(company, "camille")).epoch == before.epoch


async def test_a_reassigned_intervention_leaves_as_a_tombstone_with_the_vector_last_given(company: Any, office: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.project()
    before = await counter(company, "camille")
    await company.record(office, BOILER, Assigned(assignee="dominique"))
    await company.project()
    assert await changes(company, "camille", before.change) == [(BOILER, False)]
    assert (await counter(company, "camille")).documents == 0
    assert await changes(company, "dominique") == [(BOILER, True)]
    vector = await company.pool.fetchval("SELECT vector FROM scope_document WHERE technician = 'camille'")
    assert vector == b'{"office-main":2}'


async def test_a_visit_keeps_the_intervention_with_its_technician_after_a_reassignment(
    company: Any, office: Any, camille: Any
) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.record(camille, BOILER, Started(), visit=VISIT, event_id=VISIT)
    await company.record(office, BOILER, Assigned(assignee="dominique"))
    await company.project()
    assert await changes(company, "camille") == [(BOILER, True)]
    assert await changes(company, "dominique") == [(BOILER, True)]


async def test_a_closed_intervention_leaves_after_some_days_of_the_ledgers_clock(company: Any, office: Any, camille: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.record(camille, BOILER, Started(), visit=VISIT, event_id=VISIT)
    await company.record(camille, BOILER, Done(), visit=VISIT, at_ms=company.now_ms + 400 * DAY_MS)
    await company.project()
    before = await counter(company, "camille")
    company.now_ms += 3 * DAY_MS - 1
    await company.scopes.sweep()
    assert await company.scopes.step() is None
    company.now_ms += 1
    await company.scopes.sweep()
    assert await company.scopes.step() == {"camille"}
    assert await changes(company, "camille", before.change) == [(BOILER, False)]


async def test_a_visit_that_nobody_was_sent_on_opens_no_document(company: Any, office: Any, camille: Any) -> None:
    """Ids follow from agency and number: whoever guesses one and closes the intervention himself gets to read nothing of it."""
    await company.record(office, "site:site-1", site())
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="dominique"))
    await company.record(camille, BOILER, Started(), visit=VISIT, event_id=VISIT)
    await company.record(camille, BOILER, Done(), visit=VISIT)
    await company.project()
    assert await changes(company, "camille") == []
    assert {name for name, _ in await changes(company, "dominique")} == {BOILER, "site:site-1"}


async def test_what_the_budget_leaves_out_is_named_and_the_soonest_planned_comes_first(company: Any, office: Any) -> None:
    company.scopes = company.new_scopes(limits=ScopeLimits(documents_max=2))
    streams = [f"intervention:00000000-0000-4000-8000-{number:012x}" for number in range(4)]
    for hour, stream in zip((15, 9, 11, 8), streams, strict=True):
        await company.record(office, stream, created())
        plan = Planned(planned_start=f"2026-11-23T{hour:02}:00:00.000Z", duration_min=60, policy=Policy(version=1))
        await company.record(office, stream, plan)
        await company.record(office, stream, Assigned(assignee="camille"))
    await company.project()
    alive = {name for name, is_alive in await changes(company, "camille") if is_alive}
    assert alive == {streams[3], streams[1]}
    assert (await counter(company, "camille")).omitted == (streams[0], streams[2])


async def test_of_what_the_budget_leaves_out_the_first_is_named_and_all_is_counted(company: Any, office: Any) -> None:
    company.scopes = company.new_scopes(limits=ScopeLimits(documents_max=1))
    for number in range(OMITTED_LISTED_MAX + 4):
        stream = f"intervention:00000000-0000-4000-8000-{number:012x}"
        await company.record(office, stream, created())
        await company.record(office, stream, Assigned(assignee="camille"))
    await company.project()
    found = await counter(company, "camille")
    assert (found.documents, len(found.omitted), found.omitted_count) == (1, OMITTED_LISTED_MAX, OMITTED_LISTED_MAX + 3)


async def test_a_comment_on_one_intervention_moves_no_other_technicians_order(company: Any, office: Any, camille: Any) -> None:
    await company.record(office, BOILER, created())
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.record(office, LIFT, created(site="site-2"))
    await company.record(office, LIFT, Assigned(assignee="dominique"))
    await company.project()
    before = await counter(company, "dominique")
    await company.record(camille, BOILER, CommentAdded(text="on my way"))
    await company.project()
    assert await counter(company, "dominique") == before


async def test_a_vans_stock_comes_with_whole_quantities_and_its_newest_movements_only(company: Any, camille: Any) -> None:
    for _ in range(25):
        await company.record(camille, "stock:van-camille", StockMoved(part="p-1", quantity="-1", cause="used"))
    await company.project()
    found = (await moment(company, "camille")).changes
    assert [change.document for change in found] == ["stock:van-camille"]
    assert found[0].content is not None
    document = canonical.decode(found[0].content)
    assert (document["quantities"], len(document["movements"]), document["vector"]) == ({"p-1": "-25"}, 20, {"device-a-1": 25})
    assert document["movements"][-1]["origin"]["seq"] == 25


def member(name: str, planned_ms: int | None = None, *, held: bool = False, site: str | None = None) -> Member:
    return Member("camille", name, site, None, held, planned_ms, None)


@pytest.mark.parametrize(
    ("limits", "taken", "omitted"),
    [
        (ScopeLimits(), ("a", "b", "s"), ()),
        (ScopeLimits(documents_max=1), ("b",), ("a", "s")),
        (ScopeLimits(bytes_max=25), ("b",), ("a", "s")),
        (ScopeLimits(document_bytes_max=5), (), ("a", "b", "s")),
    ],
)
def test_the_held_one_comes_first_and_an_intervention_is_taken_whole(
    limits: ScopeLimits, taken: tuple[str, ...], omitted: tuple[str, ...]
) -> None:
    found = [member("a", 1, site="s"), member("b", 2, held=True)]
    selection = select("camille", found, {"a": 10, "b": 10, "s": 10}, limits)
    assert (selection.documents, selection.omitted) == (taken, omitted)


@pytest.mark.parametrize(("zone", "taken"), [("Europe/Paris", "tonight"), ("UTC", "late"), ("Indian/Reunion", "late")])
def test_the_nearest_day_begins_at_the_technicians_midnight(zone: str, taken: str) -> None:
    """At 23:30 UTC it is past midnight in Paris: what was planned for late that UTC day belongs to yesterday there."""
    now_ms = parse_time_ms("2026-11-23T23:30:00.000Z")
    found = [
        member("late", parse_time_ms("2026-11-23T22:30:00.000Z")),
        member("tonight", parse_time_ms("2026-11-24T01:00:00.000Z")),
    ]
    limits = ScopeLimits(documents_max=1, zone=zone)
    assert select("camille", found, {"late": 1, "tonight": 1}, limits, now_ms).documents == (taken,)


def test_a_plan_beyond_all_calendars_is_the_farthest_and_stops_nothing() -> None:
    far = member("far", parse_time_ms("9999-12-31T23:59:59.999Z"))
    limits = ScopeLimits(documents_max=1, zone="Pacific/Kiritimati")
    assert select("camille", [far, member("near", 1)], {"far": 1, "near": 1}, limits, 0).documents == ("near",)


def test_a_zone_that_there_is_not_stops_the_service_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZB_INGEST_SCOPE_ZONE", "Europe/Atlantis")
    with pytest.raises(ValidationError, match=r"scope_zone[\s\S]*Europe/Atlantis"):
        ScopeSettings()
