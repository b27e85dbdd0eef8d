"""`zb backup`, `zb restore` and `zb heal` as a person types them where they cannot do what was asked: one sentence, exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zb.cli import main
from zb.stack import restored_file


def zb(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--folder", str(folder), *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backup", "somewhere"), "there is no platform in"),
        (("restore", "somewhere"), "is no backup: it has no manifest.json"),
        (("restore", "--databases", "somewhere"), "is no backup: it has no manifest.json"),
        (("heal", "--nothing-lost"), "was not restored from a backup"),
        (("heal", "--accept-loss"), "there is no platform in"),
    ],
)
def test_without_a_platform_or_a_backup_there_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = zb(tmp_path, *arguments)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("heal",), ("heal", "--accept-loss", "--nothing-lost")])
def test_a_person_has_to_say_which_it_was(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = zb(tmp_path, *arguments)
    assert done.exit_code == 2
    assert "say one of --accept-loss and --nothing-lost" in done.output


def test_a_restored_platform_that_was_stopped_goes_on_once_somebody_said_so(tmp_path: Path) -> None:
    home = tmp_path / "up"
    home.mkdir()
    restored_file(home).write_text(json.dumps({"from": "backup", "made_at": "2026-11-23T10:00:00.000Z"}))
    done = zb(tmp_path, "heal", "--nothing-lost")
    assert done.exit_code == 0
    assert not restored_file(home).exists()
    assert zb(tmp_path, "heal", "--nothing-lost").exit_code == 1
