"""The list of depots and their folders: written whole, read again, and one sentence for what is wrong with either."""

import json
from pathlib import Path

import pytest

from zb import accounts
from zb.accounts import layout
from zb.depot_access import DEVICES_MAX, Depot, keys_of
from zb.depots import CONFIGURATION, LIST, Address, DepotError, configuration, describe, read_depots, remember
from zb.keys import load_or_generate
from zb_chassis.claims import Nkey, decode

LYON = Depot("lyon", ("d-1", "d-2"))
ADDRESS = Address("nats-leaf://127.0.0.1:7422", "127.0.0.1:4222", 8222)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A platform's folder after its first start, as far as depots need it."""
    load_or_generate(tmp_path / "up" / "broker-keys", accounts.KEYS)
    return tmp_path / "up"


def test_depots_are_remembered_by_name(home: Path) -> None:
    assert read_depots(home) == ()
    remember(home, Depot("lille"))
    remember(home, LYON)
    assert remember(home, Depot("lyon", ("d-3",))) == (Depot("lille"), Depot("lyon", ("d-3",)))


def test_a_folder_names_no_place_of_the_machine_on_which_it_was_written(home: Path, tmp_path: Path) -> None:
    remember(home, LYON)
    describe(home, LYON, ADDRESS, tmp_path / "lyon")
    names = {path.name for path in (tmp_path / "lyon").iterdir()}
    assert names == {CONFIGURATION, "core.creds", "own.creds", "sys.creds"}
    text = (tmp_path / "lyon" / CONFIGURATION).read_text()
    assert str(tmp_path) not in text
    assert all((tmp_path / "lyon" / name).stat().st_mode & 0o077 == 0 for name in names)


def test_a_depots_account_imports_its_own_devices_and_nobody_elses() -> None:
    pairs = {name: Nkey.generate(kind) for name, kind in (accounts.KEYS | keys_of([LYON])).items()}
    signed = layout(pairs, issued_at=1, depots=[LYON])
    imported = decode(signed.accounts["DEPOT-LYON"], now=0).nats["imports"]
    assert {one["subject"] for one in imported} == {"sync.v1.d-1.*", "sync.v1.d-2.*", "hint.v1.d-1", "hint.v1.d-2"}
    assert "DEPOT-LYON" not in json.dumps(configuration(signed, "lyon", ADDRESS)["resolver_preload"])


@pytest.mark.parametrize("name", ["", "Lyon", "*", "a.b", "x" * 65])
def test_a_depot_is_called_as_an_id(name: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        Depot(name)


def test_a_depot_that_could_own_every_device_is_refused() -> None:
    with pytest.raises(ValueError, match="not an id"):
        Depot("lyon", ("*",))
    with pytest.raises(ValueError, match=f"{DEVICES_MAX} devices at most"):
        Depot("lyon", tuple(f"d-{number}" for number in range(DEVICES_MAX + 1)))


@pytest.mark.parametrize("content", ["{", "[]", '{"lyon": {}}', '{"lyon": {"devices": [1]}}', '{"*": {"devices": []}}'])
def test_a_damaged_list_is_named(home: Path, content: str) -> None:
    (home / LIST).write_text(content)
    with pytest.raises(DepotError, match=r"depots\.json is damaged"):
        read_depots(home)


def test_a_folder_of_something_else_is_not_written_over(home: Path, tmp_path: Path) -> None:
    remember(home, LYON)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("dear ana")
    with pytest.raises(DepotError, match="holds something that is no depot"):
        describe(home, LYON, ADDRESS, tmp_path / "mine")
    describe(home, LYON, ADDRESS, tmp_path / "lyon")
    with pytest.raises(DepotError, match="is the folder of the depot lyon"):
        describe(home, remember(home, Depot("lille"))[0], ADDRESS, tmp_path / "lyon")


def test_a_place_without_a_platform_has_no_depots(tmp_path: Path) -> None:
    with pytest.raises(DepotError, match="there is no platform in"):
        remember(tmp_path / "up", LYON)
