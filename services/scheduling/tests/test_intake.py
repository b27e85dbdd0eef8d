"""Imports taken in on a real PostgreSQL: nothing half done, the same again changes nothing, personal values stay sealed."""

from datetime import date
from typing import Any

import pytest

from scheduling import planning, reference, store
from scheduling.commands import AssignTechnician, CancelIntervention, ReopenIntervention
from scheduling.custody.policy import Purpose
from scheduling.ids import id_of
from scheduling.intake import import_equipment, import_sites
from scheduling.workorders import import_interventions
from zb_contracts.events.office import DetailsChanged, InterventionCreated
from zb_contracts.events.places import EquipmentIdentified, EquipmentRegistered, SiteChanged, SiteRegistered
from zb_contracts.problems import INPUT_NOT_FOUND, INPUT_ROWS, PLAN_IMPOSSIBLE, Problem
from zb_contracts.sealed import open_sealed_value

SITES = "reference;name;street;town;country;latitude;longitude;contact;access_code;notes\n"
ALEX = "A-1;Alexanderplatz;;Berlin;DE;52,5215;13,4110;Frau Weber 0151 1;4711B;Ring twice\n"
ZOO = "A-2;Zoo;Hardenbergplatz;Berlin;DE;52,5072;13,3325;;;\n"
BAD = ";Nowhere;;Berlin;DE;;;;;\n"
LIFTS = "reference;kind;label;site_reference;manufacturer;serial\n"
LIFT = "L-1;lift;Lift to track 1;A-1;Otis;123\n"
WORK = "reference;kind;title;site_reference;equipment_reference;priority;duration_min;window_start;window_end;required_skills\n"
STUCK = "W-1;repair;Cabin stuck;A-1;L-1;high;45;2026-03-16T08:00Z;2026-03-16T12:00Z;lift\n"
NOISE = "W-2;repair;Noise;A-2;;;60;;;lift\n"
MONDAY = date(2026, 3, 16)


def technician(name: str, **changes: Any) -> store.TechnicianRecord:
    values = {
        "id": name,
        "name": name.title(),
        "latitude_e7": 525_200_000,
        "longitude_e7": 134_050_000,
        "starts": "08:00",
        "ends": "17:00",
        "timezone": "UTC",
        "skills": ("lift",),
        "active": True,
    }
    return store.TechnicianRecord(**(values | changes))


async def sites(office: Any, text: str, mode: Any = "all-or-nothing") -> Any:
    return await import_sites(office.desk, "main", "integrator-1", (SITES + text).encode("cp1252"), mode)


async def work(office: Any, text: str, mode: Any = "all-or-nothing") -> Any:
    return await import_interventions(office.desk, "main", None, (WORK + text).encode(), mode)


async def whole_day(office: Any) -> None:
    await sites(office, ALEX + ZOO)
    await import_equipment(office.desk, "main", None, (LIFTS + LIFT).encode(), "all-or-nothing")
    await work(office, STUCK + NOISE)
    async with office.pool.acquire() as connection:
        await store.save_technicians(connection, "main", [technician("anna"), technician("bert", active=False)])


def outcomes(report: Any) -> list[tuple[str, str]]:
    return [(taken.reference, taken.outcome) for taken in report.taken]


async def test_one_bad_row_takes_nothing_by_default_and_names_it_with_the_count_of_good_rows(office: Any) -> None:
    with pytest.raises(Problem) as caught:
        await sites(office, ALEX + BAD + ZOO)
    problem = caught.value
    assert problem.kind is INPUT_ROWS
    assert (problem.details["bad"], problem.details["good"], problem.details["total"]) == (1, 2, 3)
    assert [(error["row"], error["column"], error["reason"]) for error in problem.errors] == [(3, "reference", "is empty")]
    assert await office.signed() == []
    assert await office.pool.fetchval("SELECT count(*) FROM scheduling.site") == 0


