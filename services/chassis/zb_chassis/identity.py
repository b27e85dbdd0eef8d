"""Who calls: OIDC bearer tokens of any provider, verified against its published keys; roles and agencies.

Tokens are checked in real time, never against a story's clock. It issues nothing: `issuer` is the embedded provider.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import httpx
from fastapi import Depends, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from zb_chassis.http import stated
from zb_chassis.users import ALL_AGENCIES as ALL_AGENCIES
from zb_chassis.users import Role as Role
from zb_contracts.problems import FORBIDDEN, INPUT_INVALID, UNAUTHENTICATED, UNAVAILABLE, WRONG_AGENCY, Problem

ALGORITHMS: Final = ["ES256", "EdDSA", "Ed25519", "RS256"]
KEYS_AGE_S_MAX: Final = 3600.0
KEYS_REFETCH_S_MIN: Final = 5.0
"""An unknown key id fetches the provider's keys again, but not more often than this."""
LEEWAY_S: Final = 30
FETCH_TIMEOUT_S: Final = 5.0
PURPOSE_HEADER: Final = "Zb-Purpose"
"""Why the caller reads, for the access log, e.g. `complaint 2026-114`."""
PURPOSE_CHARACTERS_MAX: Final = 200
ORDINARY_DUTY: Final = "ordinary duty"


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified caller. `agencies` holds ALL_AGENCIES for those who act for all, `purpose` why they read, as they said."""

    subject: str
    roles: frozenset[str]
    agencies: frozenset[str]
    purpose: str = ORDINARY_DUTY

    def check_agency(self, agency: str) -> None:
        """Problem WRONG_AGENCY unless the caller may act for this agency."""
        if agency not in self.agencies and ALL_AGENCIES not in self.agencies:
            raise Problem(WRONG_AGENCY, agency=agency)

    def check_all_agencies(self) -> None:
        """Problem WRONG_AGENCY unless the caller acts for all: of what belongs to no agency, or to all of them together."""
        self.check_agency(ALL_AGENCIES)


class TokenVerifier:
    """Verifies the bearer tokens of one OpenID provider; its keys are fetched when needed and kept for a while."""

    def __init__(self, issuer: str, audience: str, *, now: Callable[[], float] = time.time) -> None:
        self._issuer = issuer.rstrip("/")
        self._now = now
        self._keys: KeySet | None = None
        self._fetched = 0.0
        self._registry = jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def verify(self, token: str) -> Principal:
        """Who the token says the caller is. Problem UNAUTHENTICATED or UNAVAILABLE."""
        try:
            claims = await self._claims(token)
            self._registry.validate(claims)
            return Principal(str(claims["sub"]), _names(claims, "roles"), _names(claims, "agencies"))
        except (JoseError, ValueError, KeyError, TypeError) as fault:
            raise Problem(UNAUTHENTICATED, reason=str(fault)[:200] or type(fault).__name__) from fault

    async def _claims(self, token: str) -> dict[str, Any]:
        keys = await self._key_set(refetch=False)
        try:
            return jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, KeyError):
            # The provider may have rotated its keys since we fetched them.
            if self._now() - self._fetched < KEYS_REFETCH_S_MIN:
                raise
        return jwt.decode(token, await self._key_set(refetch=True), algorithms=ALGORITHMS).claims

    async def _key_set(self, *, refetch: bool) -> KeySet:
        if self._keys is None or refetch or self._now() - self._fetched > KEYS_AGE_S_MAX:
            try:
                async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_S) as client:
                    discovery = (await client.get(f"{self._issuer}/.well-known/openid-configuration")).raise_for_status().json()
                    if discovery["issuer"] != self._issuer:
                        raise ValueError(f"the provider calls itself {discovery['issuer']}")
                    published = (await client.get(discovery["jwks_uri"])).raise_for_status().json()
            except (httpx.HTTPError, ValueError, KeyError) as fault:
                if self._keys is None:
                    raise Problem(UNAVAILABLE, what=f"the OpenID provider {self._issuer}") from fault
                return self._keys  # a provider that is away must not lock out those whose keys we know
            self._keys, self._fetched = KeySet.import_key_set(published), self._now()
        return self._keys


def allow(*roles: Role, of_all_agencies: bool = False) -> Any:
    """A FastAPI dependency: the verified caller, who has one of `roles`. Use as `Annotated[Principal, allow(Role.AUDITOR)]`.

    `of_all_agencies`: of what belongs to all of them together. The verifier is the application's `app.state.verifier`.
    """
    wanted = frozenset(roles)

    async def caller(request: Request) -> Principal:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(UNAUTHENTICATED, reason="there is none")
        verifier: TokenVerifier = request.app.state.verifier
        principal = await verifier.verify(token)
        if not wanted & principal.roles:
            raise Problem(FORBIDDEN, roles=", ".join(sorted(wanted)))
        if of_all_agencies:
            principal.check_all_agencies()
        return replace(principal, purpose=_purpose(request.headers.get(PURPOSE_HEADER)))

    return Depends(stated("roles: " + ", ".join(sorted(wanted)), caller))


Office = Annotated[Principal, allow(Role.DISPATCHER, Role.PLANNER)]
"""The caller who plans and replans."""


def _purpose(said: str | None) -> str:
    if not said:
        return ORDINARY_DUTY
    if len(said) > PURPOSE_CHARACTERS_MAX or not said.isprintable():
        reason = f"at most {PURPOSE_CHARACTERS_MAX} printable characters"
        raise Problem(INPUT_INVALID, errors=({"field": PURPOSE_HEADER, "reason": reason},))
    return said


def _names(claims: dict[str, Any], claim: str) -> frozenset[str]:
    value = claims.get(claim, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"the claim {claim} is no list of names")
    return frozenset(value)
