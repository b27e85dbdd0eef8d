"""An export says what the ledger has, and a stranger's program with nothing of ours names every change in it."""

import base64
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from field_ingest.ledger.keyring import KeyRing, ServerAuthor
from field_ingest.ledger.ledger_keys import LedgerKey, LedgerKeys
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.signing import Statement
from field_ingest.proof import tiles
from field_ingest.proof.export import Exporter, ExportRefused, Selection
from field_ingest.proof.tiles import NoSuchTile, Tile, tile_at, tiles_for, tiles_of
from zb_chassis.claims import Kind, Nkey
from zb_chassis.database import transaction
from zb_contracts import keys, merkle
from zb_contracts.enrolment import TrustedKey
from zb_contracts.events.devices import DeviceEnrolled, DeviceRevoked
from zb_contracts.keys import KeyPurpose, SigningKey, WrapKey, certify
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint, sign_note
from zb_contracts.sealed import to_base64url

ROOT = SigningKey.from_seed(b"the offline root of this test...")
OTHER = SigningKey.from_seed(b"somebody else's key altogether..")
LOG = "zb.test"
CHANGES = 500


def keyring_of(house: Any) -> KeyRing:
    """The keys that an export states: root, ledger key with its certificate, the ledger's own author."""
    ledger, escrow = house.ledger_key, WrapKey(bytes(range(32)))
    return KeyRing(
        root_public=ROOT.public,
        ledger=LedgerKeys([LedgerKey(certify(ROOT, ledger.public, KeyPurpose.LEDGER, not_before_ms=0), ledger)]),
        escrow=escrow,
        escrow_certificate=trusted(escrow.public, KeyPurpose.ESCROW),
        ingest=house.signer._key,
        authors=(ServerAuthor(author="ingest", kind="service", event_key=to_base64url(house.signer._key.public)),),
        device_signer=Nkey.generate(Kind.ACCOUNT),
        device_account="A",
        custody=escrow.public,
        media=escrow.public,
    )


def trusted(public: bytes, purpose: KeyPurpose) -> TrustedKey:
    one = certify(ROOT, public, purpose, not_before_ms=0)
    return TrustedKey(
        kid=one.kid,
        purpose=purpose.value,
        public=to_base64url(one.public),
        not_before_ms=0,
        not_after_ms=None,
        signature=to_base64url(one.signature),
    )


async def enrolled(house: Any, name: str) -> Any:
    """A device whose enrolment stands in the ledger, as a real one's does."""
    pen = await house.hire(name)
    login, wrap = SigningKey.from_seed(hashlib.sha256(b"login" + name.encode()).digest()), WrapKey.generate()
    statement = keys.certification_statement(login.public, pen.key.public, wrap.public)
    body = DeviceEnrolled(
        device=name,
        author=pen.author,
        agency="main",
        login_key=keys.nkey_user_text(login.public),
        event_key=to_base64url(pen.key.public),
        wrap_key=to_base64url(wrap.public),
        certification=to_base64url(login.sign(statement)),
        shard=0,
    )
    await state(house, f"device:{name}", body)
    return pen


async def state(house: Any, stream: str, body: Any) -> None:
    async with transaction(house.pool) as connection:
        await house.signer.state(PostgresTransaction(connection), [Statement(stream, body)])


@pytest.fixture
async def exporter(house: Any) -> Exporter:
    """A ledger of more than a tile: a device's chain, a fork that was refused, an office, a revoked device."""
    leaky, thief = await enrolled(house, "leaky"), await enrolled(house, "stolen")
    restored = leaky.copy()
    for _ in range(5):
        await house.deliver(leaky, leaky.writes(60))
    await house.deliver(leaky, [restored.write()])
    await house.deliver(house.office, [house.office.write(body=b'{"text":"from the office"}')])
    await house.deliver(thief, thief.writes(2))
    house.now_ms += 1_000
    await house.pool.execute("UPDATE authors SET revoked_at_ms = $2 WHERE author = $1", thief.author, house.now_ms)
    await state(house, "device:stolen", DeviceRevoked(device="stolen", author=thief.author, cause="stolen"))
    house.now_ms += 1_000
    await house.deliver(thief, thief.writes(1))
    return Exporter(house.pool, house.checkpoints, keyring_of(house), house.clock, log_name=LOG)


