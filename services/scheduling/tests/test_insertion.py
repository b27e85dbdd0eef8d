"""The insertion: nothing overlaps, every window, hour and skill holds, the same day gives the same tours."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.insertion import MINUTE_MS, Place, Stop, Technician, plan_day, travel_ms

EIGHT = 1_773_644_400_000
HOUR = 60 * MINUTE_MS
CENTRE = Place(525_200_000, 134_050_000)
NEAR = Place(525_400_000, 134_150_000)
FAR = Place(475_200_000, 84_050_000)
ANNA = Technician(id="anna", home=CENTRE, starts_ms=EIGHT, ends_ms=EIGHT + 9 * HOUR, skills=frozenset({"lift", "gas"}))
BERT = Technician(id="bert", home=NEAR, starts_ms=EIGHT, ends_ms=EIGHT + 9 * HOUR, skills=frozenset({"lift"}))

places = st.builds(Place, st.integers(523_000_000, 527_000_000), st.integers(132_000_000, 137_000_000))


@st.composite
def stops(draw: st.DrawFn) -> list[Stop]:
    found = []
    for number in range(draw(st.integers(0, 14))):
        opens = draw(st.none() | st.integers(0, 8))
        length = draw(st.integers(0, 4))
        found.append(
            Stop(
                id=f"stop-{number:02d}",
                place=draw(places),
                duration_min=draw(st.integers(1, 180)),
                priority=draw(st.sampled_from(["low", "normal", "high", "emergency"])),
                required_skills=frozenset(draw(st.sets(st.sampled_from(["lift", "gas", "roof"]), max_size=2))),
                window_start_ms=None if opens is None else EIGHT + opens * HOUR,
                window_end_ms=None if opens is None else EIGHT + (opens + length) * HOUR,
            )
        )
    return found


@given(stops())
def test_tours_hold_every_window_hour_and_skill_and_nothing_overlaps(day: list[Stop]) -> None:
    crew = {each.id: each for each in (ANNA, BERT)}
    by_id = {stop.id: stop for stop in day}
    plan = plan_day([ANNA, BERT], day)
    placed = [each for tour in plan.tours.values() for each in tour]
    assert sorted([each.stop for each in placed] + [each.stop for each in plan.unplaced]) == sorted(by_id)
    for technician, tour in plan.tours.items():
        free, place = crew[technician].starts_ms, crew[technician].home
        for number, each in enumerate(tour, 1):
            stop = by_id[each.stop]
            assert each.position == number
            assert each.start_ms >= free + travel_ms(place, stop.place)
            assert stop.required_skills <= crew[technician].skills
            assert stop.window_start_ms is None or stop.window_start_ms <= each.start_ms
            assert stop.window_end_ms is None or each.start_ms <= stop.window_end_ms
            free, place = each.start_ms + stop.duration_min * MINUTE_MS, stop.place
        assert free + travel_ms(place, crew[technician].home) <= crew[technician].ends_ms or not tour


@given(stops(), st.randoms(use_true_random=False))
def test_the_same_day_in_another_order_gives_the_same_tours(day: list[Stop], chance: random.Random) -> None:
    shuffled = list(day)
    chance.shuffle(shuffled)
    assert plan_day([ANNA, BERT], day) == plan_day([BERT, ANNA], shuffled)


@given(stops())
def test_planning_what_stands_already_changes_nothing(day: list[Stop]) -> None:
    first = plan_day([ANNA, BERT], day)
    standing = {each.stop: each for tour in first.tours.values() for each in tour}
    again = [
        replace(stop, technician=standing[stop.id].technician, fixed_ms=standing[stop.id].start_ms)
        for stop in day
        if stop.id in standing
    ]
    assert plan_day([ANNA, BERT], again).tours == first.tours


def reason(crew: Sequence[Technician], *day: Stop) -> str:
    plan = plan_day(crew, day)
    return plan.unplaced[-1].code


PLAIN = Stop(id="leaky-boiler", place=NEAR, duration_min=60)


@pytest.mark.parametrize(
    ("crew", "day", "code"),
    [
        ([], [PLAIN], "no_technician"),
        ([ANNA], [replace(PLAIN, required_skills=frozenset({"roof"}))], "skills"),
        ([ANNA], [replace(PLAIN, window_start_ms=EIGHT - 5 * HOUR, window_end_ms=EIGHT - 4 * HOUR)], "window"),
        ([ANNA], [replace(PLAIN, place=FAR)], "too_long"),
        ([ANNA], [replace(PLAIN, duration_min=10 * 60)], "too_long"),
        ([ANNA], [replace(PLAIN, id="all-day", duration_min=8 * 60), PLAIN], "no_room"),
        ([ANNA], [replace(PLAIN, technician="bert")], "technician"),
    ],
)
def test_what_finds_no_place_says_why(crew: list[Technician], day: list[Stop], code: str) -> None:
    assert reason(crew, *day) == code


def test_an_emergency_goes_before_what_is_merely_urgent() -> None:
    morning = {"window_start_ms": EIGHT, "window_end_ms": EIGHT + HOUR, "duration_min": 120}
    high = replace(PLAIN, id="a-high", priority="high", **morning)
    emergency = replace(PLAIN, id="z-emergency", priority="emergency", **morning)
    plan = plan_day([ANNA], [high, emergency])
    assert [each.stop for each in plan.tours["anna"]] == ["z-emergency"]


def test_a_stop_that_stands_keeps_its_start_and_others_go_round_it() -> None:
    standing = replace(PLAIN, id="standing", technician="anna", fixed_ms=EIGHT + 2 * HOUR)
    plan = plan_day([ANNA], [standing, replace(PLAIN, id="new-1"), replace(PLAIN, id="new-2")])
    starts = {each.stop: each.start_ms for each in plan.tours["anna"]}
    assert starts["standing"] == EIGHT + 2 * HOUR
    assert len(starts) == 3


def test_a_late_standing_stop_is_kept_and_never_made_later() -> None:
    """The office moved it by hand to where nobody can be in time: that stays as it is."""
    standing = [
        replace(PLAIN, id="first", technician="anna", fixed_ms=EIGHT + HOUR),
        replace(PLAIN, id="second", place=CENTRE, technician="anna", fixed_ms=EIGHT + HOUR + 30 * MINUTE_MS),
    ]
    plan = plan_day([ANNA], [*standing, replace(PLAIN, id="new")])
    assert {each.stop: each.start_ms for each in plan.tours["anna"]}["second"] == EIGHT + HOUR + 30 * MINUTE_MS
    assert len(plan.tours["anna"]) == 3


@pytest.mark.parametrize(("degrees_e7", "minutes"), [(90_000, 7.0), (300_000, 11.9), (700_000, 17.3), (2_000_000, 41.1)])
def test_travel_is_slower_and_more_winding_the_nearer(degrees_e7: int, minutes: float) -> None:
    there = Place(CENTRE.latitude_e7 + degrees_e7, CENTRE.longitude_e7)
    assert travel_ms(CENTRE, there) / MINUTE_MS == pytest.approx(minutes, rel=0.01)
    assert travel_ms(CENTRE, CENTRE) == 0


def test_work_is_shared_when_travel_hardly_differs() -> None:
    twin = replace(ANNA, id="twin")
    day = [Stop(id=f"stop-{number}", place=NEAR, duration_min=60) for number in range(6)]
    plan = plan_day([ANNA, twin], day)
    assert {technician: len(tour) for technician, tour in plan.tours.items()} == {"anna": 3, "twin": 3}
