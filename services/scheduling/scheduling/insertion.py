"""A day's interventions on technicians by cheapest insertion: travel by straight line, hours, skills, windows.

Pure and deterministic: the same day gives the same tours in every order of its input. What cannot be placed is named with
its reason. What already has a technician and a start keeps both. It optimises nothing afterwards and knows no roads: better
engines come behind the same types.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

EARTH_RADIUS_M: Final = 6_371_009.0
DETOURS: Final = ((2.0, 2.1, 18.0), (5.0, 1.6, 27.0), (10.0, 1.3, 35.0), (math.inf, 1.2, 39.0))
"""Up to this straight line in km: road km per straight km, and effective km/h. Measured on city roads."""
PRIORITY_ORDER: Final = {"emergency": 0, "high": 1, "normal": 2, "low": 3}
MINUTE_MS: Final = 60_000
LOAD_WEIGHT_PERMILLE: Final = 100
"""What a minute of work that a technician has already costs, against a minute of travel: tours of about equal length."""


@dataclass(frozen=True)
class Place:
    """A point on the map, in 10^-7 degrees (WGS 84)."""

    latitude_e7: int
    longitude_e7: int


@dataclass(frozen=True, kw_only=True)
class Technician:
    """Who works from when to when (ms since 1970), starting and ending at `home`."""

    id: str
    home: Place
    starts_ms: int
    ends_ms: int
    skills: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One intervention to place. The window bounds its start. `fixed_ms` with `technician`: it stands there already."""

    id: str
    place: Place
    duration_min: int
    priority: str = "normal"
    required_skills: frozenset[str] = frozenset()
    window_start_ms: int | None = None
    window_end_ms: int | None = None
    technician: str | None = None
    fixed_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One stop of a tour: when it starts, which it is (1, 2 ...), and the travel to it in seconds."""

    stop: str
    technician: str
    start_ms: int
    position: int
    travel_time_s: int


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """A stop that no tour can take, and why."""

    stop: str
    code: str
    reason: str


@dataclass(frozen=True)
class Day:
    """The tours by technician, and what is left over."""

    tours: dict[str, tuple[Placed, ...]]
    unplaced: tuple[Unplaced, ...]


@dataclass(frozen=True)
class _Schedule:
    """When a sequence of stops starts. `late_ms`: by how much fixed stops are missed; what was so before may stay so."""

    starts_ms: tuple[int, ...]
    travel_ms: tuple[int, ...]
    late_ms: int


def plan_day(technicians: Sequence[Technician], stops: Iterable[Stop]) -> Day:
    """Tours that hold every hour, window and skill; each fixed stop as it stands."""
    crew = sorted(technicians, key=lambda technician: technician.id)
    tours: dict[str, list[Stop]] = {technician.id: [] for technician in crew}
    ordered = sorted(stops, key=_urgency)
    for stop in sorted((each for each in ordered if each.fixed_ms is not None), key=lambda each: (each.fixed_ms, each.id)):
        if stop.technician in tours:
            tours[stop.technician].append(stop)
    unplaced = []
    for stop in ordered:
        if stop.fixed_ms is None:
            failure = _insert(crew, tours, stop)
            if failure is not None:
                unplaced.append(failure)
    return Day({technician.id: _read_out(technician, tours[technician.id]) for technician in crew}, tuple(unplaced))


def travel_ms(start: Place, end: Place) -> int:
    """Expected driving time between two places, whole milliseconds; 0 for the same place."""
    straight_km = _distance_m(start, end) / 1000
    detour, speed_km_h = next((d, v) for limit, d, v in DETOURS if straight_km <= limit)
    return round(straight_km * detour / speed_km_h * 3_600_000)


def _urgency(stop: Stop) -> tuple[int, float, str]:
    end = math.inf if stop.window_end_ms is None else stop.window_end_ms
    return (PRIORITY_ORDER.get(stop.priority, 2), end, stop.id)


def _insert(crew: Sequence[Technician], tours: dict[str, list[Stop]], stop: Stop) -> Unplaced | None:
    best: tuple[int, str, int] | None = None
    for technician in _candidates(crew, stop):
        tour = tours[technician.id]
        load_ms = sum(each.duration_min for each in tour) * MINUTE_MS * LOAD_WEIGHT_PERMILLE // 1000
        for index in range(len(tour) + 1):
            # The added travel needs no schedule, so most places are left without looking at their times.
            offer = (_added_travel_ms(technician, tour, index, stop) + load_ms, technician.id, index)
            if (best is None or offer < best) and _holds(technician, tour, index, stop):
                best = offer
    if best is None:
        return _why(crew, stop)
    tours[best[1]].insert(best[2], stop)
    return None


def _added_travel_ms(technician: Technician, tour: Sequence[Stop], index: int, stop: Stop) -> int:
    before = tour[index - 1].place if index > 0 else technician.home
    after = tour[index].place if index < len(tour) else technician.home
    return travel_ms(before, stop.place) + travel_ms(stop.place, after) - travel_ms(before, after)


def _holds(technician: Technician, tour: Sequence[Stop], index: int, stop: Stop) -> bool:
    """Every window and the working hours hold with the stop there, and no fixed stop is missed by more than it was."""
    after = _schedule(technician, [*tour[:index], stop, *tour[index:]])
    if after is None:
        return False
    before = _schedule(technician, tour) if after.late_ms else None
    return after.late_ms <= (before.late_ms if before else 0)


def _candidates(crew: Sequence[Technician], stop: Stop) -> list[Technician]:
    return [
        each for each in crew if stop.required_skills <= each.skills and (stop.technician is None or stop.technician == each.id)
    ]


def _schedule(technician: Technician, tour: Sequence[Stop]) -> _Schedule | None:
    """Starts and travel of the stops in this order; None where a window or the working hours are broken."""
    time, place, late = technician.starts_ms, technician.home, 0
    starts, travels = [], []
    for stop in tour:
        travel = travel_ms(place, stop.place)
        arrival = time + travel
        if stop.fixed_ms is not None:
            start = stop.fixed_ms
            late += max(0, arrival - start)
        else:
            start = _whole_minute(max(arrival, stop.window_start_ms or 0))
            if stop.window_end_ms is not None and start > stop.window_end_ms:
                return None
            if start + stop.duration_min * MINUTE_MS > technician.ends_ms:
                return None
        starts.append(start)
        travels.append(travel)
        time, place = start + stop.duration_min * MINUTE_MS, stop.place
    home = travel_ms(place, technician.home)
    late += max(0, time + home - technician.ends_ms) if any(stop.fixed_ms is not None for stop in tour) else 0
    if time + home > technician.ends_ms and not any(stop.fixed_ms is not None for stop in tour):
        return None
    return _Schedule(tuple(starts), tuple(travels), late)


def _whole_minute(ms: int) -> int:
    return -(-ms // MINUTE_MS) * MINUTE_MS


def _why(crew: Sequence[Technician], stop: Stop) -> Unplaced:
    """The first reason, from the plainest to the last, that leaves no technician."""
    if not crew:
        return Unplaced(stop=stop.id, code="no_technician", reason="no technician works on this day")
    able = _candidates(crew, stop)
    if not able and stop.technician is not None:
        reason = f"{stop.technician} does not work on this day or lacks a skill of {', '.join(sorted(stop.required_skills))}"
        return Unplaced(stop=stop.id, code="technician", reason=reason)
    if not able:
        known = frozenset[str]().union(*(each.skills for each in crew))
        missing = sorted(stop.required_skills - known)
        reason = f"nobody has the skill {', '.join(missing)}" if missing else "nobody has all the skills together"
        return Unplaced(stop=stop.id, code="skills", reason=reason)
    alone = [each for each in able if _schedule(each, [stop]) is not None]
    if alone:
        return Unplaced(stop=stop.id, code="no_room", reason="the tours of those who could do it are full at that time")
    opened = replace(stop, window_start_ms=None, window_end_ms=None)
    if any(_schedule(each, [opened]) is not None for each in able):
        return Unplaced(stop=stop.id, code="window", reason="its window cannot be met within working hours")
    return Unplaced(stop=stop.id, code="too_long", reason="travel and work together exceed a working day")


def _read_out(technician: Technician, tour: Sequence[Stop]) -> tuple[Placed, ...]:
    schedule = _schedule(technician, tour)
    assert schedule is not None  # only insertions that hold were made, and fixed stops are never refused
    return tuple(
        Placed(stop=stop.id, technician=technician.id, start_ms=start, position=place, travel_time_s=travel // 1000)
        for place, (stop, start, travel) in enumerate(zip(tour, schedule.starts_ms, schedule.travel_ms, strict=True), 1)
    )


def _distance_m(start: Place, end: Place) -> float:
    """Great circle (haversine)."""
    lat1, lat2 = (math.radians(place.latitude_e7 / 1e7) for place in (start, end))
    half_lat = (lat2 - lat1) / 2
    half_lon = math.radians((end.longitude_e7 - start.longitude_e7) / 1e7) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))
