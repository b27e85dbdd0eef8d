"""Whether the platform of a data folder runs, where, and who may call it: what the commands beside it read.

It starts and stops nothing.
"""

import json
from pathlib import Path
from typing import Any

from zb.office import Person
from zb.run_as import command_line
from zb.stack import ISSUER, StackError
from zb.supervise import pid_file


def supervisor(home: Path) -> int | None:
    """The process id of the supervisor of this folder, if it lives.

    A number alone proves nothing: after a kill it may be another's, or a corpse that nobody collected.
    """
    try:
        pid = int(pid_file(home).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if lives(pid, home) else None


def lives(pid: int, home: Path) -> bool:
    """Whether the process is a supervisor of this folder."""
    return str(home) in command_line(pid)


def running(home: Path) -> dict[str, Any]:
    """What the running stack wrote about itself. StackError when none runs."""
    if supervisor(home) is None:
        raise StackError(f"the platform does not run on {home}: zb up starts it")
    return dict(json.loads((home / "run.json").read_text()))


def someone(home: Path, run: dict[str, Any], name: str) -> Person:
    """One of the local people, by name."""
    passwords = json.loads((home / "keys" / "people.json").read_text())
    return Person(f"http://127.0.0.1:{run['ports'][ISSUER]}", name, passwords[name])
