"""The drill: a platform at work is backed up without a pause, put back into an empty place, and proven to be the same.

And every way in which a backup is none: cut short, changed by a byte, of another place, onto a place that holds something.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.invariants import query
from tests.fixtures.working import working
from zb.backup import back_up
from zb.manifest import NAME, BackupError, Manifest, check, read_manifest
from zb.play.stage import Stage, in_thread
from zb.restore import restore
from zb.stack import Stack, StackError, restored_file

EVENTS_BEFORE = 10


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not under pytest's: PostgreSQL's user has to reach it."""
    with tempfile.TemporaryDirectory(prefix="zb-backup-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
async def backup(crew: Stage, folder: Path) -> Path:
    """Made while a technician records."""
    place = folder / "backup"
    async with working(crew, "ben") as pace:
        await pace.more(EVENTS_BEFORE)
        before = await _rows(crew)
        await in_thread(back_up, crew.stack.folder, place)
        await pace.more(EVENTS_BEFORE)
    assert sum(head.size for head in read_manifest(place).shards) >= before
    return place


async def _rows(stage: Stage) -> int:
    (row,) = await query(stage, "field-ingest", "SELECT sum(size) AS size FROM shards")
    return int(row["size"])


async def test_a_backup_is_restored_into_an_empty_place_and_proven(backup: Path, folder: Path) -> None:
    said: list[str] = []
    home = folder / "restored"
    found = await in_thread(restore, backup, home, said.append)
    (proof,) = [line for line in said if line.startswith("the ledger is whole")]
    assert f"shard 0: {found.shards[0].size} rows, root {found.shards[0].root[:16]}" in proof
    assert f"{found.streams} states, hash {found.state_hash}, as in the manifest" in said
    assert found.streams > 0
    # Whether the platform went on after the backup, only a person knows: nothing starts before it was said.
    assert json.loads(restored_file(home).read_text())["made_at"] == found.made_at
    with pytest.raises(StackError, match="zb heal has to be told"):
        Stack(home).start()
    with pytest.raises(BackupError, match="is not empty"):
        await in_thread(restore, backup, home)


def test_a_backup_holds_no_more_than_it_must(backup: Path, crew: Stage) -> None:
    manifest = read_manifest(backup)
    tops = {file.path.split("/")[0] for file in manifest.files}
    assert {"databases", "keys", "broker-keys", "issuer", "field-ingest", "VERSION", "SHARDS"} <= tops
    assert not tops & {"nats", "postgres", "logs", "handed-out", "run.json"}
    assert backup.stat().st_mode & 0o077 == 0
    assert [path for path in backup.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []
    with pytest.raises(BackupError, match="a backup is a new folder"):
        back_up(crew.stack.folder, backup)


@pytest.fixture
def copy(backup: Path, tmp_path: Path) -> Path:
    """The manifest and one small file of it, to be spoilt."""
    manifest = json.loads((backup / NAME).read_bytes())
    manifest["files"] = [file for file in manifest["files"] if file["path"] == "SHARDS"]
    (tmp_path / "SHARDS").write_bytes((backup / "SHARDS").read_bytes())
    (tmp_path / NAME).write_text(json.dumps(manifest))
    assert [file.path for file in check(tmp_path, read_manifest(tmp_path))] == ["SHARDS"]
    return tmp_path


def test_a_backup_that_was_cut_short_has_no_manifest(copy: Path, tmp_path: Path) -> None:
    (copy / NAME).unlink()
    with pytest.raises(BackupError, match="is no backup: it has no manifest"):
        restore(copy, tmp_path / "home")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "SHARDS").write_bytes(b"2"), "is not what the manifest says"),
        (lambda folder: (folder / "SHARDS").write_bytes(b"11"), "is not what the manifest says"),
        (lambda folder: (folder / "SHARDS").unlink(), "is missing"),
        (lambda folder: (folder / NAME).write_bytes(b"{"), "is damaged"),
        (lambda folder: (folder / NAME).write_bytes(b"[]"), "is damaged"),
        (lambda folder: _change(folder, format=2), "of a format that this program does not know"),
        (lambda folder: _change(folder, data_version=99), "update the program"),
        (lambda folder: _change(folder, files=[{"path": "../SHARDS", "bytes": 1, "sha256": ""}]), "outside the backup"),
    ],
    ids=["other-byte", "longer", "missing", "cut-manifest", "no-manifest", "newer-format", "newer-data", "elsewhere"],
)
def test_a_damaged_backup_is_refused_before_anything_is_written(copy: Path, spoil: object, said: str) -> None:
    assert callable(spoil)
    spoil(copy)
    home = copy / "home"
    with pytest.raises(BackupError, match=said):
        restore(copy, home)
    assert not home.exists()


def _change(folder: Path, **values: object) -> None:
    file = folder / NAME
    file.write_text(json.dumps(json.loads(file.read_bytes()) | values))


def test_a_place_without_a_platform_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="there is no platform in"):
        back_up(tmp_path / "nothing", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_manifest_is_read_as_it_was_written(backup: Path, tmp_path: Path) -> None:
    manifest = read_manifest(backup)
    (tmp_path / NAME).write_bytes(manifest.to_json())
    again: Manifest = read_manifest(tmp_path)
    assert again == manifest
