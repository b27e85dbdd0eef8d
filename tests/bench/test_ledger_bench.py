"""The bench's own arithmetic and workload: no figure is asserted, but what is measured is what we say."""

from field_ingest.admission.domain import Event
from field_ingest.admission.verification import read_event
from tests.bench.ledger.watching import Position, lags, quantile
from tests.bench.ledger.workload import Agency
from zb_contracts.events import Opaque, read_body
from zb_contracts.segment import SEGMENT_EVENTS_MAX, decode_segment


def events_of(agency: Agency) -> list[Event]:
    segments = [*agency.planned(), *agency.worked()]
    return [read_event(signed) for segment in segments for signed in decode_segment(segment.data)]


def test_everything_that_an_agency_writes_is_valid_in_one_chain_each_and_the_same_for_a_seed() -> None:
    agency = Agency(7, 3, devices=6)
    events = events_of(agency)
    assert [event.fault for event in events if event.header is None] == []
    assert [event.type for event in events if isinstance(read_body(event.type, event.signed.body), Opaque)] == []
    assert len({event.id for event in events}) == len(events)
    last: dict[str, bytes] = {}
    for event in events:
        assert event.prev == last.get(event.author, bytes(32))
        last[event.author] = event.header_hash
    assert [event.id for event in events_of(Agency(7, 3, devices=6))] == [event.id for event in events]


def test_the_field_sends_live_segments_and_backlogs_and_visits_the_work_of_others() -> None:
    agency = Agency(7, 3, devices=40)
    office = sum(segment.events for segment in agency.planned())
    sizes = [segment.events for segment in agency.worked()]
    assert office
    assert {8, SEGMENT_EVENTS_MAX} <= set(sizes)
    vectors = [event.header.seen for event in events_of(Agency(7, 3, devices=40)) if event.header]
    assert max(map(len, vectors)) == 2


def test_the_lag_is_the_time_since_the_ledger_was_as_long_as_the_projection_is_now() -> None:
    series = [
        Position(0.0, 0, 0),
        Position(1.0, 100, 0),
        Position(2.0, 200, 100),
        Position(3.0, 200, 150),
        Position(4.0, 200, 200),
    ]
    assert lags(series) == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_quantile_is_a_value_that_was_seen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50.0, 99.0, 100.0)
