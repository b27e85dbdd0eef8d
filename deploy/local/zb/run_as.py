"""Which system user an embedded server runs as: ourselves, or, when we are root, a user without rights.

PostgreSQL refuses to run as root. This module makes the system user, gives it the data folder, and opens the way to the
folder and to the server's binaries by the least that works: the right to pass through a parent, never to list it.
It starts and stops nothing.
"""

import logging
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM_USER = "zoneblanche"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """A system user by its numbers."""

    uid: int
    gid: int


def prepare(folder: Path, binaries: Path) -> User | None:
    """Make `folder` usable by the user that the server will run as; None means: as ourselves.

    A folder that belongs to an ordinary user keeps its owner. Raises OSError when that cannot be arranged.
    """
    if os.geteuid() != 0:
        return None
    user = owner_of(folder) or _system_user()
    os.chown(folder, user.uid, user.gid)
    folder.chmod(0o700)
    _open_way(folder)
    if not _can_run(binaries / "postgres", user):
        _open_way(binaries)
        package = binaries.parent.parent
        for tree in (binaries.parent, package.with_name(package.name + ".libs")):
            _open_tree(tree)
    return user


def owner_of(folder: Path) -> User | None:
    """The user that owns `folder`, where we are root and it is not; else None."""
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    return User(owner.st_uid, owner.st_gid) if owner.st_uid != 0 else None


def popen_arguments(user: User | None) -> dict[str, Any]:
    """What makes subprocess run a program as `user`."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def command_line(pid: int) -> str:
    """The command line of a live process; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    return subprocess.run(  # noqa: S603 -- a system without /proc, such as macOS
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def _system_user() -> User:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        made = subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            entry = pwd.getpwnam(SYSTEM_USER)  # another process may have made it at the same moment
        except KeyError:
            raise OSError(
                f"PostgreSQL does not run as root and the system user {SYSTEM_USER} cannot be made "
                f"({made.stderr.strip()}): make it, or run as an ordinary user"
            ) from None
    return User(entry.pw_uid, entry.pw_gid)


def _can_run(program: Path, user: User) -> bool:
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, check=False, cwd="/", **popen_arguments(user)
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _open_way(path: Path) -> None:
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning("%s: others may now pass through it (not list it), PostgreSQL's user needs the way", parent)
            parent.chmod(mode | stat.S_IXOTH)


def _open_tree(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode & wanted != wanted:
            path.chmod(mode | wanted)
