"""The embedded OpenID provider: enough for one machine, so that nobody needs an account elsewhere to try the platform.

Discovery, published keys and a token endpoint (password grant for the local command line, client credentials for machines); who
there is, `users` knows. A cluster uses its own provider; nothing else changes.

    python -m zb_chassis.issuer add-user --folder DIR NAME --role dispatcher --agency main     (the password comes on stdin)
    python -m zb_chassis.issuer serve --folder DIR --port 8080
"""

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import click
from fastapi import APIRouter, FastAPI, Request
from joserfc import jwt
from joserfc.jwk import ECKey

from zb_chassis import lifecycle, logs
from zb_chassis.http import PUBLIC, application
from zb_chassis.users import Role, add_user, hash_of_nobody, matches, read_users, write_secret
from zb_contracts.problems import RATE_LIMITED, UNAUTHENTICATED, Problem

AUDIENCE: Final = "zone-blanche"
TOKEN_LIFETIME_S: Final = 900
FAILURES_MAX: Final = 5
PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 300.0
NAMES_WATCHED_MAX: Final = 10_000
"""Names with failures that are remembered; beyond it the oldest is forgotten."""
FORM_BYTES_MAX: Final = 4096
FORM_FIELDS_MAX: Final = 16
KEY_FILE: Final = "signing-key.json"


class Issuer:
    """The users and the signing key of one folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._folder = folder
        self._key = _signing_key(folder)
        self._failures: dict[str, tuple[int, float]] = {}
        hash_of_nobody()  # before anybody asks: the first unknown name must not cost more than the next

    def router(self) -> APIRouter:
        router = APIRouter()

        @router.get("/.well-known/openid-configuration", dependencies=[PUBLIC])
        async def discovery() -> dict[str, Any]:
            return {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "token_endpoint": f"{self.url}/token",
                "grant_types_supported": ["password", "client_credentials"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
            }

        @router.get("/jwks", dependencies=[PUBLIC])
        async def published_keys() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False, use="sig", alg="ES256")]}

        @router.post("/token", dependencies=[PUBLIC])
        async def token(request: Request) -> dict[str, Any]:
            form = _form(await request.body())
            pairs = {"password": ("username", "password"), "client_credentials": ("client_id", "client_secret")}
            fields = pairs.get(form.get("grant_type", ""))
            if fields is None:
                raise Problem(UNAUTHENTICATED, reason="the grant is neither password nor client_credentials")
            name, password = (form.get(field, "") for field in fields)
            return await self._granted(name, password)

        return router

    async def _granted(self, name: str, password: str) -> dict[str, Any]:
        failures, until = self._failures.get(name, (0, 0.0))
        if failures >= FAILURES_MAX and time.monotonic() < until:
            raise Problem(RATE_LIMITED, seconds=round(until - time.monotonic()) + 1)
        user = read_users(self._folder).get(name)
        if not await asyncio.to_thread(matches, user, password) or user is None:
            self._failed(name, failures + 1)
            raise Problem(UNAUTHENTICATED, reason="the name or the password is wrong")
        self._failures.pop(name, None)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": name,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_S,
            "jti": secrets.token_hex(16),
            "roles": user["roles"],
            "agencies": user["agencies"],
        }
        header = {"alg": "ES256", "kid": self._key.kid, "typ": "at+jwt"}
        return {"access_token": jwt.encode(header, claims, self._key), "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_S}

    def _failed(self, name: str, failures: int) -> None:
        """The pause doubles with each failure beyond the limit."""
        pause_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** max(0, failures - FAILURES_MAX))
        self._failures.pop(name, None)
        self._failures[name] = (failures, time.monotonic() + pause_s)
        if len(self._failures) > NAMES_WATCHED_MAX:
            del self._failures[next(iter(self._failures))]


def _form(body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form; UNAUTHENTICATED for one that is none."""
    try:
        return dict(parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=FORM_FIELDS_MAX))
    except ValueError as fault:
        raise Problem(UNAUTHENTICATED, reason="the request is no urlencoded form") from fault


def _signing_key(folder: Path) -> ECKey:
    path = folder / KEY_FILE
    if not path.exists():
        key = ECKey.generate_key("P-256", auto_kid=True)
        write_secret(path, json.dumps(key.as_dict(private=True)))
    return ECKey.import_key(json.loads(path.read_text()))


def build(folder: Path, url: str) -> FastAPI:
    """The provider's application."""

    async def ready() -> None:
        return None

    return application("issuer", [Issuer(folder, url).router()], ready=ready, body_bytes_max=FORM_BYTES_MAX)


@click.group()
def main() -> None:
    """The embedded OpenID provider."""


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, required=True)
def serve(folder: Path, host: str, port: int) -> None:
    """Serve until SIGTERM."""
    logs.configure("issuer")
    asyncio.run(lifecycle.serve(build(folder, f"http://{host}:{port}"), host, port, {}))


@main.command("add-user")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--role", "roles", multiple=True, type=click.Choice([str(role) for role in Role]), required=True)
@click.option("--agency", "agencies", multiple=True, default=("*",), show_default=True)
def add_user_command(name: str, folder: Path, roles: tuple[str, ...], agencies: tuple[str, ...]) -> None:
    """Add a person or machine; the password is read from standard input."""
    add_user(folder, name, sys.stdin.readline().rstrip("\n"), roles, agencies)


if __name__ == "__main__":
    main()
