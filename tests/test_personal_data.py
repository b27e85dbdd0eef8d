"""Personal values are nowhere in clear, and an erased one is readable nowhere: every byte of every store is searched.

Names, phone and code come in through the import, a signer's name and a position from a real device. Beside them stands a word
that is not personal, which the search has to find: else it would prove nothing. Devices' stores, keys and evidence are searched
as they lie on disk; databases as their files after a checkpoint, and once more as a dump, because large values lie compressed in
the files; traces as the services exported them.
"""

import asyncio
import base64
import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.fixtures.collector import Collector, traced
from tests.fixtures.invariants import eventually, query
from zb.backup import back_up
from zb.dumps import databases
from zb.office import Refused
from zb.play import pictures
from zb.play.stage import AGENCY, Stage, in_thread, until
from zb.postgres import program_folder
from zb.stack import environment_file

PERSONAL = ("Zsofia Markerfalvy", "0799-555-0142", "MK4711-DOOR-ZB", "Odon Signmarker", "-431234567", "-1712345678")
"""The contact's name and phone, the access code, who signed, and where the technician was: with a sign, which no hash has."""
SIGNER = PERSONAL[3]
HERE = {"latitude_e7": int(PERSONAL[4]), "longitude_e7": int(PERSONAL[5]), "accuracy_m": 5, "source": "gnss"}
TRACED = ("field-ingest", "scheduling", "media")
CONTROL = "CONTROL-NOTE-NOT-PERSONAL"
REFERENCE = "MARK-1"
SITES = (
    "reference;name;town;country;contact;access_code;notes\n"
    f"{REFERENCE};Marked house;Lyon;FR;{PERSONAL[0]} {PERSONAL[1]};{PERSONAL[2]};{CONTROL}\n"
)


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """For backup and dumps. Not under pytest's: PostgreSQL's user has to reach it."""
    with tempfile.TemporaryDirectory(prefix="zb-markers-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def traces(crew: Stage) -> Iterator[Collector]:
    """What the services export while the test runs."""
    with traced(crew, TRACED) as found:
        yield found


@pytest.mark.timeout(600)
async def test_personal_values_are_nowhere_in_clear_and_an_erased_one_is_readable_nowhere(
    crew: Stage, places: Path, traces: Collector
) -> None:
    signed = await _plant(crew)
    before = await _fingerprint(crew)
    places_of_control = await _assert_clean(crew, places / "before")
    assert {"postgres", "nats", "dump field_ingest", "dump scheduling", "backup field_ingest", "export"} <= places_of_control
    await _erase_the_signer(crew, signed)
    subject = await _subject(crew)
    assert await _values(crew, subject) == {"contact": f"{PERSONAL[0]} {PERSONAL[1]}", "access_code": PERSONAL[2]}
    erasure = crew.url("scheduling", f"subjects/{subject}/erasure")
    await in_thread(crew.person("administrator").post, erasure, {})
    with pytest.raises(Refused, match=r"subject\.erased"):
        await _values(crew, subject)
    await _told(crew, subject)
    await _assert_clean(crew, places / "after")
    # What was recorded stays as it was: rows, signatures, leaves, states.
    after = await _fingerprint(crew)
    assert {name: after[name] for name in before} == before
    assert "the ledger is sound" in await in_thread(_audit, crew, "verify")
    with pytest.raises(Refused, match=r"subject\.erased"):
        await in_thread(crew.person("administrator").post, erasure, {})
    exported = b"".join(traces.bodies)
    assert _personal_in(exported) == []
    assert b"/v1/imports/sites" in exported


async def _erase_the_signer(stage: Stage, signed: dict[str, Any]) -> None:
    """Custody has the key that the device made; the office erases it; the device forgets it, and the picture is gone."""
    hero, url = stage.hero, stage.url("scheduling", f"subjects/signer-{signed['id']}")
    picture = stage.stack.folder / "media" / "files" / signed["sha256"][:2] / signed["sha256"][2:4] / signed["sha256"]

    async def taken_over() -> bool:
        assert (await hero.call("sync"))["keys_fault"] == ""
        try:
            report = await in_thread(stage.person("auditor").get, url)
        except Refused:
            return False
        return bool(report["living"]) and picture.exists()

    await eventually("custody has the key and media the picture", taken_over)
    assert SIGNER in json.dumps(await hero.call("show", intervention=signed["intervention"]))
    report = await in_thread(stage.person("administrator").post, f"{url}/erasure", {})
    assert report["pictures"] == [signed["sha256"]]
    await hero.call("sync")
    shown = json.dumps(await hero.call("show", intervention=signed["intervention"]))
    assert SIGNER not in shown
    # Where the technician was is the technician's own to read.
    assert PERSONAL[4] in shown

    async def gone() -> bool:
        return not picture.exists()

    await eventually("the picture is erased", gone)


async def _plant(stage: Stage) -> dict[str, Any]:
    url = stage.url("scheduling", "imports/sites")
    await in_thread(stage.person("integrator").post_csv, url, SITES.encode(), agency=AGENCY, mode="all-or-nothing")
    hero = stage.hero
    intervention = (await hero.call("list"))[0]["intervention"]
    picture = stage.stack.folder / "signature-marker.png"
    picture.write_bytes(pictures.signature(7))
    signed = await hero.call("sign", intervention=intervention, strokes=str(picture), signer=SIGNER, shown="shown")
    await hero.call("travel", intervention=intervention, position=HERE)
    await hero.call("wait", until="settled", timeout_s=60)

    subject = await _subject(stage)

    async def merged() -> bool:
        (row,) = await query(stage, "field-ingest", f"SELECT count(*) AS n FROM states WHERE stream = 'site:{subject}'")
        return bool(row["n"])

    await eventually("the site is merged", merged)
    await stage.projected()
    return {**signed, "intervention": intervention}


async def _subject(stage: Stage) -> str:
    url = stage.url("scheduling", "subjects")
    found = await in_thread(stage.person("auditor").get, url, site_reference=REFERENCE, agency=AGENCY)
    return str(found["subject"])


async def _values(stage: Stage, subject: str) -> dict[str, str]:
    """As the office reads them. Refused once they are erased."""
    url = stage.url("scheduling", f"subjects/{subject}/values")
    return dict((await in_thread(stage.person("dispatcher").get, url))["values"])


async def _told(stage: Stage, subject: str) -> None:
    """The ledger has the word of it."""

    def there() -> bool:
        rows = asyncio.run(query(stage, "field-ingest", "SELECT body FROM ledger WHERE type = 'subject.erased.v1'"))
        return any(subject in row["body"].decode() for row in rows)

    await until("the erasure stands in the ledger", there)
    await stage.projected()


async def _fingerprint(stage: Stage) -> dict[str, Any]:
    """Every row of the ledger and every state that is not about devices and offices."""
    rows = await query(stage, "field-ingest", "SELECT shard, position, header, body, signature, leaf_hash FROM ledger")
    states = await query(stage, "field-ingest", "SELECT stream, state_hash FROM states WHERE kind <> 'device'")
    return {f"row {row['shard']}/{row['position']}": tuple(row) for row in rows} | {
        row["stream"]: row["state_hash"] for row in states
    }


async def _assert_clean(stage: Stage, folder: Path) -> set[str]:
    """No personal value in any store; where the word was found that is not personal."""
    await in_thread(folder.mkdir)
    await in_thread(back_up, stage.stack.folder, folder / "backup")
    await in_thread(_audit, stage, "export", str(folder / "export"))
    controls: set[str] = set()
    for name in await databases(stage.stack.postgres):
        await _checkpointed(stage, name)
        for kind, text in (
            ("dump", await in_thread(_dump, stage, name)),
            ("backup", await in_thread(_backup_text, folder, name)),
        ):
            assert _personal_in(text) == [], f"{kind} of {name}"
            controls |= {f"{kind} {name}"} if _spellings(CONTROL, text) else set()
    for root in (stage.stack.folder, folder):
        for file in sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size):
            found, control = await in_thread(_searched, file)
            assert found == [], f"{file} holds {found}"
            controls |= {file.relative_to(root).parts[0]} if control else set()
    return controls


