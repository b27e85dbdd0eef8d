"""The play from outside, as CI and a new user run it: `zb demo --exit` once, then its promises, figures and files, step by step.

Batches and photos are read here by readers of their own, not by the code that wrote them.
"""

import csv
import hashlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fixtures.proc import processes_of

LIFTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "db-lifts"
ON_REAL_LIFTS = (LIFTS / "lifts.csv").exists()
PLAY_TIMEOUT_S = 280
LAST_LINE = [
    "ok", "admitted", "refused", "rejected", "lost", "stored_twice", "photos", "batches", "state_hash", "replay_hash", "seconds",
]  # fmt: skip
LINE_WIDTHS = (1, 8, 6, 32, 20, 1, 8, 24, 60, 1, 13, 8, 12, 14, 4, 14)
LINE_NET, LINE_VAT = 13, 15
TRAILER_WIDTHS = (1, 8, 6, 6, 16, 16, 16)


@dataclass
class Played:
    """What one play left behind."""

    code: int
    told: str
    home: Path

    @cached_property
    def last(self) -> dict[str, Any]:
        return dict(json.loads(self.told.rstrip().splitlines()[-1]))

    @cached_property
    def promises(self) -> dict[str, dict[str, Any]]:
        kept = json.loads((self.home / "promises.json").read_text())["promises"]
        return {promise["text"]: promise for promise in kept}

    def held(self, promise: str) -> str:
        """What was seen of a promise, which must have been made and held."""
        assert promise in self.promises, f"the play promised no such thing; it promised {sorted(self.promises)}"
        assert self.promises[promise]["held"], self.promises[promise]
        return str(self.promises[promise]["seen"])

    def delivered(self, suffix: str) -> Path:
        (path,) = (self.home / "billing-bridge" / "out").rglob(f"*{suffix}")
        return path


@pytest.fixture(scope="module")
def played(home: Path) -> Played:
    """The day, played once without a terminal."""
    data = ["--data", str(LIFTS)] if ON_REAL_LIFTS else []
    done = subprocess.run(
        [sys.executable, "-m", "zb", "--folder", str(home), "demo", "--exit", *data],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PLAY_TIMEOUT_S,
        check=False,
    )
    return Played(done.returncode, done.stdout, home / "demo")


# --- the whole ---


def test_the_play_ends_by_itself_with_success(played: Played) -> None:
    assert played.code == 0, played.told[-3000:]


def test_every_promise_held(played: Played) -> None:
    assert [promise for promise in played.promises.values() if not promise["held"]] == []


def test_the_last_line_is_one_json_object_with_the_agreed_keys(played: Played) -> None:
    assert list(played.last) == LAST_LINE
    assert played.last["ok"] is True


def test_nothing_was_lost_and_nothing_stored_twice(played: Played) -> None:
    assert (played.last["lost"], played.last["stored_twice"]) == (0, 0)


def test_the_figures_count_what_the_day_had(played: Played) -> None:
    assert played.last["admitted"] > 100
    assert played.last["refused"] >= 1  # the fork
    assert (played.last["rejected"], played.last["photos"], played.last["batches"]) == (1, 2, 1)


def test_no_process_is_left_behind(played: Played) -> None:
    assert processes_of(played.home) == []


# --- 08:00 the office, the devices ---


def test_every_row_of_the_files_is_taken_or_named(played: Played) -> None:
    for kind in ("sites", "equipment", "interventions"):
        taken = int(played.held(f"every row of {kind} is taken or named").partition(" ")[0])
        assert taken > 0


@pytest.mark.skipif(not ON_REAL_LIFTS, reason="the generated city has no wrong rows; the real lifts are not on this machine")
def test_wrong_rows_are_named_with_file_row_and_column(played: Played) -> None:
    table = played.told.partition("Wrong rows")[2].partition("└")[0]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines() if line.startswith("│")]
    assert rows
    for file, row, column, reason in rows:
        assert file in ("sites", "equipment", "interventions")
        assert int(row) > 1
        assert column
        assert reason


def test_the_day_is_planned_on_three_technicians(played: Played) -> None:
    assert played.held("the day is planned on three technicians").endswith("placed")


def test_each_device_holds_exactly_its_own_day(played: Played) -> None:
    for technician in ("ana", "ben", "chloe"):
        held, _, wanted = played.held(f"{technician}'s device holds exactly its day").partition(" of ")
        assert held == wanted


def test_the_device_learns_the_agreed_start(played: Played) -> None:
    assert played.held("the device knows the agreed start") == "14:00"


# --- 10:00 without a network ---


def test_an_office_command_that_makes_no_sense_is_refused_by_name(played: Played) -> None:
    assert played.held("an office command that makes no sense is refused by name") == "plan.state"


def test_a_killed_device_has_everything_that_its_screen_confirmed(played: Played) -> None:
    played.held("a killed device has everything that its screen confirmed")


def test_off_line_nothing_leaves_the_device(played: Played) -> None:
    played.held("off line, nothing leaves and nothing is missing")


def test_the_photos_are_jpegs_that_say_when_and_where(played: Played) -> None:
    photos = sorted((played.home / "pictures").glob("photo-*.jpg"))
    assert len(photos) == 2
    for photo in photos:
        with Image.open(photo) as image:
            image.load()
            assert image.format == "JPEG"
            exif = image.getexif()
        assert " 10:0" in exif.get_ifd(0x8769)[0x9003]  # DateTimeOriginal, local time of the story
        place = exif.get_ifd(0x8825)
        latitude, longitude = (sum(float(part) / 60**n for n, part in enumerate(place[tag])) for tag in (2, 4))
        assert 44 < latitude < 55
        assert 5 < longitude < 15


