"""A play that is not left to end by itself: a second one beside it, SIGTERM in the middle, SIGKILL, and what is left then."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.proc import processes_of
from zb.stack import forget

DEADLINE_S = 120


class Playing:
    """`zb demo` as a child, whose words go to a file."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            command = [sys.executable, "-m", "zb", "--folder", str(folder), "demo"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def until_told(self, words: str) -> None:
        eventually(f"the play says {words!r}", lambda: words in self.log.read_text(errors="replace"))


def eventually(condition: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


@pytest.fixture
def playing(home: Path, tmp_path: Path) -> Iterator[Playing]:
    play = Playing(home, tmp_path / "told")
    yield play
    play.process.kill()
    play.process.wait()
    forget(home / "demo")


def test_a_second_play_is_refused_and_sigterm_leaves_nothing(playing: Playing, home: Path) -> None:
    playing.until_told("nats-server listens")
    second = subprocess.run(
        [sys.executable, "-m", "zb", "--folder", str(home), "demo", "--exit"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (second.returncode, "Traceback" in second.stderr) == (1, False)
    assert "in use by another run" in second.stderr
    assert playing.process.poll() is None, "the running play is not disturbed"

    playing.until_told("Three devices are enrolled")
    playing.process.send_signal(signal.SIGTERM)
    playing.process.wait(DEADLINE_S)
    assert processes_of(home) == []


def test_what_a_killed_play_left_running_is_ended_before_the_next(playing: Playing, home: Path) -> None:
    playing.until_told("is ready at")
    playing.process.kill()
    playing.process.wait(DEADLINE_S)
    assert processes_of(home), "servers and services outlive their supervisor's SIGKILL"
    forget(home / "demo")
    eventually("nothing of it is left", lambda: processes_of(home) == [])
    assert not (home / "demo").exists()
