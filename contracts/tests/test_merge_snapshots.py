"""A fold put away and taken up again is the same fold: every kind of stream, any moment, each version of the rules."""

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.tests.histories import INTERVENTION, Author, agency, device, dice, everything, planned, random_history
from zb_contracts.events import AuthorKind, Opaque, fieldwork, office, places
from zb_contracts.merge import snapshots
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import RULES, StreamFold, fold
from zb_contracts.merge.places import MOVEMENTS_SHOWN_MAX
from zb_contracts.merge.snapshots import SnapshotRefused
from zb_contracts.merge.state import RULE_VERSION, StockState

few = settings(max_examples=40, deadline=None)
VERSIONS = sorted(RULES)


def beside_the_interventions(seed: int, steps: int) -> dict[str, list[MergeEvent]]:
    """A random history of a site, a machine, a van and a day, with what no rule reads among it."""
    chance = dice(seed)
    authors = [device("device-a", "tech-a", 1), device("device-b", "tech-b", 2), agency()]
    streams = ("site:site-1", "equipment:lift-1", "stock:van-1", "shift:day-1", "device:device-a")
    for _ in range(steps):
        author, stream = chance.choice(authors), chance.choice(streams)
        if chance.random() < 0.4:
            author.learn(chance.choice(authors), stream=stream)
        author.now_ms += chance.randint(0, 900_000)
        author.write(_body(stream, chance.randint(0, 9)), stream=stream)
    return {stream: [event for event in everything(*authors) if event.header.stream == stream] for stream in streams}


def _body(stream: str, number: int) -> fieldwork.Body | Opaque:
    if number == 0:
        return Opaque(f"{stream.partition(':')[0]}.dreamt.v1", "not for these rules")
    if number == 1:
        return admission(number)
    kinds = {
        "site": places.SiteChanged(notes=f"dog {number}"),
        "equipment": places.EquipmentIdentified(serial=str(number), place="cellar" if number % 2 else None),
        "stock": places.StockMoved(part=f"P-{number % 3}", quantity=f"{number}.5", cause="used"),
        "shift": (places.ShiftStarted(), places.ShiftEnded(), places.ShiftNoted(text="rain"))[number % 3],
        "device": Opaque("device.dreamt.v1", "not for these rules"),
    }
    return kinds[stream.partition(":")[0]]


def admission(number: int) -> office.EventAdmitted:
    held = f"0190d000-0000-7000-8000-{number:012d}"
    return office.EventAdmitted(event=held, author="device-a", author_seq=1, supervisor="alix", reason="it was lost later")


@pytest.mark.parametrize("version", VERSIONS)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 60))
@few
def test_a_fold_that_was_put_away_goes_on_as_if_it_had_not_been(version: int, seed: int, steps: int, cut: int) -> None:
    history = random_history(dice(seed), steps)
    whole, first = StreamFold(INTERVENTION, version), StreamFold(INTERVENTION, version)
    for event in history:
        whole.add(event)
    for event in history[:cut]:
        first.add(event)
    again = StreamFold.restore(INTERVENTION, first.snapshot(), version)
    assert again.state() == first.state()
    for event in history:  # those before the cut a second time
        again.add(event)
    assert again.state() == whole.state()


@pytest.mark.parametrize("version", VERSIONS)
@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(0, 40))
@few
def test_so_do_the_folds_of_sites_equipment_stock_shifts_and_devices(version: int, seed: int, steps: int, cut: int) -> None:
    for stream, history in beside_the_interventions(seed, steps).items():
        first = StreamFold(stream, version)
        for event in history[:cut]:
            first.add(event)
        again = StreamFold.restore(stream, first.snapshot(), version)
        assert again.state() == first.state()
        for event in history:
            again.add(event)
        assert again.state() == fold(stream, history, version)


def test_a_snapshot_of_a_long_stock_is_short() -> None:
    van = device("device-a", "tech-a", 1)
    for _ in range(3_000):
        van.now_ms += 60_000
        van.write(places.StockMoved(part="SEAL-12", quantity="-1.5", cause="used"), stream="stock:van-1")
    folding = StreamFold("stock:van-1")
    for event in van.written:
        folding.add(event)
    state = folding.state()
    assert isinstance(state, StockState)
    assert (state.quantities, state.movement_count) == ({"SEAL-12": "-4500"}, 3_000)
    assert [item.origin.seq for item in state.movements] == list(range(3_001 - MOVEMENTS_SHOWN_MAX, 3_001))
    assert len(folding.snapshot()) < 200_000
    first = fold("stock:van-1", van.written, 1)
    assert isinstance(first, StockState)
    assert (len(first.movements), first.movement_count, first.quantities) == (3_000, msgspec.UNSET, state.quantities)


def test_the_movements_that_are_shown_do_not_depend_on_the_order_of_arrival() -> None:
    history = beside_the_interventions(7, 1_500)["stock:van-1"]
    assert len(history) > MOVEMENTS_SHOWN_MAX
    shuffled = list(history)
    dice(1).shuffle(shuffled)
    assert fold("stock:van-1", shuffled) == fold("stock:van-1", history)


@pytest.mark.parametrize("kind", ["site", "equipment", "stock", "shift", "device"])
def test_an_admission_stands_on_the_held_events_own_stream_whatever_its_kind(kind: str) -> None:
    supervisor = Author("ingest", AuthorKind.SERVICE)
    supervisor.write(admission(1), stream=f"{kind}:x-1")
    state = fold(f"{kind}:x-1", supervisor.written)
    assert [item.supervisor for item in state.admissions or ()] == ["alix"]
    assert state.unknown == []
    old = fold(f"{kind}:x-1", supervisor.written, 1)
    assert (old.admissions, old.unknown[0].reason) == (msgspec.UNSET, "not_this_stream")


def test_a_snapshot_is_refused_by_other_streams_rules_programs_and_when_it_is_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    office_1 = agency()
    office_1.write(planned())
    folding = StreamFold(INTERVENTION)
    folding.add(office_1.written[0])
    data = folding.snapshot()
    assert StreamFold.restore(INTERVENTION, data).state() == folding.state()
    for torn in (b"", data[:-1], data[:40] + b"\x00" + data[41:], b"\x00" * 32):
        with pytest.raises(SnapshotRefused, match="is not as it was written"):
            StreamFold.restore(INTERVENTION, torn)
    with pytest.raises(SnapshotRefused, match=rf"not \({snapshots.FORMAT}, 'site:a'"):
        StreamFold.restore("site:a", data)
    with pytest.raises(SnapshotRefused, match="a snapshot of format"):
        StreamFold.restore(INTERVENTION, data, RULE_VERSION - 1)
    monkeypatch.setattr(snapshots, "fingerprint", lambda: "another register of types")
    with pytest.raises(SnapshotRefused, match="another register of types"):
        StreamFold.restore(INTERVENTION, data)


def test_ten_thousand_events_are_put_away_and_taken_up_in_well_under_a_second() -> None:
    folding = StreamFold(INTERVENTION)
    for event in random_history(dice(1), 10_000):
        folding.add(event)
    data = folding.snapshot()
    started = time.process_time()
    again = StreamFold.restore(INTERVENTION, data)
    assert time.process_time() - started < 1.5  # a shared machine; about 0.2 s where nothing else runs
    assert again.state() == folding.state()