def verify(folder: Path, *arguments: str, root: SigningKey | None = ROOT) -> tuple[int, dict[str, Any]]:
    """The verdict of the export's own copy of the program, run by itself: no package of ours can be imported."""
    program = shutil.copy(Path(tiles.__file__).with_name("verify_export.py"), folder.parent / "verify.py")
    given = ["--root", root.public.hex()] if root else []
    command = [sys.executable, "-I", str(program), str(folder), "--json", *given, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def names(verdict: dict[str, Any]) -> set[str]:
    return {fault["fault"] for fault in verdict["faults"]}


async def test_the_whole_ledger_verifies_off_line(exporter: Exporter, house: Any, tmp_path: Path) -> None:
    done = await exporter.export(tmp_path / "whole", Selection())
    code, verdict = verify(tmp_path / "whole", "--origin", LOG)
    size = await house.pool.fetchval("SELECT size FROM shards")
    assert (code, verdict["sound"], verdict["faults"]) == (0, True, [])
    assert verdict["rows"] == verdict["signatures"] == done.rows == size > 256
    assert verdict["links"] == size - 1  # but for the fork, which follows nobody
    assert "no row of the log up to the checkpoint is missing" in verdict["proved"]
    assert any("what was recorded is true" in line for line in verdict["not_proved"])


async def test_a_stream_and_a_range_verify_and_say_that_they_are_parts(exporter: Exporter, house: Any, tmp_path: Path) -> None:
    stream = await house.pool.fetchval("SELECT stream FROM ledger WHERE author LIKE 'leaky%' LIMIT 1")
    for number, selection in enumerate((Selection(stream=stream), Selection(shard=0, first=250, last=270))):
        folder = tmp_path / f"part-{number}"
        done = await exporter.export(folder, selection)
        code, verdict = verify(folder)
        assert (code, verdict["faults"], verdict["rows"]) == (0, [], done.rows)
        assert any("there is nothing else" in line for line in verdict["not_proved"])


async def test_without_a_root_key_it_says_that_it_vouches_only_for_itself(exporter: Exporter, tmp_path: Path) -> None:
    await exporter.export(tmp_path / "whole", Selection())
    code, verdict = verify(tmp_path / "whole", root=None)
    assert code == 0
    assert any("whose log it is" in line for line in verdict["not_proved"])


async def test_every_single_byte_that_changes_is_caught(exporter: Exporter, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    await exporter.export(folder, Selection())
    program = load(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    dice = random.Random(20261123)  # noqa: S311 a fixed order, no secret
    missed = []
    for number in range(CHANGES):
        file = files[number % len(files)] if number < len(files) else dice.choice(files)
        before = file.read_bytes()
        at = dice.randrange(len(before))
        file.write_bytes(before[:at] + bytes([before[at] ^ (1 << dice.randrange(8))]) + before[at + 1 :])
        verifier = program["Verifier"](folder, ROOT.public)
        if verifier.guarded(verifier.run) is not None and not verifier.count:
            missed.append(f"{file.name} at {at}")
        file.write_bytes(before)
    assert missed == []


def load(folder: Path) -> dict[str, Any]:
    """The export's program as a module's names, for many runs in one process."""
    found: dict[str, Any] = {"__name__": "verify_export"}
    exec(compile((folder / "verify_export.py").read_text(), "verify_export.py", "exec"), found)  # noqa: S102
    return found


# --- A forger who holds the ledger's key signs the manifest again: the deeper checks must speak ---


def rewritten(folder: Path, key: SigningKey, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """The rows changed, and everything signed again over them but the checkpoint."""
    file = folder / "shard-0" / "rows.jsonl"
    rows = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    resign(folder, key, rows=len(rows))


def resign(folder: Path, key: SigningKey, *, rows: int | None = None) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in list(manifest["files"]):
        file = folder / name
        manifest["files"].pop(name)
        if file.exists():
            manifest["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if rows is not None:
        manifest["shards"][0]["rows"] = rows
    (folder / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.note").write_text(sign_note(f"zone-blanche-export-v1\n{digest}\n", NoteSigner(LOG, key)))


def swap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows[:10], rows[11], rows[10], *rows[12:]]


def relabel(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two rows in each other's place under the right numbers."""
    rows[10], rows[11] = rows[11] | {"position": 10}, rows[10] | {"position": 11}
    return rows


def other_body(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[20]["body"] = base64.b64encode(b'{"text":"another story"}').decode()
    return rows


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda rows: rows[:100] + rows[101:], "ROW_MISSING"),
        (lambda rows: rows[:-3], "ROW_MISSING"),
        (swap, "ROW_MISPLACED"),
        (relabel, "LEAF_DIFFERS"),
        (other_body, "BODY_DIFFERS"),
        (lambda rows: [*rows, rows[-1]], "ROW_MISPLACED"),
        (lambda rows: [row | ({"extra": 1} if row["position"] == 5 else {}) for row in rows], "ROW_UNREADABLE"),
        (lambda rows: [row | ({"received_at_ms": 1} if row["position"] == 5 else {}) for row in rows], "LEAF_DIFFERS"),
    ],
    ids=["missing", "cut at the end", "swapped lines", "swapped places", "another body", "twice", "unreadable", "other time"],
)
async def test_a_forger_with_the_ledgers_key_is_named(
    exporter: Exporter, house: Any, tmp_path: Path, change: Any, fault: str
) -> None:
    folder = tmp_path / "forged"
    await exporter.export(folder, Selection())
    rewritten(folder, house.ledger_key, change)
    code, verdict = verify(folder)
    assert (code, fault in names(verdict)) == (1, True), verdict["faults"]
    assert "MANIFEST_FORGED" not in names(verdict)


async def test_a_key_that_was_not_valid_is_named(exporter: Exporter, house: Any, tmp_path: Path) -> None:
    """The whole log was made anew by who runs the platform, with a revoked device's event shown as admitted."""
    folder = tmp_path / "forged"
    await exporter.export(folder, Selection())
    file = folder / "shard-0" / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row | ({"kind": "admitted"} if row["kind"] == "held" else {}) for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rebuild(folder / "shard-0", rows, house.ledger_key)
    resign(folder, house.ledger_key)
    code, verdict = verify(folder)
    assert (code, names(verdict)) == (1, {"KEY_REVOKED"})


def rebuild(folder: Path, rows: list[dict[str, Any]], key: SigningKey) -> None:
    """Tiles and checkpoint over these rows."""
    leaves = []
    for row in rows:
        header = hashlib.sha256(base64.b64decode(row["header"])).hexdigest()
        signature = base64.b64decode(row["signature"]).hex()
        leaf = f'{{"facts":{row["facts"]},"header_sha256":"{header}","kind":"{row["kind"]}",'
        leaves.append(merkle.leaf_hash(f'{leaf}"received_at_ms":{row["received_at_ms"]},"signature":"{signature}"}}'.encode()))
    levels = [leaves, [merkle.root_of(leaves[at : at + 256]) for at in range(0, len(leaves) // 256 * 256, 256)]]
    for tile in tiles_of(len(rows)):
        first = tile.number * 256
        (folder / tile.path).write_bytes(b"".join(levels[tile.level][first : first + tile.width]))
    note = sign_checkpoint(Checkpoint(f"{LOG}/0", len(rows), merkle.root_of(leaves)), NoteSigner(f"{LOG}/0", key))
    (folder / "checkpoint").write_text(note)


async def test_files_that_lie_are_named(exporter: Exporter, house: Any, tmp_path: Path) -> None:
    """A corrupt tile, a forged checkpoint, an export cut in half, another origin, another root, a forged certificate."""
    await exporter.export(tmp_path / "whole", Selection())

    def wrong(change: Callable[[Path], None], *arguments: str, root: SigningKey = ROOT, again: bool = True) -> set[str]:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        change(folder)
        if again:
            resign(folder, house.ledger_key)
        code, verdict = verify(folder, *arguments, root=root)
        assert code in (1, 2)
        return names(verdict)

    def flip(name: str) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            data = bytearray((folder / name).read_bytes())
            data[40] ^= 1
            (folder / name).write_bytes(bytes(data))

        return change

    def forge(folder: Path) -> None:
        size = json.loads((folder / "manifest.json").read_text())["shards"][0]["size"]
        note = sign_checkpoint(Checkpoint(f"{LOG}/0", size, bytes(32)), NoteSigner(f"{LOG}/0", OTHER))
        (folder / "shard-0" / "checkpoint").write_text(note)

    def halve(folder: Path) -> None:
        for file in sorted(path for path in folder.rglob("*") if path.is_file())[::2]:
            if file.name not in ("manifest.json", "keys.json", "manifest.note"):
                file.unlink()

    assert "TILE_WRONG" in wrong(flip("shard-0/tile/0/000"))
    assert "TILE_WRONG" in wrong(flip(f"shard-0/{partial_tile(tmp_path / 'whole')}"))
    assert "TILE_MISSING" in wrong(lambda folder: (folder / "shard-0/tile/0/000").unlink())
    assert "CHECKPOINT_FORGED" in wrong(forge)
    assert "FILE_MISSING" in wrong(halve, again=False)
    assert wrong(lambda folder: None, "--origin", "another.log") == {"ORIGIN_DIFFERS"}
    assert "ROOT_DIFFERS" in wrong(lambda folder: None, root=OTHER)
    assert "CERTIFICATE_INVALID" in wrong(
        lambda folder: replace_in(folder / "keys.json", ROOT.public.hex(), OTHER.public.hex()), root=OTHER
    )
    assert "FILE_UNKNOWN" in wrong(lambda folder: (folder / "notes.txt").write_text("from nobody"), again=False)  # type: ignore[func-returns-value]


def partial_tile(folder: Path) -> str:
    size = json.loads((folder / "manifest.json").read_text())["shards"][0]["size"]
    return next(tile.path for tile in tiles_of(size) if tile.level == 0 and tile.width < 256)


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


async def test_nothing_is_written_over_or_half(exporter: Exporter, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportRefused, match="exists"):
        await exporter.export(tmp_path / "there", Selection())
    for selection in (Selection(stream="intervention:none"), Selection(shard=0, first=5, last=10_000), Selection(shard=7)):
        with pytest.raises(ExportRefused):
            await exporter.export(tmp_path / "new", selection)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / ".new.partial").exists()


def test_tiles_have_one_path_each() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(1, 0, 17).path == "tile/1/000.p/17"
    for tile in (Tile(0, 0), Tile(0, 999, 1), Tile(3, 1000), Tile(2, 1_000_000, 255)):
        assert tile_at(tile.path) == tile
    for path in (
        "tile/0/1",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/64/000",
        "tile/0/000/../1",
    ):
        with pytest.raises(NoSuchTile):
            tile_at(path)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_536, 65_537, 70_000])
def test_a_parts_tiles_are_those_that_its_proofs_need(size: int) -> None:
    every = set(tiles_of(size))
    assert sum(tile.width for tile in every if tile.level == 0) == size
    assert set(tiles_for(range(size), size)) == every
    if size > 300:
        some = set(tiles_for([299], size))
        assert {tile for tile in some if tile.level == 0} >= {
            next(tile for tile in every if tile.level == 0 and tile.number == 1)
        }
        assert len(some) <= 2 * 3
