"""The device bench's own arithmetic and backlogs: no figure is asserted, but what is measured is what we say."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.device import figures
from tests.bench.device.backlog import EVENTS, INTERVENTIONS, Backlogs, events_of, first_of_each
from tests.bench.device.fleet import COMPANY, Backlog
from tests.bench.ledger.workload import Agency
from zb_contracts.envelope import GENESIS, digest, parse_header
from zb_contracts.segment import decode_segment

WAVE = Backlog(
    devices=1_000,
    events=40_000,
    took_s=50.0,
    lost=0,
    unsettled=0,
    not_admitted=0,
    to_receipt_p50_s=1.0,
    to_receipt_p99_s=2.0,
    connected_max=300,
    asked=1_500,
    bytes_up=30_000_000,
    bytes_down=14_000_000,
    cpu_s={"admission": 12.0, "postgres": 9.0, "devices": 20.0},
    resident={"admission": 1 << 20},
    faults={},
)


def test_a_backlog_is_the_beginning_of_a_chain_that_knows_nobody_of_the_field() -> None:
    agency = Agency(7, 3, live_share=0.0, devices=12, interventions=INTERVENTIONS)
    planned = {parse_header(event.header).id for segment in agency.planned() for event in decode_segment(segment.data)}
    assert planned
    backlogs = [events_of(segment) for segment in first_of_each(agency)]
    assert len(backlogs) == 12
    assert sum(len(events) == EVENTS for events in backlogs) > 6
    for events in backlogs:
        headers, prev = [parse_header(event.header) for event in events], GENESIS
        for seq, (header, event) in enumerate(zip(headers, events, strict=True), 1):
            assert (header.seq, header.prev) == (seq, prev)
            prev = digest(event.header)
        assert {name for header in headers for name in header.seen} <= {agency.office.author}


def test_the_news_move_every_intervention_of_one_technician(tmp_path: Path) -> None:
    segments = Backlogs(tmp_path, 7).changes()
    events = [parse_header(event.header) for segment in segments for event in decode_segment(segment.data)]
    planned = Agency(7, 900, devices=1, interventions=50)
    before = sum(segment.events for segment in planned.planned())
    assert [header.type for header in events] == ["intervention.rescheduled.v1"] * 50
    assert [header.seq for header in events] == list(range(before + 1, before + 51))
    assert len({header.stream for header in events}) == 50


def test_a_company_is_the_wave_in_proportion_and_the_dearest_part_is_its_bottleneck() -> None:
    rows = {target.name: target for target in figures.backlog(WAVE)}
    assert WAVE.bottleneck == "admission"
    assert rows[f"{COMPANY:,} devices, devices on this machine too"].value == pytest.approx(75.0)
    assert rows[f"{COMPANY:,} devices in 5 min: cores for admission"].value == pytest.approx(12.0 * 90 / 300)
    assert rows[f"{COMPANY:,} devices in 5 min: cores for all"].value == pytest.approx(21.0 * 90 / 300)
    assert rows["1,000 devices, 40,000 events: all receipts verified"].target is None
    assert rows["lost, by the ledger's marks and chain ends"].ok


def test_a_run_goes_between_the_marks_of_a_page_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{figures.BEGIN}\nan old table\n{figures.END}\nafter\n")
    machine = {"cpu": "two cores", "cores": 2, "system": "Linux", "python": "3.11", "load_at_start": 0.1}
    row: dict[str, Any] = {"name": "append", "value": 1.5, "unit": "ms", "target": 2.0, "better": "less", "ok": True}
    figures.into_page(page, {"machine": machine, "targets": [row]})
    text = page.read_text()
    assert text.startswith(f"before\n{figures.BEGIN}\nMeasured on")
    assert "| append | 1.5 ms | at most 2 | ok |" in text
    assert text.endswith(f"{figures.END}\nafter\n")
    assert "old" not in text
    with pytest.raises(ValueError, match="has no line"):
        figures.into_page(Path(__file__), {"machine": machine, "targets": [row]})
