"""Registers of every class: office, shared, assignment, stock. Who stands, what is set aside, and by which rule."""

import pytest

from contracts.tests.histories import Author, agency, created, device, everything, moved, planned
from contracts.tests.test_merge_story import merged, morning
from zb_contracts.events import AuthorKind, Body, fieldwork, office, places
from zb_contracts.events.values import Position
from zb_contracts.fields import FIELDS, FieldClass
from zb_contracts.merge.fold import fold
from zb_contracts.merge.places import decimal_text
from zb_contracts.merge.state import EquipmentState, ShiftState, SiteState, StockState
from zb_contracts.sealed import SealedValue

SITE = "site:site-1"
LIFT = "equipment:lift-1"
VAN = "stock:van-1"
SHIFT = "shift:anna-20261122"


def sealed(letter: str) -> SealedValue:
    return SealedValue.model_validate({"sealed": {"kid": "subject-1", "alg": "A256GCM", "nonce": "A" * 16, "ct": letter * 24}})


def site(*authors: Author) -> SiteState:
    state = fold(SITE, everything(*authors))
    assert isinstance(state, SiteState)
    return state


def registered() -> Author:
    office_author = agency()
    address = places.Address(town="Lyon", country="FR")
    office_author.write(
        places.SiteRegistered(reference="S-1", name="Hôtel-Dieu", agency="lyon", address=address, notes="ring twice"),
        stream=SITE,
    )
    return office_author


def test_a_later_write_that_knew_the_earlier_leaves_no_trace_but_history() -> None:
    state = morning().state()
    assert state.fields["planned_start"].rule == "unopposed"
    assert state.fields["planned_start"].set_aside == []


def test_two_offices_that_did_not_know_of_each_other_are_decided_by_time_and_the_other_is_set_aside() -> None:
    story = morning()
    night = Author(name="office-night", kind=AuthorKind.OFFICE, number=901).learn(story.office)
    earlier = story.office.at("10:00").write(moved("16:00"))
    later = night.at("10:01").write(moved("17:00"))
    register = merged([*story.events, *night.written]).fields["planned_start"]
    assert (register.value, register.rule, register.origin.event) == (
        "2026-11-22T17:00:00.000Z",
        "latest_clock",
        later.id,
    )
    assert [(item.value, item.origin.event, item.against) for item in register.set_aside] == [
        ("2026-11-22T16:00:00.000Z", earlier.id, later.id)
    ]


def test_a_write_that_knew_both_settles_what_was_set_aside() -> None:
    story = morning()
    night = Author(name="office-night", kind=AuthorKind.OFFICE, number=901).learn(story.office)
    story.office.write(moved("16:00"))
    night.write(moved("17:00"))
    night.learn(story.office)
    night.write(moved("18:00"))
    register = merged([*story.events, *night.written]).fields["planned_start"]
    assert (register.value, register.set_aside) == ("2026-11-22T18:00:00.000Z", [])


def test_different_fields_of_one_side_never_meet() -> None:
    story = morning()
    night = Author(name="office-night", kind=AuthorKind.OFFICE, number=901).learn(story.office)
    story.office.write(office.DetailsChanged(title="leaky-tap"))
    night.write(office.DetailsChanged(priority="high"))
    state = merged([*story.events, *night.written])
    assert (state.fields["title"].value, state.fields["priority"].value) == ("leaky-tap", "high")
    assert all(register.set_aside == [] for register in state.fields.values())


def test_none_writes_nothing() -> None:
    story = morning()
    story.office.write(office.DetailsChanged(priority="high"))
    assert story.state().fields["title"].value == "leaky-boiler"


def test_an_attribute_with_the_name_of_a_field_on_another_event_writes_nothing() -> None:
    story = morning()
    visit = story.anna.write(fieldwork.Started(), opens=True).id
    story.anna.write(fieldwork.FollowUpRequested(reason="parts", kind="parts"), visit=visit)
    story.anna.write(fieldwork.EquipmentStateSet(equipment="lift-9", equipment_state="in_service"), visit=visit)
    state = story.state()
    assert state.fields["kind"].value == "repair"
    assert "equipment" not in state.fields


def test_on_a_shared_field_the_field_stands_where_neither_knew() -> None:
    office_author, anna = registered(), device("device-a", "anna", 1)
    anna.learn(office_author, stream=SITE)
    from_office = office_author.at("11:00").write(places.SiteChanged(notes="ask the caretaker"), stream=SITE)
    from_field = anna.at("10:00").write(places.SiteChanged(notes="dog in the yard"), stream=SITE)
    register = site(office_author, anna).fields["notes"]
    assert (register.value, register.rule) == ("dog in the yard", "field_over_office")
    assert [(item.origin.event, item.rule, item.against) for item in register.set_aside] == [
        (from_office.id, "field_over_office", from_field.id)
    ]


def test_on_a_shared_field_the_office_stands_where_it_knew() -> None:
    office_author, anna = registered(), device("device-a", "anna", 1)
    anna.learn(office_author, stream=SITE)
    anna.write(places.SiteChanged(notes="dog in the yard"), stream=SITE)
    office_author.learn(anna, stream=SITE)
    office_author.write(places.SiteChanged(notes="the dog is gone"), stream=SITE)
    register = site(office_author, anna).fields["notes"]
    assert (register.value, register.origin.side, register.set_aside) == ("the dog is gone", "office", [])


