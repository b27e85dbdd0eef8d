"""Revoking users of a NATS account on a running broker: read the account's claim, add the users, sign it again, push it.

A revoked user's live connection is cut and its tokens issued until then are void; tokens issued later count again. It holds no
key (the operator's signing key is an argument) and decides nobody's revocation.
"""

import json
from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client

from zb_chassis.claims import Claims, Kind, Nkey, checked_public, decode, encode, with_revocations

PUSH_TIMEOUT_S: Final = 5.0
TOKEN_LIFETIME_S_MAX: Final = 72 * 3600
"""No token lives longer: an older revocation has nothing left to revoke and is pruned."""
REVOCATIONS_MAX: Final = 8_000
"""In one claim, some 90 bytes each: the broker's largest message is 1 MiB."""
EVERYBODY: Final = "*"
"""NATS' word for all users of the account. Beyond REVOCATIONS_MAX every token is void: who may go on gets a new one."""


class PushRefused(RuntimeError):
    """The broker did not take the account's claim; the message is its own."""


async def account_claim(system: Client, account: str, *, now: float, issuer: str) -> Claims:
    """The account's claim as the broker has it. `system` is a connection as the system user. Raises PushRefused."""
    answer = await system.request(f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP", b"", timeout=PUSH_TIMEOUT_S)
    if not answer.data:
        raise PushRefused(f"the broker knows no account {account}")
    return decode(answer.data.decode("ascii"), now=now, issuers=[issuer])


async def push(system: Client, token: str) -> None:
    """Gives the broker a newer claim of an account. Raises PushRefused."""
    answer = json.loads((await system.request("$SYS.REQ.CLAIMS.UPDATE", token.encode(), timeout=PUSH_TIMEOUT_S)).data)
    if "error" in answer or answer.get("data", {}).get("code") != 200:
        raise PushRefused(f"the broker refused the claim: {answer.get('error', answer)}")


async def reconcile(system: Client, signer: Nkey, account: str, wanted: Mapping[str, int], *, now: float) -> int | None:
    """Bring the account's claim to hold at least the wanted revocations; how many it holds now, None when it was so already.

    What the claim holds beyond them stays until it is pruned. Raises PushRefused, ClaimError.
    """
    claim = await account_claim(system, account, now=now, issuer=signer.public)
    prune_before = int(now) - TOKEN_LIFETIME_S_MAX
    there = {str(key): int(at) for key, at in claim.nats.get("revocations", {}).items()}
    merged = {key: at for key, at in there.items() if at >= prune_before}
    everybody = merged.get(EVERYBODY, 0)
    for key, at in wanted.items():
        if at >= prune_before and at > everybody:
            merged[key] = max(at, merged.get(key, 0))
    if len(merged) > REVOCATIONS_MAX:
        merged = {EVERYBODY: max(merged.values())}
    if merged == there:
        return None
    body = {key: value for key, value in claim.nats.items() if key not in ("type", "version", "revocations")}
    body |= {"revocations": merged} if merged else {}
    issued_at = max(int(now), claim.issued_at + 1)
    await push(system, encode(signer, account, claim.name, Kind.ACCOUNT, body, issued_at=issued_at))
    return len(merged)


async def revoke(system: Client, signer: Nkey, account: str, users: Mapping[str, int], *, now: float) -> None:
    """Revokes users (public login key -> tokens issued until then, in seconds, are void). Raises PushRefused, ClaimError."""
    for public in users:
        checked_public(public, Kind.USER)
    before = await account_claim(system, account, now=now, issuer=signer.public)
    body = with_revocations(before, users, prune_before=int(now) - TOKEN_LIFETIME_S_MAX)
    # The broker keeps the claim with the later time of issue, so two changes within a second must differ in it.
    issued_at = max(int(now), before.issued_at + 1)
    await push(system, encode(signer, account, before.name, Kind.ACCOUNT, body, issued_at=issued_at))
