"""`zb up --shards 2` as a person types it: each shard's admission is a process of its own, for the life of the folder.

One story on one data folder, in the order of this file; what two shards do to messages is field-ingest's own tests' matter.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.proc import processes_of
from tests.test_up_and_down import Home
from zb.stack import StackError, checked_shards, shards_file

ADMISSIONS = ("field-ingest-admission-0", "field-ingest-admission-1")
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def on(home: Path) -> Iterator[Home]:
    found = Home(home)
    yield found
    found.zb("down")
    assert processes_of(found.folder) == []


def test_each_shards_admission_is_a_process_that_status_shows(on: Home) -> None:
    said = on.zb("up", "--shards", "2")
    assert said.code == 0, said.text
    said = on.zb("status")
    assert (said.code, said.text.count("yes")) == (0, 8), said.text
    for name in ADMISSIONS:
        assert name in said.text


def test_a_killed_admission_is_started_again_with_its_shard(on: Home) -> None:
    victim = on.run["processes"][ADMISSIONS[1]]
    os.kill(victim["pid"], signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while (now := on.run["processes"][ADMISSIONS[1]])["pid"] == victim["pid"] or on.zb("status").code:
        assert time.monotonic() < deadline, on.zb("status").text
    assert now["arguments"] == victim["arguments"]
    assert now["arguments"][-2:] == ["--shards", "1"]


def test_the_audit_reads_both_logs(on: Home) -> None:
    said = on.zb("audit", "verify", "--json")
    report = json.loads(said.text.splitlines()[-1])
    assert (said.code, report["sound"]) == (0, True), said.text


def test_the_next_start_goes_on_with_both_and_another_number_is_one_sentence(on: Home) -> None:
    assert on.zb("down").code == 0
    refused = on.zb("up", "--shards", "1").sentence
    assert "founded with 2 shards, and that never changes: leave out --shards 1, or give another folder" in refused
    said = on.zb("up")
    assert said.code == 0, said.text
    assert set(ADMISSIONS) <= set(on.run["processes"])


def test_a_folder_from_before_there_were_shards_has_one(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    assert checked_shards(tmp_path, None) == 1
    with pytest.raises(StackError, match="founded with 1 shard, and that never changes: leave out --shards 3"):
        checked_shards(tmp_path, 3)


@pytest.mark.parametrize("content", ["", "0", "65", "two"])
def test_a_damaged_number_of_shards_is_named(tmp_path: Path, content: str) -> None:
    shards_file(tmp_path).write_text(content)
    with pytest.raises(StackError, match="SHARDS is damaged"):
        checked_shards(tmp_path, None)