def test_two_technicians_on_a_shared_field_are_decided_by_time_and_the_office_by_side() -> None:
    office_author = registered()
    anna, boris = device("device-a", "anna", 1), device("device-b", "boris", 2)
    anna.learn(office_author, stream=SITE)
    boris.learn(office_author, stream=SITE)
    anna.at("10:00").write(places.SiteChanged(notes="dog"), stream=SITE)
    boris.at("10:01").write(places.SiteChanged(notes="two dogs"), stream=SITE)
    office_author.at("12:00").write(places.SiteChanged(notes="no dog"), stream=SITE)
    register = site(office_author, anna, boris).fields["notes"]
    assert register.value == "two dogs"
    assert [(item.value, item.rule) for item in register.set_aside] == [
        ("dog", "latest_clock"),
        ("no dog", "field_over_office"),
    ]


def test_sealed_values_are_carried_unopened_with_their_event_and_field() -> None:
    office_author, anna = registered(), device("device-a", "anna", 1)
    office_author.write(places.SiteChanged(access_code=sealed("B")), stream=SITE)
    anna.write(places.SiteChanged(access_code=sealed("C")), stream=SITE)
    register = site(office_author, anna).fields["access_code"]
    assert register.value["sealed"]["ct"] == "C" * 24
    assert register.origin.event == anna.written[-1].id
    assert register.set_aside[0].field == "access_code"
    assert register.set_aside[0].value["sealed"]["ct"] == "B" * 24


def test_the_identity_of_equipment_is_shared_and_its_number_the_offices() -> None:
    office_author, anna = agency(), device("device-a", "anna", 1)
    office_author.write(
        places.EquipmentRegistered(reference="L-1", kind="lift", label="lift left", site="site-1", serial="111"),
        stream=LIFT,
    )
    anna.write(places.EquipmentIdentified(serial="112", year_built=1998), stream=LIFT)
    state = fold(LIFT, everything(office_author, anna))
    assert isinstance(state, EquipmentState)
    values = {name: state.fields[name].value for name in ("serial", "year_built", "reference")}
    assert values == {"serial": "112", "year_built": 1998, "reference": "L-1"}


def test_stock_is_the_exact_sum_of_movements() -> None:
    anna, depot = device("device-a", "anna", 1), agency()
    for author, quantity, cause in (
        (depot, "10", "loaded"),
        (anna, "-0.1", "used"),
        (anna, "-0.2", "used"),
        (anna, "0.1", "voided"),
    ):
        author.write(places.StockMoved.model_validate({"part": "PIPE", "quantity": quantity, "cause": cause}), stream=VAN)
    state = fold(VAN, everything(anna, depot) * 2)
    assert isinstance(state, StockState)
    assert state.quantities == {"PIPE": "9.8"}
    assert len(state.movements) == 4


@pytest.mark.parametrize(
    ("scaled", "text"),
    [(0, "0"), (1, "0.000000001"), (-1_500_000_000, "-1.5"), (10**24, "1000000000000000"), (20 * 10**9, "20")],
)
def test_a_quantity_has_one_spelling(scaled: int, text: str) -> None:
    assert decimal_text(scaled) == text


def test_a_shift_has_a_start_an_end_and_remarks() -> None:
    anna = device("device-a", "anna", 1)
    anna.at("07:00").write(places.ShiftStarted(vehicle="van-1"), stream=SHIFT)
    anna.at("12:00").write(places.ShiftNoted(text="flat tyre"), stream=SHIFT)
    anna.at("17:00").write(places.ShiftEnded(), stream=SHIFT)
    state = fold(SHIFT, anna.written)
    assert isinstance(state, ShiftState)
    assert state.started is not None
    assert state.ended is not None
    assert state.started.value == {"vehicle": "van-1"}
    assert [note.text for note in state.notes] == ["flat tyre"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (created(contract="C-1", sla="gold", price_list="P-1", checklist="CL-1"), 9),
        (planned("14:00"), 4),
        (office.Assigned(assignee="anna", tour_position=2), 2),
    ],
)
def test_every_attribute_of_an_office_body_that_is_a_field_is_written(body: Body, names: int) -> None:
    writer = agency()
    writer.write(body)
    assert len(merged(writer.written).fields) == names


def test_a_device_writes_no_office_field() -> None:
    story = morning()
    story.anna.write(moved("23:00"))
    state = story.state()
    assert state.fields["planned_start"].value == "2026-11-22T14:00:00.000Z"
    assert [(item.type, item.reason) for item in state.unknown] == [("intervention.rescheduled.v1", "not_this_author")]


def test_an_office_writes_no_visit_fact_and_no_line() -> None:
    story = morning()
    story.office.write(fieldwork.Started(), opens=True)
    story.office.write(fieldwork.PaymentTaken(amount_cents=1, currency="EUR", method="cash"))
    state = story.state()
    assert (state.visits, state.lines, sum(item.count for item in state.unknown)) == ([], [], 2)


def test_a_type_of_another_kind_of_stream_is_not_read() -> None:
    story = morning()
    story.office.write(places.SiteChanged(notes="dog", location=Position(latitude_e7=1, longitude_e7=1, source="gnss")))
    assert [item.reason for item in story.state().unknown] == ["not_this_stream"]


def test_every_register_is_of_a_class_that_the_rules_know() -> None:
    registers = {row.field_class for row in FIELDS.values() if row.is_register}
    assert registers == {FieldClass.OFFICE, FieldClass.SHARED, FieldClass.ASSIGNMENT}
