"""`zb up`, `status`, `import`, `down` as a person types them: one story on one data folder, in the order of this file.

Each start costs seconds, so the tests build on one another; each says in its first line what it finds.
"""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.fixtures.proc import processes_of
from zb.cli import main
from zb_contracts.invitation import Invitation

COMMAND_TIMEOUT_S = 150
GOOD = (
    "reference,name,street,postcode,town,country,latitude,longitude\nS-1,Le Cerisier,1 rue du Four,26420,Vassieux,FR,44.9,5.37\n"
)
DIRTY = GOOD + "S-2,,2 rue du Four,26420,Vassieux,FR,44.9,5.37\nS-3,La Lavande,3 rue du Four,26420,Vassieux,FR,95.0,5.37\n"


@dataclass
class Home:
    """A data folder and the commands on it."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "up"

    @property
    def run(self) -> dict[str, Any]:
        return dict(json.loads((self.data / "run.json").read_text()))

    @property
    def supervisor(self) -> int:
        return int((self.data / "supervisor.pid").read_text())

    def zb(self, *arguments: str) -> "Said":
        """One command, without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "zb", "--folder", str(self.folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        return Said(done.returncode, done.stdout)

    def here(self, *arguments: str) -> "Said":
        """One command in this process: as good as another where nothing of a process is tried, and much sooner."""
        result = CliRunner().invoke(main, ["--folder", str(self.folder), *arguments])
        return Said(result.exit_code, result.output)

    def file(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)


@dataclass
class Said:
    """How a command ended and what it said."""

    code: int
    text: str

    @property
    def sentence(self) -> str:
        """The one sentence of a command that could not do what was asked: no trace, no second line."""
        assert self.code == 1, self.text
        assert "Traceback" not in self.text
        (line,) = [line for line in self.text.splitlines() if line.strip()]
        return line


@pytest.fixture(scope="module")
def on(home: Path) -> Iterator[Home]:
    found = Home(home)
    yield found
    found.zb("down")
    assert processes_of(found.folder) == []


def test_before_the_first_start_each_command_says_what_to_do(on: Home) -> None:
    assert "zb up starts" in on.zb("status").sentence
    assert "zb up starts" in on.zb("import", "sites", on.file("good.csv", GOOD)).sentence
    assert "zb up starts" in on.zb("audit", "verify").sentence
    assert on.zb("down").text.strip() == "nothing runs"


def test_up_starts_everything_and_says_where_it_is(on: Home) -> None:
    said = on.zb("up")
    assert said.code == 0, said.text
    for name in ("issuer", "field-ingest", "scheduling", "media", "billing-bridge"):
        assert name in said.text
        assert str(on.run["ports"][name]) in said.text
    assert oct((on.data / "keys" / "people.json").stat().st_mode & 0o777) == "0o600"


def test_status_shows_that_all_are_ready(on: Home) -> None:
    said = on.zb("status")
    assert said.code == 0
    assert said.text.count("yes") == 6  # four services, the issuer, the warden


def test_a_second_up_is_one_sentence(on: Home) -> None:
    before = on.supervisor
    assert "it runs already" in on.zb("up").sentence
    assert on.supervisor == before


def test_a_file_with_wrong_rows_is_refused_whole_and_every_row_is_named(on: Home) -> None:
    said = on.zb("import", "sites", on.file("dirty.csv", DIRTY))
    assert said.code == 1
    assert "row 3, name" in said.text
    assert "row 4, latitude" in said.text
    assert "input.rows" in said.text
    assert "Traceback" not in said.text


def test_the_good_rows_are_taken_when_asked_and_only_those(on: Home) -> None:
    said = on.zb("import", "sites", on.file("dirty.csv", DIRTY), "--good-rows")
    assert said.code == 0, said.text
    assert "row 3, name" in said.text
    assert "1 of 3 rows taken (1 created), 2 named as wrong" in said.text  # nothing of the refused file was there before


def test_a_data_subject_is_held_and_erased_and_each_refusal_is_a_sentence(on: Home) -> None:
    contact = "reference,name,town,country,contact\nS-7,La Sauge,Vassieux,FR,Odette 0612\n"
    assert on.zb("import", "sites", on.file("contact.csv", contact)).code == 0
    assert "input.not_found" in on.zb("erase", "site/S-0").sentence
    assert "subject.unknown" in on.zb("erase", "nobody").sentence
    assert "held for case-7" in on.zb("hold", "site/S-7", "--case", "case-7").text
    assert "legal hold case-7" in on.zb("erase", "site/S-7").sentence
    assert on.zb("hold", "site/S-7", "--lift").code == 0
    said = on.zb("erase", "site/S-7")
    assert said.code == 0, said.text
    assert "destroyed subject-" in said.text
    assert "contact of site:" in said.text
    assert "accounting records are kept 10 years" in said.text.replace("\n", " ")
    assert "Odette" not in said.text
    assert "were destroyed already" in on.zb("erase", "site/S-7").sentence


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x81\x8d", "input."),
        (b"", "input."),
        (b"reference,name\nS-9,x\n", "input.columns"),
    ],
    ids=["a picture", "an empty file", "too few columns"],
)
def test_a_file_that_is_no_such_csv_is_one_named_refusal(on: Home, content: bytes, code: str) -> None:
    said = on.zb("import", "sites", on.file("wrong.csv", content))
    assert said.code == 1
    assert code in said.text
    assert "Traceback" not in said.text
    assert "system.internal" not in said.text