async def test_the_good_rows_are_taken_when_asked_and_the_others_listed(office: Any) -> None:
    report = await sites(office, ALEX + BAD + ZOO, "good-rows")
    assert outcomes(report) == [("A-1", "created"), ("A-2", "created")]
    assert (report.bad, report.total) == (1, 3)
    assert [type(body) for body in await office.bodies()] == [SiteRegistered, SiteRegistered]


async def test_the_same_file_again_changes_nothing(office: Any) -> None:
    await whole_day(office)
    before = len(await office.signed())
    assert outcomes(await sites(office, ALEX + ZOO)) == [("A-1", "unchanged"), ("A-2", "unchanged")]
    lifts = await import_equipment(office.desk, "main", None, (LIFTS + LIFT).encode(), "all-or-nothing")
    assert outcomes(lifts) == [("L-1", "unchanged")]
    assert outcomes(await work(office, STUCK + NOISE)) == [("W-1", "unchanged"), ("W-2", "unchanged")]
    assert len(await office.signed()) == before


async def test_a_row_that_repeats_another_shares_its_fate(office: Any) -> None:
    report = await sites(office, ALEX + ZOO + ALEX)
    assert [(each.row, each.outcome) for each in report.taken] == [(2, "created"), (3, "created"), (4, "unchanged")]
    lost = LIFT.replace("A-1", "A-9")
    lifts = await import_equipment(office.desk, "main", None, (LIFTS + lost + lost).encode(), "good-rows")
    assert (lifts.total, lifts.bad, lifts.taken) == (2, 2, ())
    assert [(fault.row, fault.column) for fault in lifts.faults] == [(2, "site_reference"), (3, "reference")]


async def test_ids_come_from_agency_and_reference(office: Any) -> None:
    (taken, _) = (await sites(office, ALEX + ZOO)).taken
    assert taken.id == id_of("site", "main", "A-1")
    assert taken.id != id_of("site", "north", "A-1") != id_of("equipment", "north", "A-1")


async def test_another_note_or_contact_is_a_change_and_another_name_a_conflict(office: Any) -> None:
    await sites(office, ALEX)
    changed = await sites(office, ALEX.replace("Ring twice", "Bell broken").replace("Weber", "Wolf"))
    assert outcomes(changed) == [("A-1", "changed")]
    (_, change) = await office.bodies()
    assert isinstance(change, SiteChanged)
    assert (change.notes, change.access_code, change.location) == ("Bell broken", None, None)
    assert change.contact is not None
    with pytest.raises(Problem) as caught:
        await sites(office, ALEX.replace("Alexanderplatz", "Alex"))
    assert caught.value.errors[0]["reason"] == "exists with another content: Alexanderplatz"
    assert len(await office.signed()) == 2


async def test_an_empty_cell_says_nothing_about_what_is_there(office: Any) -> None:
    await sites(office, ALEX)
    assert outcomes(await sites(office, "A-1;Alexanderplatz;;Berlin;DE;;;;;\n")) == [("A-1", "unchanged")]


async def test_personal_values_are_sealed_and_nowhere_in_clear(office: Any) -> None:
    await sites(office, ALEX)
    (event,), (body,) = await office.signed(), await office.bodies()
    assert isinstance(body, SiteRegistered)
    # The key travels with no event: only custody has it.
    assert body.keys == ()
    key = await office.desk.vault.key(id_of("site", "main", "A-1"), "main", Purpose.CONTACT, office.now[0])
    assert body.contact is not None
    assert body.access_code is not None
    assert body.contact.kid == body.access_code.kid == key.kid
    assert open_sealed_value(key.key, event.header.id, "contact", body.contact) == "Frau Weber 0151 1"
    assert open_sealed_value(key.key, event.header.id, "access_code", body.access_code) == "4711B"
    tables = await office.pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('chassis', 'scheduling')"
    )
    for table in tables:
        text = str([tuple(row) for row in await office.pool.fetch(f"SELECT * FROM {table['name']}")])
        assert "Weber" not in text, table["name"]
        assert "4711B" not in text, table["name"]