# --- 10:30 the network is back ---


def test_every_event_has_its_receipt_and_stands_in_the_ledger(played: Played) -> None:
    played.held("every event of the device has its receipt")
    played.held("nothing is lost: the ledger has the device's whole chain")
    played.held("the device trusts the ledger")


def test_the_evidence_is_stored_byte_for_byte_under_its_hash(played: Played) -> None:
    played.held("the evidence is complete and every byte verified")
    stored = [path.read_bytes() for path in (played.home / "media" / "files").rglob("*") if path.is_file()]
    for picture in (played.home / "pictures").iterdir():
        assert picture.read_bytes() in stored


def test_both_writes_stand_moved_and_started(played: Played) -> None:
    assert played.held("both writes stand: 16:00 and in progress") == "16:00, in_progress"
    played.held("moving asks nobody to solve a conflict")


def test_the_cancel_that_came_too_late_is_set_aside_with_its_reason(played: Played) -> None:
    assert played.held("the cancel that came too late is set aside with its reason") == "cancelled_too_late"
    played.held("the visit stands, whole")


def test_the_signers_name_is_sealed(played: Played) -> None:
    played.held("the signer's name is sealed")
    assert b"Fournier" not in b"".join(path.read_bytes() for path in (played.home / "logs").glob("*.log"))


def test_every_decided_value_names_its_rule(played: Played) -> None:
    played.held("every decided value names its rule")


# --- 10:40 a hostile device ---


@pytest.mark.parametrize(
    "attempt", ["publishing as another device", "asking as another technician", "reaching JetStream's own interface"]
)
def test_the_broker_refuses_a_hostile_device(played: Played, attempt: str) -> None:
    assert "permissions violation" in played.held(f"{attempt} is refused by the broker")


def test_a_segment_sent_again_changes_nothing(played: Played) -> None:
    played.held("a segment sent again changes nothing")


def test_a_tampered_event_is_rejected_and_the_good_one_beside_it_admitted(played: Played) -> None:
    assert "event.signature_invalid" in played.held("a tampered event is rejected, the good one beside it admitted")


def test_a_fork_becomes_a_recorded_refusal(played: Played) -> None:
    played.held("a fork becomes a recorded refusal, the first event stands")


def test_a_vector_that_claims_too_much_is_refused(played: Played) -> None:
    assert played.held("a vector that claims more than the ledger has is refused") == "event.seen_ahead"


# --- 11:00 the ERP ---


def test_one_batch_with_two_files_and_a_marker_that_names_their_hashes(played: Played) -> None:
    played.held("one batch with a fixed-width file, a CSV and a marker")
    marked = dict(reversed(line.split("  ")) for line in played.delivered(".done").read_text().splitlines())
    files = [played.delivered(".txt"), played.delivered(".csv")]
    assert marked == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_fixed_width_file_adds_up(played: Played) -> None:
    records = played.delivered(".txt").read_bytes().decode("iso8859-15").split("\r\n")
    assert records.pop() == ""
    assert [record[0] for record in records] == ["E", *("L" for _ in records[2:]), "T"]
    lines = [cut(record, LINE_WIDTHS) for record in records[1:-1]]
    trailer = cut(records[-1], TRAILER_WIDTHS)
    net, vat = (sum(int(line[column]) for line in lines) for column in (LINE_NET, LINE_VAT))
    assert (int(trailer[2]), int(trailer[3])) == (1, len(lines))
    assert [int(cell) for cell in trailer[4:]] == [net, vat, net + vat]


def test_the_csv_file_adds_up_to_the_same_totals(played: Played) -> None:
    rows = list(csv.reader(io.StringIO(played.delivered(".csv").read_text("utf-8"), newline=""), delimiter=";"))
    lines, trailer = rows[1:-1], rows[-1]
    net, vat = (sum(decimal(line[column]) for line in lines) for column in (LINE_NET, LINE_VAT))
    assert [int(cell) for cell in trailer[2:4]] == [1, len(lines)]
    assert [decimal(cell) for cell in trailer[4:]] == [net, vat, net + vat]
    fixed = played.delivered(".txt").read_bytes().decode("iso8859-15").split("\r\n")[-2]
    assert [int(cell) for cell in cut(fixed, TRAILER_WIDTHS)[4:]] == [int(decimal(cell) * 100) for cell in trailer[4:]]


def test_a_second_export_makes_nothing_new(played: Played) -> None:
    assert played.held("a second export makes nothing new and changes no byte") == "billing.nothing"


def test_the_export_is_an_event_of_the_intervention(played: Played) -> None:
    assert played.held("the export is an event of the intervention") == "batch 1"


# --- 12:00 the auditor ---


def test_a_replay_from_the_ledger_gives_the_same_state(played: Played) -> None:
    played.held("a replay from the ledger gives the same state hash")
    assert played.last["state_hash"] == played.last["replay_hash"]
    assert len(bytes.fromhex(played.last["state_hash"])) == 32


def test_chains_signatures_and_the_merkle_root_verify(played: Played) -> None:
    played.held("chains, signatures and the Merkle root verify")


def cut(record: str, widths: tuple[int, ...]) -> list[str]:
    """The cells of a fixed-width record, which is exactly as long as they are together."""
    ends = list(accumulate(widths, initial=0))
    assert len(record) == ends[-1]
    return [record[start:end].strip() for start, end in pairwise(ends)]


def decimal(cell: str) -> Decimal:
    return Decimal(cell.replace(",", "."))
