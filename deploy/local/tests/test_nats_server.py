"""The embedded nats-server: its keys, its restarts, and one sentence for each reason not to start."""

import socket
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from zb import accounts, keys, nats
from zb.nats import NatsServer, NatsStartError, Ports
from zb_chassis.claims import Kind, Nkey


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "nats", tmp_path / "keys"


def test_a_second_start_has_the_same_identities_and_ports(folders: tuple[Path, Path]) -> None:
    with NatsServer(*folders) as first:
        before = {name: key.public for name, key in first.layout.keys.items()}
        ports = first.ports
    with NatsServer(*folders, ports=ports) as second:
        assert {name: key.public for name, key in second.layout.keys.items()} == before
        assert second.ports == ports
        # The server keeps the later of two claims, so a start must sign later than what it has.
        assert second.layout.issued_at > first.layout.issued_at


def test_secrets_are_readable_by_their_owner_only(folders: tuple[Path, Path]) -> None:
    with NatsServer(*folders):
        secrets = list(folders[1].iterdir())
        assert {path.name for path in secrets} == {f"{name}.seed" for name in accounts.KEYS}
        assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


def test_the_server_listens_on_loopback_only(folders: tuple[Path, Path]) -> None:
    with NatsServer(*folders) as server:
        settings = nats.configuration(server.layout, nats.Places(nats.HOST, server.ports, "x"))
        listening = [settings["listen"], settings["http"], settings["websocket"]["listen"]]
        assert all(address.startswith("127.0.0.1:") for address in listening)


@pytest.mark.parametrize("which", ["client", "websocket", "monitor"])
def test_a_port_in_use_is_named(folders: tuple[Path, Path], which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NatsStartError, match=rf"port {port} on 127\.0\.0\.1 cannot be used .* or give another port"):
            NatsServer(*folders, ports=Ports(**{which: port})).start()


def test_a_folder_in_use_by_another_run_is_named(folders: tuple[Path, Path]) -> None:
    with NatsServer(*folders) as server:
        with pytest.raises(NatsStartError, match="is in use by another run: stop it first"):
            NatsServer(*folders).start()
        assert server.pid is not None


def test_a_server_that_a_killed_supervisor_left_is_ended_and_replaced(folders: tuple[Path, Path]) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from zb.nats import NatsServer\n"
        "server = NatsServer(Path(sys.argv[1]), Path(sys.argv[2])); server.start()\n"
        "print(server.ports.client, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    left = subprocess.run([sys.executable, "-c", program, *map(str, folders)], stdout=subprocess.PIPE, check=False)
    orphan = ("127.0.0.1", int(left.stdout))
    socket.create_connection(orphan).close()  # it runs, with nobody to end it
    with NatsServer(*folders) as server:
        assert server.ports.client != orphan[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(orphan)


def test_a_missing_program_is_named(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(NatsStartError, match=r"there is no nats-server at .*: run make setup"):
        NatsServer(*folders).start()


def test_a_program_of_another_platform_is_named(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nats-server").write_bytes(b"\x00not for this machine")
    (tmp_path / "nats-server").chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(NatsStartError, match="does not run on this platform"):
        NatsServer(*folders).start()


def test_a_failed_start_leaves_the_folder_free(folders: tuple[Path, Path]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NatsStartError):
            NatsServer(*folders, ports=Ports(client=taken.getsockname()[1])).start()
    with NatsServer(*folders) as server:
        assert server.pid is not None


def test_a_damaged_seed_is_named_and_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.load_or_generate(folder, {"core": Kind.ACCOUNT})
    (folder / "core.seed").write_text("SAnonsense")
    with pytest.raises(keys.KeysError, match=r"core\.seed is damaged: restore it from a backup"):
        keys.load_or_generate(folder, {"core": Kind.ACCOUNT})
    assert (folder / "core.seed").read_text() == "SAnonsense"


def test_a_seed_of_another_kind_is_named(tmp_path: Path) -> None:
    folder = keys.private_folder(tmp_path / "keys")
    keys.write_secret(folder / "core.seed", Nkey.generate(Kind.USER).seed)
    with pytest.raises(keys.KeysError, match=r"core\.seed holds a key of kind user, not account"):
        keys.load_or_generate(folder, {"core": Kind.ACCOUNT})


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.load_or_generate(folder, {"core": Kind.ACCOUNT})
    (folder / "core.seed").chmod(0o644)
    with pytest.raises(keys.KeysError, match=r"others may read the secret .*: run chmod 600"):
        keys.load_or_generate(folder, {"core": Kind.ACCOUNT})
    folder.chmod(0o755)
    with pytest.raises(keys.KeysError, match=r"others may read .*: run chmod 700"):
        keys.load_or_generate(folder, {"core": Kind.ACCOUNT})


@pytest.mark.parametrize("hours", [0, 23, 73, -1])
def test_a_session_token_lives_24_to_72_hours(hours: int) -> None:
    pairs = {name: Nkey.generate(kind) for name, kind in accounts.KEYS.items()}
    layout = accounts.layout(pairs, issued_at=0)
    with pytest.raises(ValueError, match="lives 24 to 72 hours"):
        layout.device_token(Nkey.generate(Kind.USER).public, "alice", "anna", issued_at=0, hours=hours)


def test_every_service_that_owns_or_publishes_is_in_the_layout() -> None:
    owners = {stream.owner for stream in nats.subjects.STREAMS}
    assert owners <= set(accounts.SERVICES)