async def test_equipment_needs_its_site_and_reports_plate_changes(office: Any) -> None:
    await sites(office, ALEX + ZOO)
    rows = LIFTS + LIFT + "L-2;lift;Lost lift;A-9;;\n"
    report = await import_equipment(office.desk, "main", None, rows.encode(), "good-rows")
    assert outcomes(report) == [("L-1", "created")]
    assert [(fault.row, fault.column, fault.value) for fault in report.faults] == [(3, "site_reference", "A-9")]
    again = LIFTS + LIFT.replace("123", "124") + LIFT.replace("L-1", "L-3")
    assert outcomes(await import_equipment(office.desk, "main", None, again.encode(), "all-or-nothing")) == [
        ("L-1", "changed"),
        ("L-3", "created"),
    ]
    (*_, registered, identified, _) = await office.bodies()
    assert isinstance(registered, EquipmentRegistered)
    assert isinstance(identified, EquipmentIdentified)
    assert (identified.serial, identified.manufacturer) == ("124", None)
    moved = LIFTS + LIFT.replace("A-1", "A-2") + LIFT.replace("Lift to track 1", "Lift to track 2").replace("L-1", "L-3")
    report = await import_equipment(office.desk, "main", None, moved.encode(), "good-rows")
    assert [(fault.row, fault.column) for fault in report.faults] == [(2, "site_reference"), (3, "label")]


async def test_an_intervention_is_created_then_its_details_change_and_its_site_cannot(office: Any) -> None:
    await whole_day(office)
    changed = STUCK.replace("Cabin stuck", "Cabin stuck, persons inside").replace("high", "emergency")
    assert outcomes(await work(office, changed)) == [("W-1", "changed")]
    bodies = await office.bodies()
    (created,) = [body for body in bodies if isinstance(body, InterventionCreated) and body.reference == "W-1"]
    assert (created.site, created.equipment) == (id_of("site", "main", "A-1"), id_of("equipment", "main", "L-1"))
    assert bodies[-1] == DetailsChanged(title="Cabin stuck, persons inside", priority="emergency")
    wrong = (
        STUCK.replace("A-1;L-1", "A-2;")
        + NOISE.replace("W-2", "W-3").replace("A-2;", "A-2;L-1")
        + NOISE.replace("W-2", "W-4").replace("A-2;", "A-2;L-9")
        + NOISE.replace("A-2", "A-9")
    )
    report = await work(office, wrong, "good-rows")
    assert [(fault.row, fault.column) for fault in report.faults] == [
        (2, "site_reference"),
        (3, "equipment_reference"),
        (4, "equipment_reference"),
        (5, "site_reference"),
    ]
    assert report.taken == ()


async def test_a_thousand_rows_are_one_transaction_in_few_segments(office: Any) -> None:
    rows = "".join(f"A-{number};Site {number};;Berlin;DE;52,5;13,4;;;\n" for number in range(1000))
    assert len((await sites(office, rows)).taken) == 1000
    assert len(await office.signed()) == 1000
    assert await office.pool.fetchval("SELECT count(*) FROM chassis.outbox") == 16


POLICY = planning.Policy(version=2, field_may_set=("planned_start",), duration_min=60)


async def plan(office: Any, technicians: list[str] | None = None) -> planning.DayPlan:
    return await planning.plan_agency_day(office.desk, POLICY, "main", "planner-1", MONDAY, technicians)


async def test_a_day_is_planned_assigned_and_announced_and_asked_again_changes_nothing(office: Any) -> None:
    await whole_day(office)
    day = await plan(office)
    assert [day.references[stop.stop] for stop in day.tours["anna"]] == ["W-2", "W-1"]
    assert (day.planned, day.unplaced) == (2, ())
    events = await office.signed()
    assert [event.header.type for event in events[-4:]] == ["intervention.planned.v2", "intervention.assigned.v1"] * 2
    planned = (await office.bodies())[-4]
    assert planned.model_dump()["policy"] == {"version": 2, "field_may_set": ("planned_start",)}
    again = await plan(office)
    assert (again.tours, again.planned) == (day.tours, 0)
    assert len(await office.signed()) == len(events)


