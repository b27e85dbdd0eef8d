"""Who there is: the roles of people and machines, and the users of the embedded issuer in a file.

Passwords are kept as Argon2id hashes alone, the file has mode 0600. It issues no token and checks none.
"""

import json
import os
import secrets
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

USERS_FILE: Final = "users.json"
ALL_AGENCIES: Final = "*"

_hasher: Final = PasswordHasher()


class Role(StrEnum):
    """What a person or machine may be in the platform; a token's claim `roles` lists them."""

    TECHNICIAN = "technician"
    DISPATCHER = "dispatcher"
    PLANNER = "planner"
    FLEET_ADMINISTRATOR = "fleet-administrator"
    AUDITOR = "auditor"
    INTEGRATOR = "integrator"
    CUSTOMER = "customer"
    SERVICE = "service"


def read_users(folder: Path) -> dict[str, Any]:
    """Name -> {hash, roles, agencies}."""
    path = folder / USERS_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def add_user(folder: Path, name: str, password: str, roles: tuple[str, ...], agencies: tuple[str, ...]) -> None:
    """Add a person or machine, or change it."""
    users = read_users(folder)
    users[name] = {"hash": _hasher.hash(password), "roles": sorted(roles), "agencies": sorted(agencies)}
    write_secret(folder / USERS_FILE, json.dumps(users, indent=1))


def matches(user: Mapping[str, Any] | None, password: str) -> bool:
    """Whether it is the user's password. An unknown one costs as much time, so that names cannot be found by timing."""
    try:
        return _hasher.verify(user["hash"] if user else hash_of_nobody(), password) and user is not None
    except (Argon2Error, InvalidHashError):
        return False


def write_secret(path: Path, text: str) -> None:
    """A file with mode 0600, whole or as it was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


@cache
def hash_of_nobody() -> str:
    """What is tried where there is no user; made once."""
    return _hasher.hash(secrets.token_urlsafe(16))