def test_a_fleet_is_administered_by_agency_and_each_refusal_is_a_sentence(on: Home) -> None:
    picture = on.folder / "invitation.png"
    invite = ("fleet", "invite", "--as", "noor", "--technician", "camille")
    assert "nobody is called noor" in on.here(*invite).sentence
    assert on.here("fleet", "agency", "north", "--title", "Agence Nord").code == 0
    assert on.here("fleet", "administrator", "noor", "--agency", "north").code == 0
    assert "access.wrong_agency" in on.here(*invite, "--agency", "main").sentence

    said = json.loads(on.here(*invite, "--agency", "north", "--png", str(picture), "--json").text)
    assert Invitation.from_text(said["invitation"]).code == said["code"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_mode & 0o077 == 0
    again = on.here(*invite, "--agency", "north", "--png", str(picture))
    assert (again.code, "cannot be made" in again.text) == (2, True)

    assert json.loads(on.here("fleet", "uninvite", said["id"], "--as", "noor", "--json").text)["state"] == "revoked"
    [code] = json.loads(on.here("fleet", "codes", "--as", "noor", "--json").text)["codes"]
    assert (code["id"], code["state"], code["issued_by"]) == (said["id"], "revoked", "noor")
    assert "input.not_found" in on.here("fleet", "wipe", "d-nowhere", "--reason", "left the company").sentence


def test_a_fleet_is_invited_by_a_file_and_its_agency_closes_when_nothing_uses_it(on: Home) -> None:
    out = on.folder / "invitations.csv"
    wanted = on.file("devices.csv", "agency;technician;valid_hours\nnorth;ana;48\nmain;ben;\nnorth;;\n")
    invite = ("fleet", "invite", "--as", "noor", "--file", wanted)
    assert "say with --out" in on.here(*invite).text
    refused = on.here(*invite, "--out", str(out))
    assert (refused.code, "row 3, agency: the agency main is not yours" in refused.text) == (1, True)
    assert "1 of 3 rows cannot be taken" in refused.text
    assert not out.exists()
    assert "2 invitations are in" in on.here(*invite, "--out", str(out), "--good-rows").text
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["row"], row["agency"], row["technician"]) for row in rows] == [("2", "north", "ana"), ("4", "north", "")]
    assert len({Invitation.from_text(row["invitation"]).code for row in rows}) == 2
    assert out.stat().st_mode & 0o077 == 0
    assert "cannot be made" in on.here(*invite, "--out", str(out)).text

    close = ("fleet", "agency", "north", "--close")
    assert "access.wrong_agency" in on.here(*close, "--as", "noor").text
    assert "cannot be closed: open codes: 2" in on.here(*close).text
    for row in rows:
        assert on.here("fleet", "uninvite", row["id"]).code == 0
    assert "north is closed since" in on.here(*close).text
    assert "Agence Nord, closed since" in on.here("fleet", "agencies").text
    assert "fleet.agency_closed" in on.here("fleet", "invite", "--agency", "north").text
    assert "0 events are admitted" in on.here("fleet", "admit", "--device", "d-nowhere", "--reason", "none").text


def test_down_leaves_no_process_and_keeps_the_data(on: Home) -> None:
    assert "stopped" in on.zb("down").text
    assert processes_of(on.folder) == []
    assert on.zb("status").code == 1
    assert (on.data / "postgres").is_dir()


@pytest.mark.parametrize(
    ("found", "said"), [("999", "of version 999, this program knows 1: update the program"), ("\0\0", "VERSION is damaged")]
)
def test_data_of_a_newer_or_unreadable_version_are_left_alone_with_one_sentence(on: Home, found: str, said: str) -> None:
    version = on.data / "VERSION"
    ours = version.read_text()
    version.write_text(found)
    try:
        assert said in on.zb("up").sentence
        assert version.read_text() == found
        assert processes_of(on.folder) == []
    finally:
        version.write_text(ours)


def test_a_second_start_goes_on_with_the_same_data_though_a_port_was_taken_meanwhile(on: Home) -> None:
    before = on.run["ports"]
    with socket.create_server(("127.0.0.1", before["media"])):
        said = on.zb("up")
    assert said.code == 0, said.text
    after = on.run["ports"]
    assert after["media"] != before["media"]
    assert {name: port for name, port in after.items() if name != "media"} == {
        name: port for name, port in before.items() if name != "media"
    }
    again = on.zb("import", "sites", on.file("good.csv", GOOD))
    assert again.code == 0, again.text
    assert "unchanged" in again.text  # the site of the first run is still there


def test_a_killed_supervisor_is_cleaned_up_by_the_next_up(on: Home) -> None:
    before = on.run
    children = before["processes"]
    os.kill(on.supervisor, signal.SIGKILL)
    assert on.zb("status").code == 1
    said = on.zb("up")
    assert said.code == 0, said.text
    for name, child in on.run["processes"].items():
        assert child["pid"] != children[name]["pid"]
        assert not Path(f"/proc/{children[name]['pid']}/cmdline").exists() or not _is_zb(children[name]["pid"])
    assert (on.run["ports"], on.run["nats"]) == (before["ports"], before["nats"])  # devices know these addresses
    assert on.zb("status").code == 0
    again = on.zb("import", "sites", on.file("good.csv", GOOD))
    assert "unchanged" in again.text, again.text


def test_the_ledger_is_sound_after_all_of_this(on: Home) -> None:
    said = on.zb("audit", "verify")
    assert said.code == 0, said.text
    assert "the ledger is sound" in said.text


def test_the_last_down_leaves_nothing_behind(on: Home) -> None:
    assert on.zb("down").code == 0
    assert processes_of(on.folder) == []


def _is_zb(pid: int) -> bool:
    try:
        return b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