async def test_new_work_goes_round_what_stands(office: Any) -> None:
    await whole_day(office)
    before = {stop.stop: stop.start_ms for stop in (await plan(office)).tours["anna"]}
    await work(office, STUCK.replace("W-1", "W-0").replace("high", "emergency"))
    after = {stop.stop: stop.start_ms for stop in (await plan(office)).tours["anna"]}
    assert before.items() <= after.items()
    assert len(after) == 3


async def test_what_finds_no_place_is_listed_and_stays_a_draft(office: Any) -> None:
    await whole_day(office)
    await sites(office, "A-3;Somewhere;;Berlin;DE;;;;;\n")
    await work(office, NOISE.replace("W-2", "W-3").replace("A-2", "A-3") + NOISE.replace("W-2", "W-4").replace("lift", "roof"))
    day = await plan(office)
    assert {day.references[each.stop]: each.code for each in day.unplaced} == {"W-3": "no_location", "W-4": "skills"}
    row = await store.board_entry(office.pool, id_of("intervention", "main", "W-4"))
    assert (row["status"], row["version"]) == ("draft", 1)


async def test_a_reassignment_by_hand_stays_also_against_the_skills(office: Any) -> None:
    await whole_day(office)
    await plan(office)
    stuck = id_of("intervention", "main", "W-1")
    async with office.pool.acquire() as connection:
        await store.save_technicians(connection, "main", [technician("carl", skills=())])
    async with office.desk.sitting("main", None) as sitting:
        command = AssignTechnician(version=3, at_ms=office.now[0], technician="carl", skills=frozenset({"lift"}))
        await sitting.decide(stuck, command)
    day = await plan(office)
    assert [stop.stop for stop in day.tours["carl"]] == [stuck]


async def test_a_cancelled_one_leaves_the_day_and_comes_back_when_reopened(office: Any) -> None:
    await whole_day(office)
    await plan(office)
    stuck = id_of("intervention", "main", "W-1")
    async with office.desk.sitting("main", None) as sitting:
        await sitting.decide(stuck, CancelIntervention(version=3, at_ms=office.now[0], reason="sold"))
    assert stuck not in (await plan(office)).references
    async with office.desk.sitting("main", None) as sitting:
        await sitting.decide(stuck, ReopenIntervention(version=4, at_ms=office.now[0], reason="not sold"))
    assert stuck in [stop.stop for stop in (await plan(office)).tours["anna"]]


async def test_a_day_needs_technicians_and_known_ones(office: Any) -> None:
    for technicians, kind in (None, PLAN_IMPOSSIBLE), (["ghost"], INPUT_NOT_FOUND):
        with pytest.raises(Problem) as caught:
            await plan(office, technicians)
        assert caught.value.kind is kind


async def test_a_price_list_is_published_once_a_version(office: Any) -> None:
    content = {
        "price_list": "PL-2026",
        "currency": "EUR",
        "valid_from": "2026-01-01T00:00:00.000Z",
        "prices": [{"code": "H", "label": "Hour", "unit": "h", "unit_price_cents": 6200, "vat_permille": 200}],
        "call_out_cents": 3000,
    }
    publish = [reference.PRICE_LISTS, "PL-2026"]
    first = await reference.publish(office.pool, office.desk.clock, *publish, content)
    again = await reference.publish(office.pool, office.desk.clock, *publish, content)
    dearer = await reference.publish(office.pool, office.desk.clock, *publish, content | {"call_out_cents": 3500})
    assert [(each.version, each.changed) for each in (first, again, dearer)] == [(1, True), (1, False), (2, True)]
    rows = await office.pool.fetch("SELECT subject, message_id, headers, payload FROM chassis.outbox ORDER BY position")
    assert [row["subject"] for row in rows] == ["reference.v1.price-list"] * 2
    assert rows[1]["headers"]["ce-type"] == "zb.reference.price_list.v1"
    assert b'"version":2' in rows[1]["payload"]
    assert (await reference.read(office.pool, *publish)).version == 2
    with pytest.raises(Problem):
        await reference.read(office.pool, reference.PRICE_LISTS, "PL-1999")
