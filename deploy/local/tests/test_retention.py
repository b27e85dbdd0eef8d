"""Backups forget data subjects' keys after some days, and can be restored all the same."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from zb.backup import ERASURES
from zb.cli import main
from zb.manifest import NAME, Manifest, check, described, read_manifest
from zb.restore import DELETIONS, _pictures_erased
from zb.retention import DAY_MS, DUMP, SUBJECT_KEYS_KEPT_DAYS, prune
from zb_contracts.times import format_time_ms, parse_time_ms

NOW = parse_time_ms("2026-11-23T10:00:00.000Z")


def backup(place: Path, age_days: float) -> Path:
    """As `zb backup` leaves it, with two dumps of some bytes."""
    (place / DUMP.parent).mkdir(parents=True)
    for name in ("scheduling", "subject_keys"):
        (place / DUMP.parent / f"{name}.dump").write_bytes(name.encode())
    files = tuple(described(place, path) for path in sorted(place.rglob("*.dump")))
    made_at = format_time_ms(NOW - round(age_days * DAY_MS))
    (place / NAME).write_bytes(Manifest(made_at, 1, ("scheduling", "subject_keys"), (), 0, "", files).to_json())
    return place


def test_keys_go_from_old_backups_and_nothing_else_does(tmp_path: Path) -> None:
    old, young = backup(tmp_path / "old", SUBJECT_KEYS_KEPT_DAYS + 0.1), backup(tmp_path / "young", SUBJECT_KEYS_KEPT_DAYS)
    (tmp_path / "no-backup").mkdir()
    assert prune(tmp_path, now_ms=NOW) == [old]
    assert prune(tmp_path, now_ms=NOW) == []
    assert not (old / DUMP).exists()
    found = read_manifest(old)
    assert found.databases == ("scheduling",)
    assert [file.path for file in check(old, found)] == ["databases/scheduling.dump"]
    assert len(list(check(young, read_manifest(young)))) == 2


def test_a_crash_after_the_manifest_is_finished_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = backup(tmp_path / "old", 31)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            prune(tmp_path, now_ms=NOW)
    assert [file.path for file in check(old, read_manifest(old))] == ["databases/scheduling.dump"]
    assert prune(tmp_path, now_ms=NOW) == [old]
    assert not (old / DUMP).exists()


def test_a_person_is_told_which_backups_lost_their_keys(tmp_path: Path) -> None:
    old = backup(tmp_path / "old", 1)
    done = CliRunner().invoke(main, ["prune-backups", str(tmp_path), "--days", "0"])
    assert done.exit_code == 0
    assert f"{old}: the keys of data subjects are gone" in done.output


def test_a_restore_tells_the_evidence_store_what_the_deletion_ledger_knows(tmp_path: Path) -> None:
    for file in (DELETIONS, ERASURES):
        (tmp_path / file).parent.mkdir(mode=0o700)
    (tmp_path / DELETIONS).write_text(
        '{"kid":"k-1","subject":"s","cause":"request","at_ms":1}\n'
        '{"kid":"k-2","subject":"s","cause":"request","at_ms":2,"pictures":["aa","bb"]}\n'
    )
    (tmp_path / ERASURES).write_text('{"sha256":"aa","at_ms":1}\n')
    for _ in range(2):
        _pictures_erased(tmp_path)
        assert (tmp_path / ERASURES).read_text() == '{"sha256":"aa","at_ms":1}\n{"sha256": "bb", "at_ms": 2}\n'