async def _checkpointed(stage: Stage, name: str) -> None:
    connection = await asyncpg.connect(stage.stack.postgres.superuser_dsn(name))
    try:
        await connection.execute("VACUUM")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _audit(stage: Stage, *arguments: str) -> str:
    settings = json.loads(environment_file(stage.stack.folder, "field-ingest").read_text())
    command = [sys.executable, "-m", "field_ingest", "audit", *arguments]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _dump(stage: Stage, name: str) -> bytes:
    return _ran("pg_dump", "--format=plain", f"--dbname={stage.stack.postgres.superuser_dsn(name)}")


def _backup_text(folder: Path, name: str) -> bytes:
    return _ran("pg_restore", "--file=-", str(folder / "backup" / "databases" / f"{name}.dump"))


def _ran(program: str, *arguments: str) -> bytes:
    done = subprocess.run([str(program_folder() / program), *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _searched(file: Path) -> tuple[list[str], bool]:
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _personal_in(data), _spellings(CONTROL, data)
    except FileNotFoundError:
        # A server's file that went while we looked.
        return [], False


def _personal_in(data: Any) -> list[str]:
    return [marker for marker in PERSONAL if _spellings(marker, data)]


def _spellings(marker: str, data: Any) -> bool:
    """In clear, as bytea is dumped, in UTF-16, or in base64 at any of its three alignments."""
    raw = marker.encode()
    # The characters that the marker alone decides, all of them: fewer are found by chance in a megabyte of signatures.
    coded = (
        base64.b64encode(bytes(shift) + raw + bytes(2))[-(-shift * 4 // 3) : (shift + len(raw)) * 4 // 3] for shift in range(3)
    )
    return any(data.find(spelling) >= 0 for spelling in (raw, raw.hex().encode(), marker.encode("utf-16-le"), *coded))
